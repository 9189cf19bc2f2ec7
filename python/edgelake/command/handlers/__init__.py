"""Command handlers, one file per subject."""
