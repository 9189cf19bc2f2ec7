"""A node with the language alone: what runs before, or without, the other parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from edgelake.command.audit import Audit
from edgelake.command.console import shown
from edgelake.command.context import Context, NodeInfo
from edgelake.command.directories import Directories
from edgelake.command.dispatcher import Dispatcher
from edgelake.command.logs import EchoQueue, Logs
from edgelake.command.registry import Registry
from edgelake.command.scheduler import Schedulers
from edgelake.command.variables import Variables
from edgelake.model import PROMPT, Caller
from edgelake.service import Supervisor

AUDIT_FILE: Final = "data/audit.jsonl"


def language_context(
    *,
    caller: Caller = PROMPT,
    home: Path | None = None,
    registry: Registry | None = None,
    services: Supervisor | None = None,
    node: NodeInfo | None = None,
    variables: Variables | None = None,
) -> Context:
    """A context with dispatcher, dictionary, directories, logs, echo queue and schedulers.

    The node fills in ``stores``, ``ingest``, ``queries``, ``policies`` and ``parts``.
    """
    registry = registry or Registry.discover()
    variables = variables or Variables()
    where = home or Path(os.environ.get("EDGELAKE_HOME") or Path.cwd())

    async def run_task(line: str, task_caller: Caller) -> str:
        ctx = context.for_caller(replace(task_caller, entry="schedule"))
        return await shown(line, ctx)

    def note(text: str, *, failed: bool) -> None:
        (context.logs.error if failed else context.logs.event)(text, thread="schedule")

    directories = Directories(variables, where)
    context = Context(
        caller=caller,
        registry=registry,
        dispatcher=Dispatcher(registry),
        variables=variables,
        directories=directories,
        logs=Logs(),
        audit=Audit(lambda: directories.root / AUDIT_FILE),
        echo=EchoQueue(),
        scheduler=Schedulers(run_task, note),
        services=services or Supervisor(),
        node=node or NodeInfo(),
    )
    return context
