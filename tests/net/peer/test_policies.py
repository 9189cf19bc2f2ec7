"""A master and the nodes that follow it, over sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.node import Node
from tests.net.peer.nodes import node, server, until
from tests.net.peer.raw import RawPeer, block, send


async def be_master(made: Node, address: str) -> None:
    for line in (
        "connect dbms blockchain where type = sqlite",
        "create table ledger where dbms = blockchain",
        f"run blockchain sync where source = master and time = 1 second and dest = file and connection = {address}",
    ):
        await made.execute(line)


async def follow(made: Node, master: str) -> None:
    await made.execute(
        f"run blockchain sync where source = master and time = 1 second and dest = file and connection = {master}"
    )


async def insert(made: Node, policy: dict[str, object], master: str) -> None:
    await made.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true and master = {master}")


async def names(made: Node, kind: str) -> str:
    return (await made.execute(f"blockchain get {kind} bring [*][name] separator = ,")).text or ""


async def test_policies_reach_every_node_and_go_again(tmp_path: Path) -> None:
    async with (
        node(tmp_path / "m", "m") as (master, at_master),
        node(tmp_path / "a", "a") as (a, _),
        node(tmp_path / "b", "b") as (b, _),
    ):
        await be_master(master, at_master)
        await follow(a, at_master)
        await follow(b, at_master)
        await insert(a, {"cluster": {"name": "c1", "company": "acme"}}, at_master)
        await insert(b, {"cluster": {"name": "c2", "company": "acme"}}, at_master)
        # Longer than a block: it travels as a file.
        await insert(b, {"plan": {"name": "long", "text": "é" * 3000}}, at_master)

        async def everywhere() -> bool:
            found = [sorted((await names(one, "*")).split(",")) for one in (master, a, b)]
            return found == [["c1", "c2", "long"]] * 3

        await until(everywhere)
        versions = {(await one.execute("get metadata version")).text for one in (a, b)}
        assert len(versions) == 1
        found = (await a.execute("blockchain get cluster where name = c2 bring [cluster][id]")).text
        await a.execute(f"blockchain delete policy where id = {found} and local = true and master = {at_master}")

        async def gone() -> bool:
            return await names(b, "cluster") == "c1" and await names(a, "cluster") == "c1"

        await until(gone)


async def test_a_peer_asks_for_the_ledger_and_gets_the_file(tmp_path: Path) -> None:
    async with node(tmp_path / "m", "m") as (master, at_master), RawPeer() as peer:
        await be_master(master, at_master)
        await insert(master, {"cluster": {"name": "c1", "company": "acme"}}, at_master)
        await send(at_master, block("event get_blockchain /a\tb/blockchain.new 0 0", peer.address))
        said = await peer.next()
        assert said.command.startswith("file write /a\tb/blockchain.master_id_")
        assert said.generic == 2
        (line,) = said.data.decode().splitlines()
        assert json.loads(line)["cluster"]["name"] == "c1"


async def test_a_ledger_that_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, address), RawPeer() as peer:
        await a.execute('blockchain insert where policy = {"plan": {"name": "mine"}} and local = true')
        forged = b'{"plan": {"name": "theirs", "id": "1", "date": "2026-01-01T00:00:00.000000Z"}}\n'
        name = f"file write {a.ctx.directories.path('blockchain_file').with_suffix('.new')}"
        await send(address, block(name, peer.address, data=forged, info=0, generic=2))

        async def refused() -> bool:
            return server(a).refused == 1

        await until(refused)
        assert await names(a, "plan") == "mine"
        assert not list(a.ctx.directories.path("prep_dir").glob("peer-*"))


async def test_a_script_waits_for_the_next_copy(tmp_path: Path) -> None:
    async with node(tmp_path / "m", "m") as (master, at_master), node(tmp_path / "a", "a") as (a, _):
        await be_master(master, at_master)
        with pytest.raises(EdgeLakeError, match="no synchronizer"):
            await a.execute("wait 10 for sync")
        await a.execute(
            f"run blockchain sync where source = master and time = 1 day and dest = file and connection = {at_master}"
        )
        await master.execute('blockchain push {"plan": {"name": "later"}}')
        await a.execute("r = wait 20 for sync")
        assert a.ctx.variables.get("r") == "True"

        async def there() -> bool:
            return await names(a, "plan") == "later"

        await until(there)


async def test_only_who_waits_is_told_that_it_is_done(tmp_path: Path) -> None:
    async with node(tmp_path / "m", "m") as (master, at_master), RawPeer() as peer:
        await be_master(master, at_master)
        await send(at_master, block('blockchain push {"plan": {"name": "one"}}', peer.address))
        said = await peer.request(at_master, 'blockchain push {"plan": {"name": "two"}}', job=(1, 9, 1, 0))
        assert (said.command, said.data, said.job[1]) == ("print", b"OK", 9)

        async def both() -> bool:
            return sorted((await names(master, "plan")).split(",")) == ["one", "two"]

        await until(both)
        assert peer.messages.empty()


async def test_the_first_wait_for_sync_ends_with_the_policies_here(tmp_path: Path) -> None:
    """What a script inserts behind it may refer to them."""
    async with node(tmp_path / "m", "m") as (master, at_master), node(tmp_path / "a", "a") as (a, _):
        await be_master(master, at_master)
        await insert(master, {"cluster": {"name": "c1", "company": "acme"}}, at_master)
        await follow(a, at_master)
        await a.execute("wait 20 for sync")
        assert await names(a, "cluster") == "c1"
