"""What the node hands to the REST server: callables, since this room knows none of the rooms above it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from msgspec import Struct, field

from edgelake.errors import NotAvailableError
from edgelake.model import Caller, Execute, Form, Incoming, Reply, Stored, Submit, SubmitThen
from edgelake.net.rest.api import Api, no_api
from edgelake.net.rest.callers import Callers
from edgelake.profiling import Profiler


class PutFile(Protocol):
    """File mode of PUT: the body becomes a file of the watch directory; returns when it is there, with its hash.

    ``pieces`` are the body as it arrives. It raises EdgeLakeError when the client breaks off: then no file may stay.
    """

    def __call__(
        self,
        dbms: str,
        table: str,
        pieces: AsyncIterator[bytes],
        *,
        file_type: str = "json",
        source: str = "0",
        instructions: str = "0",
    ) -> Awaitable[Stored]: ...


PostData = Callable[[str, str, bytes], Awaitable[Stored]]
"""``command: data`` of POST: (product of the User-Agent, topic or "", payload); returns when durable.

Raises error 163 for an agent without subscription, 159 for an unknown topic, PayloadError, OverloadedError.
"""


PostForm = Callable[[str, str, Form], Awaitable[Stored]]
"""The same with a form: readings, and files that they name. Raises what the form raises, too."""


Render = Callable[[Reply], str]
LogCall = Callable[[str, bool], None]
"""A line about one request, and whether it failed: method, path, client, status. No header values, no body."""


async def no_file(*_: object, **__: object) -> Stored:
    raise NotAvailableError("PUT in file mode: this node has no watch directory", hint="use the header mode: streaming")


async def no_data(agent: str, topic: str, payload: bytes) -> Stored:
    raise NotAvailableError("POST command: data needs 'run msg client where broker = rest ...'")


async def no_form(agent: str, topic: str, form: Form) -> Stored:
    raise NotAvailableError("This node takes no files beside readings")


Upload = Callable[[str, Caller, Incoming], Awaitable[Reply]]
"""One command line with the file that came along. Raises EdgeLakeError."""


async def no_upload(line: str, caller: Caller, incoming: Incoming) -> Reply:
    raise NotAvailableError("This node takes no files")


def no_log(text: str, failed: bool) -> None:
    """Nobody wants to know."""


class RestHooks(Struct, frozen=True):
    """The node behind the server.

    Attributes:
        submit: rows of one table; returns when they are durable.
        submit_then: the same with a callback, for small payloads; None = these take the way of the others.
        execute: one command line for a caller.
        callers: who calls, and what that one may do.
        log_call, log_all: gets the failed requests, or all of them while ``log_all()`` is true.
        profiler: counts the work on requests while their method is on.
        api: answers requests of the public API.
        grafana: answers those of Grafana's data source.
        render: a reply that has no stream as text (JSON when it asks for it).
    """

    submit: Submit
    execute: Execute
    callers: Callers
    render: Render
    put_file: PutFile = no_file
    post_data: PostData = no_data
    log_call: LogCall = no_log
    log_all: Callable[[], bool] = bool
    submit_then: SubmitThen | None = None
    post_form: PostForm = no_form
    upload: Upload = no_upload
    profiler: Profiler = field(default_factory=Profiler)
    api: Api = no_api
    grafana: Api = no_api
