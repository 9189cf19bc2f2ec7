"""The requests of Grafana's data source, and what answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from edgelake import _rust
from edgelake.command.context import Context
from edgelake.command.grafana import statements
from edgelake.command.grafana.maps import members
from edgelake.command.grafana.requests import Panel, Payload, Target, read_body, read_panel
from edgelake.command.grafana.results import Result, as_series, as_table, of_answer, of_data
from edgelake.command.handlers.peer import resolve_for
from edgelake.command.handlers.query import NETWORK_QUERIES
from edgelake.command.handlers.tables import find_columns
from edgelake.command.render import reply_text
from edgelake.command.rights import check_read, may_read
from edgelake.errors import (
    CommandError,
    CredentialsError,
    EdgeLakeError,
    NotPermittedError,
    RequestError,
    TimeoutExpiredError,
)
from edgelake.metadata.ids import body_of
from edgelake.metadata.routing import ROUTING
from edgelake.model import CommandClass, Reply
from edgelake.net.rest.api import ApiReply, ApiRequest
from edgelake.net.rest.requests import check_method, check_text, to_others
from edgelake.net.rest.server import RestServer
from edgelake.query.network import Asked, NetworkQueries
from edgelake.query.options import Options, parse_options, rows_as_json
from edgelake.query.statement import database_of
from edgelake.store.base import ColumnInfo
from edgelake.store.catalogue import AUTOMATIC

NO_TABLE: Final = "Error: No table connected"
OF_DATABASE: Final = "al.dbms."
COMMAND_S: Final = 5.0
AT_A_TIME: Final = 4
READER: Final = frozenset({CommandClass.DATA, CommandClass.METADATA})
"""Classes that a panel uses, whatever its data source may do: everybody who edits a dashboard writes payloads."""
_GENERAL: Final = (2, 3)
"""Numbers whose text says less than the detail."""
_POLICIES: Final = "blockchain get"
"""What a map reads."""

_OPTIONS: Final = {"/metric-payload-options", "/variable", "/tag-keys", "/tag-values", "/annotations"}


def datasource(ctx: Context) -> Callable[[ApiRequest], Any]:
    """What answers Grafana at this node."""

    async def answer(request: ApiRequest) -> ApiReply:
        """Raises CredentialsError; other failures are answers that Grafana shows."""
        try:
            return _json(await _answer(ctx, request))
        except CredentialsError:
            raise
        except EdgeLakeError as problem:
            reply = _json(_failed(problem))
            reply.status = 200 if _path(request) == "/query" else problem.http_status
            return reply

    return answer


def _json(data: Any) -> ApiReply:
    return ApiReply(msgspec.json.encode(data, enc_hook=str))


def _failed(problem: EdgeLakeError) -> dict[str, str]:
    general = problem.detail and problem.number in _GENERAL
    said = problem.detail if general else ": ".join(one for one in (problem.text, problem.detail) if one)
    hint = f" ({problem.hint})" if problem.hint else ""
    return {"message": said + hint, "status": f"{problem.text} ({problem.number})"}


def _path(request: ApiRequest) -> str:
    """The last part: the address of the data source may have a path of its own."""
    return "/" + request.path.rstrip("/").rpartition("/")[2].lower()


async def _answer(ctx: Context, request: ApiRequest) -> Any:
    caller = request.find_caller()
    if CommandClass.DATA not in caller.classes:
        raise NotPermittedError("Grafana needs the command class 'data'", hint="set permissions ...")
    ctx = ctx.for_caller(replace(caller, classes=caller.classes & READER))
    path = _path(request)
    if path in ("/search", "/metrics"):
        return _tables(ctx, request)
    body = read_body(await request.body.whole())
    if path == "/query":
        return await _query(ctx, read_panel(body))
    return await _variable(ctx, body, path)


# ---- what there is


def _tables(ctx: Context, request: ApiRequest) -> list[str]:
    """Tables of the policies, and those of this node's own databases."""
    found = {
        (str(body.get("dbms", "")), str(body.get("name", ""))) for body in map(body_of, ctx.policies.find("table"))
    }
    for row in ctx.stores.databases():
        if row.owner == "user":
            found |= {(row.name, table) for table in ctx.stores.get(row.name).tables}
    found = {(dbms, table) for dbms, table in found if may_read(ctx, dbms, table)}
    wanted = [name[len(OF_DATABASE) :] for name, _ in request.headers.items() if name.startswith(OF_DATABASE)]
    if wanted:
        return sorted({table for dbms, table in found if dbms in wanted and table}) or [NO_TABLE]
    return sorted(f"{dbms}.{table}" for dbms, table in found if dbms and table) or [NO_TABLE]


async def _variable(ctx: Context, body: Mapping[str, Any], path: str) -> Any:
    payload = body.get("payload")
    target = payload.get("target") if isinstance(payload, Mapping) else None
    if not isinstance(target, str) or not target.strip():
        if path in _OPTIONS:
            return []
        raise CommandError("Missing Target in Grafana Payload", hint='for example {"target": "get databases"}')
    data = await _run(ctx, target, "")
    choices = [_choice(one) for one in data] if isinstance(data, list) else data
    if isinstance(choices, str):
        choices = [_choice(one.strip()) for one in choices.replace("\n", ",").split(",") if one.strip()]
    if path == "/variable" and isinstance(choices, list):  # the names that newer plug-ins read
        return [{**one, "__text": one["text"], "__value": one["value"]} if "text" in one else one for one in choices]
    return choices


def _choice(one: Any) -> dict[str, Any]:
    """A value of a variable; a row of one column is its value."""
    if isinstance(one, Mapping):
        values = list(one.values())
        return dict(one) if len(values) != 1 else {"text": str(values[0]), "value": values[0]}
    return {"text": str(one), "value": one}


async def _run(ctx: Context, line: str, servers: str) -> Any:
    """Run a command that reads. Raises EdgeLakeError."""
    line = rows_as_json(check_text(line))
    check_method("GET", line)
    try:
        async with asyncio.timeout(COMMAND_S):
            reply = await ctx.execute(to_others(line, {"destination": servers}, COMMAND_S))
            return await _data(reply)
    except TimeoutError:
        raise TimeoutExpiredError(f"no reply within {COMMAND_S:g} s") from None


async def _data(reply: Reply) -> Any:
    if reply.has_data:
        return reply.data
    text = reply_text(reply) if reply.stream is None else b"".join([p async for p in reply.stream]).decode()
    try:
        found = msgspec.json.decode(text) if text[:1] in ("[", "{") else text
    except msgspec.DecodeError:
        return text
    return found["Query"] if isinstance(found, dict) and isinstance(found.get("Query"), list) else found


# ---- panels


async def _query(ctx: Context, panel: Panel) -> list[dict[str, Any]]:
    """The series or tables of a panel; its first target decides which."""
    if not panel.targets:
        return []
    if len(panel.targets) == 1:
        return await _Asking(ctx, panel, _form(panel.targets[0])).shown(panel.targets[0])
    try:
        form = _form(panel.targets[0])
    except EdgeLakeError:
        form = panel.targets[0].form or "timeseries"
    asking = _Asking(ctx, panel, form)
    parts = await asyncio.gather(*(asking.shown_or_said(target) for target in panel.targets))
    return [one for part in parts for one in part]


def _form(target: Target) -> str:
    payload = Payload(target)
    form = payload.form() or ("table" if payload.kind in ("info", "map") else target.form)
    return form if form == "table" else "timeseries"


class _Asking:
    """The queries of one panel. Statements that are equal run once."""

    def __init__(self, ctx: Context, panel: Panel, form: str) -> None:
        self._ctx, self._panel, self._form = ctx, panel, form
        self._running: dict[tuple[Any, ...], asyncio.Task[Result]] = {}
        self._places = asyncio.Semaphore(AT_A_TIME)

    async def shown_or_said(self, target: Target) -> list[dict[str, Any]]:
        """Beside other targets a failure leaves these as they are."""
        try:
            return await self.shown(target)
        except EdgeLakeError as problem:
            if self._form == "table":
                return []
            return [{"target": target.name, "datapoints": [], "error": _failed(problem)["message"]}]

    async def shown(self, target: Target) -> list[dict[str, Any]]:
        """Raises EdgeLakeError."""
        payload = Payload(target)
        result = await self._result(payload)
        if self._form == "timeseries":
            return as_series(result)
        return [as_table(result, payload.text("timezone"))] if result.rows else []

    async def _result(self, payload: Payload) -> Result:
        kind, servers = payload.kind, ", ".join(payload.texts("servers"))
        if kind == "map":
            if (rights := self._ctx.caller.rights) is not None:
                rights.check(_POLICIES)
            return members(self._ctx, payload)
        if kind in ("info", "aggregations"):
            if not payload.text("details"):
                raise RequestError(f"'type': '{kind}' needs 'details'", hint="a command, for example get processes")
            line = payload.text("details")
            return await self._once((line, servers), self._told, line, servers)
        statement = self._statement(payload)
        options = _options(payload, self._panel)
        dbms = payload.dbms or database_of(statement)
        return await self._once((dbms, statement, options, servers), self._select, dbms, statement, options, servers)

    async def _once(self, key: tuple[Any, ...], work: Any, *given: Any) -> Result:
        if key not in self._running:
            self._running[key] = asyncio.ensure_future(self._placed(work, *given))
        return await self._running[key]

    async def _placed(self, work: Any, *given: Any) -> Result:
        async with self._places:
            result: Result = await work(*given)
            return result

    async def _told(self, line: str, servers: str) -> Result:
        return of_data(await _run(self._ctx, line, servers))

    def _statement(self, payload: Payload) -> str:
        columns = _columns(self._ctx, payload)
        if not payload.is_said and self._form == "table":
            return statements.rows_of_table(payload, self._panel, columns)
        if payload.kind == "increments":
            return statements.increments(payload, self._panel, columns)
        if payload.kind == "period":
            return statements.period(payload, self._panel, columns)
        return statements.as_written(payload, self._panel)

    async def _select(self, dbms: str, statement: str, options: Options, servers: str) -> Result:
        ctx = self._ctx
        if _rust.statement_word(statement) not in {"select", "with"}:
            raise NotPermittedError("panels read: the statement is no select")
        check_read(ctx, dbms, statement, options)
        limit_s = _limit_s(ctx)
        options = replace(options, max_time_s=limit_s)
        peers = resolve_for(ctx, f"({servers})").peers if servers else ()
        if not peers and not _is_of_network(ctx, dbms, statement):
            answer: Any = await ctx.queries.ask(dbms, statement, options, command=statement, json_null="null")
            return await of_answer(answer)
        network: NetworkQueries = ctx.parts[NETWORK_QUERIES]
        asked = Asked(peers, timeout_s=limit_s)
        answer = await network.ask(dbms, statement, options, asked, command=statement, json_null="null")
        return await of_answer(answer)


def _columns(ctx: Context, payload: Payload) -> tuple[ColumnInfo, ...]:
    """Of the table, as far as it is known; a statement may read others."""
    if not payload.dbms or not payload.table:
        return ()
    try:
        return find_columns(ctx, payload.dbms, payload.table)
    except EdgeLakeError:
        if payload.text("sql"):
            return tuple(AUTOMATIC[:0])
        raise


def _options(payload: Payload, panel: Panel) -> Options:
    """Raises EdgeLakeError 173 for a zone of the payload that does not exist."""
    written = [f"{key} = ({', '.join(payload.texts(key))})" for key in ("include", "extend") if payload.texts(key)]
    options = parse_options(" and ".join(written))
    zone = payload.text("timezone") or panel.zone
    if not payload.text("timezone"):
        try:
            _rust.time_text(0, timezone=zone)
        except EdgeLakeError:  # of the dashboard, not the author's fault
            zone = "utc"
    return replace(options, format="json:list", statistics=False, timezone=zone, destination="rest")


def _is_of_network(ctx: Context, dbms: str, statement: str) -> bool:
    """Whether others hold the table, and can be asked; else this node answers alone."""
    if ctx.parts.get("peers") is None:
        return False
    try:
        tables = _rust.Select(statement).tables
    except EdgeLakeError:
        return False
    if len(tables) != 1:
        return False
    name, table = tables[0]
    return bool(ctx.parts[ROUTING].targets(dbms=name or dbms, table=table))


def _limit_s(ctx: Context) -> float | None:
    server = ctx.services.get(RestServer.name)
    return (server.timeout_seconds or None) if isinstance(server, RestServer) else None
