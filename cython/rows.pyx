"""Rows that are Python objects, to columns and back."""


def placeholder():
    return None
