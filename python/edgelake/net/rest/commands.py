"""GET and POST: commands of the node's language, from headers, URL or body.

Spec: "REST API", sections 3, 4, 7 and 9.
"""

from __future__ import annotations

import asyncio
import re
import time

from msgspec import Struct
from msgspec.structs import replace

from edgelake.errors import (
    CommandError,
    EdgeLakeError,
    RequestError,
    TimeoutExpiredError,
    error,
)
from edgelake.model import Reply
from edgelake.net.pool import Pool
from edgelake.net.rest import data
from edgelake.net.rest.api import CONSOLE, is_from_grafana, no_api
from edgelake.net.rest.bodies import Body
from edgelake.net.rest.downloads import send_file
from edgelake.net.rest.exchange import Exchange, Scope
from edgelake.net.rest.hooks import RestHooks
from edgelake.net.rest.replies import (
    CORS,
    HTML_HEADERS,
    TEXT_HEADERS,
    TEXT_TYPE,
    PageFailedError,
    json_text,
    send_text,
)
from edgelake.net.rest.requests import (
    COMMAND_PRODUCTS,
    Asked,
    body_lines,
    check_method,
    check_text,
    json_values,
    product_of,
    takes_file,
    to_others,
    url_values,
)
from edgelake.net.rest.shown import show
from edgelake.net.rest.streams import send_stream
from edgelake.net.rest.uploads import Upload

HEALTH = {"/health", "/healthz"}
_PROGRAMS = COMMAND_PRODUCTS | {"grafana"}
_NAME = re.compile(r"[A-Za-z_][\w.\-]{0,99}")
_UNREADABLE = (
    "The header '{}' holds characters outside ASCII, which HTTP headers can't carry reliably",
    "send the command as UTF-8 in the body, with the header 'command: body', or percent-encoded in the URL",
)


class Serving(Struct, frozen=True):
    """What answering a command needs of the server."""

    hooks: RestHooks
    pool: Pool
    timeout_seconds: float


async def answer(scope: Scope, proto: Exchange, body: Body, serving: Serving) -> None:
    """Answer a GET, HEAD or POST. Raises EdgeLakeError before anything was sent."""
    headers = dict(scope.headers.items())
    for name in ("command", "destination", "assignment", "topic"):
        if name not in headers and name in scope.headers:
            raise RequestError(_UNREADABLE[0].format(name), hint=_UNREADABLE[1])
    method = "GET" if scope.method == "HEAD" else scope.method
    if "command" not in headers and method == "GET" and _answer_plain(scope, proto, headers, serving):
        return
    if method == "POST" and headers.get("command", "").strip().lower() == "data":
        serving.hooks.callers.check_put(scope)
        product = product_of(headers)
        if not product:
            raise error(163, "HTTP server received POST message from unknown 'User-Agent': 'None'")
        text = await data.post(product, headers.get("topic", "").strip(), body, scope.headers, serving.hooks)
        send_text(proto, text) if text else proto.response_empty(200, TEXT_HEADERS)
        return
    if method == "POST" and body.is_there and (command := _file_command(scope, headers)):
        async with serving.pool.place():  # the silence of the client is watched, the whole takes as long as it takes
            caller = serving.hooks.callers.caller(scope)
            reply = await serving.hooks.upload(check_text(command), caller, Upload(scope.headers, body))
            await _send(reply, proto, serving.hooks, None, scope)
        return
    asked = await _asked(scope, method, headers, body)
    await _carry_out(asked, scope, proto, serving)


def in_url(scope: Scope) -> bool:
    """Whether the command is written in the URL (any agent may do so; the reference asks for an unknown one)."""
    return scope.method in {"GET", "HEAD", "POST"} and "command" in scope.query_string.lower()


def _wants_console(scope: Scope, headers: dict[str, str]) -> bool:
    """Whether a person opens the address of the node in a browser."""
    is_page = "text/html" in headers.get("accept", "").lower()
    return is_page and scope.path == "/" and not scope.query_string and product_of(headers) not in _PROGRAMS


def _answer_plain(scope: Scope, proto: Exchange, headers: dict[str, str], serving: Serving) -> bool:
    """Requests without a command that are no command: a browser's first, health, Grafana's connection test, ping."""
    path = scope.path
    if _wants_console(scope, headers) and serving.hooks.api is not no_api:
        proto.response_empty(303, [("location", CONSOLE), ("vary", "Accept"), ("cache-control", "no-store")])
    elif path in HEALTH:
        state = {"status": "healthy", "service": "anylog-rest-server", "timestamp": round(time.time(), 2)}
        send_text(proto, json_text(state))
    elif path == "/api/status":
        send_text(proto, json_text({"status": "ok"}))
    elif is_from_grafana(scope.headers):
        proto.response_bytes(200, HTML_HEADERS, b"OK")
    elif product_of(headers) not in COMMAND_PRODUCTS and not in_url(scope):
        proto.response_empty(200, TEXT_HEADERS)
    else:
        return False
    return True


def _file_command(scope: Scope, headers: dict[str, str]) -> str:
    """The command of the header or the URL, when it takes a file; else ""."""
    command = headers.get("command")
    if command is None and in_url(scope):
        command = url_values(scope.query_string).get("command")
    return command if command is not None and takes_file(command) else ""


async def _asked(scope: Scope, method: str, headers: dict[str, str], body: Body) -> Asked:
    """The command and its options, from the header, the URL or the body."""
    content = await body.whole()
    command = headers.get("command")
    if command is None and in_url(scope):
        values = {**headers, **url_values(scope.query_string)}
        return Asked(method, values.get("command", ""), values, _lines(headers, content))
    if command is None and method == "POST" and (found := json_values(content)) is not None:
        return Asked("GET", found.get("command", ""), {**headers, **found})
    if command is None and product_of(headers) == "curl" and method == "GET":
        command = "get status"
    if command is None:
        raise _no_command(method, headers)
    if command.strip().lower() == "body":
        return Asked(method, _text(content), headers)
    return Asked(method, command, headers, _lines(headers, content))


def _no_command(method: str, headers: dict[str, str]) -> CommandError:
    agent = headers.get("user-agent")
    if method == "POST" and product_of(headers) not in COMMAND_PRODUCTS:
        named = f"'{agent[:40]}'" if agent else "'None'"
        return CommandError(f"HTTP server received POST message from unknown 'User-Agent': {named}")
    return CommandError("Missing 'command' attribute in header", hint="for example: command: get status")


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")  # as the reference reads it


def _lines(headers: dict[str, str], content: bytes) -> tuple[str, ...]:
    """Commands of the body; bytes and forms (a file that is sent along) hold none."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"application/octet-stream", "multipart/form-data"}:
        return ()
    return body_lines(_text(content))


async def _carry_out(asked: Asked, scope: Scope, proto: Exchange, serving: Serving) -> None:
    if not asked.values.get("into"):
        await _run(asked, scope, proto, serving)
        return
    try:
        await _run(asked, scope, proto, serving)
    except EdgeLakeError as problem:
        raise PageFailedError(problem, asked.command) from problem


async def _run(asked: Asked, scope: Scope, proto: Exchange, serving: Serving) -> None:
    command = check_text(asked.command)
    if not command:
        raise CommandError("Missing 'command' attribute in header", hint="for example: command: get status")
    check_method(asked.method, command)
    limit = serving.timeout_seconds if asked.timeout_seconds is None else asked.timeout_seconds
    name = asked.values.get("assignment")
    command = to_others(command, asked.values, limit, named=name is None)
    if name is not None:
        if not _NAME.fullmatch(name.strip()):
            raise error(302, f"'{name[:60]}' is not a name that a value can be stored under")
        command = f"{name.strip()} = {command}"
    asked = replace(asked, command=command)
    async with serving.pool.place():
        if asked.values.get("into"):
            await show(
                asked, proto, lambda one: _execute(one, scope, serving.hooks, limit or None), serving.hooks.render
            )
            return
        reply = await _execute(asked, scope, serving.hooks, limit or None)
        await _send(reply, proto, serving.hooks, limit or None, scope)


async def _execute(asked: Asked, scope: Scope, hooks: RestHooks, limit: float | None) -> Reply:
    """Run the lines of the body, then the command. Raises TimeoutExpiredError after ``limit`` seconds."""
    caller = hooks.callers.caller(scope)
    try:
        async with asyncio.timeout(limit):
            for number, line in enumerate(asked.lines, 1):
                try:
                    await hooks.execute(check_text(line), caller)
                except CommandError as problem:
                    said = f"Error with command #{number} in the message body: '{line[:200]}'"
                    problem.detail = f"{said}: {problem.detail}" if problem.detail else said
                    raise
            return await hooks.execute(asked.command, caller)
    except TimeoutError as expired:
        seconds = f"{limit:g}s" if limit else "its time"
        raise TimeoutExpiredError(f"REST Server Timeout after {seconds} waiting for the reply") from expired


async def _send(reply: Reply, proto: Exchange, hooks: RestHooks, limit: float | None, scope: Scope) -> None:
    if reply.file is not None:
        send_file(proto, reply.file, reply.media_type or TEXT_TYPE, dict(scope.headers.items()))
        return
    if reply.stream is not None:
        headers = [("content-type", reply.media_type or TEXT_TYPE), *CORS]
        stream = hooks.callers.while_valid(scope, reply.stream)
        await send_stream(proto, stream, headers, limit, scope.client)
        return
    text = hooks.render(reply)
    send_text(proto, text) if text else proto.response_empty(200, TEXT_HEADERS)
