"""Which address a message names as the one to reply to, over sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from tests.net.peer.nodes import node
from tests.net.peer.raw import RawPeer
from tests.net.peer.test_policies import be_master, insert, names


@pytest.mark.parametrize(
    ("line", "host", "port"),
    [
        ("get status", "127.0.0.1", None),  # nothing of the kind
        ("set reply ip = dynamic", "0.0.0.0", None),
        ("set reply ip = 192.0.2.7", "192.0.2.7", None),
        ("set reply ip = 192.0.2.7:4711", "192.0.2.7", "4711"),
        ("set reply ip and port = 192.0.2.7:4711", "192.0.2.7", "4711"),
        ("set reply ip = 2001:db8::7", "[2001:db8::7]", None),
    ],
)
async def test_a_message_names_the_address_for_replies(tmp_path: Path, line: str, host: str, port: str | None) -> None:
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        await a.execute(line)
        with pytest.raises(EdgeLakeError):
            await a.execute(f"run client ({peer.address}, timeout = 1) get status")
        said = await peer.next()
        assert said.source.replace("[", "").replace("]", "") == (
            f"{host.strip('[]')}:{port or address.rpartition(':')[2]}"
        )
        await a.execute("reset reply ip")
        with pytest.raises(EdgeLakeError):
            await a.execute(f"run client ({peer.address}, timeout = 1) get status")
        assert (await peer.next()).source == address


async def test_replies_come_to_a_node_whose_address_nobody_knows(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (_, at_b):
        await a.execute("set reply ip = dynamic")
        assert (await a.execute("get reply ip")).text == "dynamic"
        assert (await a.execute("get connections where format = json")).data["reply"] == "dynamic"
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"


async def test_a_master_knows_itself_whatever_address_replies_go_to(tmp_path: Path) -> None:
    async with node(tmp_path, "m") as (master, address):
        await be_master(master, address)
        await master.execute("set reply ip = 192.0.2.7")
        await insert(master, {"cluster": {"name": "c1", "company": "acme"}}, address)
        assert await names(master, "cluster") == "c1"
        assert "c1" in json.dumps((await master.execute("blockchain get cluster")).data)


@pytest.mark.parametrize("value", ["north", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:70000", "host:32048", "1.2.3"])
async def test_what_is_no_address_is_refused(tmp_path: Path, value: str) -> None:
    async with node(tmp_path, "a") as (a, _):
        with pytest.raises(EdgeLakeError) as fault:
            await a.execute(f"set reply ip = {value}")
        assert fault.value.number == 20
        assert str((await a.execute("get reply ip")).text).startswith("Not set")


async def test_the_address_of_a_network_card(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, _):
        await a.execute("set internal ip with lo")
        assert a.ctx.variables.get("ip") == "127.0.0.1"
        with pytest.raises(EdgeLakeError, match="nothing0"):
            await a.execute("set internal ip with nothing0")
