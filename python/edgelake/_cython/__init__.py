"""Cython modules, built from cython/."""
