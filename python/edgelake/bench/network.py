"""Nodes that talk to each other: a round trip, aggregates and rows of two operators, one query over two hundred."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from edgelake.bench import Settings, gathered, peers
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, Child, free_port, node, peak_resident_mb, reset_peak
from edgelake.bench.query import fill
from edgelake.bench.results import Result
from edgelake.metadata import ledger
from edgelake.metadata.ids import Policy
from edgelake.model import PROMPT
from edgelake.net.peer.links import Links
from edgelake.node import Node
from edgelake.processes import NodeProcess, get

ROWS: Final = 5_000_000
PASSED: Final = 1_000_000
OPERATORS: Final = 200
TRIPS: Final = 2_000
QUERIES: Final = 60
ROUNDS: Final = 5

AGGREGATES: Final = "select count(*) as n, min(value) as low, max(value) as high, avg(value) as mean from readings"
LEAF: Final = "select count(*) as a, min(value) as b, max(value) as c, sum(value) as d, count(value) as e from readings"
PASSING: Final = "select timestamp, device_name, value from readings"
OVER_ALL: Final = "select count(*), avg(value) from {table}"
COLUMNS: Final = "(timestamp timestamp not null, device_name varchar, value float)"
FRAME_BYTES: Final = 230
"""What ``get status`` and its answer take in a frame, each."""


def run(settings: Settings) -> list[Result]:
    return gathered(settings, _trips, _aggregate, _rows, _fan)


# ---- round trips


def _trips(settings: Settings) -> list[Result]:
    if not settings.wants("trip-blocks", "trip-link"):
        return []
    with settings.folder("trips") as folder:
        port = free_port()
        with node(Path(folder) / "peer", _server(port)) as peer:
            here, *_, there = sorted(os.sched_getaffinity(0)) * 2
            echo = Child(peers.PROGRAM, {"echo": True}, core=there)
            try:
                kept, each_way = echo.line()["ports"]
                os.sched_setaffinity(peer.process.pid, {there})
                with _on_core(here):
                    return uvloop.run(_round_trips(settings, Path(folder) / "asks", port, kept, each_way))
            finally:
                echo.end()


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Where the scheduler puts two processes decides more than what they do: the asking ones stay here."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _round_trips(settings: Settings, home: Path, port: int, kept: int, each_way: int) -> list[Result]:
    trips = max(20, int(TRIPS * min(settings.scale, 1)))
    found = []
    async with _asking(home) as asks:
        line = f"run client 127.0.0.1:{port} get status"

        async def ours() -> None:
            said = (await asks.execute(line)).text or ""
            if not said.endswith(" running"):
                raise BenchError(f"get status gave {said!r}")

        kinds: list[tuple[str, bool, Callable[[], Awaitable[None]]]] = []
        if settings.wants("trip-blocks"):
            kinds.append(("trip-blocks", False, await _echo_each_way(each_way)))
        if settings.wants("trip-link"):
            kinds.append(("trip-link", True, await _echo_kept(kept)))
        for key, linked, echo in kinds:
            with _upgraded(linked):
                pairs = []
                for _ in range(settings.rounds(ROUNDS)):
                    await ours()
                    await ours()
                    pairs.append((await _p50_us(ours, trips), await _p50_us(echo, trips)))
            figure, baseline = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
            settings.say(f"{key}: {figure:.0f} us, echo {baseline:.0f} us")
            found.append(measured("network", key, figure, baseline, rounds=pairs))
    return found


async def _p50_us(work: Callable[[], Awaitable[None]], times: int) -> float:
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        await work()
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent) * 1e6


class _Until(asyncio.Protocol):
    """Tells when so many bytes have come."""

    def __init__(self, wanted: int) -> None:
        self._wanted, self.left = wanted, 0
        self.done: asyncio.Future[None] | None = None

    def begin(self) -> asyncio.Future[None]:
        self.left, self.done = self._wanted, asyncio.get_running_loop().create_future()
        return self.done

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left <= 0 and self.done is not None and not self.done.done():
            self.done.set_result(None)


async def _echo_kept(port: int) -> Callable[[], Awaitable[None]]:
    until = _Until(FRAME_BYTES)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: until, "127.0.0.1", port)

    async def work() -> None:
        done = until.begin()
        transport.write(bytes(FRAME_BYTES))
        await done

    return work


async def _echo_each_way(port: int) -> Callable[[], Awaitable[None]]:
    loop = asyncio.get_running_loop()
    until = _Until(peers.BLOCK_BYTES)
    server = await loop.create_server(lambda: until, "127.0.0.1", 0)
    block = struct.pack(">H", server.sockets[0].getsockname()[1]).ljust(peers.BLOCK_BYTES, b"\0")

    async def work() -> None:
        done = until.begin()
        await loop.create_connection(lambda: peers.Once(block), "127.0.0.1", port)
        await done

    return work


# ---- two operators


def _aggregate(settings: Settings) -> list[Result]:
    if not settings.wants("aggregate"):
        return []
    rows = settings.rows(ROWS)
    with settings.folder("aggregate") as folder, _three(settings, Path(folder), rows, rows) as (asks, operators):
        pairs = []
        check = None
        for _ in range(settings.rounds(ROUNDS) + 1):
            begin = time.perf_counter()
            said = _network(asks, AGGREGATES)
            spent = time.perf_counter() - begin
            check = check or _checked(json.loads(said)["Query"][0], operators)
            pairs.append((spent, 1.1 * _slower(operators) + 0.005))
        figure, baseline = sorted(pairs[1:], key=lambda pair: pair[0] / pair[1])[len(pairs[1:]) // 2]
        settings.say(f"aggregate: {figure:.4f} s, bound {baseline:.4f} s")
        return [measured("network", "aggregate", figure, baseline, rounds=pairs)]


def _checked(merged: dict[str, Any], operators: list[NodeProcess]) -> bool:
    """Raises BenchError unless the answer is that of both operators together."""
    parts = [json.loads(_local(at, LEAF))["Query"][0] for at in operators]
    count, total = sum(part["a"] for part in parts), sum(part["d"] for part in parts)
    wanted = (count, min(part["b"] for part in parts), max(part["c"] for part in parts))
    if (merged["n"], merged["low"], merged["high"]) != wanted or abs(merged["mean"] - total / count) > 1e-6:
        raise BenchError(f"{merged} instead of {wanted} and {total / count}")
    return True


def _slower(operators: list[NodeProcess]) -> float:
    """Seconds of the slower operator for its part, while the other one scans too."""
    spent: list[float] = []

    def ask(at: NodeProcess) -> None:
        begin = time.perf_counter()
        _local(at, LEAF)
        spent.append(time.perf_counter() - begin)

    asking = [threading.Thread(target=ask, args=(at,)) for at in operators]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    if len(spent) != len(operators):
        raise BenchError("an operator gave no answer")
    return max(spent)


def _rows(settings: Settings) -> list[Result]:
    if not settings.wants("rows", "rows-memory"):
        return []
    rows = settings.rows(PASSED)
    with settings.folder("rows") as folder:
        whole = Path(folder) / "whole"
        fill(_file_of(whole), rows)
        with (
            _three(settings, Path(folder), rows // 2, rows - rows // 2) as (asks, operators),
            node(whole, _SQLITE) as one,
        ):
            for at in (asks, *operators):
                reset_peak(at.process.pid)
            pairs, size = [], 0
            for _ in range(settings.rounds(ROUNDS)):
                begin = time.perf_counter()
                size = len(_network(asks, PASSING))
                spent = time.perf_counter() - begin
                begin = time.perf_counter()
                wanted = len(_local(one, PASSING))
                pairs.append((spent, time.perf_counter() - begin))
            if _sum(_network(asks, PASSING)) != _sum(_local(one, PASSING)):
                raise BenchError("the operators give other rows than one node with all of them")
            figure, baseline = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
            peak = max(peak_resident_mb(at.process.pid) for at in (asks, *operators))
            settings.say(
                f"rows: {figure:.3f} s, one node {baseline:.3f} s, {size:,} of {wanted:,} bytes, {peak:.0f} MB"
            )
            return [
                measured("network", "rows", figure, baseline, rounds=pairs),
                measured("network", "rows-memory", peak),
            ]


def _sum(reply: bytes) -> tuple[int, int, float]:
    """Rows, different devices and sum of the values of a reply."""
    rows = json.loads(reply)["Query"]
    return len(rows), len({row["device_name"] for row in rows}), round(sum(row["value"] for row in rows), 3)


_SQLITE: Final = ("connect dbms bench where type = sqlite",)


@contextmanager
def _three(
    settings: Settings, folder: Path, first: int, second: int
) -> Iterator[tuple[NodeProcess, list[NodeProcess]]]:
    """A node that asks, and two operators with so many rows each."""
    settings.say(f"two operators with {first:,} and {second:,} rows")
    homes = [folder / "a", folder / "b"]
    fill(_file_of(homes[0]), first)
    fill(_file_of(homes[1]), second, first)
    ports = [free_port(), free_port()]
    with (
        node(homes[0], [*_SQLITE, *_server(ports[0])]) as a,
        node(homes[1], [*_SQLITE, *_server(ports[1])]) as b,
    ):
        home = folder / "asks"
        _write_ledger(home, {"readings": ports})
        with node(home, _server(free_port())) as asks:
            for _ in range(2):  # the first answers show the kind of the operators
                _network(asks, "select count(*) from readings")
            yield asks, [a, b]


def _file_of(home: Path) -> Path:
    return home / "EdgeLake" / "data" / "dbms" / "bench.dbms"


def _network(at: NodeProcess, sql: str) -> bytes:
    return get(at.port, {"command": f'sql bench format = json and stat = false "{sql}"', "destination": "network"}, 300)


def _local(at: NodeProcess, sql: str) -> bytes:
    return at.command(f'sql bench format = json and stat = false "{sql}"', 300)


# ---- two hundred operators


def _fan(settings: Settings) -> list[Result]:
    found = []
    for key, marked in (("fan-blocks", False), ("fan-link", True)):
        if settings.wants(key, f"{key}-silent", f"{key}-after"):
            found += _over_all(settings, key, marked)
    return found


def _over_all(settings: Settings, key: str, marked: bool) -> list[Result]:
    with settings.folder("fan") as folder:
        operators = Child(peers.PROGRAM, {"operators": OPERATORS, "marked": marked})
        try:
            ports = operators.line()["ports"]
            home = Path(folder) / "asks"
            _write_ledger(home, {"one": ports[:1], "every": ports})
            one, every = uvloop.run(_over(settings, home))
        finally:
            operators.end()
    settings.say(f"{key}: one {one:.2f} ms, {OPERATORS} {every:.2f} ms")
    return [measured("network", key, every - one, one_ms=one, all_ms=every)]


async def _over(settings: Settings, home: Path) -> tuple[float, float]:
    """Milliseconds of a query over one operator, and over all."""
    queries = max(3, int(QUERIES * min(settings.scale, 1)))
    async with _asking(home) as asks:

        async def over(table: str, wanted: int) -> None:
            reply = await asks.execute(f"run client () sql bench stat = false {OVER_ALL.format(table=table)}")
            assert reply.stream is not None
            (row,) = json.loads(b"".join([piece async for piece in reply.stream]))["Query"]
            if row["count(*)"] != wanted or row["avg(value)"] != 2.5:
                raise BenchError(f"{row} instead of {wanted} rows")

        for table, count in (("one", 1), ("every", OPERATORS)) * 2:
            await over(table, count)
        one = await _p50_us(lambda: over("one", 1), queries)
        every = await _p50_us(lambda: over("every", OPERATORS), queries)
        return one / 1e3, every / 1e3


# ---- nodes


def _server(port: int) -> tuple[str, ...]:
    return (f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true",)


@contextmanager
def _upgraded(wanted: bool) -> Iterator[None]:
    """Without ``wanted`` nobody is taken for a node of our kind."""
    kept = Links.is_known
    try:
        if not wanted:
            Links.is_known = lambda *_: False  # type: ignore[method-assign]
        yield
    finally:
        Links.is_known = kept  # type: ignore[method-assign]


class _asking:
    """A node in this process, with a TCP server."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._node = Node(home, name="asks", caller=PROMPT)

    async def __aenter__(self) -> Node:
        made = await self._node.__aenter__()
        await made.execute("create work directories")
        for line in _server(free_port()):
            await made.execute(line)
        return made

    async def __aexit__(self, *failure: Any) -> None:
        await self._node.__aexit__(*failure)


def _write_ledger(home: Path, tables: dict[str, list[int]]) -> None:
    """Policies of tables, and of operators on these ports, each the only one of its cluster."""
    held: dict[int, list[str]] = {}
    policies: list[Policy] = []
    for name, ports in tables.items():
        create = f"CREATE TABLE IF NOT EXISTS {name}{COLUMNS};"
        policies.append({"table": {"name": name, "dbms": "bench", "create": create, "id": f"t-{name}"}})
        for port in ports:
            held.setdefault(port, []).append(name)
    for port, names in held.items():
        listed = [{"dbms": "bench", "name": name, "status": "active"} for name in names]
        cluster = {"name": f"c{port}", "company": "bench", "status": "active", "table": listed, "id": f"c-{port}"}
        policies.append({"cluster": cluster})
        address = {"ip": "127.0.0.1", "local_ip": "127.0.0.1", "port": port}
        member = {"name": f"o{port}", "company": "bench", "cluster": f"c-{port}", "member": 1}
        policies.append({"operator": {**member, **address, "id": f"o-{port}"}})
    path = home / "EdgeLake" / "blockchain" / "blockchain.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ledger.lines(policies))
