"""What the topics of a namespace said last, as one row (spec: brokers and mapping, section 10, "uns streamer").

The topics ``site/hall/door`` and ``site/hall/lamp`` of a client with ``dynamic = true`` are columns of a row of their
namespace ``site/hall``: table ``hall``, columns ``timestamp``, ``namespace``, ``door`` and ``lamp``. Messages are
collected natively, the latest of each topic; a row is written when one of its topics has said something since.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import Struct, field

from edgelake import _rust
from edgelake.errors import EdgeLakeError, JournalError, OverloadedError, StorageFullError
from edgelake.metadata.namespaces import SEPARATOR, levels_of
from edgelake.model import Status, Stored
from edgelake.service import Streak

log = logging.getLogger(__name__)

_OWN_COLUMNS = ("timestamp", "namespace")
_WORDS = {"true": True, "false": False, "null": None, "": None}


class Submit(Protocol):
    """Entry of the data path for rows of a table (``Ingest.submit``)."""

    def __call__(self, dbms: str, table: str, payload: bytes) -> Awaitable[Stored]: ...


class Namespace(Struct):
    """A namespace of a database: what its topics said last."""

    levels: tuple[str, ...]
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)  # by topic
    arrival_us: int = 0
    changed: bool = False

    @property
    def table(self) -> str:
        return _rust.sanitize_name(self.levels[-1])

    def row(self) -> dict[str, Any]:
        at = datetime.fromtimestamp(self.arrival_us / 1e6, UTC)
        row: dict[str, Any] = {
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "namespace": SEPARATOR.join(self.levels),
        }
        for columns in self.columns.values():
            row.update(columns)
        return row


def columns_of(level: str, payload: bytes) -> dict[str, Any]:
    """The columns of a message: of an object one for each attribute, else one that has the name of the level."""
    try:
        value = json.loads(payload, parse_constant=str)
    except (ValueError, RecursionError):  # a message may be nested as deep as its sender likes
        value = payload.decode(errors="replace").strip()
    if isinstance(value, list):
        value = value[-1] if value else None  # a list of messages: the last of them
    if isinstance(value, dict):
        return {_column(f"{level}_{key}"): _plain(part) for key, part in value.items()}
    return {_column(level): _typed(value)}


def _column(name: str) -> str:
    clean = _rust.sanitize_name(name)
    return f"{clean}_value" if clean in _OWN_COLUMNS else clean


def _typed(value: Any) -> Any:
    """A text may be that of a value, as in the topic's own table."""
    if not isinstance(value, str):
        return _plain(value)
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        number = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return value
    return number if isinstance(number, int | float) else value


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


class NamespaceStreamer:
    """The streamer of namespaces as a service.

    Args:
        frequency_s: seconds between rows of a namespace.
    """

    name = "uns streamer"

    def __init__(self, native: _rust.MessageClients, submit: Submit, frequency_s: float) -> None:
        self._native = native
        self._submit = submit
        self._frequency_s = frequency_s
        self._namespaces: dict[tuple[str, tuple[str, ...]], Namespace] = {}
        self._rows = 0
        self._since = 0.0
        self._streak = Streak()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._native.collect_latest(True)
        self._since = time.time()
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Writes what was collected. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.write()
        self._native.collect_latest(False)
        self._since = 0.0

    def status(self) -> Status:
        details = f"Frequency: {self._frequency_s:g} seconds, Namespaces: {len(self._namespaces)}, Rows: {self._rows}"
        return Status("UNS Streamer", self._task is not None, details, int(self._since * 1e6))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._frequency_s)
            await self.write()

    async def write(self) -> None:
        """A row of each namespace of which a topic said something. Rows that find no room are written the next time."""
        for place, namespace in self._collected():
            body = json.dumps(namespace.row(), ensure_ascii=False).encode()
            try:
                stored = await self._submit(place[0], namespace.table, body)
            except EdgeLakeError as problem:
                # The others say that it is no row: the next one may be.
                namespace.changed = isinstance(problem, OverloadedError | StorageFullError | JournalError)
                if self._streak.failed():
                    log.error("uns streamer: %s.%s: %s%s", place[0], namespace.table, problem, self._streak.times)
                continue
            namespace.changed = False
            self._streak.worked()
            self._rows += stored.rows

    def _collected(self) -> Iterator[tuple[tuple[str, tuple[str, ...]], Namespace]]:
        for _, dbms, topic, payload, arrival_us in self._native.take_latest():
            *parents, level = levels_of(topic)
            if not parents:
                continue  # a topic of one level is in no namespace
            place = (dbms, tuple(parents))
            namespace = self._namespaces.setdefault(place, Namespace(place[1]))
            namespace.columns[topic] = columns_of(level, payload)
            namespace.arrival_us = max(namespace.arrival_us, arrival_us)
            namespace.changed = True
        return iter([(place, one) for place, one in self._namespaces.items() if one.changed])
