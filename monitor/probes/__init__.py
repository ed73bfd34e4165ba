"""Probes: one file or package a kind. A new kind is found by being a module of this package."""
