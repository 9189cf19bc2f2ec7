"""Programs for the owner of a node, beside the node itself, such as ``edgelake attach``."""
