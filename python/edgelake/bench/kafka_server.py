"""An Apache Kafka broker for benches and tests, in a process of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edgelake.bench.processes import BenchError, accepts, free_port

_CHECKOUT: Final = Path(__file__).parents[3]
LIBS: Final = _CHECKOUT / "tests" / "kafka" / "java" / "libs"
"""Apache Kafka out of Maven, which ``make test`` puts there."""

START_SECONDS: Final = 60.0
CLUSTER: Final = "edgelakeTestsCluster00"

_CONFIG: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class KafkaServer:
    """A broker in KRaft mode, in the clear on ``port``. ``kill`` and ``start`` keep the ports and what is on the disk.

    Args:
        more: protocols of further listeners by their names, which have their own ports in ``ports``.
        settings: further lines of the configuration.
        format_options: of Kafka's storage tool, such as users.
    """

    def __init__(
        self,
        folder: Path,
        *,
        more: dict[str, str] | None = None,
        settings: str = "",
        format_options: Sequence[str] = (),
    ) -> None:
        if not (LIBS / ".installed").exists():
            raise BenchError(f"Apache Kafka is missing: make {LIBS.relative_to(_CHECKOUT)}/.installed")
        folder.mkdir(parents=True)
        protocols = {"PLAIN": "PLAINTEXT", **(more or {})}
        self.ports = {name: free_port() for name in protocols}
        self._log = folder / "kafka.log"
        self._config = folder / "server.properties"
        configured = _CONFIG.format(
            controller=free_port(),
            listeners=",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()),
            protocols=",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            folder=folder,
        )
        self._config.write_text(configured + settings)
        self._process: subprocess.Popen[bytes] | None = None
        formatting = ("format", "-t", CLUSTER, "-c", str(self._config), *format_options)
        if self._run("kafka.tools.StorageTool", *formatting).wait(START_SECONDS):
            raise BenchError(self._said())

    @property
    def port(self) -> int:
        return self.ports["PLAIN"]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*"]
        with self._log.open("ab") as log:
            return subprocess.Popen([*java, program, *arguments], stdout=log, stderr=log)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-5000:]

    def start(self) -> None:
        """Returns when it answers."""
        self._process = self._run("kafka.Kafka", str(self._config))
        ends = time.monotonic() + START_SECONDS
        while not all(accepts(port) for port in self.ports.values()):
            if self._process.poll() is not None or time.monotonic() > ends:
                raise BenchError(self._said())
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

    async def create(self, topic: str, partitions: int = 1) -> None:
        """Make a topic."""
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, partitions, 1)])
        finally:
            await admin.close()
