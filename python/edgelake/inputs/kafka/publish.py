"""Messages to a Kafka topic. A module of nodes that publish: it loads aiokafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import aiokafka
from aiokafka import errors as kafka_errors

from edgelake.errors import ServiceError
from edgelake.inputs.kafka.config import Cluster
from edgelake.inputs.kafka.link import ANSWER_S, LEAVE_S, connected, failures

LINGER_MS = 5


async def publish(cluster: Cluster, topic: str, batches: AsyncIterator[Sequence[bytes]]) -> int:
    """Send messages in their order, each partition's; returns their number once all in-sync brokers have them.

    Raises ServiceError: some may be there.
    """
    security = await connected(cluster)
    with failures(cluster):
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=cluster.address,
            client_id="edgelake",
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            **security,
        )
        try:
            await asyncio.wait_for(producer.start(), ANSWER_S)
            await _need_topic(producer, topic)
            return await _send(producer, topic, batches)
        finally:
            with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError):
                await asyncio.wait_for(producer.stop(), LEAVE_S)


async def _need_topic(producer: aiokafka.AIOKafkaProducer, topic: str) -> None:
    try:
        await asyncio.wait_for(producer.partitions_for(topic), ANSWER_S)
    except (kafka_errors.UnknownTopicOrPartitionError, TimeoutError):
        raise ServiceError(f"no topic {topic} there", hint="create it") from None


async def _send(producer: aiokafka.AIOKafkaProducer, topic: str, batches: AsyncIterator[Sequence[bytes]]) -> int:
    count = 0
    failed: list[BaseException] = []

    def settled(sent: asyncio.Future[object]) -> None:
        if not sent.cancelled() and (problem := sent.exception()) is not None and not failed:
            failed.append(problem)

    async for batch in batches:
        for message in batch:
            (await producer.send(topic, message)).add_done_callback(settled)
        count += len(batch)
        if failed:
            break
    await producer.flush()
    if failed:
        raise failed[0]
    return count
