"""From another broker to durable rows, beside a client that receives and does nothing."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from edgelake.bench import Settings
from edgelake.bench.brokers import Broker, mosquitto, wait_until
from edgelake.bench.catalogue import measured
from edgelake.bench.mqtt_load import Load, load
from edgelake.bench.processes import Child, node, tell
from edgelake.bench.rest import median_round, wait_for
from edgelake.bench.results import Result

PROGRAM = ("-m", "edgelake.bench.mqtt_external")
MESSAGES = 50_000
ROUNDS = 3
TOPIC = "external"


def external(settings: Settings) -> list[Result]:
    messages = settings.rows(MESSAGES)
    found = []
    for qos in (0, 1):
        if not settings.wants(f"external-{qos}"):
            continue
        pairs = []
        for _ in range(settings.rounds(ROUNDS)):
            with (
                settings.folder("mqtt") as folder,
                mosquitto(Path(folder) / "mosquitto") as broker,
                load() as generator,
            ):
                bare = messages / received_seconds(generator, broker, qos, messages)
                pairs.append((messages / stored_seconds(generator, Path(folder), broker, qos, messages), bare))
            settings.say(f"from mosquitto, QoS {qos}: {pairs[-1][0]:,.0f} rows/s, aiomqtt alone {bare:,.0f}")
        figure, baseline = median_round(pairs)
        found.append(measured("mqtt", f"external-{qos}", figure, baseline, rounds=pairs))
    return found


def stored_seconds(generator: Load, home: Path, broker: Broker, qos: int, messages: int) -> float:
    """From the first message published until count(*) shows all."""
    script = (
        "connect dbms bench where type = sqlite",
        f"run msg client where broker = 127.0.0.1 and port = {broker.port} and topic = (name = {TOPIC}/# "
        f"and dbms = bench and table = readings and qos = {qos} "
        'and column.timestamp.timestamp = "bring [t]" and column.n.int = "bring [n]" '
        'and column.v.float = "bring [v]")',
    )
    seen = subscriptions(broker)
    with node(home / "node", script) as at:
        wait_until(lambda: subscriptions(broker) > seen, "the node does not subscribe", broker.log)
        begin = publish(generator, broker, qos, messages)
        return wait_for(at, messages) - begin


def received_seconds(generator: Load, broker: Broker, qos: int, messages: int) -> float:
    """From the first message published until aiomqtt has handed out the last one."""
    seen = subscriptions(broker)
    child = Child(PROGRAM, {"port": broker.port, "qos": qos, "messages": messages})
    try:
        wait_until(lambda: subscriptions(broker) > seen, "aiomqtt does not subscribe", broker.log)
        begin = publish(generator, broker, qos, messages)
        return float(child.line()["end"]) - begin
    finally:
        child.end()


def publish(generator: Load, broker: Broker, qos: int, messages: int) -> float:
    """Publishes as fast as the broker takes it; when it began (monotonic clock)."""
    begin = time.monotonic()
    shape = {"publishers": 1, "subscribers": 0, "payload_bytes": 64, "window": 1000}
    generator.flow(broker.port, TOPIC, qos=qos, messages=messages, **shape)
    return begin


def subscriptions(broker: Broker) -> int:
    """How often somebody has subscribed, by the broker's log."""
    return broker.log.read_text(errors="replace").count(f"{TOPIC}/#")


async def receive(port: int, qos: int, messages: int) -> float:
    """When aiomqtt had handed out all messages (monotonic clock)."""
    import aiomqtt

    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(f"{TOPIC}/#", qos=qos)
        left = messages
        async for _ in client.messages:
            left -= 1
            if left == 0:
                break
    return time.monotonic()


def main() -> None:
    what = json.loads(sys.argv[1])
    tell(end=asyncio.run(receive(what["port"], what["qos"], what["messages"])))


if __name__ == "__main__":
    main()
