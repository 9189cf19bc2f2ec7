"""Protocols that the node speaks."""
