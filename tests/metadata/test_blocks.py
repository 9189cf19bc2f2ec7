"""Policies between peers of the reference's kind, over real sockets (network protocol, section 6.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgelake.bench.processes import free_port
from edgelake.metadata.ids import body_of, id_of
from tests.metadata.blocks import BlockMember, block, send
from tests.metadata.network import Wire, settled
from tests.metadata.test_sync import CLUSTER, names, node


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def play(home: Path, work: Callable[[BlockMember, BlockMember], Coroutine[Any, Any, None]]) -> None:
    """A master, and a node that follows it in rounds of its own, too."""

    async def whole() -> None:
        wire = Wire(upgraded=False)
        master, other = (BlockMember(wire, free_address(), home / name) for name in ("the master", "other node"))
        for member in (master, other):
            member.home.mkdir()
            await member.listen()
        try:
            await master.serve_ledger()
            await other.policies.load()
            await other.run_sync(connection=master.address)
            await work(master, other)
        finally:
            await other.close()
            await master.close()

    asyncio.run(whole())


async def until(member: BlockMember, holds: Callable[[], bool]) -> None:
    """Rounds, and what they bring, until something holds."""
    async with asyncio.timeout(10):
        while not holds():
            member.arrived.clear()
            await settled(member)
            if not holds():
                await asyncio.wait_for(member.arrived.wait(), 10)


def test_push_pull_and_drop(tmp_path: Path) -> None:
    async def work(master: BlockMember, other: BlockMember) -> None:
        long = {
            "config": {"name": "long", "id": "id-9", "text": "\u00fc" * 4000, "date": "2026-01-01T00:00:09.000000Z"}
        }
        await master.master.push(long)
        await until(other, lambda: names(other) == ["long"])
        policy_id = await other.policies.insert(CLUSTER, masters=[master.address])
        await until(other, lambda: body_of(other.policies.get(policy_id) or {"": {}}).get("ledger") == "global")
        assert other.policies.path.read_bytes() == (await master.master.content())[0]
        assert other.policies.version == await master.master.version()
        await other.policies.delete("id-9", masters=[master.address])
        await until(other, lambda: not other.policies.unconfirmed)
        assert [id_of(p) for p in await master.master.policies()] == [policy_id]
        assert names(other) == ["c1"]

    play(tmp_path, work)


def test_a_node_that_always_sends_hash_0_gets_the_whole_ledger(tmp_path: Path) -> None:
    async def work(master: BlockMember, other: BlockMember) -> None:
        await master.master.push(node(1))
        assert other.sync is not None
        await other.sync.stop()
        ask = f"event get_blockchain {str(other.home / 'blockchain.new').replace(' ', chr(9))} 0 0".encode()
        await until_file(other, master.address, ask)
        assert other.taken[-1].startswith("file write ")
        assert ".master_id_" in other.taken[-1]

    play(tmp_path, work)


async def until_file(member: BlockMember, peer: str, command: bytes) -> None:
    async with asyncio.timeout(10):
        while not any(c.startswith("file write ") for c in member.taken):
            member.arrived.clear()
            await send(peer, [block(1, True, member.address, command, b"", info=6, generic=0)])
            await member.arrived.wait()


@pytest.mark.parametrize("cut", [0, 100, 2048, 3000])
def test_a_copy_that_breaks_off_changes_nothing(tmp_path: Path, cut: int) -> None:
    async def work(master: BlockMember, other: BlockMember) -> None:
        await master.master.push(node(1))
        await until(other, lambda: names(other) == ["n1"])
        before = other.policies.path.read_bytes()
        command = f"file write {other.home}/blockchain/blockchain.master_id_1.new".encode()
        blocks = b"".join(
            block(n, n == 3, master.address, command, b'{"x": 1}\n', info=0, generic=2) for n in (1, 2, 3)
        )
        other.arrived.clear()
        await send(other.address, [blocks[:cut]])
        await other.arrived.wait()
        assert other.policies.path.read_bytes() == before
        assert names(other) == ["n1"]

    play(tmp_path, work)
