"""gRPC clients as commands: run, call, get, exit (spec: brokers and mapping, section 14)."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgelake._rust import sanitize_name
from edgelake.command.context import Context
from edgelake.command.grammar import Frequency, IpPort, parse_pairs
from edgelake.command.handlers.messages import blobs_directory, directory_of
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.ingest.publisher import Publisher
from edgelake.inputs.grpc import Call, GrpcClient, GrpcClients, Pace, ProtoFile, Server
from edgelake.inputs.grpc.client import in_thread
from edgelake.inputs.grpc.config import need_libraries
from edgelake.inputs.grpc.sink import PolicySink, Sink, TableSink
from edgelake.inputs.msg_client import Files, MessageClients, topic_spec
from edgelake.model import CommandClass, Reply, Table
from edgelake.tls import Tls

PART = "grpc mapping"
"""The message clients that map what gRPC brings: one for each client with a policy."""

_NONE = "No active gRPC clients"
_TITLES = (
    "ID",
    "Status",
    "Connection",
    "Proto Name",
    "Request Msg",
    "Policy Type",
    "Policy Name",
    "Policy ID",
    "Data Msgs",
    "Timeouts",
    "Error",
)
REFLECTION_S = 5.0


async def _clients(ctx: Context) -> GrpcClients:
    """The clients of the node; made with the first one."""
    found = ctx.services.get(GrpcClients.name)
    if isinstance(found, GrpcClients):
        return found
    made = GrpcClients()
    await ctx.services.start(made)
    return made


def _known(ctx: Context) -> GrpcClients:
    found = ctx.services.get(GrpcClients.name)
    return found if isinstance(found, GrpcClients) else GrpcClients()


@command(
    "run grpc client",
    cls=CommandClass.ADMIN,
    topics=("grpc", "configuration"),
    examples=(
        "run grpc client where name = kubearmor and ip = 127.0.0.1 and port = 32767 and grpc_dir = !grpc_dir and "
        "proto = kubearmor and function = WatchLogs and request = RequestMessage and response = Log and "
        "service = LogService and value = (Filter = all) and policy = kubearmor-system-policy and reconnect = true",
        "run grpc client where name = readings and ip = 127.0.0.1 and port = 50051 and service = Sensors and "
        "function = Watch and dbms = plant and table = readings and add_info = conn and add_info = request",
    ),
)
async def run_grpc_client(
    ctx: Context,
    *,
    name: str,
    ip: str,
    port: int,
    service: str = "",
    function: str = "",
    grpc_dir: str = "",
    proto: str = "",
    request: str = "",
    response: str = "",
    value: str = "",
    policy: str = "",
    dbms: str = "",
    table: str = "",
    ingest: bool = True,
    limit: int = 0,
    timeout: float = 5.0,
    reconnect: bool = False,
    frequency: Frequency = 0.0,
    add_info: list[Literal["conn", "proto", "request"]] | None = None,
    defaults: bool = False,
    invoke: bool = False,
    debug: bool = False,
    tls: bool = False,
    ca: str = "",
    cert: str = "",
    key: str = "",
    log_error: bool = False,
    err_dir: str = "",
    blobs_dir: str = "",
    prep_dir: str = "",
    watch_dir: str = "",
    bwatch_dir: str = "",
) -> Reply:
    """Call a function of a gRPC server, and make rows of its replies.

    A function with one reply is called again and again, one that streams is called again when its stream ends;
    frequency: seconds in between. limit: messages after which the client ends, 0 = never.
    The definition is <proto>.proto of grpc_dir, compiled when the client starts. Without it the server is asked
    (reflection). value: fields of the request; 5.int, 5.float, true.bool and 5.str say the type, else it is the
    field's. policy: the mapping policy of the replies; without one the reply as JSON is a row of dbms and table.
    Fields that are zero or empty are left out, unless defaults = true.
    ingest = false: messages are counted only. add_info: <conn>, <proto>, <request> are added to each message.
    The command fails when the server is not reached in timeout seconds; reconnect = true: the connection is made, and
    made again, in the background. timeout is that of calls with one reply, too.
    tls = true, or ca, cert and key (files in PEM form): TLS. debug = true: messages go to the event log.
    invoke = true: nothing is called but by scripts (grpc call).
    """
    for option, given in (("service", service), ("function", function)):
        if not given:
            raise CommandError(f"Missing '{option}' in command variables")
    if timeout <= 0:
        raise CommandError(f"timeout = {timeout:g}: more than 0 seconds")
    if limit < 0 or frequency < 0:
        raise CommandError(f"limit = {limit}, frequency = {frequency:g}: 0 or more")
    if not 0 < port < 65536:
        raise error(21, f"port = {port}")
    if bool(grpc_dir) != bool(proto):
        raise CommandError("grpc_dir and proto are needed together", hint="without both the server is asked")
    files = Tls(ca, cert, key)
    server = Server(ip, port, files if tls or files != Tls() else None)
    added = tuple(dict.fromkeys(add_info or ()))
    call = Call(service, function, request, response, _request(ctx, value), added, defaults)
    sink: Sink | None = None
    if ingest and not invoke and policy:
        logged = Files(
            errors=directory_of(ctx, err_dir, "err_dir") if log_error else None,
            blobs=directory_of(ctx, blobs_dir, "blobs_dir") if blobs_dir else None,
        )
        sink = _policy_sink(ctx, name, server, policy, logged)
    elif ingest and not invoke:
        sink = _table_sink(ctx, dbms, table)

    def show(text: str) -> None:
        ctx.logs.event(text, kind="gRPC", thread=name)

    proto_file = ProtoFile(Path(grpc_dir).expanduser(), proto) if proto else None
    pace = Pace(timeout, limit, frequency, reconnect)
    client = GrpcClient(
        name, server, call, pace, proto=proto_file, sink=sink, show=show if debug else None, invoke=invoke
    )
    await (await _clients(ctx)).add(client)
    return Reply.done()


def _request(ctx: Context, value: str) -> tuple[tuple[str, str], ...]:
    """Fields of a request: ``(key = value and ...)``, nothing for a name of the dictionary that is not set."""
    return tuple(parse_pairs(value, ctx.visible)) if value else ()


def _policy_sink(ctx: Context, name: str, server: Server, policy: str, files: Files) -> Sink:
    pairs = [("name", name), ("policy", policy)]
    spec = topic_spec(pairs, lambda text: parse_pairs(text, ctx.visible), ctx.policies.get)
    mapping: MessageClients = ctx.parts[PART]
    if files.blobs is None:
        files = replace(files, blobs=blobs_directory(ctx, "", [spec]))
    return PolicySink(mapping, server.address, spec, files)


def _table_sink(ctx: Context, dbms: str, table: str) -> Sink:
    if bool(dbms) != bool(table):
        raise error(205 if dbms else 83, "dbms and table are needed together")
    if not dbms:
        raise CommandError("policy, or dbms and table are needed", hint="ingest = false: messages are counted only")
    if ctx.services.get(Publisher.name) is None:  # whose rows go to the databases of other nodes
        ctx.stores.check(sanitize_name(dbms))
    return TableSink(ctx.ingest.submit, dbms, table)


@command(
    "grpc call",
    cls=CommandClass.ADMIN,
    topics=("grpc",),
    examples=(
        "grpc call where name = health",
        "reply = grpc call where name = health and value = (nonce = 10.int)",
    ),
)
async def grpc_call(ctx: Context, *, name: str, value: str = "") -> Reply:
    """Call the function of a gRPC client once (run grpc client ... and invoke = true), and answer its reply as JSON.

    value: fields of the request, in place of those of the client. The replies of a stream are a list: all that come
    within the client's timeout, limit (or 1000) at most.
    """
    client = _known(ctx).get(name)
    if client is None:
        raise _unknown(name)
    objects, several = await client.ask(_request(ctx, value))
    return Reply.of_data(objects if several or len(objects) != 1 else objects[0])


def _unknown(name: str) -> CommandError:
    return CommandError(f"there is no gRPC client '{name}'", hint="get grpc clients")


@command(
    "exit grpc",
    cls=CommandClass.ADMIN,
    topics=("grpc",),
    examples=("exit grpc kubearmor", "exit grpc all"),
)
async def exit_grpc(ctx: Context, name: str = "all") -> Reply:
    """End a gRPC client by its name, or all of them. What they received is stored."""
    if name == "all":
        await ctx.services.stop(GrpcClients.name)
    elif not await _known(ctx).remove(name):
        raise _unknown(name)
    return Reply.done()


# ---- what is shown


@command(
    "get grpc clients",
    "get grpc client",
    cls=CommandClass.DATA,
    topics=("grpc", "monitor"),
    examples=("get grpc clients", "get grpc clients where format = json"),
)
async def get_grpc_clients(ctx: Context) -> Reply:
    """gRPC clients: their servers, what they received, and what went wrong.

    A client that ended is shown until its name is used again, or exit grpc takes it away.
    """
    clients = list(_known(ctx))
    if not clients:
        return Reply.of_data([], text=_NONE)
    rows = [_row(client) for client in clients]
    data = [dict(zip(_TITLES, row, strict=True)) | _more(client) for row, client in zip(rows, clients, strict=True)]
    return Reply.of_table(Table(_TITLES, rows), data=data)


def _more(client: GrpcClient) -> dict[str, int]:
    return {"Rows": client.counts.rows, "Errors": client.counts.errors, "Waiting": client.waiting}


def _row(client: GrpcClient) -> tuple[object, ...]:
    counts = client.counts
    policy = client.sink.policy if client.sink is not None else ("", "", "")
    shown = (client.name, client.state, client.server.address, client.proto_name, client.request_name)
    return (*shown, *policy, counts.messages, counts.timeouts, counts.last_error)


@command(
    "get grpc services",
    cls=CommandClass.ADMIN,
    topics=("grpc", "monitor"),
    examples=("get grpc services where conn = 127.0.0.1:50051",),
)
async def get_grpc_services(
    ctx: Context, *, conn: IpPort, tls: bool = False, ca: str = "", cert: str = "", key: str = ""
) -> Reply:
    """Services of a gRPC server and their functions, as the server tells (reflection)."""
    need_libraries()
    files = Tls(ca, cert, key)
    host, _, port = conn.rpartition(":")
    server = Server(host, int(port), files if tls or files != Tls() else None)
    functions = await in_thread(functools.partial(_functions, server), "grpc services")
    titles = ("Service", "Function", "Request", "Response", "Streams")
    return Reply.of_table(Table(titles, functions), data=[dict(zip(titles, f, strict=True)) for f in functions])


def _functions(server: Server) -> list[tuple[str, str, str, str, str]]:
    from edgelake.inputs.grpc.link import functions_of

    return functions_of(server, REFLECTION_S)
