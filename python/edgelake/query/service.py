"""Queries over the databases of the node: from a statement to a streamed answer (spec: query)."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import Plan, RowReader, Select, change_statement, time_text
from edgelake.errors import EdgeLakeError, QueryError, error
from edgelake.model import Status
from edgelake.query import columns as python_columns
from edgelake.query import leading
from edgelake.query.jobs import Job, Jobs
from edgelake.query.leaves import Leaves
from edgelake.query.options import Options
from edgelake.query.pool import QueryPool
from edgelake.query.run import PIECE_BYTES, Run
from edgelake.query.spill import DISK_BYTES, MEMORY_BYTES
from edgelake.query.statement import Planner, database_of, described
from edgelake.query.views import Views
from edgelake.store.stores import Stores

if TYPE_CHECKING:
    from numpy import ndarray

log = logging.getLogger(__name__)

_CHANGED: Final = re.compile(
    r'(?:update(?:\s+or\s+\w+)?|delete\s+from)\s+(?:"(?P<quoted>[^"]+)"|(?P<plain>\w+))', re.IGNORECASE
)
BLOCK_ROWS: Final = 20_000
SHOWN_SCANS: Final = 10
"""Scans of a query that are kept to be shown."""

_TYPES: Final = {
    "json": "application/json",
    "json:list": "application/json",
    "json:output": "application/x-ndjson",
    "table": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
}


def _no_constant(_name: str) -> str:
    return ""


class Limits(Struct):
    """``set query mode``: the node's own bounds; None = none.

    Attributes:
        sort_memory_bytes, sort_disk_bytes: of rows of other nodes that are to be put in order here.
    """

    timeout_s: float | None = None
    max_volume_bytes: int | None = None
    sort_memory_bytes: int = MEMORY_BYTES
    sort_disk_bytes: int = DISK_BYTES
    reference_order: bool = False
    settings: dict[str, str] | None = None


class Answer:
    """The answer of a select: text in pieces, and how many rows it had. To be read once."""

    def __init__(
        self, job: Job, run: Run, reader: RowReader, jobs: Jobs, titles: list[str], max_volume_bytes: int | None
    ) -> None:
        self.job = job
        self.titles = titles
        self._run = run
        self._reader = reader
        self._jobs = jobs
        self._max_volume_bytes = max_volume_bytes
        # Who drops an answer unread (a command whose reply nobody wants) leaves nothing open.
        self._dropped = weakref.finalize(self, _drop, run, jobs, job)
        self._dropped.atexit = False

    async def pieces(self, max_bytes: int = PIECE_BYTES) -> AsyncGenerator[bytes]:
        """The text. Ends the query, however it is left."""
        sent = 0
        failure: BaseException | None = None
        try:
            async for piece in self._run.pieces(self._reader, max_bytes):
                sent += len(piece)
                if self._max_volume_bytes is not None and sent > self._max_volume_bytes:
                    raise error(
                        16,
                        f"the reply has more than {self._max_volume_bytes} bytes",
                        hint="narrow it, or set query mode",
                    )
                self.job.blocks += 1
                self.job.rows = self._reader.rows
                yield piece
            self.job.rows = self._reader.rows
        except BaseException as raised:
            failure = raised
            raise
        finally:
            self._end(failure)

    async def blocks(self, rows: int = BLOCK_ROWS) -> AsyncGenerator[list[Any]]:
        """Columns of ``rows`` rows at a time. Ends the query, however it is left."""
        failure: BaseException | None = None
        try:
            async for block in self._run.blocks(self._reader, rows):
                self.job.blocks += 1
                self.job.rows = self._reader.rows
                yield block
        except BaseException as raised:
            failure = raised
            raise
        finally:
            self._end(failure)

    def drop(self) -> None:
        """End the query unread."""
        self._end(GeneratorExit())

    def _end(self, failure: BaseException | None) -> None:
        self._dropped.detach()
        self._run.close()
        self._jobs.end(self.job, failure)


class Queries:
    """Plans and runs selects; knows what runs."""

    name = "query"

    def __init__(
        self, stores: Stores, *, timezone: str | None = None, views_file: Callable[[], Path] | None = None
    ) -> None:
        """``timezone``: of times in statements and replies that name none; None = the machine's.

        ``views_file``: where views are kept; None = in memory alone.
        """
        self.stores = stores
        self.timezone = timezone
        self.limits = Limits()
        self.jobs = Jobs()
        self.leaves = Leaves(self.jobs.stop)
        self.views = Views(views_file)
        self.pool = QueryPool()
        self._since_us = 0
        self._scan_threads = min(os.cpu_count() or 1, 4)

    async def start(self) -> None:
        """Take queries; they are taken from the beginning, and again after ``stop``."""
        self.views.load()
        self.pool.open()
        self._since_us = time.time_ns() // 1000

    async def stop(self) -> None:
        """Stop what runs, take no more. Idempotent."""
        self.jobs.stop_all()
        await asyncio.to_thread(self.pool.close)

    def status(self) -> Status:
        return Status("Query Pool", self.pool.is_open, f"Threads Pool: {len(self.pool.busy)}", self._since_us)

    def check_timezone(self, name: str) -> None:
        """Raises EdgeLakeError 173 for a zone that does not exist."""
        try:
            time_text(0, timezone=name)
        except QueryError as unknown:
            raise error(173, unknown.detail) from unknown

    async def ask(
        self,
        dbms: str,
        sql: str,
        options: Options,
        *,
        constant: Callable[[str], str] = _no_constant,
        command: str = "",
        json_null: str = "empty",
        leaf: str = "",
        begun: Callable[[Job], None] = lambda _job: None,
        also: str = "",
    ) -> Answer:
        """Begin a select; the answer is read from what this returns.

        Args:
            constant: value of ``@name`` and ``+name`` in ``extend``.
            command: as the user wrote it, for ``query status``.
            json_null: ``empty`` prints a null as ``""``, ``null`` as ``null``.
            leaf: for another node, which puts the answers of several together: how it wants rows printed.
            also: a condition on the rows of each table, beside that of the statement.
            begun: told of the query as soon as it has its place; what it raises ends the query.

        Raises QueryError, TableMissingError, DatabaseMissingError, TimeoutExpiredError, EdgeLakeError.
        """
        self.check_timezone(options.timezone)
        command = command or sql
        if "{" in sql:
            sql = await leading.resolved(sql, lambda one: self._value(dbms, one, options, constant, also))
        started = time.monotonic()
        job = self.jobs.begin(dbms, command, options.destination or options.format)
        run = Run(self.stores, self.pool, threads=self._scan_threads, limit_s=self._limit(options))
        job.stop, job.parts = run.interrupt, lambda: run.parts
        run.fetched = lambda scan: job.servers.pop(scan, None)
        try:
            begun(job)
            plan = await self._plan(run, dbms, sql, options, constant, is_leaf=bool(leaf), also=also)
            self._note(job, plan)
            outputs = await self._outputs(run, plan)
            render = self.render(plan, outputs, options, json_null)
            if leaf:
                render |= _for_leaf(leaf, len(outputs))
            elapsed_s = time.monotonic() - started
            try:
                reader = await run.open(plan, msgspec.json.encode(render).decode(), elapsed_s=elapsed_s)
            except ValueError as wrong:
                if not leaf:
                    raise
                raise QueryError(f"how rows are to be printed: {wrong}") from None
            job.status, job.threads = "Processing", run.workers
        except BaseException as failure:
            run.close()
            self.jobs.end(job, failure)
            raise
        titles = [output["title"] for output in outputs]
        return Answer(job, run, reader, self.jobs, titles, self.limits.max_volume_bytes)

    async def explain(self, dbms: str, sql: str, options: Options) -> tuple[Job, list[str]]:
        """How a select is planned, as a job that is none of the node's, and the titles of its columns.

        Only queries that lead it are run; of those that are put together by groups the engine sees nothing. Raises as
        ``ask`` does.
        """
        self.check_timezone(options.timezone)
        if "{" in sql:
            sql = await leading.resolved(sql, lambda one: self._value(dbms, one, options, _no_constant, ""))
        job = Job(0, 0, dbms, sql, options.format)
        with closing(Run(self.stores, self.pool, threads=1, limit_s=self._limit(options))) as run:
            plan = await self._plan(run, dbms, sql, options, _no_constant, is_leaf=False, also="")
            self._note(job, plan)
            outputs = await self._outputs(run, plan)
            if plan.kind != "groups":
                render = self.render(plan, outputs, options, "empty")
                await run.open(plan, msgspec.json.encode(render).decode())  # the engine has its say
        return job, [output["title"] for output in outputs]

    def _note(self, job: Job, plan: Plan) -> None:
        """What ``query explain`` shows."""
        scans = plan.scans
        job.scans = [sql for _, _, sql, *_ in scans[:SHOWN_SCANS]] or [plan.sql]
        for (dbms, table, sql, *_), server in zip(scans[:SHOWN_SCANS], plan.server_scans, strict=False):
            if server is not None and (asked := self.stores.get(dbms).asked(table, server, plan.group_spec)):
                job.servers[sql] = (dbms, asked)
        job.partitions = len(scans) or 1
        job.merge = plan.sql if plan.kind == "groups" else ""
        if plan.increments is not None:
            job.increments = f"{plan.increments[0]} {plan.increments[1]}"

    def media_type(self, options: Options) -> str:
        return _TYPES[options.format]

    def increments(self, dbms: str, sql: str, options: Options) -> tuple[str, int]:
        """Unit and number that ``increments(column)`` of a select becomes. Raises as ``ask`` does."""
        found = self.planner().plan(Select(sql), dbms, options).increments
        if found is None:
            raise QueryError("the statement has no increments")
        return found

    async def change(self, dbms: str, sql: str) -> int:
        """Run a statement that changes something; returns the number of rows changed.

        Texts beside time columns are times, as in a select. Raises as ``ask`` and ``Store.execute`` do.
        """
        store = self.stores.get(dbms)
        text = sql.strip().rstrip(";")
        found = _CHANGED.match(text)
        info = store.tables.get((found["quoted"] or found["plain"]).lower()) if found else None
        if info is not None and store.integer_times:
            now_us = time.time_ns() // 1000
            text = change_statement(text, described(info), now_us=now_us, timezone=self.timezone)
        return await store.execute(text)

    # --- for programs

    async def rows(self, sql: str, dbms: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Rows of a select as dictionaries; times as datetime in UTC, a null as None."""
        answer = await self.ask(dbms or database_of(sql), sql, Options(timezone="utc"))
        async for block in answer.blocks():
            for row in python_columns.rows(block):
                yield row

    async def columns(self, sql: str, dbms: str | None = None) -> dict[str, ndarray]:
        """Columns of a select as numpy arrays: times datetime64[us], texts objects; numbers with nulls are floats.

        Raises as ``ask`` does, and ModuleNotFoundError without numpy.
        """
        answer = await self.ask(dbms or database_of(sql), sql, Options(timezone="utc"))
        return await python_columns.arrays(answer.titles, answer.blocks(1_000_000))

    # --- inside

    async def _value(self, dbms: str, sql: str, options: Options, constant: Callable[[str], str], also: str) -> Any:
        """Value of a leading query. Raises EdgeLakeError 166 unless it is one row of one column."""
        limited = Options(timezone="utc", include=options.include, max_time_s=options.max_time_s)
        answer = await self.ask(dbms, sql, limited, constant=constant, also=also)
        found = [list(row.values()) async for block in answer.blocks(2) for row in python_columns.rows(block)]
        if len(found) != 1 or len(found[0]) != 1:
            raise error(166, f"'{sql[:100]}' gives no single value", hint="select one function, such as max(timestamp)")
        return found[0][0]

    def planner(self, constant: Callable[[str], str] = _no_constant) -> Planner:
        return Planner(self.stores, self.views, self.timezone, constant, self.limits.reference_order)

    async def _plan(
        self,
        run: Run,
        dbms: str,
        sql: str,
        options: Options,
        constant: Callable[[str], str],
        *,
        is_leaf: bool,
        also: str,
    ) -> Plan:
        planner = self.planner(constant)
        select = Select(sql)
        plan = planner.plan(select, dbms, options, is_leaf=is_leaf, also=also)
        if plan.kind == "leading":
            plan = planner.plan(select, dbms, options, (await run.value(plan),), is_leaf=is_leaf, also=also)
        for warning in plan.warnings:
            log.warning("%s: %s", dbms, warning)
        return plan

    async def _outputs(self, run: Run, plan: Plan) -> list[dict[str, Any]]:
        """Columns of the answer: the plan's, or what the engine says of its statement."""
        outputs: list[dict[str, Any]] = msgspec.json.decode(plan.outputs)
        if plan.kind == "engine" and not outputs:
            outputs = [
                {"title": name.lower(), "kind": self._kind(plan, table, column)}
                for name, table, column in await run.describe(plan)
            ]
            titles = [output["title"] for output in outputs]
            if len(set(titles)) < len(titles):
                raise QueryError("two columns have the same name", hint="name the columns with 'as'")
        return outputs

    def render(self, plan: Plan, outputs: list[dict[str, Any]], options: Options, json_null: str) -> dict[str, Any]:
        """What RowReader and PeerMerge are told, to be sent as JSON."""
        local = options.timezone.lower() == "local"
        return {
            "format": options.format,
            "outputs": outputs,
            "zone": (self.timezone or "local") if local else options.timezone,
            "iso": options.timezone.lower() == "utc",
            "statistics": options.statistics,
            "json_null": json_null,
            "nodes": {"target": 0, "participating": 0},  # a statement for this node alone, as the reference counts
            "per_column_limit": plan.per_column_limit,
        }

    def _kind(self, plan: Plan, table: str, column: str) -> str:
        """Kind of a column of the engine's, by the physical table that it comes from."""
        for name in (plan.dbms, *plan.attached):
            for info in self.stores.get(name).tables.values():
                if table == info.name or table in info.physical_names:
                    kind = next((c.kind for c in info.columns if c.name == column), "")
                    if kind in {"timestamp", "boolean"}:
                        return {"boolean": "bool"}.get(kind, kind)
        return "any"

    def _limit(self, options: Options) -> float | None:
        wanted = [s for s in (options.max_time_s, self.limits.timeout_s) if s is not None]
        return min(wanted, default=None)


AS_THEY_TRAVEL: Final = '{"format":"peer","zone":"utc","iso":true}'
"""How rows are printed for nodes that read them again."""


def printed_for(render: dict[str, Any]) -> str:
    """How other nodes are to print rows that are passed on as they are; "" where they are to be read again here."""
    if render["format"] in ("table", "csv") or render["per_column_limit"] is not None:
        return ""
    wanted = {name: render[name] for name in _PRINTED}
    return msgspec.json.encode({"format": "lines", **wanted}).decode()


def _for_leaf(leaf: str, columns: int) -> dict[str, Any]:
    """What another node says of the rows that it wants. Raises QueryError."""
    try:
        wanted = msgspec.json.decode(leaf, type=dict[str, Any])
    except msgspec.DecodeError as wrong:
        raise QueryError(f"how rows are to be printed is no JSON: {wrong}") from None
    if wanted.keys() - {"format", *_PRINTED} or wanted.get("format") not in ("lines", "peer"):
        raise QueryError("how rows are to be printed is not known here")
    if len(wanted.get("outputs", range(columns))) != columns:
        raise QueryError("the columns that are to be printed are not those of the statement")
    return wanted


_PRINTED: Final = ("outputs", "zone", "iso", "json_null")


def _drop(run: Run, jobs: Jobs, job: Job) -> None:
    run.close()
    jobs.end(job, GeneratorExit())


def with_json(options: Options) -> Options:
    """The same, as JSON lines without anything around: how rows go on to another table."""
    return replace(options, format="json:output", statistics=False, timezone="utc")


__all__ = ["Answer", "EdgeLakeError", "Limits", "Queries", "with_json"]
