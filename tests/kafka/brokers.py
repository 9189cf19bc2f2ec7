"""An Apache Kafka broker for tests, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from edgelake.bench.processes import free_port
from tests.mqtt.brokers import PASSWORD, USER, Files, accepts

LIBS = Path(__file__).parent / "java" / "libs"
START_SECONDS = 60.0
CLUSTER = "edgelakeTestsCluster00"

CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners=PLAIN://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAIN://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls}
listener.security.protocol.map=PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,CONTROLLER:PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=\\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={keystore}
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class Kafka:
    """A broker in KRaft mode. ``kill`` and ``start`` keep the ports and what is on the disk."""

    def __init__(self, folder: Path, files: Files) -> None:
        folder.mkdir(parents=True)
        self.port, self.sasl_port, self.tls_port = free_port(), free_port(), free_port()
        self._log = folder / "kafka.log"
        self._config = folder / "server.properties"
        keystore = folder / "keystore.pem"
        keystore.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
        ports = {"plain": self.port, "sasl": self.sasl_port, "tls": self.tls_port, "controller": free_port()}
        self._config.write_text(CONFIG.format(**ports, folder=folder, keystore=keystore, user=USER, password=PASSWORD))
        self._process: subprocess.Popen[bytes] | None = None
        self._run("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c").wait(START_SECONDS)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        assert (LIBS / ".installed").exists(), "Apache Kafka is missing: make tests/kafka/java/libs/.installed"
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*"]
        with self._log.open("ab") as log:
            return subprocess.Popen([*java, program, *arguments, str(self._config)], stdout=log, stderr=log)

    def start(self) -> None:
        """Returns when it answers."""
        self._process = self._run("kafka.Kafka")
        ends = time.monotonic() + START_SECONDS
        while not all(accepts(port) for port in (self.port, self.sasl_port, self.tls_port)):
            alive = self._process.poll() is None and time.monotonic() < ends
            assert alive, self._log.read_text()[-5000:]
            time.sleep(0.05)  # nothing tells another process that a port is open

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # ---- what others do there

    async def create(self, topic: str, partitions: int = 1) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, partitions, 1)])
        finally:
            await admin.close()

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
