"""A topic of Apache Kafka to durable rows, beside a client that consumes and counts its messages."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from edgelake import _rust
from edgelake.bench import Settings
from edgelake.bench.catalogue import measured
from edgelake.bench.kafka_server import KafkaServer
from edgelake.bench.processes import BenchError, ask, node, tell
from edgelake.bench.rest import ROWS, median_round, wait_for
from edgelake.bench.results import Result
from edgelake.processes import NodeProcess, get

PROGRAM = ("-m", "edgelake.bench.kafka")
ROUNDS = 5
PARTITIONS = 3
TOPIC = "readings"
COLUMNS = (
    'column.timestamp.timestamp = "bring [timestamp]" and column.device_name.str = "bring [device_name]" '
    'and column.value.float = "bring [value]"'
)


def run(settings: Settings) -> list[Result]:
    rows = settings.rows(ROWS)
    pairs = []
    with settings.folder("kafka") as folder, KafkaServer(Path(folder) / "broker") as broker:
        asyncio.run(fill(broker, rows))
        counted_seconds(broker, "warm", rows)  # the broker's own files and code
        for number in range(settings.rounds(ROUNDS)):
            bare = rows / counted_seconds(broker, f"counting-{number}", rows)
            ours = rows / stored_seconds(broker, Path(folder) / f"node-{number}", rows)
            pairs.append((ours, bare))
            settings.say(f"topic: {ours:,.0f} rows/s, aiokafka alone {bare:,.0f}")
    figure, baseline = median_round(pairs)
    return [measured("kafka", "kafka-topic", figure, baseline, rounds=pairs, partitions=PARTITIONS)]


async def fill(broker: KafkaServer, rows: int) -> None:
    """A row of workload W a message, in batches of the size that producers have by default."""
    import aiokafka

    await broker.create(TOPIC, PARTITIONS)
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=broker.address, acks="all")
    await producer.start()
    try:
        batch, turn = producer.create_batch(), 0
        for first in range(0, rows, 100_000):
            for line in _rust.workload_body(first, min(100_000, rows - first)).splitlines():
                if batch.append(key=None, value=line, timestamp=None) is not None:
                    continue
                await producer.send_batch(batch, TOPIC, partition=turn % PARTITIONS)
                batch, turn = producer.create_batch(), turn + 1
                batch.append(key=None, value=line, timestamp=None)
        await producer.send_batch(batch, TOPIC, partition=turn % PARTITIONS)
        await producer.flush()
    finally:
        await producer.stop()


def stored_seconds(broker: KafkaServer, home: Path, rows: int) -> float:
    """From the command until count(*) shows all rows."""
    with node(home, ["connect dbms bench where type = sqlite"]) as at:
        line = (
            f"run kafka consumer where ip = 127.0.0.1 and port = {broker.port} and group = {home.name} "
            f"and reset = earliest and topic = (name = {TOPIC} and dbms = bench and table = readings and {COLUMNS})"
        )
        begin = time.monotonic()
        get(at.port, {"command": line}, method="POST")
        seconds = wait_for(at, rows) - begin
        check_sum(at, rows)
    return seconds


def check_sum(at: NodeProcess, rows: int) -> None:
    """Raises BenchError unless each row of W is there once."""
    lines = _rust.workload_body(0, rows).splitlines()
    wanted = sum(json.loads(line)["value"] for line in lines)
    sql = "select count(distinct timestamp) as n, sum(value) as s from readings"
    (found,) = json.loads(at.command(f'sql bench format = json and stat = false "{sql}"'))["Query"]
    if abs(float(found["s"]) - wanted) > 1e-6 * abs(wanted):
        raise BenchError(f"the values of the rows add up to {found['s']} instead of {wanted}")


def counted_seconds(broker: KafkaServer, group: str, rows: int) -> float:
    """From a consumer's start until it has counted the last message."""
    answer = ask(PROGRAM, {"address": broker.address, "group": group, "messages": rows})
    return float(answer["seconds"])


async def count(address: str, group: str, messages: int) -> float:
    """Seconds that aiokafka takes to hand out all messages, many at a time."""
    import aiokafka

    begin = time.monotonic()
    consumer = aiokafka.AIOKafkaConsumer(
        TOPIC, bootstrap_servers=address, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        seen = 0
        while seen < messages:
            found = await consumer.getmany(timeout_ms=1000)
            seen += sum(map(len, found.values()))
        return time.monotonic() - begin
    finally:
        await consumer.stop()


def main() -> None:
    what = json.loads(sys.argv[1])
    tell(seconds=asyncio.run(count(what["address"], what["group"], what["messages"])))


if __name__ == "__main__":
    main()
