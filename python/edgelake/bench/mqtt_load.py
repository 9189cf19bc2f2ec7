"""Helper process: the MQTT load generator. Jobs and answers are lines of JSON; ``Load`` is its other side."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgelake import _rust
from edgelake.bench.processes import BenchError, Child, accepts, free_port, tell

PROGRAM = ("-m", "edgelake.bench.mqtt_load")
VERSION = 4
"""Of the protocol, where a job names none: 4 is 3.1.1, which most devices speak."""

FILES = 11_000
"""Descriptors that the largest crowd needs, and then some."""


class FlowError(BenchError):
    """Messages were lost, doubled or out of order, or took too long."""


class Load:
    """A generator process."""

    def __init__(self) -> None:
        self._child = Child(PROGRAM, {})
        self._flows = 0

    def end(self) -> None:
        self._child.end()

    def flow(self, port: int, topic: str, *, limit_s: float = 60, **what: int) -> dict[str, float]:
        """One flow; ``what``: publishers, subscribers, qos, payload_bytes, window, messages. Raises FlowError.

        Its topics begin with ``topic`` and are its own: a broker may still be handing out messages of the flow before.
        """
        self._flows += 1
        return self._asked("flow", port, topic=f"{topic}/{self._flows}", limit_s=limit_s, **what)

    def pace(self, port: int, topic: str, **what: Any) -> dict[str, float]:
        """Latency of PUBACKs; ``what`` as of ``_rust.load_mqtt_pace``."""
        return self._asked("pace", port, topic=topic, **what)

    @contextmanager
    def crowd(self, port: int, count: int) -> Iterator[float]:
        """So many connections, each with a subscription; the seconds that it took to open them."""
        yield self._asked("crowd", port, count=count, subscribe=True, limit_s=120)["seconds"]
        self._asked("leave", port)

    def _asked(self, key: str, port: int, **what: Any) -> dict[str, float]:
        answer = self._child.asked(key, address=f"127.0.0.1:{port}", **what)
        if "error" in answer:
            raise FlowError(answer["error"])
        return answer


@contextmanager
def load() -> Iterator[Load]:
    made = Load()
    try:
        yield made
    finally:
        made.end()


@contextmanager
def sink() -> Iterator[int]:
    """The null server; its port."""
    port = free_port()
    child = Child(PROGRAM, {"sink": port})
    try:
        while not accepts(port):
            time.sleep(0.005)
        yield port
    finally:
        child.end()


def allow_files() -> None:
    """Let this process, and those that it starts, have as many open files as the system lets it.

    Raises BenchError when these are too few.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FILES:
        raise BenchError(f"the limit of open files is {most}, {FILES} are needed: ulimit -Hn {FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sleep_exactly() -> None:
    """Let this thread wake when it wanted to: by default it may sleep 50 us longer, and a message at a fixed rate would
    be counted as late as that, whatever the broker.
    """
    with suppress(OSError):  # a system that does not offer it: all brokers have the same of it
        Path("/proc/self/timerslack_ns").write_text("1")


def main() -> None:
    what = json.loads(sys.argv[1])
    if "sink" in what:
        _rust.load_mqtt_sink(f"127.0.0.1:{what['sink']}")
        return
    allow_files()
    sleep_exactly()
    crowd: list[_rust.MqttCrowd] = []
    for line in sys.stdin:
        job: dict[str, Any] = {"version": VERSION, **json.loads(line)}
        key, address = job.pop("key"), job.pop("address")
        try:
            match key:
                case "flow":
                    tell(**_rust.load_mqtt_flow(address, job.pop("topic"), **job))
                case "pace":
                    tell(**_rust.load_mqtt_pace(address, job.pop("topic"), **job))
                case "crowd":
                    crowd.append(_rust.MqttCrowd(address, job.pop("count"), **job))
                    tell(seconds=crowd[0].seconds)
                case "leave":
                    crowd.clear()
                    tell()
        except OSError as problem:
            tell(error=str(problem))


if __name__ == "__main__":
    main()
