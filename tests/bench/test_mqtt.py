"""The MQTT load generator on brokers that are not ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelake.bench.brokers import Broker, mosquitto
from edgelake.bench.mqtt_load import FlowError, Load, load, sink
from edgelake.bench.processes import BenchError, free_port

PUBLISHERS, SUBSCRIBERS, MESSAGES = 3, 2, 500


@pytest.fixture(scope="module")
def generator() -> Iterator[Load]:
    with load() as made:
        yield made


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with mosquitto(tmp_path_factory.mktemp("bench") / "mosquitto") as made:
        yield made


def flow(generator: Load, port: int, qos: int, subscribers: int = SUBSCRIBERS, version: int = 4) -> dict[str, float]:
    shape = {"publishers": PUBLISHERS, "subscribers": subscribers, "payload_bytes": 64, "window": 100}
    shape["version"] = version
    return generator.flow(port, "t", qos=qos, messages=MESSAGES, **shape)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_flow_counts_what_arrives(generator: Load, broker: Broker, qos: int, version: int) -> None:
    report = flow(generator, broker.port, qos, version=version)
    assert report["acknowledged"] == PUBLISHERS * MESSAGES
    assert report["delivered"] == PUBLISHERS * MESSAGES * SUBSCRIBERS
    assert flow(generator, broker.port, qos, 0)["delivered"] == 0


def test_the_null_server_takes_the_same_flows(generator: Load) -> None:
    with sink() as port:
        for qos in (0, 1, 2):
            assert flow(generator, port, qos)["delivered"] == PUBLISHERS * MESSAGES * SUBSCRIBERS


def test_a_broker_that_is_not_there_fails_a_flow(generator: Load) -> None:
    with pytest.raises(FlowError, match="refused"):
        flow(generator, free_port(), 1)


@pytest.mark.parametrize("disturbance", ["none", "storm", "stalled", "claims"])
def test_latency_is_measured_beside_a_disturbance(generator: Load, broker: Broker, disturbance: str) -> None:
    what = {"publishers": 2, "rate": 1000, "messages": 400, "payload_bytes": 64}
    report = generator.pace(broker.port, "t", **what, disturbance=disturbance, amount=20)
    assert 0 < report["p50_us"] <= report["p99_us"] <= report["most_us"]


def test_a_crowd_is_there_until_it_leaves(generator: Load, broker: Broker) -> None:
    seen = broker.log.read_text().count("/cmd")
    with generator.crowd(broker.port, 300) as seconds:
        assert seconds > 0
    assert broker.log.read_text().count("/cmd") - seen == 300


def test_without_mosquitto_the_bench_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(BenchError, match="apt-get install mosquitto"), mosquitto(tmp_path / "none"):
        pass
