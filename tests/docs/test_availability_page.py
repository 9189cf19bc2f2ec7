"""What docs/availability.md shows works, and sends data to operators."""

from __future__ import annotations

import re
from pathlib import Path

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.model import PROMPT
from tests.docs.test_docs import ROOT
from tests.net.peer.clusters import write_members
from tests.net.peer.nodes import until
from tests.net.peer.publishing import operator_id, operator_script, write_ledger

PAGE, CLUSTERS = (ROOT / "docs" / "availability.md").read_text().split("\n## Clusters")


def scripts(text: str) -> list[str]:
    return re.findall(r"^```script\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


async def test_the_commands_of_the_page_send_readings_to_the_operators_they_name(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    here = {"32148": str(ports[0]), "32158": str(ports[1]), "32248": str(free_port())}
    opened, started, *more = [re.sub(r"\b32[12][45]8\b", lambda found: here[found[0]], text) for text in scripts(PAGE)]
    for name in "pab":
        write_ledger(tmp_path / name, ports)
    async with (
        Node(tmp_path / "p", caller=PROMPT) as publisher,
        Node(tmp_path / "a", caller=PROMPT) as first,
        Node(tmp_path / "b", caller=PROMPT) as second,
    ):
        for number, node in enumerate((first, second), 1):
            lines = operator_script(number, ports[number - 1])
            assert opened.strip() in lines
            for line in lines:
                await node.execute(line)
        for line in "".join([started, *more]).splitlines():
            assert await publisher.execute(line) is not None
        await publisher.ingest("plant", "motor", [{"speed": 1480}])
        await publisher.ingest("plant", "pump", [{"flow": 3}])

        async def arrived() -> bool:
            tables = first.ctx.stores.table("plant", "motor"), second.ctx.stores.table("plant", "pump")
            return None not in tables

        await until(arrived)
        assert [row async for row in first.query("select speed from plant.motor")] == [{"speed": 1480}]
        assert [row async for row in second.query("select flow from plant.pump")] == [{"flow": 3}]


async def test_the_commands_of_the_page_make_a_cluster_of_two(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    begin, *more = scripts(CLUSTERS)
    for home in "ab":
        write_members(tmp_path / home, ports)
    async with Node(tmp_path / "a", caller=PROMPT) as first, Node(tmp_path / "b", caller=PROMPT) as second:
        for number, node in enumerate((first, second), 1):
            await node.execute("create work directories")
            await node.execute("connect dbms plant where type = sqlite")
            node.ctx.variables.set("operator_id", operator_id(number))
            for line in begin.replace("32148", str(ports[number - 1])).splitlines():
                await node.execute(line)
        await first.ingest("plant", "motor", [{"speed": 1480}])

        async def arrived() -> bool:
            return second.ctx.stores.table("plant", "motor") is not None

        await until(arrived)
        assert [row async for row in second.query("select speed from plant.motor")] == [{"speed": 1480}]
        for line in "".join(more).splitlines():
            assert await first.execute(line) is not None
