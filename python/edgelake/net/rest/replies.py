"""Replies: status, headers and body of what the node answers. Spec: "REST API", sections 6, 9 and 10.

Differences from the reference (its faults): valid content types, the error object always in a well-formed body, no
text of a request or an error in the status line or a header. ``rest_compat = strict`` is not offered.
"""

from __future__ import annotations

import json
import logging
import math
from http import HTTPStatus
from typing import Any

from granian._granian import RSGIProtocolClosed

from edgelake.errors import CredentialsError, CrowdedError, EdgeLakeError, OverloadedError, RequestError, StoppingError
from edgelake.model import Stored
from edgelake.net.rest.exchange import Exchange, HeaderList

log = logging.getLogger(__name__)

CORS: HeaderList = [
    ("access-control-allow-origin", "*"),
    ("vary", "Origin"),
    ("access-control-expose-headers", "*"),
]
JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
JSON_HEADERS: HeaderList = [("content-type", JSON_TYPE), *CORS]
TEXT_HEADERS: HeaderList = [("content-type", TEXT_TYPE), *CORS]
HTML_HEADERS: HeaderList = [("content-type", "text/html; charset=utf-8"), *CORS]


class PageFailedError(Exception):
    """A failure of a request that asked for a page: the error is answered as one."""

    def __init__(self, problem: EdgeLakeError, command: str) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.command = command


STORED = b'{"AnyLog.status":"Success", "AnyLog.hash": "0" }'  # to the letter, with its spacing (section 5)

LOGIN = 'Basic realm="EdgeLake", charset="UTF-8"'
METHODS = "GET, POST, PUT, DELETE, HEAD, OPTIONS"
KNOWN_HEADERS = (
    "command, destination, subset, timeout, assignment, into, html, pdf, topic, dbms, table, type, mode, source, "
    "instructions, Content-Type, Content-Encoding, Authorization, User-Agent, AnyLog-Agent"
)


def json_text(data: Any) -> str:
    """JSON on one line with the separators of the reference."""
    return json.dumps(data, ensure_ascii=False, default=str)


def stored_body(stored: Stored) -> bytes:
    """Body of a PUT that stored rows."""
    if not stored.rejected and stored.file_hash == "0":
        return STORED
    rejected = f', "AnyLog.rejected": {stored.rejected}' if stored.rejected else ""
    return f'{{"AnyLog.status":"Success", "AnyLog.hash": "{stored.file_hash}"{rejected} }}'.encode()


def headers_for(body: str) -> HeaderList:
    """Clients read a body as JSON when it begins like JSON; no table does."""
    return JSON_HEADERS if body[:1] in {"{", "["} else TEXT_HEADERS


def send_text(out: Exchange, text: str, status: int = 200) -> None:
    out.response_bytes(status, headers_for(text), text.encode("utf-8", "replace"))


def error_body(problem: EdgeLakeError, method: str, address: str) -> bytes:
    """The error object of section 10."""
    node = address.rpartition(":")[0]
    return json_text({"method": method.lower(), "node": node, **problem.as_dict()}).encode("utf-8", "replace")


def as_error(problem: BaseException, method: str) -> EdgeLakeError:
    """Any failure of a request as the client is told it; a fault of the node goes to the log with its details."""
    if isinstance(problem, EdgeLakeError):
        return problem
    if isinstance(problem, RSGIProtocolClosed):
        return RequestError("The connection ended, or the body is damaged, before the request was complete")
    log.error("REST %s failed", method, exc_info=problem)
    fault = EdgeLakeError("The request failed inside the node; its log has the details")
    fault.http_status = 500
    return fault


def send_error(out: Exchange, problem: EdgeLakeError, method: str, address: str) -> None:
    send_failure(out, problem, JSON_HEADERS, error_body(problem, method, address))


def send_failure(out: Exchange, problem: EdgeLakeError, headers: HeaderList, body: bytes) -> None:
    """Send what tells of a failure, with its status."""
    try:
        status = HTTPStatus(problem.http_status)
    except ValueError:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(problem, CredentialsError):
        asked = ("retry-after", str(math.ceil(problem.retry_s))) if problem.retry_s else ("www-authenticate", LOGIN)
        headers = [*headers, asked]
    if isinstance(problem, (OverloadedError, StoppingError)):
        wait_s = problem.retry_s if isinstance(problem, OverloadedError) else 1
        headers = [*headers, ("retry-after", str(wait_s))]
    if isinstance(problem, CrowdedError):  # a connection that is kept would take the place of somebody else's
        headers = [*headers, ("connection", "close")]
    out.response_bytes(int(status), headers, body)


def send_options(out: Exchange, requested: str | None) -> None:
    """Answer of a CORS preflight. Only plain header names are echoed."""
    names = requested or ""
    if not names or not all(c.isascii() and (c.isalnum() or c in "-_, ") for c in names):
        names = KNOWN_HEADERS
    headers = [
        *CORS,
        ("access-control-allow-methods", METHODS),
        ("access-control-allow-headers", names),
        ("access-control-max-age", "86400"),
    ]
    out.response_empty(204, headers)
