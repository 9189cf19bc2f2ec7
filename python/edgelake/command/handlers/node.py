"""Leaving the node.

Source: spec "Services and status", section 5.
"""

from __future__ import annotations

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.model import CommandClass, Reply


@command("exit node", cls=CommandClass.ADMIN, topics=("node",), examples=("exit node",))
async def exit_node(ctx: Context) -> Reply:
    """Stop all services, close the databases and end the process."""
    ctx.node.stopping.set()
    return Reply.of_text("Terminating node processes")
