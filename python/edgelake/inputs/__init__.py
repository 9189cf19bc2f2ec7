"""Sources that the node reads."""
