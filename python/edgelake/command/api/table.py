"""The routes that there are."""

from __future__ import annotations

from typing import Final

import msgspec

from edgelake.command.api import (
    commands,
    completion,
    network,
    openapi,
    overview,
    preview,
    problems,
    queries,
    sources,
    sql,
    state,
    tables,
)
from edgelake.command.api.assets import Assets
from edgelake.command.api.ingest import KEY, NDJSON_TYPE, Ingestion, keys_of
from edgelake.command.api.live import MEDIA_TYPE as EVENT_STREAM
from edgelake.command.api.live import Events
from edgelake.command.api.metrics import MEDIA_TYPE
from edgelake.command.api.routes import Call, Parameter, Route, Router
from edgelake.command.context import Context
from edgelake.model import CommandClass
from edgelake.net.rest.api import ApiReply
from edgelake.net.rest.replies import JSON_TYPE

DATA: Final = CommandClass.DATA
_OK: Final = {200: ("The answer", (JSON_TYPE,))}
_DBMS = Parameter("dbms", "name of the database", required=True, example="plant")
_TABLE = Parameter("table", "name of the table", required=True, example="motor")
_SQL: Final = (
    Parameter("sql", "the select", required=True, example="select count(*) from motor"),
    Parameter("dbms", "its database; absent: the statement says from dbms.table", example="plant"),
    Parameter("format", "of the answer", choices=tuple(sql.FORMATS), default="json"),
    Parameter("timezone", "of times in the answer and the statement", default="utc", example="Europe/Berlin"),
    Parameter("network", "ask the nodes that hold the table, instead of this one", "boolean", default=False),
    Parameter("subset", "with network: the answers of some nodes are enough", "boolean", default=False),
    Parameter("timeout", "seconds, at most", "integer", most=86_400),
    Parameter("id", "a name of your choice, by which /v1/cancel stops the query", default=""),
)
_EXPLAINED: Final = tuple(one for one in _SQL if one.name in ("sql", "dbms", "timezone"))
_LIMIT: Final = Parameter("limit", "of policies in the answer", "integer", default=1000, most=100_000)
_TYPE: Final = Parameter("type", "of policies", required=True, example="operator")
_COMMAND: Final = (
    Parameter("command", "one line", required=True, example="get status"),
    Parameter("destination", "other nodes: ip:port, or a selection of policies", default=""),
    Parameter("subset", "with destination: the answers of some nodes are enough", "boolean", default=False),
    Parameter("timeout", "seconds, at most", "integer", most=86_400),
    Parameter("format", "of the result: data, or the text of the prompt", choices=("json", "text"), default="json"),
)
_PREVIEW: Final = (
    Parameter("payload", "as it would be sent: JSON", required=True, example='{"speed": 1480.5}'),
    Parameter("client", "number of the message client that would get it", "integer"),
    Parameter("topic", "of that client; absent: its first", default=""),
    Parameter("policy", "id of the policy that maps it", default=""),
    Parameter("dbms", "name of the database, without a client", default="", example="plant"),
    Parameter("table", "name of the table, without a client", default="", example="motor"),
)
_LINE: Final = (
    Parameter("line", "as far as it is typed", default="", example="get stat"),
    Parameter("after", "what follows that place in the line", default=""),
)
_ID: Final = Parameter("id", "as it was given to /v1/sql", required=True)
_FILE: Final = Parameter("file", "its name", required=True)
_SECONDS: Final = (Parameter("seconds", "after which the stream ends; absent: it does not", "integer", most=86_400),)
_EVENTS: Final = {200: ("Events, without an end", (EVENT_STREAM,))}
_FILES: Final = {200: ("The file", ("text/html", "text/javascript", "text/css", "image/svg+xml"))}
_ROWS: Final = {200: ("The rows", tuple(kind.partition(";")[0] for kind in sql.FORMATS.values()))}


def router(ctx: Context) -> Router:
    """The API of a node."""
    ingestion, running, events, console = Ingestion(keys_of(ctx)), sql.Running(), Events(ctx), Assets()
    made: list[Route] = []

    async def document(call: Call) -> ApiReply:
        return ApiReply(msgspec.json.encode(openapi.document(made, ctx.node.version)))

    async def page(call: Call) -> ApiReply:
        text = openapi.page(made, ctx.node.version)
        policy = ("content-security-policy", openapi.PAGE_POLICY)
        return ApiReply(text.encode(), "text/html; charset=utf-8", headers=[policy])

    html = {200: ("The page", ("text/html",))}
    ready = {200: ("Ready", (JSON_TYPE,)), 503: ("Not ready, with the reasons", (JSON_TYPE,))}
    metrics = {200: ("The metrics", (MEDIA_TYPE.partition(";")[0],))}
    made += [
        Route("GET", "/v1/sql", "Run a select.", running.sql, DATA, _SQL, answers=_ROWS),
        Route("POST", "/v1/sql", "Run a select.", running.sql, DATA, _SQL, answers=_ROWS),
        Route("POST", "/v1/query", "The same as /v1/sql.", running.sql, DATA, _SQL, answers=_ROWS),
        Route("POST", "/v1/cancel", "Stop a query of your own.", running.cancel, DATA, (_ID,), answers=_OK),
        Route("POST", "/v1/explain", "How a select is planned.", sql.explain, DATA, _EXPLAINED, answers=_OK),
        Route(
            "POST",
            "/v1/data/{dbms}/{table}",
            "Store rows; answered when they are on disk.",
            ingestion.rows,
            DATA,
            (_DBMS, _TABLE),
            headers=(Parameter(KEY, "the same key again: the first answer again, nothing is stored twice"),),
            body=(JSON_TYPE, NDJSON_TYPE),
            answers={200: ("Rows that are stored, and those that fit no column", (JSON_TYPE,))},
        ),
        Route("POST", "/v1/command", "Run a command of the language.", commands.command, DATA, _COMMAND, answers=_OK),
        Route("POST", "/v1/complete", "How a command line goes on.", completion.complete, DATA, _LINE, answers=_OK),
        Route("GET", "/v1/overview", "Services and numbers.", overview.get_overview, DATA, answers=_OK),
        Route(
            "GET",
            "/v1/events",
            "The same as it changes, and log entries.",
            events.listen,
            DATA,
            _SECONDS,
            answers=_EVENTS,
        ),
        Route("GET", "/v1/databases", "The connected databases.", state.databases, DATA, answers=_OK),
        Route("GET", "/v1/databases/{dbms}", "Its tables with columns.", state.tables, DATA, (_DBMS,), answers=_OK),
        Route("GET", "/v1/databases/{dbms}/{table}", "A table.", tables.table, DATA, (_DBMS, _TABLE), answers=_OK),
        Route("GET", "/v1/clients", "Message clients, topics, mappings.", sources.clients, DATA, answers=_OK),
        Route("GET", "/v1/rejected", "Rows that were kept out.", sources.rejected, DATA, answers=_OK),
        Route("POST", "/v1/preview", "What a payload would become.", preview.preview, DATA, _PREVIEW, answers=_OK),
        Route("GET", "/v1/network", "Nodes, clusters and tables.", network.network, DATA, answers=_OK),
        Route("GET", "/v1/queries", "The queries that run.", queries.get_queries, DATA, answers=_OK),
        Route("GET", "/v1/problems", "What is wrong, and what helps.", problems.get_problems, DATA, answers=_OK),
        Route("GET", "/v1/status", "The node and its services.", state.status, DATA, answers=_OK),
        Route("GET", "/v1/processes", "As get processes.", state.processes, DATA, answers=_OK),
        Route("GET", "/v1/connections", "As get connections.", state.connections, DATA, answers=_OK),
        Route("GET", "/v1/policies", "Policies of the network.", state.policies, DATA, (_LIMIT,), answers=_OK),
        Route("GET", "/v1/policies/{type}", "Those of a type.", state.policies, DATA, (_TYPE, _LIMIT), answers=_OK),
        Route("GET", "/metrics", "Metrics for Prometheus.", state.exposition, DATA, answers=metrics),
        Route("GET", "/readyz", "Whether the node should get work.", state.ready, None, answers=ready),
        Route("GET", "/openapi.json", "What there is, for programs.", document, None, answers=_OK),
        Route("GET", "/docs", "This page.", page, None, answers=html),
        Route("GET", "/ui", "The web console.", console.page, None, answers=html),
        Route("GET", "/ui/", "The web console.", console.page, None, answers=html),
        Route("GET", "/ui/{file}", "A file of it.", console.file, None, (_FILE,), answers=_FILES),
    ]
    return Router(ctx, made)
