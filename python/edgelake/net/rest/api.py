"""Requests of the public API: those whose path is one of its routes, and that bring no command in a header.

What answers them is handed in (``RestHooks.api``); here they become requests without HTTP's details, and replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct, field

from edgelake.errors import EdgeLakeError, NotPermittedError, RequestError, StoppingError
from edgelake.model import Caller
from edgelake.net.rest.bodies import Body
from edgelake.net.rest.callers import Callers
from edgelake.net.rest.cors import Cors
from edgelake.net.rest.exchange import Exchange, HeaderList, Headers, Scope
from edgelake.net.rest.replies import JSON_TYPE, send_failure
from edgelake.net.rest.streams import send_live, send_stream

PREFIXES = ("/v1/", "/ui/", "/docs", "/metrics", "/readyz", "/openapi.json")
CONSOLE = "/ui"
PROBLEM_TYPE = "application/problem+json"
NO_SNIFFING: HeaderList = [("x-content-type-options", "nosniff"), ("cache-control", "no-store")]
LONGEST_QUERY = 64 << 10
MOST_PARAMETERS = 100


class ApiFailedError(Exception):
    """A failure, to be told in the form of the API."""

    def __init__(self, problem: EdgeLakeError) -> None:
        super().__init__(str(problem))
        self.problem = problem


class ApiRequest(Struct, frozen=True):
    """One request.

    Attributes:
        path: without the query, decoded.
        query: parameters of the URL; each may stand there once.
        find_caller: who calls; raises CredentialsError.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Headers
    body: Body
    find_caller: Callable[[], Caller]


class ApiReply(Struct):
    """What answers it: a body, or pieces of one.

    Attributes:
        live: the pieces have no end: each is sent at once, until the client or the server leaves.
        headers: beside the usual ones, or in their place.
    """

    body: bytes = b""
    media_type: str = JSON_TYPE
    status: int = 200
    stream: AsyncIterator[bytes] | None = None
    live: bool = False
    headers: HeaderList = field(default_factory=list)


Api = Callable[[ApiRequest], Awaitable[ApiReply]]
"""Raises EdgeLakeError."""


async def no_api(request: ApiRequest) -> ApiReply:
    raise RequestError("This server has no API")


def is_api(scope: Scope) -> bool:
    """Whether a request belongs to the API; with a command in a header it is one of the old kind."""
    of_api = scope.path == CONSOLE or scope.path.startswith(PREFIXES)
    return of_api and "command" not in scope.headers


def is_from_grafana(headers: Headers) -> bool:
    """Whether the server of a Grafana sends it."""
    return "grafana" in (headers.get("user-agent") or "").lower()


def is_for_grafana(scope: Scope) -> bool:
    """Whether a request is one of Grafana's JSON data source (its tests of the connection are plain GETs)."""
    if scope.method != "POST" or scope.path.startswith("/v1/") or "command" in scope.headers:
        return False
    return is_from_grafana(scope.headers)


class Serving(Struct, frozen=True):
    """What answering needs of the server.

    Attributes:
        silence_s: longest silence inside a stream; None = no limit.
        ending: set when the server is being stopped.
        live: requests whose answers have no end.
        cors: pages of which other sites may use the API.
    """

    api: Api
    callers: Callers
    silence_s: float | None
    ending: asyncio.Event
    live: set[asyncio.Task[Any]]
    cors: Cors


async def answer(scope: Scope, proto: Exchange, body: Body, serving: Serving) -> bool:
    """Answer it; whether the answer had no end of its own. Raises ApiFailedError before anything was sent."""
    callers = serving.callers

    def caller() -> Caller:
        # A page of another site must not call in the name of whoever looks at it, not even to read. (Grafana's server
        # is no page; it may call this node by a name that the node does not know, and then reads at most.)
        if callers.is_foreign(scope) and not is_for_grafana(scope) and not serving.cors.lists(scope):
            raise NotPermittedError("pages of other sites may not use the API")
        return callers.caller(scope)

    try:
        request = ApiRequest(scope.method, unquote(scope.path), _query(scope), scope.headers, body, caller)
        reply = await serving.api(request)
        headers = list({"content-type": reply.media_type, **dict(NO_SNIFFING), **dict(reply.headers)}.items())
        if scope.method == "HEAD" and (reply.live or reply.stream is None):
            proto.response_bytes(reply.status, headers, b"")
        elif reply.live and reply.stream is not None:
            await _answer_live(scope, proto, reply.stream, headers, serving)  # they look at their caller themselves
            return True
        elif reply.stream is not None:
            stream = callers.while_valid(scope, reply.stream)
            await send_stream(proto, stream, headers, serving.silence_s, scope.client)
        else:
            proto.response_bytes(reply.status, headers, reply.body)
    except EdgeLakeError as problem:
        raise ApiFailedError(problem) from problem
    return False


async def _answer_live(
    scope: Scope, proto: Exchange, stream: AsyncIterator[bytes], headers: HeaderList, serving: Serving
) -> None:
    """Raises StoppingError when it is too late to begin."""
    if serving.ending.is_set():
        raise StoppingError("The REST server is being stopped")
    task = asyncio.current_task()
    assert task is not None
    serving.live.add(task)
    try:
        await send_live(proto, stream, headers, serving.ending, scope.client)
    finally:
        serving.live.discard(task)


def send_api_error(proto: Exchange, problem: EdgeLakeError) -> None:
    """The one form of errors: problem details (RFC 9457)."""
    said: dict[str, Any] = {"title": problem.text, "status": problem.http_status, "code": problem.code}
    said |= {key: value for key in ("detail", "hint", "where") if (value := getattr(problem, key))}
    body = msgspec.json.encode(said, enc_hook=str)
    allow = [("allow", str(problem.where["allow"]))] if "allow" in problem.where else []
    send_failure(proto, problem, [("content-type", PROBLEM_TYPE), *NO_SNIFFING, *allow], body)


def _query(scope: Scope) -> dict[str, str]:
    text = scope.query_string
    if len(text) > LONGEST_QUERY:
        raise RequestError(f"the query of the URL is longer than {LONGEST_QUERY:,} characters", hint="use POST")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS, errors="strict")
    except (ValueError, UnicodeDecodeError) as problem:
        raise RequestError(f"the query of the URL: {problem}") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RequestError("a parameter stands in the URL twice")
    return found
