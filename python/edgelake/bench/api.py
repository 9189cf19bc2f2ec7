"""The public API: answers of ``/v1/sql`` beside the same from apsw by hand, scrapes under load, what a name costs."""

from __future__ import annotations

import base64
import csv
import functools
import http.client
import io
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any, Final

from edgelake.bench import Settings, by_hand, gathered, load
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, Child, node
from edgelake.bench.query import fill, rounds
from edgelake.bench.results import Result
from edgelake.processes import AGENT, NodeProcess

ROWS: Final = 1_000_000
SCRAPES: Final = 20
SCRAPE_EVERY_S: Final = 0.05
REQUESTS: Final = 2000
AUTH_ROUNDS: Final = 7
NAME, PASSWORD = "bench", "bench-password"
SCRIPT: Final = ("connect dbms bench where type = sqlite",)
SELECT: Final = "select timestamp, device_name, value from readings limit {rows}"


def run(settings: Settings) -> list[Result]:
    parts = ((answers, ("sql-csv", "sql-arrow")), (scrapes, ("metrics",)), (names, ("authenticated",)))
    return gathered(settings, *(part for part, keys in parts if settings.wants(*keys)))


# ---- answers


def answers(settings: Settings) -> list[Result]:
    rows = settings.rows(ROWS)
    with settings.folder("api") as folder:
        home = Path(folder) / "node"
        file = home / "EdgeLake" / "data" / "dbms" / "bench.dbms"
        fill(file, rows)
        with node(home, SCRIPT) as at:
            hand = Child(by_hand.PROGRAM, {"file": str(file)})
            try:
                expected = hand.asked("select", limit=rows, values=True)["values"]
                found = []
                for form in ("csv", "arrow"):
                    if settings.wants(f"sql-{form}"):
                        if _values(form, fetch(at, form, rows)) != expected:
                            raise BenchError(f"/v1/sql as {form} gives other values than the table holds")
                        ours = functools.partial(drain, at, form, rows)
                        found.append(rounds(settings, f"sql-{form}", ours, hand, "api", limit=rows))
                return found
            finally:
                hand.end()


def _values(form: str, body: bytes) -> list[float]:
    if form == "csv":
        return [float(row["value"]) for row in csv.DictReader(io.StringIO(body.decode(), newline=""))]
    import pyarrow

    found: list[float] = pyarrow.ipc.open_stream(body).read_all().column("value").to_pylist()
    return found


def _asked(link: http.client.HTTPConnection, form: str, rows: int) -> http.client.HTTPResponse:
    """Raises BenchError."""
    body = json.dumps({"dbms": "bench", "sql": SELECT.format(rows=rows), "format": form})
    link.request("POST", "/v1/sql", body=body, headers={"Content-Type": "application/json"})
    reply = link.getresponse()
    if reply.status != 200:
        raise BenchError(f"{reply.status}: {reply.read()[:200]!r}")
    return reply


def fetch(at: NodeProcess, form: str, rows: int) -> bytes:
    link = http.client.HTTPConnection("127.0.0.1", at.port, timeout=120)
    try:
        return _asked(link, form, rows).read()
    finally:
        link.close()


def drain(at: NodeProcess, form: str, rows: int) -> None:
    """Read an answer as it comes, and forget it."""
    link = http.client.HTTPConnection("127.0.0.1", at.port, timeout=120)
    try:
        reply = _asked(link, form, rows)
        while reply.read(1 << 20):
            pass
    finally:
        link.close()


# ---- scrapes


def scrapes(settings: Settings) -> list[Result]:
    """Scrapes while another process puts workload W as fast as it is taken; the last one has to count all rows."""
    rows = settings.rows(ROWS)
    with settings.folder("scrape") as folder, node(Path(folder) / "node", SCRIPT) as at:
        report: dict[str, Any] = {}
        putting = threading.Thread(target=lambda: report.update(load.put(at.address, rows, 1000, 8)))
        putting.start()
        times: list[float] = []
        link = http.client.HTTPConnection("127.0.0.1", at.port, timeout=60)
        try:
            while putting.is_alive() or len(times) < SCRAPES:
                times.append(_scrape(link)[0])
                time.sleep(SCRAPE_EVERY_S)
            putting.join()
            if report.get("failures") != 0:
                raise BenchError(f"the load failed: {report}")
            _wait_for(link, rows)
        finally:
            link.close()
        middle, slowest = statistics.median(times) * 1000, max(times) * 1000
        settings.say(f"metrics: p50 {middle:.2f} ms, slowest {slowest:.1f} ms of {len(times)}")
        return [measured("api", "metrics", middle, slowest_ms=slowest, scrapes=len(times), rows=rows)]


def _scrape(link: http.client.HTTPConnection) -> tuple[float, str]:
    begin = time.perf_counter()
    link.request("GET", "/metrics")
    reply = link.getresponse()
    text = reply.read().decode()
    seconds = time.perf_counter() - begin
    if reply.status != 200 or "edgelake_service_up" not in text:
        raise BenchError(f"{reply.status}: {text[:200]}")
    return seconds, text


def _wait_for(link: http.client.HTTPConnection, rows: int) -> None:
    """Until the metrics count every row. Raises BenchError."""
    line = f'edgelake_rows_stored_total{{dbms="bench",table="readings"}} {rows}'
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        _, text = _scrape(link)
        if line in text.splitlines():
            return
        time.sleep(0.05)
    raise BenchError(f"the metrics never had the line: {line}")


# ---- names


def names(settings: Settings) -> list[Result]:
    """The same request with and without a name, turn by turn over one connection each."""
    count = max(50, settings.rows(ROWS) * REQUESTS // ROWS)
    script = (*SCRIPT, f"id add user where name = {NAME} and password = {PASSWORD} and type = admin")
    with settings.folder("names") as folder, node(Path(folder) / "node", script) as at:
        basic = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
        plain = {"User-Agent": AGENT, "command": "get status"}
        named = plain | {"Authorization": f"Basic {basic}"}
        links = [http.client.HTTPConnection("127.0.0.1", at.port, timeout=60) for _ in range(2)]
        try:
            _check(links[0], plain, {"Authorization": "Basic eDp5"})
            _requests(links[1], named, 1)  # the first is looked at slowly
            pairs = []
            for _ in range(settings.rounds(AUTH_ROUNDS)):
                pairs.append((_requests(links[1], named, count), _requests(links[0], plain, count)))
        finally:
            for link in links:
                link.close()
    ours, anonymous = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
    settings.say(f"authenticated: {ours * 1e6:.0f} us, anonymous {anonymous * 1e6:.0f} us a request")
    return [measured("api", "authenticated", ours * 1e6, anonymous * 1e6, requests=count, rounds=len(pairs))]


def _check(link: http.client.HTTPConnection, plain: dict[str, str], wrong: dict[str, str]) -> None:
    """A wrong name is refused: names are looked at. Raises BenchError."""
    link.request("GET", "/", headers={**plain, **wrong})
    reply = link.getresponse()
    reply.read()
    if reply.status != 401:
        raise BenchError(f"a wrong password was answered with {reply.status}")


def _requests(link: http.client.HTTPConnection, headers: dict[str, str], count: int) -> float:
    """Seconds of one of so many requests. Raises BenchError."""
    begin = time.perf_counter()
    for _ in range(count):
        link.request("GET", "/", headers=headers)
        reply = link.getresponse()
        body = reply.read()
        if reply.status != 200 or b"running" not in body:
            raise BenchError(f"{reply.status}: {body[:200]!r}")
    return (time.perf_counter() - begin) / count
