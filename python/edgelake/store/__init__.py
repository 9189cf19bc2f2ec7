"""Databases of the node."""
