"""The REST server: start, settings and status. Spec: services and status, sections 2 and 8."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import Seconds
from edgelake.command.handlers.identity import gate_of
from edgelake.command.handlers.profiler import profiler_of
from edgelake.command.registry import command
from edgelake.command.render import reply_text
from edgelake.errors import AddressInUseError, CommandError, NotAvailableError
from edgelake.model import Caller, CommandClass, Incoming, Reply, Stored, Submit, Table
from edgelake.net.certificates import TlsFiles, found_or_made, named, of_organisations
from edgelake.net.rest import RestConfig, RestServer
from edgelake.net.rest.api import Api, ApiReply, ApiRequest
from edgelake.net.rest.cors import Cors
from edgelake.net.rest.hooks import no_data, no_file, no_form
from edgelake.net.rest.listener import BUFFER_BYTES

NOT_DECLARED = "Rest Pool is not declared"
POOL_WIDTH = 60


@command(
    "run rest server",
    cls=CommandClass.ADMIN,
    topics=("background processes", "rest"),
    examples=(
        "run rest server where internal_ip = !ip and internal_port = 7849 and timeout = 0 and threads = 6",
        "run rest server where internal_port = 7849 and ssl = true",
        "run rest server where external_ip = 10.0.0.1 and external_port = 7849 and bind = true",
        "run rest server where internal_port = 7849 and ssl = true and ca_org = acme and server_org = north "
        "and client_cert = required",
        "run rest server where internal_port = 7849 and cors = (https://panel.example, http://10.0.0.2:3000)",
    ),
)
async def run_rest_server(
    ctx: Context,
    *,
    external_ip: str = "",
    external_port: int = 0,
    internal_ip: str = "",
    internal_port: int = 0,
    timeout: Seconds = 20.0,
    threads: int = 5,
    bind: bool = False,
    ssl: bool = False,
    ca_org: str = "",
    server_org: str = "",
    cert: str = "",
    key: str = "",
    client_cert: Literal["required", "none"] = "none",
    cors: str = "*",
) -> Reply:
    """Take commands and readings over HTTP.

    timeout: seconds to wait for a reply, 0 = no limit. threads: commands that run at the same time; readings take
    none of them. bind = true: only the internal address. ssl = true: HTTPS with the files of cert and key, those of
    ca_org and server_org in pem_dir, the only certificate there, or a self-signed one. client_cert = required: only
    clients that show a certificate by the authority of ca_org. cors: origins whose pages may read answers and use the
    API, (https://a.example, http://b:3000); * = all may read, none may use the API; none.
    """
    if threads < 1:
        raise CommandError("threads must be 1 or more")
    readers = Cors.parse(cors)
    plain = RestConfig(external_ip, external_port, internal_ip, internal_port, bind)
    running = _server(ctx)
    if running is not None and running.config.listening == plain.listening:
        raise AddressInUseError(f"Host and port '{running.bound}' already in use")
    hosts = (plain.internal[0], plain.external[0])
    files = server_certificate(ctx, hosts, (ca_org, server_org, cert, key)) if ssl else None
    if client_cert == "required" and (files is None or files.authority is None):
        raise CommandError("client_cert = required needs an authority", hint="ssl = true, ca_org and server_org")
    config = RestConfig(
        external_ip,
        external_port,
        internal_ip,
        internal_port,
        bind,
        timeout_seconds=timeout,
        threads=threads,
        certificate=files.certificate if files else None,
        key=files.key if files else None,
        certificate_authority=files.authority if files else None,
        client_cert=client_cert == "required",
        cors=readers,
    )
    await ctx.services.start(_wired(ctx, config))
    return Reply.done()


def server_certificate(ctx: Context, hosts: tuple[str, ...], options: tuple[str, str, str, str]) -> TlsFiles:
    """Files of a server's certificate: named, of organisations, found in pem_dir, or made.

    Args:
        options: ca_org, server_org, cert, key as the user gave them.
    Raises: CommandError, ServiceError.
    """
    ca_org, server_org, cert, key = options
    if bool(cert) != bool(key):
        raise CommandError("ssl needs cert and key together")
    if cert:
        return named(Path(cert), Path(key))
    pem_dir = ctx.directories.path("pem_dir")
    if server_org:
        if not ca_org:
            raise CommandError("server_org needs ca_org")
        return of_organisations(pem_dir, ca_org, server_org)
    return found_or_made(pem_dir, (*hosts, "localhost", "127.0.0.1", socket.gethostname()))


def _wired(ctx: Context, config: RestConfig) -> RestServer:
    """The server with this node behind it."""

    async def execute(line: str, caller: Caller) -> Reply:
        return await ctx.dispatcher.run(line, ctx.for_caller(caller))

    async def upload(line: str, caller: Caller, incoming: Incoming) -> Reply:
        return await ctx.dispatcher.run(line, ctx.for_caller(caller).at(incoming=incoming))

    def log_call(text: str, failed: bool) -> None:
        ctx.logs.streaming(text, kind="Error" if failed else "REST", thread="rest")

    submit: Submit = ctx.ingest.submit if ctx.ingest is not None else _no_rows
    return RestServer(
        config,
        gate=gate_of(ctx),
        submit=submit,
        execute=execute,
        render=reply_text,
        put_file=ctx.parts.get("put_file", no_file),
        post_data=ctx.parts.get("post_data", no_data),
        post_form=ctx.parts.get("post_form", no_form),
        log_to=(log_call, lambda: ctx.logs.rest_all),
        submit_then=getattr(ctx.ingest, "submit_then", None),
        upload=upload,
        profiler=profiler_of(ctx),
        api=_api_of(ctx),
        grafana=_grafana_of(ctx),
    )


def _api_of(ctx: Context) -> Api:
    """The public API of this node."""

    def make() -> Api:
        from edgelake.command.api.table import router

        return router(ctx)

    return _made_when_asked(make)


def _grafana_of(ctx: Context) -> Api:
    """Grafana's data source."""

    def make() -> Api:
        from edgelake.command.grafana.datasource import datasource

        return datasource(ctx)

    return _made_when_asked(make)


def _made_when_asked(make: Callable[[], Api]) -> Api:
    """What answers requests; its modules are loaded with the first one."""
    made: Api | None = None

    async def answer(request: ApiRequest) -> ApiReply:
        nonlocal made
        if made is None:
            made = make()
        return await made(request)

    return answer


async def _no_rows(dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0") -> Stored:
    raise NotAvailableError("This node takes no readings")


def _server(ctx: Context) -> RestServer | None:
    found = ctx.services.get(RestServer.name)
    return found if isinstance(found, RestServer) and found.status().running else None


@command(
    "set rest timeout",
    cls=CommandClass.ADMIN,
    topics=("rest", "configuration"),
    examples=("set rest timeout 30", "set rest timeout 2 minutes", "set rest timeout 0"),
)
async def set_rest_timeout(ctx: Context, timeout: Seconds) -> Reply:
    """Longest wait for a reply of the REST server; 0 = no limit."""
    server = _server(ctx)
    if server is None:
        raise CommandError("the REST server does not run", hint="run rest server where ...")
    server.timeout_seconds = timeout
    return Reply.done()


@command(
    "get rest server info",
    cls=CommandClass.DATA,
    topics=("rest", "monitor"),
    examples=("get rest server info", "get rest server info where format = json"),
)
async def get_rest_server_info(ctx: Context) -> Reply:
    """Configuration of the REST server."""
    data = _info(ctx)
    rows = [(name, f" {value} ") for name, value in data.items()]
    return Reply.of_table(Table(("Attribute", "Value"), rows), data=data)


def _info(ctx: Context) -> dict[str, Any]:
    server = _server(ctx)
    config = server.config if server else None
    info: dict[str, Any] = {
        "buff_size": BUFFER_BYTES,
        "ca_public_key": _path(config.certificate_authority) if config else None,
        "connection": server.url if server else "",
        "is_bind": config.bind if config else False,
        "is_ssl": config is not None and config.certificate is not None,
        "node_cr": _path(config.certificate) if config else None,
        "node_private_key": _path(config.key) if config else None,
        "streaming_log": ctx.logs.rest_all,
        "timeout": _number(server.timeout_seconds) if server else 0,
        "trace": False,
        "workers_count": config.threads if config else 0,
    }
    if config is not None and not config.cors.everybody:
        info["cors"] = str(config.cors)
    if server is None:
        info |= {"server": None, "workers_pool": None}
    return dict(sorted(info.items()))


def _path(path: Path | None) -> str | None:
    return str(path) if path else None


def _number(seconds: float) -> float | int:
    return int(seconds) if seconds == int(seconds) else seconds


@command(
    "get rest calls",
    cls=CommandClass.DATA,
    topics=("rest", "monitor"),
    examples=("get rest calls", "get rest calls where format = json"),
)
async def get_rest_calls(ctx: Context) -> Reply:
    """Calls of the REST server by caller and method. Commands and readings are not kept."""
    server = _server(ctx)
    titles = ("Caller", "Call", "Processed", "Errors", "Last Error", "First Call", "Last Call", "Last Caller")
    rows = list(_call_rows(server)) if server else []
    data = [dict(zip(titles, row, strict=True)) for row in rows]
    header = f"Statistics for REST calls using {server.url}" if server else "Statistics for REST calls"
    return Reply.of_table(Table(titles, _caller_once(rows), header=header), data=data)


def _call_rows(server: RestServer) -> Iterator[tuple[object, ...]]:
    for call in server.calls:
        first, last = (datetime.fromtimestamp(t).strftime("%Y-%m-%d %H:%M:%S") for t in (call.first, call.last))
        yield call.agent, call.method, call.processed, call.errors, call.last_error, first, last, call.last_caller


def _caller_once(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    shown: list[tuple[object, ...]] = []
    for number, row in enumerate(rows):
        same = number > 0 and rows[number - 1][0] == row[0]
        shown.append(("", *row[1:]) if same else row)
    return shown


@command(
    "get rest pool",
    cls=CommandClass.DATA,
    topics=("rest", "monitor"),
    examples=("get rest pool", "get rest pool where details = true and reset = true"),
)
async def get_rest_pool(ctx: Context, *, details: bool = False, reset: bool = False) -> Reply:
    """Places for commands of the REST server: 1 = busy, 0 = waiting, and the number of calls."""
    server = _server(ctx)
    if server is None:
        return Reply.of_data({"threads": 0}, text=NOT_DECLARED)
    pool = server.pool
    busy = [int(place) for place in pool.busy]
    data = {"threads": len(busy), "busy": busy, "calls": list(pool.calls), "total": pool.total}
    if details:
        share = [100 * calls // max(pool.total, 1) for calls in pool.calls]
        rows = [(n, "busy" if busy[n] else "waiting", pool.calls[n], share[n]) for n in range(len(busy))]
        reply = Reply.of_table(Table(("Thread", "Status", "Calls", "Percentage"), rows, header="REST Pool:"), data=data)
    else:
        title = f"REST Pool with {len(busy)} threads:"
        reply = Reply.of_data(data, text=f"{title:<{POOL_WIDTH}}{busy} ({pool.total:,})")
    if reset:
        pool.reset()
    return reply
