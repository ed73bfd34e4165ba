"""The HTTP surface: exposition, query API, events API and the live page."""
