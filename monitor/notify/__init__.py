"""Channels: one file a kind. A new kind is found here by being a module of this package."""
