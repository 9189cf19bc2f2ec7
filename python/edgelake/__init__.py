"""EdgeLake: a data node for the edge.

``from edgelake import Node`` puts a node into an asyncio program.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelake.node import Node

__all__ = ["Node"]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a program that uses the node says where logs go


def __getattr__(name: str) -> Any:
    """Load the node on first use: a command that needs a part of it only stays quick."""
    if name == "Node":
        from edgelake.node import Node

        return Node
    raise AttributeError(f"module 'edgelake' has no attribute '{name}'")
