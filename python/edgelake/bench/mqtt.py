"""The broker beside mosquitto, each a process of its own, driven by the same generator in the same run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from edgelake.bench import Settings, gathered
from edgelake.bench.brokers import TUNED, Broker, all_three, mosquitto, ours
from edgelake.bench.catalogue import DISTURBANCES, FAN_OUT, measured
from edgelake.bench.mqtt_external import external
from edgelake.bench.mqtt_load import FlowError, Load, allow_files, load, sink
from edgelake.bench.processes import BenchError, peak_resident_mb, reset_peak, resident_mb
from edgelake.bench.rest import count, median_round
from edgelake.bench.results import Result

ROUNDS = 3
WINDOW = {0: 4000, 1: 1000, 2: 1000}
"""Messages that a publisher has on the way."""

OURS = 8
"""How many times more messages than mosquitto a node gets, so that a run takes long enough to be measured."""

DELIVERED = {0: 160_000, 1: 80_000, 2: 40_000}
ACKNOWLEDGED = 200_000
DURABLE = 400_000
DURABLE_BYTES = 64
PUBLISHERS = 8
ONE_BY_ONE = 2000
ALLOWANCE_US = 100
RATE = 2000
PACED = 10_000
PACED_RUNS = 5
CROWD = 10_000

TABLE = (
    "connect dbms bench where type = sqlite",
    "run msg client where broker = local and topic = (name = durable/# and dbms = bench and table = readings "
    'and qos = 1 and column.timestamp.timestamp = "bring [t]" and column.n.int = "bring [n]" '
    'and column.v.float = "bring [v]")',
)


class Rate(Protocol):
    """Messages a second of a flow through a broker, of so many times its messages."""

    def __call__(self, broker: Broker, times: int = 1) -> float: ...


def run(settings: Settings) -> list[Result]:
    allow_files()
    parts: tuple[tuple[Callable[[Settings], list[Result]], tuple[str, ...]], ...] = (
        (speed, (*FAN_OUT, "ack", *(f"ceiling-{name}" for name in ("0", "1", "2", "ack")))),
        (durable, ("durable-1000", "durable-100", "durable-one")),
        (latency, ("latency", *DISTURBANCES, *(f"{key}-memory" for key in DISTURBANCES))),
        (idle, ("crowd",)),
        (external, ("external-0", "external-1")),
    )
    return gathered(settings, *(part for part, keys in parts if settings.wants(*keys)))


def best(flow: Rate, brokers: tuple[Broker, ...]) -> float:
    """The best figure of some brokers; one that loses messages has none. Raises FlowError when none has one."""
    figures = []
    problems = []
    for broker in brokers:
        try:
            figures.append(flow(broker))
        except FlowError as problem:
            problems.append(problem)
    if not figures:
        raise problems[0]
    return max(figures)


# ---- through the broker, nothing kept


def speed(settings: Settings) -> list[Result]:
    found = []
    reached: dict[str, float] = {}
    with settings.folder("mqtt") as folder, all_three(Path(folder)) as (own, others), load() as generator:
        for key, (qos, size, publishers, subscribers) in FAN_OUT.items():
            if settings.wants(key, f"ceiling-{qos}"):
                each = settings.rows(DELIVERED[qos]) // (publishers * subscribers)
                flow = _flow(generator, publishers, subscribers, qos, size, each)
                figure, baseline, notes = _rounds(settings, key, flow, own, others)
                reached[str(qos)] = max(figure, reached.get(str(qos), 0))
                found.append(measured("mqtt", key, figure, baseline, **notes))
        if settings.wants("ack", "ceiling-ack"):
            flow = _flow(generator, PUBLISHERS, 0, 1, 64, settings.rows(ACKNOWLEDGED) // PUBLISHERS)
            figure, baseline, notes = _rounds(settings, "ack", flow, own, others)
            reached["ack"] = figure
            found.append(measured("mqtt", "ack", figure, baseline, **notes))
        with sink() as port:
            null = Broker(port, 0, Path(folder))
            for name, ours_reached in reached.items():
                if settings.wants(f"ceiling-{name}"):
                    found.append(_ceiling(settings, generator, null, name, ours_reached))
    return found


def _flow(generator: Load, publishers: int, subscribers: int, qos: int, size: int, each: int) -> Rate:
    """Messages a second through a broker: delivered ones, acknowledged ones without subscribers."""

    def rate(broker: Broker, times: int = 1) -> float:
        report = generator.flow(
            broker.port,
            "bench",
            publishers=publishers,
            subscribers=subscribers,
            qos=qos,
            payload_bytes=size,
            window=WINDOW[qos],
            messages=each * times,
        )
        return report["delivered" if subscribers else "acknowledged"] / report["seconds"]

    return rate


def _rounds(
    settings: Settings, key: str, flow: Rate, own: Broker, others: tuple[Broker, ...]
) -> tuple[float, float, dict[str, Any]]:
    """Ours, the baseline, and the figures of all rounds; the median ratio counts."""
    pairs = [(flow(own, OURS), best(flow, others)) for _ in range(settings.rounds(ROUNDS))]
    figure, baseline = median_round(pairs)
    settings.say(f"{key}: {figure:,.0f} messages/s, mosquitto {baseline:,.0f}")
    return figure, baseline, {"rounds": pairs}


def _ceiling(settings: Settings, generator: Load, null: Broker, name: str, reached: float) -> Result:
    """What the generator does with a server that does nothing, beside the most that ours did."""
    if name == "ack":
        flow = _flow(generator, PUBLISHERS, 0, 1, 64, settings.rows(ACKNOWLEDGED) // PUBLISHERS)
        return measured("mqtt", "ceiling-ack", flow(null, OURS), reached)
    qos = int(name)
    shapes = {(size, p, s) for q, size, p, s in FAN_OUT.values() if q == qos}
    figures = {}
    for size, publishers, subscribers in sorted(shapes):
        each = settings.rows(DELIVERED[qos]) // (publishers * subscribers)
        figures[f"{size} {publishers} {subscribers}"] = _flow(generator, publishers, subscribers, qos, size, each)(
            null, OURS
        )
    return measured("mqtt", f"ceiling-{name}", max(figures.values()), reached, shapes=figures)


# ---- to a durable row


def durable(settings: Settings) -> list[Result]:
    found = []
    with settings.folder("mqtt") as folder, load() as generator:
        home = Path(folder)
        with ours(home / "node", TABLE) as (at, own), mosquitto(home / "mosquitto") as other:
            rows = 0
            for window in (1000, 100):
                if not settings.wants(f"durable-{window}"):
                    continue
                pairs = []
                for _ in range(settings.rounds(ROUNDS)):
                    each = settings.rows(DURABLE) // PUBLISHERS
                    figure = _durable_rate(generator, own, 0, window, each)
                    rows += each * PUBLISHERS
                    _check_rows(at, rows)
                    pairs.append((figure, _durable_rate(generator, other, 1, window, each // 4)))
                figure, baseline = median_round(pairs)
                settings.say(f"durable rows, {window} in flight: {figure:,.0f}/s, mosquitto {baseline:,.0f}")
                found.append(measured("mqtt", f"durable-{window}", figure, baseline, rounds=pairs))
            if settings.wants("durable-one"):
                messages = settings.rows(ONE_BY_ONE)
                what = {"publishers": 1, "rate": 0, "messages": messages, "payload_bytes": DURABLE_BYTES}
                p50_us = generator.pace(own.port, "durable", **what)["p50_us"]
                _check_rows(at, rows + messages)
                bare_us = _append_us(home / "bare", messages)
                settings.say(f"one durable row in flight: {p50_us:.0f} us, bare append {bare_us:.0f} us")
                found.append(measured("mqtt", "durable-one", p50_us, bare_us + ALLOWANCE_US, append_us=bare_us))
    return found


def _durable_rate(generator: Load, broker: Broker, subscribers: int, window: int, each: int) -> float:
    shape = {"publishers": PUBLISHERS, "subscribers": subscribers, "qos": 1, "payload_bytes": DURABLE_BYTES}
    report = generator.flow(broker.port, "durable", window=window, messages=each, **shape)
    return report["delivered" if subscribers else "acknowledged"] / report["seconds"]


def _check_rows(at: Any, rows: int) -> None:
    """count(*) gets to all acknowledged rows, and no further."""
    until = time.monotonic() + 60
    while (seen := count(at)) < rows and time.monotonic() < until:
        time.sleep(0.01)
    if seen != rows:
        raise BenchError(f"count(*) shows {seen} rows, {rows} were acknowledged")


def _append_us(path: Path, times: int) -> float:
    """Median of an append of one record and its fdatasync, in microseconds."""
    record = b"x" * (DURABLE_BYTES + len("durable/0") + 32)
    taken = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for _ in range(times):
            begin = time.perf_counter()
            os.write(file, record)
            os.fdatasync(file)
            taken.append(time.perf_counter() - begin)
    finally:
        os.close(file)
    return statistics.median(taken) * 1e6


# ---- latency, quiet and disturbed


def latency(settings: Settings) -> list[Result]:
    found = []
    messages = settings.rows(PACED)
    with settings.folder("mqtt") as folder, all_three(Path(folder)) as (own, others), load() as generator:

        def p99(broker: Broker, disturbance: str = "none", amount: int = 0) -> float:
            what = {"publishers": PUBLISHERS, "rate": RATE, "messages": messages, "payload_bytes": 64}
            report = generator.pace(broker.port, "quiet", **what, disturbance=disturbance, amount=amount)
            return report["p99_us"]

        runs = [(p99(own), p99(others[0])) for _ in range(settings.rounds(PACED_RUNS))]
        quiet, baseline = (statistics.median(run[at] for run in runs) for at in (0, 1))
        settings.say(f"PUBACK p99: {quiet:.0f} us, mosquitto {baseline:.0f} us")
        if settings.wants("latency"):
            found.append(measured("mqtt", "latency", quiet, baseline, runs=runs))
        for key, amount in DISTURBANCES.items():
            if settings.wants(key, f"{key}-memory"):
                amount = settings.rows(amount) if key == "storm" else amount
                reset_peak(own.pid)
                before = resident_mb(own.pid)
                beside = [(p99(own, key, amount), p99(others[0], key, amount)) for _ in range(settings.rounds(ROUNDS))]
                grown = max(0.0, peak_resident_mb(own.pid) - before)
                disturbed, theirs = (statistics.median(run[at] for run in beside) for at in (0, 1))
                settings.say(f"{key}: {disturbed:.0f} us, mosquitto {theirs:.0f} us, {grown:.0f} MB more")
                notes = {"quiet_us": quiet, "mosquitto_us": theirs, "runs": beside}
                found.append(measured("mqtt", key, disturbed, max(2 * quiet, theirs), **notes))
                found.append(measured("mqtt", f"{key}-memory", grown))
    return found


# ---- connections that do nothing


def idle(settings: Settings) -> list[Result]:
    connections = settings.rows(CROWD)
    with settings.folder("mqtt") as folder, load() as generator:
        home = Path(folder)
        with ours(home / "node") as (_, own), mosquitto(home / "mosquitto", TUNED) as other:
            kilobytes = []
            for broker in (own, other):
                with generator.crowd(broker.port, 100):
                    pass  # what comes with the first connections only
                before = resident_mb(broker.pid)
                with generator.crowd(broker.port, connections) as seconds:
                    kilobytes.append((resident_mb(broker.pid) - before) * 1024 / connections)
                settings.say(f"{connections} connections in {seconds:.1f} s: {kilobytes[-1]:.2f} KB each")
    return [measured("mqtt", "crowd", kilobytes[0], mosquitto_kb=kilobytes[1], connections=connections)]
