"""A cluster of two members on one machine: readings that are put to one of them, until both have them."""

from __future__ import annotations

import bisect
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from edgelake import _rust
from edgelake.bench import Settings, gathered, load
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, ask, free_port, node, tell
from edgelake.bench.rest import BODY_ROWS, CONNECTIONS, COUNT_LIMIT_S, ROWS, check, median_round, wait_for
from edgelake.bench.results import Result
from edgelake.metadata import ledger
from edgelake.metadata.ids import Policy
from edgelake.processes import AGENT, NodeProcess

PROGRAM: Final = ("-m", "edgelake.bench.cluster")
ROUNDS: Final = 3
SHARE: Final = 0.4
"""Of what one node alone takes: what the lag is measured with."""
SAMPLE_S: Final = 0.01
_CLUSTER: Final = "c1" * 16


def run(settings: Settings) -> list[Result]:
    return gathered(settings, _lag, _all_it_takes)


# ---- members


@contextmanager
def members(folder: Path, count: int) -> Iterator[list[NodeProcess]]:
    """Nodes with an operator each, of one cluster."""
    ports = [free_port() for _ in range(count)]
    with ExitStack() as stack:
        made = []
        for number in range(1, count + 1):
            home = folder / f"m{number}"
            _write_ledger(home, ports)
            made.append(stack.enter_context(node(home, _script(number, ports[number - 1]))))
        yield made


def _script(number: int, port: int) -> list[str]:
    return [
        "create work directories",
        "connect dbms bench where type = sqlite",
        "connect dbms almgm where type = sqlite",
        "create table tsd_info where dbms = almgm",
        f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true",
        f"run operator where policy = {_operator(number)} and create_table = true and update_tsd_info = true "
        "and archive_json = true and distributor = true",
        "run data distributor",
        "run data consumer where start_date = -1d",
    ]


def _operator(number: int) -> str:
    return f"{number:02}" * 16


def _write_ledger(home: Path, ports: Sequence[int]) -> None:
    common = {"company": "bench", "date": "2026-01-01T00:00:00.000000Z", "ledger": "global"}
    policies: list[Policy] = [{"cluster": {"name": "c", "id": _CLUSTER, **common}}]
    for number, port in enumerate(ports, 1):
        place = {"name": f"m{number}", "ip": "127.0.0.1", "port": port, "cluster": _CLUSTER, "member": number}
        policies.append({"operator": {**place, "id": _operator(number), **common}})
    path = home / "EdgeLake" / "blockchain" / "blockchain.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(ledger.lines(policies))


# ---- all that it takes


def _all_it_takes(settings: Settings) -> list[Result]:
    if not settings.wants("entry", "entry-behind"):
        return []
    rows, rounds = settings.rows(ROWS), settings.rounds(ROUNDS)
    pairs: list[tuple[float, float]] = []
    behind: list[float] = []
    for at in range(rounds):
        with settings.folder("cluster") as folder, members(Path(folder), 2) as (first, second):
            report = _put(first, rows)
            wait_for(first, rows)
            behind.append(max(wait_for(second, rows) - float(report["end"]), 0.0))
        pairs.append((rows / float(report["seconds"]), _alone(settings, rows)))
        ours, alone = pairs[-1]
        settings.say(f"round {at + 1} of {rounds}: {ours:,.0f} rows/s, alone {alone:,.0f}, behind {behind[-1]:.2f} s")
    figure, baseline = median_round(pairs)
    return [
        measured("cluster", "entry", figure, baseline, rounds=pairs),
        measured("cluster", "entry-behind", max(behind), rounds=behind),
    ]


def _put(at: NodeProcess, rows: int) -> dict[str, Any]:
    report = load.put(at.address, rows, BODY_ROWS, CONNECTIONS)
    check(report, rows // BODY_ROWS)
    return report


def _alone(settings: Settings, rows: int) -> float:
    """Rows a second that one node takes whose cluster has no other member."""
    with settings.folder("cluster") as folder, members(Path(folder), 1) as (only,):
        report = _put(only, rows)
        wait_for(only, rows)
        return rows / float(report["seconds"])


# ---- how far the other member is behind


def _lag(settings: Settings) -> list[Result]:
    if not settings.wants("lag"):
        return []
    rows = settings.rows(ROWS)
    rate = SHARE * _alone(settings, rows)
    with settings.folder("cluster") as folder, members(Path(folder), 2) as (first, second):
        watch = _Watch(second)
        try:
            what = {"port": first.port, "rows": rows, "rate": rate, "connections": CONNECTIONS}
            acknowledged = ask(PROGRAM, what)["acknowledged"]
            watch.wait(rows)
        finally:
            watch.end()
        for at in (first, second):
            wait_for(at, rows)
    lags = sorted(watch.seen(BODY_ROWS * number) - when for number, when in enumerate(acknowledged, 1))
    p99 = max(lags[min(int(len(lags) * 0.99), len(lags) - 1)], 0.0)
    settings.say(f"{rate:,.0f} rows/s offered: lag p99 {p99:.3f} s")
    return [measured("cluster", "lag", p99, offered_rows_s=rate, most_s=lags[-1])]


class _Watch:
    """How many rows a node has stored, again and again, from a thread."""

    def __init__(self, at: NodeProcess) -> None:
        self._at = at
        self._times: list[float] = []
        self._rows: list[int] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(SAMPLE_S):
            said = json.loads(self._at.command("get operator summary where format = json"))
            self._times.append(time.monotonic())
            self._rows.append(int(said["total rows"]))

    def wait(self, rows: int) -> None:
        """Raises BenchError when the node never gets there."""
        until = time.monotonic() + COUNT_LIMIT_S
        while not self._rows or self._rows[-1] < rows:
            if time.monotonic() > until or not self._thread.is_alive():
                raise BenchError(f"the other member has {self._rows[-1:]} of {rows} rows")
            time.sleep(SAMPLE_S)

    def seen(self, rows: int) -> float:
        """When so many were there."""
        return self._times[bisect.bisect_left(self._rows, rows)]

    def end(self) -> None:
        self._ending.set()
        self._thread.join()


# ---- the helper process


def put_paced(port: int, rows: int, rate: float, connections: int) -> list[float]:
    """Put W in bodies of ``BODY_ROWS`` on a fixed schedule; when each was acknowledged (monotonic clock), in order."""
    bodies = [_rust.workload_body(first, BODY_ROWS) for first in range(0, rows, BODY_ROWS)]
    begin = time.monotonic() + 0.1
    left, lock = iter(enumerate(bodies)), threading.Lock()
    acknowledged: list[float] = []
    failures: list[str] = []

    def sender() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        head = {"User-Agent": AGENT, "type": "json", "dbms": "bench", "table": "readings", "mode": "streaming"}
        while True:
            with lock:
                number, body = next(left, (0, b""))
            if not body:
                return
            time.sleep(max(begin + number * BODY_ROWS / rate - time.monotonic(), 0))
            link.request("PUT", "/", body=body, headers=head)
            reply = link.getresponse()
            said = reply.read()
            if reply.status != 200:
                failures.append(f"{reply.status} {said[:200]!r}")
                return
            acknowledged.append(time.monotonic())

    threads = [threading.Thread(target=sender) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise BenchError(f"a PUT was answered with {failures[0]}")
    return sorted(acknowledged)


if __name__ == "__main__":
    tell(acknowledged=put_paced(**json.loads(sys.argv[1])))
