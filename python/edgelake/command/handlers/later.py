"""Commands of the language whose service is not part of this version: they parse, show in help, and answer so.

Who builds one of them removes its row here; a test finds rows that are left over.
"""

from __future__ import annotations

from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Tail, signature_grammar
from edgelake.command.registry import Command
from edgelake.errors import NotAvailableError
from edgelake.model import CommandClass, Reply

# What brings a group of commands, then a phrase and an example of its form.
_DEVICES = "device and stream inputs"
_AGENTS = "tools for assistants"

LATER: dict[str, dict[str, str]] = {
    _DEVICES: {
        "run scheduled pull": "run scheduled pull where name = docker and type = docker and frequency = 60",
        "get scheduled pull": "get scheduled pull",
        "run plc client": "run plc client where type = opcua and url = !url",
        "run opcua client": "run opcua client where url = !url and frequency = 10",
        "get opcua struct": "get opcua struct where url = !url and node = 'ns=0;i=84' and dbms = d",
        "get opcua values": "get opcua values where url = !url",
        "get plc clients": "get plc clients",
        "get opcua clients": "get opcua clients",
        "run video stream": "run video stream where name = camera and import_display = d",
        "video connect": "video connect where name = camera and protocol = rtsp and address = !ip",
        "import function": "import function where import_name = f and lib = l and method = m",
        "set function params": "set function params where import_name = f and param_name = p and param_value = 1",
    },
    _AGENTS: {
        "run mcp server": "run mcp server",
    },
}


async def _later(ctx: Context, arguments: Annotated[str, Tail()] = "") -> Reply:
    raise NotAvailableError(f"'{ctx.phrase}'", hint="a script may pass over it: on error ignore")


def later_commands() -> list[Command]:
    """One command per row of the table."""
    grammar = signature_grammar(_later)
    return [
        Command(
            phrase, _later, CommandClass.ADMIN, grammar, (part,), (example,), f"Not available yet: {part}.", later=part
        )
        for part, rows in LATER.items()
        for phrase, example in rows.items()
    ]
