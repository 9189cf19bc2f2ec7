"""Commands of the language whose service is not part of this version: they parse, show in help, and answer so.

A command that another handler registers under the same phrase replaces its row here.
"""

from __future__ import annotations

from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Tail, signature_grammar
from edgelake.command.registry import Command
from edgelake.errors import NotAvailableError
from edgelake.model import CommandClass, Reply

# Phrase, what brings it, an example of its form.
LATER: tuple[tuple[str, str, str], ...] = (
    ("run tcp server", "peer network", "run tcp server where external_ip = 10.0.0.1 and external_port = 7848"),
)


async def _later(ctx: Context, arguments: Annotated[str, Tail()] = "") -> Reply:
    raise NotAvailableError(f"'{ctx.phrase}'")


def later_commands() -> list[Command]:
    """One command per row of the table."""
    grammar = signature_grammar(_later)
    return [
        Command(
            phrase, _later, CommandClass.ADMIN, grammar, (part,), (example,), f"Not available yet: {part}.", "", part
        )
        for phrase, part, example in LATER
    ]
