"""The broker of the tests: listeners with users and certificates, and what others do there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from edgelake.bench.kafka_server import KafkaServer
from tests.mqtt.brokers import PASSWORD, USER, Files

LISTENERS = {"SASL": "SASL_PLAINTEXT", "TLS": "SSL", "MUTUAL": "SSL", "BOTH": "SASL_SSL"}
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"

USERS = """\
listener.name.{name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.{name}.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.{name}.scram-sha-256.sasl.jaas.config={scram} required;
listener.name.{name}.scram-sha-512.sasl.jaas.config={scram} required;
"""

CERTIFICATE = """\
listener.name.{name}.ssl.keystore.type=PEM
listener.name.{name}.ssl.keystore.location={keystore}
"""

CLIENTS_CERTIFICATE = """\
listener.name.{name}.ssl.client.auth=required
listener.name.{name}.ssl.truststore.type=PEM
listener.name.{name}.ssl.truststore.location={ca}
"""


class Kafka(KafkaServer):
    """With a user of each mechanism on ``sasl_port``, TLS on ``tls_port``, certificates of clients on ``mutual_port``,
    and TLS with users on ``both_port``."""

    def __init__(self, folder: Path, files: Files) -> None:
        keystore = files.key.with_name("keystore.pem")
        keystore.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
        settings = "".join(
            form.format(name=name, user=USER, password=PASSWORD, scram=SCRAM_MODULE, keystore=keystore, ca=files.ca)
            for name, forms in {
                "sasl": [USERS],
                "tls": [CERTIFICATE],
                "mutual": [CERTIFICATE, CLIENTS_CERTIFICATE],
                "both": [CERTIFICATE, USERS],
            }.items()
            for form in forms
        )
        users = [part for name in SCRAM for part in ("--add-scram", f"{name}=[name={USER},password={PASSWORD}]")]
        super().__init__(folder, more=LISTENERS, settings=settings, format_options=users)
        self.sasl_port, self.tls_port = self.ports["SASL"], self.ports["TLS"]
        self.mutual_port, self.both_port = self.ports["MUTUAL"], self.ports["BOTH"]

    # ---- what others do there

    async def delete(self, topic: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.delete_topics([topic])
            while topic in await admin.list_topics():  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the broker answers before it is done
        finally:
            await admin.close()

    async def commit(self, group: str, topic: str, offset: int) -> None:
        """Set a group that nobody is in back to an offset of partition 0."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.address, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            await consumer.commit({partition: offset})
        finally:
            await consumer.stop()

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        made = AIOKafkaProducer(bootstrap_servers=self.address, acks="all", enable_idempotence=True)
        await made.start()
        try:
            yield made
        finally:
            await made.stop()

    async def send_batch(self, topic: str, values: Sequence[bytes], **options: Any) -> None:
        """All values in one batch, as a producer with these options makes it; with ``transactional_id`` in a
        transaction, whose end is a message of the broker's own behind them."""
        made = AIOKafkaProducer(bootstrap_servers=self.address, max_batch_size=1 << 19, **options)
        await made.start()
        try:
            async with made.transaction() if "transactional_id" in options else contextlib.nullcontext():
                batch = made.create_batch()
                for value in values:
                    assert batch.append(key=None, value=value, timestamp=None)
                await (await made.send_batch(batch, topic, partition=0))
        finally:
            await made.stop()

    async def send(self, topic: str, values: Iterable[Any], *, partition: int | None = None) -> None:
        """Values as JSON; bytes as they are. Returns when the broker has them."""
        async with self.producer() as producer:
            for value in values:
                payload = value if isinstance(value, bytes | None) else json.dumps(value).encode()
                await producer.send(topic, payload, None if payload else b"key", partition=partition)
            await producer.flush()

    async def read(self, topic: str, count: int) -> Sequence[bytes]:
        """The first messages of a topic."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.address, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(30):
                return [(await consumer.getone()).value for _ in range(count)]
        finally:
            await consumer.stop()
