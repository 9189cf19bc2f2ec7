"""Streaming conditions: what is done with rows before they are buffered (spec: brokers and mapping, section 11).

The tests are native and stand in the way of every row of their table; commands are run here, one after another, beside
the stream. When too many wait, they are dropped and counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from edgelake import _rust
from edgelake._rust import Pipeline
from edgelake.errors import EdgeLakeError, error

log = logging.getLogger(__name__)

LONGEST_COMMAND_S = 60.0
IGNORE = "return ignore entry"

Run = Callable[[str, Mapping[str, Any]], Awaitable[object]]
"""Runs a command line with a row as its context. Raises EdgeLakeError."""


class StreamCondition(Struct, frozen=True):
    """One condition of a table; ``limit``: how often its command may run, None = always."""

    dbms: str
    table: str
    id: int
    condition: str
    command: str
    limit: int | None = None

    @property
    def text(self) -> str:
        return f"if {self.condition} then {self.command}"


async def _run_nothing(line: str, row: Mapping[str, Any]) -> None:
    """A node without commands."""


class StreamConditions:
    """The conditions of a node, in the order of their declaration.

    Attributes:
        run: runs the commands; set by the node.
    """

    def __init__(self) -> None:
        self._all: list[StreamCondition] = []
        self._pipeline: Pipeline | None = None
        self._running: asyncio.Task[None] | None = None
        self.run: Run = _run_nothing

    def __iter__(self) -> Iterator[StreamCondition]:
        return iter(self._all)

    # ---- declarations

    def add(self, dbms: str, table: str, condition: str, command: str, limit: int | None = None) -> StreamCondition:
        """Raises EdgeLakeError 124 for what is no condition, or is there already."""
        _rust.check_condition(condition)
        own = [one for one in self._all if (one.dbms, one.table) == (dbms, table)]
        made = StreamCondition(dbms, table, max((one.id for one in own), default=0) + 1, condition, command, limit)
        if any(one.text == made.text for one in own):
            raise error(124, f"{dbms}.{table} has this condition already: {made.text}")
        if self._pipeline is not None:
            _tell(self._pipeline, made)
        self._all.append(made)
        return made

    def remove(self, dbms: str = "", table: str = "", ids: frozenset[int] = frozenset()) -> int:
        """Remove the conditions of a table, of a database, or all; returns how many there were."""
        gone = [
            one
            for one in self._all
            if dbms in ("", one.dbms) and table in ("", one.table) and (not ids or one.id in ids)
        ]
        for one in gone:
            self._all.remove(one)
            if self._pipeline is not None:
                self._pipeline.remove_condition(one.dbms, one.table, one.id)
        return len(gone)

    # ---- the pipeline

    def attach(self, pipeline: Pipeline | None) -> None:
        """The pipeline that tests rows from now on; None when it is closed."""
        self._pipeline = pipeline
        if pipeline is not None:
            for one in self._all:
                _tell(pipeline, one)

    def acted(self) -> None:
        """Commands wait."""
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run_all())

    async def settled(self) -> None:
        """Returns when the commands of the rows that were acknowledged so far have run."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def stop(self) -> None:
        """Give up what still waits."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = None

    async def _run_all(self) -> None:
        while self._pipeline is not None:
            actions, missed = self._pipeline.take_actions()
            if missed:
                log.error("%d commands of streaming conditions were dropped: too many waited", missed)
            if not actions:
                break
            for command, dbms, table, row in actions:
                await self._run_one(command, {"dbms": dbms, "table": table, **json.loads(row)})
        self._running = None

    async def _run_one(self, command: str, row: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(LONGEST_COMMAND_S):
                await self.run(command, row)
        except (EdgeLakeError, TimeoutError) as problem:
            log.error("streaming condition: %s: %s", command, problem)
        except Exception:
            log.exception("streaming condition: fault in %s", command)


def _tell(pipeline: Pipeline, one: StreamCondition) -> None:
    command = None if one.command == IGNORE else one.command
    pipeline.add_condition(one.dbms, one.table, one.id, one.condition, command, one.limit)
