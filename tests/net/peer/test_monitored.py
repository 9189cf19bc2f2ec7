"""Nodes that say of themselves how they are, to a node that watches them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelake.command.handlers import monitored
from edgelake.errors import EdgeLakeError
from tests.net.peer import raw
from tests.net.peer.nodes import node, server


async def test_what_nodes_say_is_shown_by_address(tmp_path: Path) -> None:
    async with node(tmp_path / "w", "watch") as (watch, at), node(tmp_path / "a", "a") as (a, _):
        for free, more in ((71, ""), (70, ', "parts": [1, 2]')):
            await a.execute(f'node_insight = {{"Free Space Percent": {free}, "and": "x = y and z"{more}}}')
            await a.execute(f"run client ({at}) monitor Operators where info = !node_insight")
        await watch.execute('monitor operators where info = {"CPU Percent": 3}')
        from_a = server(a).source_for(at)
        found = (await watch.execute("get monitored operators")).data
        assert found.keys() == {from_a, at}
        assert found[at]["CPU Percent"] == 3
        said = found[from_a]
        assert (said["Free Space Percent"], said["and"], said["parts"]) == (70, "x = y and z", [1, 2])
        assert next(iter(said)) == "Update time"
        assert list(said)[-1] == "Elapsed time"
        (table,) = (await watch.execute("get monitored operators")).tables
        assert table.titles[:2] == ("Node", "Update time")
        assert (await watch.execute("get monitored")).data == {"operators": 2}
        assert (await watch.execute("get monitored publishers")).data == {}
        assert (await a.execute("get monitored")).data == {}


async def test_nobody_fills_the_node_with_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitored, "MAX_TOPICS", 1)
    monkeypatch.setattr(monitored, "MAX_NODES", 2)
    async with node(tmp_path / "w", "watch") as (watch, at), raw.RawPeer() as one, raw.RawPeer() as two:
        await watch.execute('monitor operators where info = {"n": 0}')
        for peer, number in ((one, 1), (two, 2)):
            info = json.dumps({"n": number})
            said = await peer.request(at, f"monitor operators where info = {info}", job=(1, 5, 1, 0))
            assert said.error == 0
        found = (await watch.execute("get monitored operators")).data
        assert {address: one["n"] for address, one in found.items()} == {one.address: 1, two.address: 2}
        for line in ('monitor others where info = {"n": 0}', "monitor operators where info = 7"):
            with pytest.raises(EdgeLakeError):
                await watch.execute(line)
        refused = await one.request(at, "monitor operators where info = x", job=(1, 6, 1, 0))
        assert refused.error == 6
