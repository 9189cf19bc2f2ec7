"""What the operator did, in the topics of ``get operator``.

Rows are counted where they are committed, so received = stored + rejected + pending holds at any time.
Source: spec "Ingestion", section 13; "Services and status", section 10.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from msgspec import Struct, field


def clock(seconds: float) -> str:
    """HH:MM:SS."""
    whole = max(int(seconds), 0)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


class FileCount(Struct):
    """Files (or flushed batches) of one table or partition."""

    files: int = 0
    immediate: int = 0
    last: float = 0.0


class InsertCount(Struct):
    """Rows of one table that reached the database."""

    first: float = 0.0
    last: float = 0.0
    batch_rows: int = 0
    immediate_rows: int = 0
    seconds: float = 0.0


class ErrorCount(Struct):
    """Failures of one kind; the last one in full."""

    counter: int = 0
    last: float = 0.0
    dbms: str = ""
    table: str = ""
    number: int = 0
    text: str = ""


class _Mark(Struct):
    """Where the counters stood at the last summary."""

    at: float = 0.0
    rows: int = 0
    errors: int = 0


class OperatorCounters(Struct):
    """Counters of one operator, by database and table. Only the loop touches them.

    ``now`` gives Unix seconds. ``on_insert`` is told of each transaction: (dbms, table).
    """

    now: Callable[[], float] = time.time
    on_insert: Callable[[str, str], None] = lambda dbms, table: None
    json: dict[str, dict[str, FileCount]] = field(default_factory=dict)
    sql: dict[str, dict[str, FileCount]] = field(default_factory=dict)
    inserts: dict[str, dict[str, InsertCount]] = field(default_factory=dict)
    errors: dict[str, ErrorCount] = field(default_factory=dict)
    rows: int = 0
    rejected_rows: int = 0
    first_file: float = 0.0
    last_insert: float = 0.0
    _errors_before: int = 0
    _mark: _Mark = field(default_factory=_Mark)

    def file(self, dbms: str, table: str, *, immediate: bool = False) -> None:
        """A JSON file, or a flushed batch, was taken."""
        self.first_file = self.first_file or self.now()
        _count(self.json, dbms, table, immediate, self.now())

    def inserted(
        self,
        dbms: str,
        table: str,
        rows: int,
        seconds: float,
        *,
        partitions: Iterable[str] = (),
        immediate: bool = False,
    ) -> None:
        """A transaction with ``rows`` of a table was committed; ``partitions`` are the physical names it touched."""
        now = self.now()
        self.first_file = self.first_file or now
        for name in list(partitions) or [table]:
            _count(self.sql, dbms, partition_title(table, name), immediate, now)
        count = self.inserts.setdefault(dbms, {}).setdefault(table, InsertCount(first=now))
        count.last = self.last_insert = now
        count.seconds += seconds
        if immediate:
            count.immediate_rows += rows
        else:
            count.batch_rows += rows
        self.rows += rows
        self.on_insert(dbms, table)

    def failed(self, kind: str, dbms: str, table: str, number: int, text: str) -> None:
        """A file, batch or statement failed; ``kind`` is JSON or SQL."""
        count = self.errors.setdefault(f"{kind} Errors", ErrorCount())
        count.counter += 1
        count.last = self.now()
        count.dbms, count.table, count.number, count.text = dbms, table, number, text

    @property
    def error_count(self) -> int:
        return sum(count.counter for count in self.errors.values()) - self._errors_before

    def reset_summary(self) -> None:
        """The summary counts anew from here; the topics by table go on."""
        self._errors_before += self.error_count
        self.rows = 0
        self.first_file = self.last_insert = 0.0
        self._mark = _Mark(at=self.now())

    def summary(self) -> dict[str, str | int | float]:
        """The counted part of the summary. The next call's new rows and errors count from this one."""
        now = self.now()
        processing = max(self.last_insert - self.first_file, 0.0) if self.first_file else 0.0
        since = self._mark.at or self.first_file or now
        found: dict[str, str | int | float] = {
            "processing time": clock(processing),
            "elapsed time": clock(now - since),
            "new rows": self.rows - self._mark.rows,
            "total rows": self.rows,
            "new errors": self.error_count - self._mark.errors,
            "total errors": self.error_count,
            "avg. rows/sec": round(self.rows / max(processing, 0.001), 2) if self.rows else 0.0,
        }
        self._mark = _Mark(now, self.rows, self.error_count)
        return found


def _count(topic: dict[str, dict[str, FileCount]], dbms: str, name: str, immediate: bool, now: float) -> None:
    count = topic.setdefault(dbms, {}).setdefault(name, FileCount())
    count.files += 1
    count.immediate += immediate
    count.last = now


def partition_title(table: str, physical: str) -> str:
    """``par_t_2026_11_d14_ts`` as status commands show it: ``t.2026_11_d14_ts``; the table's own name as it is."""
    head = f"par_{table}_"
    return f"{table}.{physical.removeprefix(head)}" if physical.startswith(head) else physical
