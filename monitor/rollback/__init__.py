"""Rollback: a pure guard that decides and one file for each kind of hook that acts."""
