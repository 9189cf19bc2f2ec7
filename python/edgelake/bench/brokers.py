"""The brokers of the MQTT benches: nodes of ours, and mosquitto in two settings."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgelake.bench.processes import BenchError, accepts, free_port, node
from edgelake.processes import STOP_SECONDS, NodeProcess

TUNED = ("set_tcp_nodelay true", "max_inflight_messages 1000")
"""What mosquitto is measured with, beside its defaults; the better counts."""

START_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Broker:
    port: int
    pid: int
    log: Path


def program() -> str:
    """Path of mosquitto. Raises BenchError with what to do when there is none."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError("mosquitto, which this bench compares with, is missing: apt-get install mosquitto")
    return found


@contextmanager
def mosquitto(home: Path, settings: Sequence[str] = TUNED) -> Iterator[Broker]:
    """A mosquitto of its own on a free port of the loopback.

    Its queues have no bound in either setting: with the default of 1,000 messages it drops what comes faster than a
    subscriber takes it, and a lost message is no speed.
    """
    home.mkdir(parents=True)
    port, log = free_port(), home / "mosquitto.log"
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", f"user {getpass.getuser()}"]
    lines += ["max_queued_messages 0", "log_dest stderr", "log_type error", "log_type subscribe", *settings]
    config = home / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program(), "-c", str(config)], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: accepts(port), "mosquitto does not answer", log)
        yield Broker(port, process.pid, log)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


@contextmanager
def ours(home: Path, script: Sequence[str] = ()) -> Iterator[tuple[NodeProcess, Broker]]:
    """A node with a broker; ``script``: commands that run before it takes connections."""
    port = free_port()
    run = f"run message broker where external_ip = 127.0.0.1 and external_port = {port} and bind = true"
    with node(home, (*script, run)) as made:
        yield made, Broker(port, made.process.pid, home / "node.log")


@contextmanager
def all_three(home: Path) -> Iterator[tuple[Broker, tuple[Broker, ...]]]:
    """Ours, and mosquitto tuned and as it comes. One that has nothing to do disturbs no other."""
    with ExitStack() as stack:
        _, own = stack.enter_context(ours(home / "node"))
        tuned = stack.enter_context(mosquitto(home / "tuned"))
        yield own, (tuned, stack.enter_context(mosquitto(home / "default", ())))


def wait_until(holds: Callable[[], bool], complaint: str, log: Path) -> None:
    """Raises BenchError with the complaint and the end of the log when it never holds."""
    until = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > until:
            raise BenchError(f"{complaint}: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.005)
