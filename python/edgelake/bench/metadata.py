"""Policies by the hundred thousand: loading, finding, inserting, and one changed policy on its way to fifty nodes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from edgelake.bench import Settings
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError
from edgelake.bench.results import Result
from edgelake.metadata import ledger
from edgelake.metadata.ids import Policy, body_of, id_of
from edgelake.metadata.master import Master
from edgelake.metadata.network import Network
from edgelake.metadata.platforms import Platforms
from edgelake.metadata.policies import Policies
from edgelake.metadata.sync import SyncConfig, Synchronizer
from edgelake.peering import FileTarget, PeerAnswer
from edgelake.store.ledger import LedgerTable
from edgelake.store.stores import Stores

POLICIES: Final = 100_000
FOLLOWERS: Final = 50
ASKED: Final = 5_000
INSERTED: Final = 500
MASTER: Final = "127.0.0.1:32048"

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


class _Wire:
    """Messages between a master and its followers, with the bytes of payload that they carry."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self.payload_bytes = 0

    def source_for(self, peer: str) -> str:
        return "127.0.0.1:32148"

    def is_own(self, address: str) -> bool:
        return address == "127.0.0.1:32148"

    def is_upgraded(self, peer: str) -> bool:
        return True

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        raise BenchError(f"a whole copy is asked for: {command}")

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        text = json.dumps(await self._master.changes(command.split(" ")[-1]))
        self.payload_bytes += len(command) + len(text)
        return [PeerAnswer(peers[0], text, True)]

    async def send_file(
        self, peer: str, destination: str, content: bytes | AsyncIterator[bytes], target: FileTarget
    ) -> None:
        raise AssertionError("changes are asked for here, not whole copies")


async def _sync(settings: Settings, folder: Path) -> Result:
    """Fifty nodes have a ledger; one policy of 500 bytes of it changes, and each node asks what is new."""
    stores = Stores(lambda: folder)
    await stores.connect("blockchain", memory=True)
    master = Master(LedgerTable(stores))
    for n in range(20):
        await master.push(operator(n, 20))
    content, _ = await master.content()
    wire, platforms = _Wire(master), Platforms()
    nothing = Master(LedgerTable(Stores(lambda: folder)))  # the followers are no masters
    followers = []
    for n in range(FOLLOWERS):
        policies = Policies(folder / f"follower-{n}" / "blockchain.json")
        await policies.merge(content)
        sync = Synchronizer(
            SyncConfig("master", 60.0, MASTER), policies, Network(lambda: wire, platforms, nothing), nothing, platforms
        )
        followers.append((policies, sync))
    await master.replace(f"{7:032x}", {"operator": {**body_of(operator(7, 20)), "description": "y" * 220}})
    changed = next(p for p in await master.policies() if id_of(p) == f"{7:032x}")
    try:
        for _, sync in followers:
            await sync.start()
            if not await sync.round(timeout_s=60):
                raise BenchError("a follower does not end its round")
        versions = {policies.version for policies, _ in followers}
        if versions != {await master.version()}:
            raise BenchError(f"{len(versions)} versions of the ledger after the change")
    finally:
        for _, sync in followers:
            await sync.stop()
        await stores.close()
    settings.say(f"sync: {wire.payload_bytes:,} bytes to {FOLLOWERS} nodes")
    return measured("metadata", "sync", wire.payload_bytes / 1e3, policy_bytes=len(json.dumps(changed)))
