"""What the rest of the node asks of the streaming side of ingestion: thresholds, counters, flush.

``ingest.service.Ingest`` offers it; status commands, ``run streamer`` and the operator use it.
Source: spec "Ingestion", sections 4 and 13.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import Pipeline, Rows
from edgelake.ingest.batches import BatchKeeper
from edgelake.model import Stored

Durability = Literal["durable", "fast", "memory"]
DURABILITIES: tuple[Durability, ...] = ("durable", "fast", "memory")
DEFAULT_TIME_S = 0.1
DEFAULT_VOLUME_BYTES = 1 << 20


class Threshold(Struct, frozen=True):
    """When a buffer is flushed: at ``time_s`` of age (0 = no limit), above ``volume_bytes`` (0 = no limit)."""

    time_s: float = DEFAULT_TIME_S
    volume_bytes: int = DEFAULT_VOLUME_BYTES
    write_immediate: bool = False


class StreamSettings(Struct, frozen=True):
    """Settings of a table, a database (``table`` empty) or the node (both empty). None = as the wider scope."""

    dbms: str = ""
    table: str = ""
    threshold: Threshold | None = None
    durability: Durability | None = None
    widening: bool | None = None


class StreamCounts(Struct, frozen=True):
    """Counters of one table.

    Attributes:
        put_files, put_rows: PUT in file mode.
        calls, rows: streaming calls and the rows they brought.
        cached_rows, cached_bytes, age_s: what waits in the buffer, and for how long.
        immediate_rows: rows stored before their acknowledgement.
        stored_rows, rejected_rows: rows in the database (or in a file of the watch directory), and rows kept out;
            rows that were accepted = stored + rejected + cached, at any time. Rows that the journal held at the start
            (recovered_rows) count among the accepted.
        last_s: Unix seconds of the last arrival.
    """

    dbms: str
    table: str
    put_files: int = 0
    put_rows: int = 0
    calls: int = 0
    rows: int = 0
    cached_rows: int = 0
    cached_bytes: int = 0
    age_s: float = 0.0
    immediate_rows: int = 0
    stored_rows: int = 0
    rejected_rows: int = 0
    recovered_rows: int = 0
    last_s: float = 0.0


class StreamTotals(Struct, frozen=True):
    """Rows in buffers now, and rows flushed since the start."""

    buffered_rows: int = 0
    flushed_rows: int = 0


class MappedRows(Struct, frozen=True):
    """Rows of a payload after a mapping policy.

    Attributes:
        rows: None = the payload's own, they were mapped already.
        declared: columns as (name, kind, default now): types that the table gets, whatever the first values look like.
        rejected: elements that the policy kept out (JSON), with the reason.
    """

    rows: Rows | None
    declared: Sequence[tuple[str, str, bool]] = ()
    rejected: Sequence[tuple[bytes, str]] = ()


MapRows = Callable[[str, str, bytes, str], Awaitable[MappedRows]]
"""(dbms, table, payload, id of a mapping policy). Raises PayloadError, EdgeLakeError."""

Take = Callable[[Pipeline], Sequence[int]]
"""Hands rows to the pipeline; returns the tickets under which it tells when they are kept."""


@runtime_checkable
class Streaming(Protocol):
    """The streaming side of ingestion."""

    async def start(self) -> None:
        """Open the journal; nothing when it is open."""

    def settings(self) -> Sequence[StreamSettings]:
        """Settings of every scope that has any; the node's first."""

    def apply(self, settings: StreamSettings) -> None:
        """Replace the settings of a scope; one without values removes it. In force for the next buffer."""

    def streams(self) -> Sequence[StreamCounts]: ...

    def totals(self) -> StreamTotals: ...

    def flush(self) -> Awaitable[None]:
        """Write out everything that is buffered; returns when it is stored."""

    def set_directories(self, prep: Path, watch: Path, err: Path) -> None: ...

    def submit(
        self, dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0"
    ) -> Awaitable[Stored]: ...


@runtime_checkable
class Storing(Protocol):
    """Ingestion that asks the running operator about each flush."""

    def set_storing(self, keeper: BatchKeeper | None) -> None:
        """Who books flushed batches; None while no operator runs: flushes become files of the watch directory."""


def in_force(settings: Sequence[StreamSettings], dbms: str = "", table: str = "") -> StreamSettings:
    """Settings of a table with every value decided: its own, else its database's, else the node's, else ours."""
    found = StreamSettings(dbms, table, Threshold(), "durable", True)
    by_scope = {(one.dbms, one.table): one for one in settings}
    for scope in (("", ""), (dbms, ""), (dbms, table)):
        one = by_scope.get(scope)
        if one is not None:
            found = replace(
                found,
                threshold=one.threshold or found.threshold,
                durability=one.durability or found.durability,
                widening=found.widening if one.widening is None else one.widening,
            )
    return found
