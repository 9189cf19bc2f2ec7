"""Text to handler: the command language."""
