"""The Kafka consumers of a node, as one service: a row of ``get processes``, stopped with the node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from edgelake.inputs.kafka.consumer import KafkaConsumer
from edgelake.model import Status


class KafkaConsumers:
    """Consumers by the number of their message client."""

    name = "kafka consumer"

    def __init__(self) -> None:
        self._consumers: dict[int, KafkaConsumer] = {}
        self._since_us = 0

    async def start(self) -> None:
        self._since_us = time.time_ns() // 1000

    async def stop(self) -> None:
        consumers, self._consumers = self._consumers, {}
        await asyncio.gather(*(consumer.stop() for consumer in consumers.values()))

    async def add(self, consumer: KafkaConsumer) -> None:
        """Start a consumer. Raises what its start raises: nothing is left of it then."""
        await consumer.start()
        self._consumers[consumer.number] = consumer

    def forget(self, consumer: KafkaConsumer) -> None:
        self._consumers.pop(consumer.number, None)

    def __iter__(self) -> Iterator[KafkaConsumer]:
        return iter(self._consumers.values())

    def __len__(self) -> int:
        return len(self._consumers)

    def status(self) -> Status:
        there = ", ".join(dict.fromkeys(consumer.cluster.address for consumer in self))
        last_error = next((consumer.problem for consumer in self if consumer.problem), "")
        counters: dict[str, int | float] = {
            "connected": sum(consumer.connected for consumer in self),
            "lag": sum(consumer.lag for consumer in self),
        }
        shown = f"Kafka consumer configured to {there}"
        return Status("Kafka Consumer", bool(self._consumers), shown, self._since_us, last_error, counters)
