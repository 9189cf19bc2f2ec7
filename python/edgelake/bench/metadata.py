"""Policies by the hundred thousand: loading, finding, inserting, and one changed policy on its way to fifty nodes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from edgelake._rust import PeerFrames
from edgelake.bench import Settings
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, free_port
from edgelake.bench.results import Result
from edgelake.command.handlers.synchronizer import synchronizer_of
from edgelake.metadata import ledger
from edgelake.metadata.ids import Policy, body_of, id_of
from edgelake.metadata.master import MASTER, Master
from edgelake.metadata.policies import Policies
from edgelake.model import PROMPT
from edgelake.node import Node

POLICIES: Final = 100_000
FOLLOWERS: Final = 50
ASKED: Final = 5_000
INSERTED: Final = 500

QUESTIONS: Final = (
    "operator where name = op-{n}",
    "operator where [name] == op-{n}",
    "operator where cluster = c-{tenth}",
    "operator where ip = {ip} and port = 32148",
    "operator where company = company-{odd} and city = city-{part}",
    "operator where [operator][city] == city-{part} and [port] > 1",
)
"""Kinds of ``blockchain get`` that select up to ten policies."""


def run(settings: Settings) -> list[Result]:
    with settings.folder("metadata") as folder:
        return asyncio.run(_run(settings, Path(folder)))


async def _run(settings: Settings, folder: Path) -> list[Result]:
    found: list[Result] = []
    if settings.wants("load", "get", "insert", "insert-held"):
        count = settings.rows(POLICIES)
        path = folder / "blockchain.json"
        path.write_bytes(ledger.lines(operator(n, count) for n in range(count)))
        settings.say(f"{count:,} policies, {path.stat().st_size / 1e6:.0f} MB")
        policies = Policies(path)
        found.append(await _load(settings, policies, count))
        found.append(_get(settings, policies, count))
        found += await _insert(settings, policies)
    if settings.wants("sync"):
        found.append(await _sync(settings, folder))
    return found


def operator(n: int, count: int) -> Policy:
    """One of ``count`` operators, about 400 bytes; ten share a cluster, and ten a city."""
    return {
        "operator": {
            "name": f"op-{n}",
            "company": f"company-{n % 2}",
            "ip": _ip(n),
            "port": 32148,
            "cluster": f"c-{n // 10}",
            "member": n % 10 + 1,
            "city": f"city-{n % max(count // 10, 1)}",
            "description": "x" * 150,
            "id": f"{n:032x}",
            "date": f"2026-01-01T00:00:00.{n:06d}Z",
            "ledger": "global",
        }
    }


def _ip(n: int) -> str:
    return f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"


async def _load(settings: Settings, policies: Policies, count: int) -> Result:
    seconds = []
    for _ in range(settings.rounds(3)):
        begin = time.perf_counter()
        if await policies.load() != count:
            raise BenchError(f"{len(policies.image)} of {count} policies are loaded")
        seconds.append(time.perf_counter() - begin)
    settings.say(f"load: {min(seconds):.2f} s")
    return measured("metadata", "load", sorted(seconds)[len(seconds) // 2], runs=seconds)


def _get(settings: Settings, policies: Policies, count: int) -> Result:
    asked = max(int(ASKED * settings.scale), 100)
    times_ms: list[float] = []
    scan_ms = 0.0
    for kind in QUESTIONS:
        question = "blockchain get " + kind
        begin = time.perf_counter()
        _check(policies, question, 7 % count, count)  # makes an index where one is missing
        first_ms = (time.perf_counter() - begin) * 1e3
        kind_ms = []
        for at in range(asked // len(QUESTIONS)):
            text = _filled(question, at * 7919 % count, count)
            begin = time.perf_counter()
            policies.select(text)
            kind_ms.append((time.perf_counter() - begin) * 1e3)
        kind_ms.sort()
        settings.say(f"{kind}: p99 {kind_ms[len(kind_ms) * 99 // 100]:.3f} ms, the first {first_ms:.0f} ms")
        times_ms += kind_ms
        scan_ms = scan_ms or _scan_ms(policies)
    times_ms.sort()
    p99 = times_ms[len(times_ms) * 99 // 100]
    return measured("metadata", "get", p99, p50_ms=times_ms[len(times_ms) // 2], scan_of_all_ms=scan_ms)


def _filled(question: str, n: int, count: int) -> str:
    return question.format(n=n, tenth=n // 10, ip=_ip(n), odd=n % 2, part=n % max(count // 10, 1))


def _check(policies: Policies, question: str, n: int, count: int) -> None:
    """The answer is what reading all policies gives."""
    found = policies.select(_filled(question, n, count)).data
    if not 1 <= len(found) <= 10 or not any(body_of(p)["name"] == f"op-{n}" for p in found):
        raise BenchError(f"{question} selects {len(found)} policies, or not those that it should")


def _scan_ms(policies: Policies) -> float:
    """What a condition costs that no index helps."""
    begin = time.perf_counter()
    policies.select("blockchain get operator where [name] != nosuch and [name] endswith -7")
    return (time.perf_counter() - begin) * 1e3


async def _insert(settings: Settings, policies: Policies) -> list[Result]:
    """Policies inserted one after another, and the longest time for which the loop did nothing else meanwhile."""
    gaps_ms: list[float] = []
    stop = asyncio.Event()

    async def beat() -> None:
        last = time.perf_counter()
        while not stop.is_set():
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps_ms.append((now - last) * 1e3)
            last = now

    inserted = max(int(INSERTED * settings.scale), 20)
    before = len(policies.image)
    beating = asyncio.create_task(beat())
    begin = time.perf_counter()
    for at in range(inserted):
        await policies.insert({"config": {"name": f"new-{at}"}})
    each_ms = (time.perf_counter() - begin) / inserted * 1e3
    stop.set()
    await beating
    if len(policies.image) != before + inserted:
        raise BenchError("inserted policies are missing")
    gaps_ms.sort()
    held = gaps_ms[-max(len(gaps_ms) // 1000, 1)]
    settings.say(f"insert: {each_ms:.2f} ms each, the loop held for {held:.2f} ms (p99.9)")
    return [
        measured("metadata", "insert", each_ms, inserted=inserted),
        measured("metadata", "insert-held", held, longest_ms=gaps_ms[-1]),
    ]


class _Meter:
    """Passes bytes between followers and the master, and counts them.

    Attributes:
        passed_bytes: all that went over the connections.
        payload_bytes: the commands and texts in it.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._since = 0
        self.passed_bytes = self.payload_bytes = 0

    def reset(self) -> None:
        """Count anew; between two messages."""
        self._since += 1
        self.passed_bytes = self.payload_bytes = 0

    async def start(self) -> str:
        """Returns the address that followers are told."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            back, on = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(self._pass(reader, on), self._pass(back, writer))
        except OSError:
            pass  # one side is gone, and so is the other
        finally:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames, since = PeerFrames(1 << 20), self._since
        while data := await reader.read(1 << 16):
            self.passed_bytes += len(data)
            if since != self._since:
                frames, since = PeerFrames(1 << 20), self._since
            if since:  # before, both sides find out what the other one is
                self.payload_bytes += sum(len(one.command.encode()) + len(one.data) for one in frames.feed(data))
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def _member(home: Path, name: str) -> AsyncIterator[tuple[Node, int]]:
    """A node that speaks with others, and its port."""
    home.mkdir(parents=True)
    async with Node(home, name=name, caller=PROMPT) as made:
        port = free_port()
        await made.execute("create work directories")
        await made.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true")
        yield made, port


async def _sync(settings: Settings, folder: Path) -> Result:
    """Fifty nodes have a ledger; one policy of 500 bytes of it changes, and each node asks what is new.

    Master and followers are nodes, and the bytes those of their links: commands and answers.
    """
    async with AsyncExitStack() as stack:
        master, port = await stack.enter_async_context(_member(folder / "master", "master"))
        await master.execute("connect dbms blockchain where type = sqlite and memory = true")
        await master.execute("create table ledger where dbms = blockchain")
        kept: Master = master.ctx.parts[MASTER]
        for n in range(20):
            await kept.push(operator(n, 20))
        content, _ = await kept.content()
        meter = _Meter(port)
        address = await meter.start()
        stack.push_async_callback(meter.stop)
        followers = []
        for n in range(FOLLOWERS):
            made, _ = await stack.enter_async_context(_member(folder / f"follower-{n}", f"follower-{n}"))
            # A whole copy would come from the master's own address; a node that was met before asks for changes.
            await made.ctx.policies.merge(content)
            await made.execute(f"run client {address} get status")
            at = f"connection = {address}"
            await made.execute(f"run blockchain sync where source = master and time = 1 hour and dest = file and {at}")
            followers.append(made)
        await _in_step(followers, kept)
        await kept.replace(f"{7:032x}", {"operator": {**body_of(operator(7, 20)), "description": "y" * 220}})
        changed = next(p for p in await kept.policies() if id_of(p) == f"{7:032x}")
        meter.reset()
        await _in_step(followers, kept)
    settings.say(f"sync: {meter.payload_bytes:,} bytes at {FOLLOWERS} nodes, with frames {meter.passed_bytes:,}")
    notes = {"policy_bytes": len(json.dumps(changed)), "with_frames_kb": meter.passed_bytes / 1e3}
    return measured("metadata", "sync", meter.payload_bytes / 1e3, **notes)


async def _in_step(followers: Sequence[Node], master: Master) -> None:
    """Each follower asks once, and has the master's ledger then."""
    for made in followers:
        sync = synchronizer_of(made.ctx)
        if sync is None or not await sync.round(timeout_s=60):
            raise BenchError("a follower does not end its round")
    versions = {made.ctx.policies.version for made in followers}
    if versions != {await master.version()}:
        raise BenchError(f"{len(versions)} versions of the ledger after the change")
