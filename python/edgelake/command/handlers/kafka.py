"""Consumers of Kafka topics as commands: run, get, exit (spec: brokers and mapping, section 13)."""

from __future__ import annotations

import functools
from typing import Final

from edgelake.command.context import Context
from edgelake.command.grammar import Pairs
from edgelake.command.handlers.messages import blobs_directory, clients_of, directory_of, topics_of
from edgelake.command.handlers.mqtt import own_name
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.inputs.kafka import Cluster, KafkaConsumer, KafkaConsumers, Login, Source
from edgelake.inputs.kafka.config import Mechanism, Reset, need_library
from edgelake.inputs.msg_client import Files, MessageClient
from edgelake.model import CommandClass, Reply, Table
from edgelake.tls import Tls

_NONE = "No active Kafka consumers"
_RESETS: Final[dict[str, Reset]] = {"latest": "latest", "earliest": "earliest"}
_TITLES = ("ID", "Connection", "Group", "Topics", "Status", "Messages", "Errors", "Lag", "Last Error")


@command(
    "run kafka consumer",
    cls=CommandClass.ADMIN,
    topics=("kafka", "configuration"),
    examples=(
        "run kafka consumer where ip = 10.0.0.5 and port = 9092 and reset = earliest and topic = (name = sensors "
        'and dbms = plant and table = readings and column.timestamp.timestamp = "bring [time]" '
        'and column.value.float = "bring [value]")',
        "run kafka consumer where ip = 10.0.0.5 and port = 9093 and group = edge and user = node and password = !pw "
        "and tls = true and ca = !ca_file and topic = (name = sensors and policy = sensors-policy)",
    ),
)
async def run_kafka_consumer(
    ctx: Context,
    *,
    ip: str,
    port: int,
    topic: list[Pairs],
    reset: str = "latest",
    group: str = "",
    threads: int = 3,
    user: str = "",
    password: str = "",
    mechanism: Mechanism = "PLAIN",
    tls: bool = False,
    ca: str = "",
    cert: str = "",
    key: str = "",
    log_error: bool = False,
    err_dir: str = "",
    blobs_dir: str = "",
) -> Reply:
    """Read topics of a Kafka cluster and map their messages to tables; answers the id of the client.

    Topics are declared as for run msg client, by their full names. The connection is made in the background, and again
    whenever it breaks. Each message becomes rows once: the journal keeps rows and offsets together, and the offsets of
    the group are committed behind it. group: the node's name; consumers of one group share the partitions.
    reset: where a partition begins of which the group has read nothing yet, latest or earliest.
    user and password: SASL, with mechanism PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. tls = true, or ca, cert and key
    (files in PEM form): TLS. log_error = true keeps messages that cannot be mapped in the error directory.
    threads is taken and not needed: partitions are read side by side, each in its order.
    """
    need_library()
    if not 0 < port < 65536:
        raise error(21, f"port = {port}")
    if threads < 1:
        raise CommandError(f"threads = {threads}: 1 or more")
    specs = topics_of(ctx, topic)
    names = tuple(str(spec["name"]) for spec in specs)
    for name in names:
        if "+" in name or "#" in name:
            raise error(124, f"topic '{name}'", hint="topics of Kafka are declared by their full names")
    source = Source(group or own_name(ctx), names, _reset(reset))
    login = Login(user, password, mechanism) if user or password else None
    files = Tls(ca, cert, key)
    cluster = Cluster(ip, port, login, files if tls or files != Tls() else None)
    kept = Files(
        errors=directory_of(ctx, err_dir, "err_dir") if log_error else None,
        blobs=blobs_directory(ctx, blobs_dir, specs),
    )
    clients = clients_of(ctx)
    client = clients.declare_remote(f"{ip}:{port}", specs, user=user or "unused", files=kept)
    try:
        await _start(ctx, client, cluster, source)
    except BaseException:
        clients.stop(client.id)
        raise
    return Reply.of_text(str(client.id))


def _reset(value: str) -> Reset:
    found = _RESETS.get(value.lower())
    if found is None:
        raise error(175, f"reset = {value}", hint="latest or earliest")
    return found


async def _start(ctx: Context, client: MessageClient, cluster: Cluster, source: Source) -> None:
    await ctx.ingest.start()  # positions are in the journal
    consumers = ctx.services.get(KafkaConsumers.name)
    if not isinstance(consumers, KafkaConsumers):
        consumers = KafkaConsumers()
        await ctx.services.start(consumers)
    deliver = functools.partial(clients_of(ctx).deliver_read, client)
    consumer = KafkaConsumer(client.id, cluster, source, deliver, ctx.ingest.pipeline.position, consumers.forget)
    await consumers.add(consumer)
    client.remote = consumer


def _consumers(ctx: Context) -> list[tuple[MessageClient, KafkaConsumer]]:
    clients = ctx.parts.get("message clients") or ()
    return [(client, client.remote) for client in clients if isinstance(client.remote, KafkaConsumer)]


def cluster_at(ctx: Context, address: str) -> Cluster:
    """A cluster to write to, with user and TLS of a consumer that reads there. Raises NotAvailableError."""
    need_library()
    known = (consumer.cluster for _, consumer in _consumers(ctx) if consumer.cluster.address == address)
    host, _, port = address.rpartition(":")
    return next(known, Cluster(host.strip("[]"), int(port)))


@command(
    "exit kafka",
    cls=CommandClass.ADMIN,
    topics=("kafka",),
    examples=("exit kafka", "exit kafka 2"),
)
async def exit_kafka(ctx: Context, consumer: str = "all") -> Reply:
    """End a Kafka consumer by its id, or all of them. What they read is stored, and its offsets are committed."""
    running = _consumers(ctx)
    chosen = [one for one in running if consumer.lower() in ("all", str(one[0].id))]
    if not chosen and consumer.lower() != "all":
        raise error(128, f"'{consumer}' is no id of a Kafka consumer", hint="get kafka clients shows the ids")
    for client, remote in chosen:
        await remote.end()
        clients_of(ctx).stop(client.id)
    if len(chosen) == len(running):
        await ctx.services.stop(KafkaConsumers.name)
    return Reply.done()


@command(
    "get kafka clients",
    cls=CommandClass.DATA,
    topics=("kafka", "monitor"),
    examples=("get kafka clients", "get kafka clients where format = json"),
)
async def get_kafka_clients(ctx: Context) -> Reply:
    """Consumers of Kafka topics: state, messages, and how many messages they are behind."""
    rows = [_row(client, consumer) for client, consumer in _consumers(ctx)]
    if not rows:
        return Reply.of_data([], text=_NONE)
    return Reply.of_table(Table(_TITLES, rows), data=[dict(zip(_TITLES, row, strict=True)) for row in rows])


def _row(client: MessageClient, consumer: KafkaConsumer) -> tuple[object, ...]:
    counters, source = client.counters, consumer.source
    head = (client.id, consumer.cluster.address, source.group, ", ".join(source.topics), consumer.state)
    return (*head, counters.messages, counters.errors, consumer.lag, consumer.problem or counters.last_error)
