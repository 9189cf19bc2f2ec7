"""What a handler gets: who calls, and the parts of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from msgspec import Struct

from edgelake.command.audit import Audit
from edgelake.command.directories import Directories
from edgelake.command.flow import Flow
from edgelake.command.logs import EchoQueue, Logs
from edgelake.command.registry import Registry
from edgelake.command.scheduler import Schedulers
from edgelake.command.variables import Variables
from edgelake.model import Caller, CommandClass, Incoming, Reply
from edgelake.service import Supervisor


class Standing(Struct, frozen=True):
    """A line that takes no waiting.

    Attributes:
        run: run it. Raises EdgeLakeError, as the dispatcher does.
        note: put into the log that it ran, once whoever asked has the reply.
    """

    run: Callable[[], Reply]
    note: Callable[[], None]


STARTED: Final = "started"
"""Setting: whether the commands of the start have run. Embedded nodes have none, and are ready at once."""


class Runner(Protocol):
    """The dispatcher, as handlers see it."""

    def run(self, text: str, ctx: Context) -> Coroutine[Any, Any, Reply]: ...
    def standing(self, text: str, ctx: Context, caller: Caller) -> Standing | None: ...


@dataclass
class NodeInfo:
    """The node itself.

    Attributes:
        name: as ``set node name`` gave it; empty until then.
        settings: values of ``set`` commands that no part owns, by name.
        stopping: set by ``exit node`` and by signals; the process leaves when it is.
    """

    name: str = ""
    version: str = "0"
    settings: dict[str, Any] = field(default_factory=dict)
    started_us: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Context:
    """One caller's view of the node. ``for_caller`` makes another one over the same parts.

    Attributes:
        variables: the dictionary; callers without the class admin see it without secrets.
        flow: if-chains and the script frame of this run of commands.
        phrase: the phrase that matched, for a handler with aliases.
        line: source text of the command.
        stores, ingest, queries, policies: ``store.stores.Stores``, ``ingest.service.Ingest``,
            ``query.service.Queries``, ``metadata.policies.Policies``; None when the node runs without them.
        incoming: the file that came along with the command.
        console: shows texts where the caller sits (``console.Show``); None = nobody looks.
        parts: other parts by name, set by the node.
    """

    caller: Caller
    registry: Registry
    dispatcher: Runner
    variables: Variables
    directories: Directories
    logs: Logs
    audit: Audit
    echo: EchoQueue
    scheduler: Schedulers
    services: Supervisor
    node: NodeInfo
    flow: Flow = field(default_factory=Flow)
    phrase: str = ""
    line: str = ""
    stores: Any = None
    ingest: Any = None
    queries: Any = None
    policies: Any = None
    incoming: Incoming | None = None
    console: Any = None
    parts: dict[str, Any] = field(default_factory=dict)

    def execute(self, line: str) -> Coroutine[Any, Any, Reply]:
        """Run a command as this caller. Raises EdgeLakeError."""
        return self.dispatcher.run(line, self)

    def for_caller(self, caller: Caller) -> Context:
        """The same node for another caller, with its own if-chains."""
        return self.at(caller=caller, flow=Flow(), phrase="", line="")

    def at(self, **changes: Any) -> Context:
        """The same caller with some attributes changed."""
        made = object.__new__(Context)  # every command does this a few times: dataclasses.replace takes 15 us
        held = self.__dict__.copy()
        held.update(changes)
        made.__dict__ = held
        return made

    def may(self, cls: CommandClass) -> bool:
        """Whether the caller has a command class."""
        return cls in self.caller.classes

    @property
    def visible(self) -> Variables:
        """The dictionary as the caller may see it."""
        return self.variables.view(secrets=self.may(CommandClass.ADMIN))
