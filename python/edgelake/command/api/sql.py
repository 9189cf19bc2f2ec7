"""``/v1/sql``: a select over this node or the network, streamed in the format that the caller wants."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
from collections.abc import AsyncIterator
from typing import Any, Final

from edgelake import _rust
from edgelake.command.api.routes import Call, ParameterError, json_reply
from edgelake.command.handlers.query import NETWORK_QUERIES, AnyAnswer
from edgelake.command.rights import check_read
from edgelake.errors import NotAvailableError, NotPermittedError, RequestError
from edgelake.net.rest.api import ApiReply
from edgelake.query.columns import Block
from edgelake.query.jobs import Job
from edgelake.query.network import Asked, NetworkQueries
from edgelake.query.options import Format, Options
from edgelake.query.service import Answer, Queries
from edgelake.query.statement import database_of

FORMATS: Final[dict[str, str]] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_NATIVE: Final[dict[str, Format]] = {"json": "json:list", "ndjson": "json:output", "csv": "csv"}
_NOTHING: Final = {"json": b"[]", "ndjson": b"", "csv": b""}
BLOCK_ROWS: Final = 65_536
MOST_NAMED: Final = 1000


class NoQueryError(RequestError):
    """A query that is to be stopped does not run."""

    code = "api.no_query"
    text = "No query of this caller runs under this id"
    http_status = 404


class Running:
    """Queries that their callers can stop, by the ids that these gave them."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], Job] = {}

    def begun(self, call: Call, job: Job) -> None:
        if len(self._jobs) >= MOST_NAMED:
            self._jobs = {key: one for key, one in self._jobs.items() if one.ended is None}
        if (name := call.values["id"]) and len(self._jobs) < MOST_NAMED:
            self._jobs[call.ctx.caller.user, name] = job

    async def cancel(self, call: Call) -> ApiReply:
        """Stop one. Raises NoQueryError."""
        job = self._jobs.pop((call.ctx.caller.user, call.values["id"]), None)
        if job is None or job.ended is not None:
            raise NoQueryError(call.values["id"][:100])
        call.ctx.queries.jobs.stop(job)
        return json_reply({"stopped": True})

    async def sql(self, call: Call) -> ApiReply:
        """Run a select. Raises EdgeLakeError."""
        return await _sql(call, self)


def check_select(statement: str) -> None:
    """Raises NotPermittedError for what may change something."""
    if _rust.statement_word(statement) not in {"select", "with"}:
        raise NotPermittedError("/v1/sql reads: the statement is no select")


async def _sql(call: Call, running: Running) -> ApiReply:
    values, form = call.values, call.values["format"]
    check_select(values["sql"])
    if form in _NATIVE:
        answer = await _ask(call, _NATIVE[form])
        running.begun(call, answer.job)
        return ApiReply(stream=_texts(answer, form), media_type=FORMATS[form])
    if importlib.util.find_spec("pyarrow") is None:
        raise NotAvailableError(f"format = {form}", hint="pip install pyarrow, at the node")
    if values["network"]:
        raise ParameterError(f"format = {form} is for this node alone", hint="network with json, ndjson or csv")
    answer = await _ask(call, "json")
    assert isinstance(answer, Answer)
    running.begun(call, answer.job)
    return ApiReply(stream=_arrow(answer, form), media_type=FORMATS[form])


async def _ask(call: Call, form: Format) -> AnyAnswer:
    values, ctx = call.values, call.ctx
    text = values["sql"].strip().rstrip(";")
    options = Options(
        format=form, statistics=False, timezone=values["timezone"], max_time_s=values["timeout"], destination="rest"
    )
    dbms = (values["dbms"] or database_of(text)).lower()
    check_read(ctx, dbms, text, options)
    if values["network"]:
        network: NetworkQueries = ctx.parts[NETWORK_QUERIES]
        asked = Asked(subset=values["subset"], timeout_s=values["timeout"])
        return await network.ask(dbms, text, options, asked, command=text, json_null="null")
    queries: Queries = ctx.queries
    return await queries.ask(dbms, text, options, command=text, json_null="null")


async def _texts(answer: AnyAnswer, form: str) -> AsyncIterator[bytes]:
    """The text; an answer without rows is an empty list, not a remark."""
    async with contextlib.aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            if answer.job.rows:
                yield piece
            else:
                yield piece if form == "csv" else _NOTHING[form]
    if form == "ndjson" and answer.job.rows:
        yield b"\n"


class _Sink(io.RawIOBase):
    """Takes what a writer writes, in its order, and gives it away piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def taken(self) -> bytes:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class _Encoder:
    """Blocks of rows as an Arrow stream or a Parquet file; it holds a block at a time. For one thread at a time."""

    def __init__(self, form: str, titles: list[str]) -> None:
        self._form, self._titles = form, titles
        self._sink = _Sink()
        self._writer: Any = None
        self._schema: Any = None

    def block(self, block: Block) -> bytes:
        import pyarrow

        batch = _batch(pyarrow, block, self._schema)
        if self._writer is None:
            self._open(batch.schema)
        self._writer.write_batch(batch)
        return self._sink.taken()

    def end(self) -> bytes:
        import pyarrow

        if self._writer is None:
            self._open(pyarrow.schema([(title, pyarrow.null()) for title in self._titles]))
        self._writer.close()
        return self._sink.taken()

    def _open(self, schema: Any) -> None:
        import pyarrow
        from pyarrow import parquet

        out = pyarrow.PythonFile(self._sink, mode="w")
        self._schema = schema
        is_stream = self._form == "arrow"
        self._writer = pyarrow.ipc.new_stream(out, schema) if is_stream else parquet.ParquetWriter(out, schema)


async def _arrow(answer: Answer, form: str) -> AsyncIterator[bytes]:
    """The answer, encoded beside the loop."""
    encoder = _Encoder(form, answer.titles)
    async with contextlib.aclosing(answer.blocks(BLOCK_ROWS)) as blocks:
        async for block in blocks:
            if piece := await asyncio.to_thread(encoder.block, block):
                yield piece
    yield await asyncio.to_thread(encoder.end)


def _batch(pyarrow: Any, block: Block, schema: Any) -> Any:
    """A block as a record batch, with the types of the first one."""
    arrays, names = [], []
    for title, kind, code, data, nulls in block:
        names.append(title)
        arrays.append(_array(pyarrow, kind, code, data, nulls))
    made = pyarrow.RecordBatch.from_arrays(arrays, names)
    if schema is not None and made.schema != schema:
        made = pyarrow.RecordBatch.from_arrays(
            [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema
        )
    return made


def _array(pyarrow: Any, kind: str, code: str, data: Any, nulls: bytes | None) -> Any:
    if code == "O":
        return pyarrow.array(data)
    import numpy

    values = numpy.frombuffer(data, dtype={"?": "?", "q": "i8", "d": "f8"}[code])
    mask = None if nulls is None else numpy.frombuffer(nulls, dtype="?")
    made = pyarrow.array(values, mask=mask)
    return made.cast(pyarrow.timestamp("us", "UTC")) if kind == "timestamp" and code == "q" else made


async def explain(call: Call) -> ApiReply:
    """How a select is planned; its rows are not read. Raises EdgeLakeError."""
    values = call.values
    check_select(values["sql"])
    text = values["sql"].strip().rstrip(";")
    options = Options(format="json:list", statistics=False, timezone=values["timezone"], destination="rest")
    dbms = (values["dbms"] or database_of(text)).lower()
    check_read(call.ctx, dbms, text, options)
    queries: Queries = call.ctx.queries
    job, titles = await queries.explain(dbms, text, options)
    plan = {
        "dbms": job.dbms,
        "columns": titles,
        "partitions": job.partitions,
        "scans": job.statements,
        "merge": job.merge or None,
        "increments": job.increments or None,
    }
    return json_reply(plan)
