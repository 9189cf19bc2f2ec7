"""Status of services that later versions bring: what the commands answer while such a service doesn't run.

A status command of a service that is not started is no error: clients poll it (spec: services and status, section 1).
"""

from __future__ import annotations

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.model import CommandClass, Reply


@command(
    "get kafka clients",
    cls=CommandClass.DATA,
    topics=("kafka", "monitor"),
    examples=("get kafka clients", "get kafka clients where format = json"),
)
async def get_kafka_clients(ctx: Context) -> Reply:
    """Consumers of Kafka topics."""
    return Reply.of_data([], text="No active Kafka consumers")
