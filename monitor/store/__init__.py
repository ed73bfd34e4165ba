"""Durable memory: the protocol and its embedded implementation."""
