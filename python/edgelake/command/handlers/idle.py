"""Status of services that later versions bring: what the commands answer while such a service doesn't run.

A status command of a service that is not started is no error: clients poll it (spec: services and status, section 1).
"""

from __future__ import annotations

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.model import CommandClass, Reply, Table

_SYNCHRONIZER = (
    "Status",
    "Sync\nSource",
    "Connection",
    "Sync\nTime",
    "Metadata Version",
    "Time\nSince Update",
    "Calls",
    "Loads",
    "Policies",
    "Sync OK",
    "Sync Err",
)


@command(
    "get synchronizer",
    cls=CommandClass.DATA,
    topics=("metadata", "monitor"),
    examples=("get synchronizer", "get synchronizer where format = json"),
)
async def get_synchronizer(ctx: Context) -> Reply:
    """Whether the shared metadata is synchronised with a master node or a blockchain."""
    row = ("Not Running", "Not declared", "Not declared", -1, "0", "Not updated", 0, 0, 0, 0, 0)
    data = {" ".join(title.split()): value for title, value in zip(_SYNCHRONIZER, row, strict=True)}
    return Reply.of_table(Table(_SYNCHRONIZER, [row]), data=data)


@command(
    "get blobs archiver",
    cls=CommandClass.DATA,
    topics=("blobs", "monitor"),
    examples=("get blobs archiver", "get blobs archiver where format = json"),
)
async def get_blobs_archiver(ctx: Context) -> Reply:
    """What the archiver of blobs did."""
    return Reply.of_data({"status": "not active"}, text="Archiver not active")


@command(
    "get grpc clients",
    "get grpc client",
    cls=CommandClass.DATA,
    topics=("grpc", "monitor"),
    examples=("get grpc clients", "get grpc clients where format = json"),
)
async def get_grpc_clients(ctx: Context) -> Reply:
    """Connections to gRPC servers."""
    return Reply.of_data([], text="No active gRPC clients")


@command(
    "get kafka clients",
    cls=CommandClass.DATA,
    topics=("kafka", "monitor"),
    examples=("get kafka clients", "get kafka clients where format = json"),
)
async def get_kafka_clients(ctx: Context) -> Reply:
    """Consumers of Kafka topics."""
    return Reply.of_data([], text="No active Kafka consumers")
