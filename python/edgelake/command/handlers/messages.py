"""Message clients as commands: run, get, exit (spec: brokers and mapping, sections 4 and 12)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from edgelake.command.context import Context
from edgelake.command.grammar import Key, Pairs, Seconds, parse_pairs
from edgelake.command.handlers.mqtt import Login, Wire, end_remotes, start_remote
from edgelake.command.handlers.streamer import streaming_of
from edgelake.command.registry import command
from edgelake.command.render import table_text
from edgelake.errors import CommandError, NotAvailableError, error
from edgelake.ingest.operator import Operator
from edgelake.inputs.msg_client import Counters, Files, Ledgers, MessageClient, MessageClients, topic_spec
from edgelake.inputs.namespaces import NamespaceStreamer
from edgelake.metadata.namespaces import Topic
from edgelake.model import CommandClass, Reply, Status, Table
from edgelake.tls import Tls

PART = "message clients"
NAMESPACES = "namespaces"
"""Publishes dynamic topics (``metadata.namespaces.Namespaces``)."""
_NONE = "No message client subscriptions"
_PART_OF_BRING = re.compile(r'(?:\[[^\]]*\])+|"[^"]*"|\S+')


def clients_of(ctx: Context) -> MessageClients:
    """The node's message clients. Raises NotAvailableError on a node without ingestion."""
    found: MessageClients | None = ctx.parts.get(PART)
    if found is None:
        raise NotAvailableError("message clients: this node runs without ingestion")
    return found


def publish_topic(ctx: Context, client: MessageClient, dbms: str, topic: str) -> bool:
    """The policies of a dynamic topic, where its client says, else where the operator publishes; False: nowhere yet."""
    ledgers = client.ledgers
    if not ledgers and isinstance(operator := ctx.services.get(Operator.name), Operator):
        ledgers = Ledgers(*operator.config.ledgers)
    if ledgers:
        ctx.parts[NAMESPACES].seen(Topic(dbms, topic, ledgers.masters, ledgers.chains))
    return bool(ledgers)


@command(
    "run msg client",
    "run mqtt client",
    cls=CommandClass.ADMIN,
    topics=("broker", "configuration"),
    examples=(
        "run msg client where broker = rest and user-agent = anylog and topic = (name = data and dbms = d "
        'and table = t and column.timestamp.timestamp = now and column.value.float = "bring [value]")',
    ),
)
async def run_msg_client(
    ctx: Context,
    *,
    broker: str,
    topic: list[Pairs],
    port: int = 1883,
    user: str = "unused",
    password: str = "",
    client_id: str = "",
    user_agent: Annotated[str, Key("user-agent")] = "",
    project_id: str = "",
    location: str = "",
    private_key: str = "",
    log: bool = False,
    only_log: bool = False,
    log_error: bool = False,
    qos: int = 0,
    prep_dir: str = "",
    watch_dir: str = "",
    err_dir: str = "",
    bwatch_dir: str = "",
    blobs_dir: str = "",
    master_node: str = "",
    blockchain: str = "",
    version: int = 4,
    tls: bool = False,
    ca: str = "",
    cert: str = "",
    key: str = "",
    keepalive: int = 60,
    clean: bool | None = None,
) -> Reply:
    """Subscribe to topics of a broker and map their messages to tables; answers the id of the client.

    Messages of the node's own message broker are subscribed with broker = local, whether it runs or not, those of
    POST calls (``command: data``) with broker = rest and the user-agent that sends them.
    Another broker is named by its host; the connection is made in the background. Messages of qos 1 and 2 are
    acknowledged when they are on disk, and the broker keeps them while the node is down (clean = true: it does not).
    version: 4 (MQTT 3.1.1) or 5. tls = true, or ca, cert and key (files in PEM form): TLS. project_id and private_key:
    the password is a token signed with the key.
    log_error = true keeps messages that cannot be mapped in the error directory; only_log = true writes all messages
    to log_<broker>.json of the prep directory and maps none.
    master_node (ip:port) or blockchain (its name): each level of a topic with dynamic = true gets a policy uns there;
    where neither is named, those of the operator.
    """
    kind = own_broker(ctx, broker, port)
    if kind == "rest" and not user_agent:
        raise CommandError("Missing 'user-agent' in command variables", hint="a client of the broker 'rest' needs it")
    specs = topics_of(ctx, topic)
    if qos not in (0, 1, 2):
        raise error(124, f"qos = {qos}: 0, 1 or 2")
    for spec in specs:
        spec["qos"] = spec["qos"] or qos
    directories = {"Prep Dir": prep_dir, "Watch Dir": watch_dir, "Error Dir": err_dir, "Blobs Dir": blobs_dir}
    clients = clients_of(ctx)
    files = Files(
        errors=directory_of(ctx, err_dir, "err_dir") if log_error else None,
        log=directory_of(ctx, prep_dir, "prep_dir") if only_log else None,
        blobs=blobs_directory(ctx, blobs_dir, specs),
    )
    options: dict[str, Any] = {"files": files, "directories": directories}
    options["ledgers"] = Ledgers((master_node,) if master_node else (), (blockchain,) if blockchain else ())
    if kind == "rest":
        client = clients.declare_rest(user_agent, specs, user=user, **options)
    elif kind == "local":
        client = clients.declare_local(specs, user=user, **options)
    else:
        login = Login(user, password, client_id, project_id, private_key)
        wire = Wire(broker, port, version, tls, Tls(ca, cert, key), keepalive, clean)
        client = await start_remote(ctx, clients, specs, wire, login, log=log, **options)
    return Reply.of_text(str(client.id))


def topics_of(ctx: Context, topics: Sequence[Pairs]) -> list[dict[str, Any]]:
    """The topics of a command. Raises EdgeLakeError (124, 113)."""
    return [
        topic_spec(pairs, lambda text: parse_pairs(text, ctx.visible), lambda id_: _policy(ctx, id_))
        for pairs in topics
    ]


def own_broker(ctx: Context, broker: str, port: int) -> str:
    """``local`` or ``rest`` for these words and for the addresses of the node's own services; else the broker."""
    name = broker.lower()
    if name in ("local", "rest"):
        return name
    for service, word in (("rest", "rest"), ("message broker", "local")):
        config = getattr(ctx.services.get(service), "config", None)
        for address in ("external", "internal"):
            if getattr(config, address, None) == (broker, port):
                return word
    return name


def directory_of(ctx: Context, given: str, variable: str) -> Path:
    """The directory that a command names, else that of a variable; raises CommandError when it is not there."""
    path = Path(given).expanduser() if given else ctx.directories.path(variable)
    if not path.is_dir():
        raise CommandError(f"{variable}: {path} is no directory", hint="create work directories")
    return path


def blobs_directory(ctx: Context, given: str, specs: Sequence[dict[str, Any]]) -> Path | None:
    """Where contents of blob columns go; the directory has to be there only when a policy has such columns."""
    wanted = any('"blob"' in json.dumps(policy) for spec in specs for policy in spec.get("policies", ()))
    if wanted or given:
        return directory_of(ctx, given, "blobs_dir")
    return None


def _policy(ctx: Context, policy_id: str) -> Any:
    return ctx.policies.get(policy_id) if ctx.policies is not None else None


@command(
    "exit msg client",
    "exit mqtt client",
    "exit mqtt",
    cls=CommandClass.ADMIN,
    topics=("broker",),
    examples=("exit msg client 1", "exit msg client all", "exit msg client pool"),
)
async def exit_msg_client(ctx: Context, client: str = "all") -> Reply:
    """End a message client by its id, or all of them; or give their pool of threads up."""
    clients = clients_of(ctx)
    if client.lower() == "all":
        ended = [clients.stop(one.id) for one in list(clients)]
    elif client.lower() == "pool":
        clients.threads = None
        await ctx.services.stop(MessagePool.name)
        return Reply.done()
    elif client.isascii() and client.isdigit():
        ended = [clients.stop(int(client))]
    else:
        raise error(128, f"'{client}' is no id of a client", hint="get msg clients shows the ids")
    await end_remotes(ctx, ended)
    return Reply.done()


class MessagePool:
    """The threads that map messages of the node's own broker, as a row of ``get processes``."""

    name = "msg client pool"

    def __init__(self, clients: MessageClients) -> None:
        self._clients = clients

    async def start(self) -> None:
        """Nothing: the threads belong to the broker."""

    async def stop(self) -> None:
        self._clients.threads = None

    def status(self) -> Status:
        threads = self._clients.threads
        return Status("MSG Client Pool", threads is not None, f"Threads Pool: {threads}")


@command(
    "set msg client pool",
    cls=CommandClass.ADMIN,
    topics=("broker", "configuration"),
    examples=("set msg client pool 4",),
)
async def set_msg_client_pool(ctx: Context, threads: int) -> Reply:
    """Threads that map messages of the node's own broker, in place of the broker's. Each topic keeps its order."""
    if not 1 <= threads <= 64:
        raise CommandError(f"{threads} threads: 1 to 64")
    clients = clients_of(ctx)
    clients.threads = threads
    if ctx.services.get(MessagePool.name) is None:
        await ctx.services.start(MessagePool(clients))
    return Reply.done()


@command(
    "run uns streamer",
    cls=CommandClass.ADMIN,
    topics=("broker", "background processes"),
    examples=("run uns streamer", "run uns streamer where frequency = 5"),
)
async def run_uns_streamer(ctx: Context, *, frequency: Seconds = 5.0) -> Reply:
    """Write what the topics of a namespace said last as one row, every so many seconds; ``exit uns streamer`` ends it.

    The topics are those of message clients with dynamic = true. The namespace is their name without its last level; its
    row goes to the table of its last level, with a column for each topic.
    """
    if frequency <= 0:
        raise CommandError(f"frequency = {frequency:g}: above 0 seconds")
    clients = clients_of(ctx)
    await ctx.services.start(NamespaceStreamer(clients.native, streaming_of(ctx).submit, frequency))
    return Reply.done()


@command(
    "get msg client",
    "get msg clients",
    cls=CommandClass.DATA,
    topics=("broker", "status"),
    examples=("get msg client", "get msg clients where id = 1 and detailed = true and statistics = true"),
)
async def get_msg_client(
    ctx: Context,
    *,
    id: int | None = None,
    broker: str = "",
    topic: str = "",
    detailed: bool = False,
    statistics: bool = False,
) -> Reply:
    """Message clients: their topics, how messages are mapped, and what was counted."""
    clients = list(ctx.parts.get(PART) or ())
    if not clients:
        return Reply.of_data([], text=f"\r\n{_NONE}\r\n")
    chosen = [
        c
        for c in clients
        if (id is None or c.id == id)
        and (not broker or broker.lower() in (c.broker, c.broker.rpartition(":")[0]))
        and (not topic or any(t.name == topic for t in c.topics))
    ]
    if not chosen:
        return Reply.of_data([], text="No such client subscription")
    text = "".join(_client_text(c, detailed=detailed, statistics=statistics) for c in chosen)
    return Reply.of_data([_client_data(c) for c in chosen], text=text)


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def _client_text(client: MessageClient, *, detailed: bool, statistics: bool) -> str:
    counters = client.counters
    margin = " " * 5
    lines = [
        "",
        f"Subscription ID: {client.id:04}",
        f"User:         {client.user}",
        f"Broker:       {client.broker}",
        f"Connection:   {client.connection}",
        "",
        f"{margin}Messages    Success     Errors      Last message time    Last error time      Last Error",
        f"{margin}----------  ----------  ----------  -------------------  -------------------  " + "-" * 34,
        (
            f"{margin}{counters.messages:>10}  {counters.success:>10}  {counters.errors:>10}  "
            f"{_stamp(counters.last_message):<19}  {_stamp(counters.last_error_time):<19}  {counters.last_error}"
        ).rstrip(),
        margin,
        f"{margin}Subscribed Topics:",
    ]
    text = "\r\n".join(lines) + table_text(_topics_table(client))
    if detailed:
        named = [(name, path) for name, path in client.options.get("directories", {}).items() if path]
        text += f"{margin}\r\n{margin}Directories Used:" + table_text(Table(("Directory", "Path"), named, indent=5))
    if statistics:
        rows = [
            (t.name, t.counters.success, t.counters.errors, _stamp(t.counters.last_error_time), t.counters.last_error)
            for t in client.topics
        ]
        titles = ("Topic", "Success", "Failure", "Last Error Time", "Last Error")
        text += f"{margin}\r\n{margin}Statistics:" + table_text(Table(titles, rows, indent=5))
    return text


def _topics_table(client: MessageClient) -> Table:
    rows: list[tuple[object, ...]] = []
    for topic in client.topics:
        spec = topic.spec
        policies = ", ".join(str(body.get("id", "")) for p in spec.get("policies", ()) for body in p.values())
        dynamic = str(bool(spec.get("dynamic")))
        where = (_place(spec.get("dbms", "")), _place(spec.get("table", "")))
        head: tuple[object, ...] = (topic.name, dynamic, spec["qos"], *where)
        for column in spec.get("columns") or [{}]:
            shown = (
                column.get("name", ""),
                column.get("type", ""),
                str(_function(column["value"])) if column else "",
                str(column.get("optional", False)) if column else "",
                policies,
            )
            rows.append((*head, *shown))
            head, policies = ("", dynamic, "", "", ""), ""
    titles = "Topic,Dynamic,QOS,DBMS,Table,Column name,Column Type,Mapping Function,Optional,Policies"
    return Table(titles.split(","), rows, indent=5)


def _place(value: str) -> str:
    """A database or table: its name, or what of a message names it."""
    return str(_function(value)) if value.startswith("bring") else value


def _function(value: str) -> list[str]:
    """``bring [a] _ [b]`` as the list of its parts."""
    text = value.strip()
    return _PART_OF_BRING.findall(text.removeprefix("bring")) if text.startswith("bring") else [text]


def _counted(counters: Counters) -> dict[str, Any]:
    return {
        "Messages": counters.messages,
        "Success": counters.success,
        "Errors": counters.errors,
        "Last message time": _stamp(counters.last_message),
        "Last error time": _stamp(counters.last_error_time),
        "Last Error": counters.last_error,
    }


def _client_data(client: MessageClient) -> dict[str, Any]:
    return {
        "Subscription ID": client.id,
        "User": client.user,
        "Broker": client.broker,
        "Connection": client.connection,
        "User-Agent": client.agent,
        **_counted(client.counters),
        "Topics": [{"Topic": t.name, **_counted(t.counters), "Mapping": t.spec} for t in client.topics],
    }


@command(
    "get msg brokers",
    "get msg broker",
    cls=CommandClass.DATA,
    topics=("broker", "status"),
    examples=("get msg brokers",),
)
async def get_msg_brokers(ctx: Context) -> Reply:
    """Brokers and topics that message clients subscribe to, with their counters."""
    rows = [
        (client.broker, topic.name, client.id, topic.counters.messages, topic.counters.success, topic.counters.errors)
        for client in ctx.parts.get(PART) or ()
        for topic in client.topics
    ]
    titles = ("Broker", "Topic", "Client ID", "Messages", "Success", "Failure")
    if not rows:
        return Reply.of_data([], text=f"\r\n{_NONE}\r\n")
    return Reply.of_table(Table(titles, rows, indent=5), data=[dict(zip(titles, r, strict=True)) for r in rows])
