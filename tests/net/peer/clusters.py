"""Members of one cluster: policies, scripts, and what they hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake.bench.processes import free_port
from edgelake.model import PROMPT
from edgelake.node import Node
from tests.net.peer.nodes import until
from tests.net.peer.publishing import COMPANY, cluster_id, operator_id

LOOPBACK = "127.0.0.1"


def write_members(home: Path, ports: Sequence[int], hosts: Sequence[str] = ()) -> None:
    """Policies of one cluster with a member at each port (of a host)."""
    common = {"company": COMPANY, "date": "2026-01-01T00:00:00.000000Z", "ledger": "global"}
    policies: list[dict[str, Any]] = [{"cluster": {"name": "c1", "id": cluster_id(1), **common}}]
    for number, (port, host) in enumerate(zip(ports, hosts or [LOOPBACK] * len(ports), strict=True), 1):
        place = {"name": f"op{number}", "ip": host, "port": port, "cluster": cluster_id(1), "member": number}
        policies.append({"operator": {**place, "id": operator_id(number), **common}})
    folder = home / "EdgeLake" / "blockchain"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blockchain.json").write_text("".join(json.dumps(policy) + "\n" for policy in policies))


def member_script(number: int, port: int, *, archive: bool = True, host: str = LOOPBACK) -> list[str]:
    return [
        "create work directories",
        "connect dbms plant where type = sqlite",
        "connect dbms almgm where type = sqlite",
        "create table tsd_info where dbms = almgm",
        f"run tcp server where external_ip = {host} and external_port = {port} and bind = true",
        f"run operator where policy = {operator_id(number)} and create_table = true and update_tsd_info = true "
        f"and archive_json = {str(archive).lower()} and distributor = true",
        "run data distributor",
        "run data consumer where start_date = -30d",
    ]


class Cluster:
    """Members in one process."""

    def __init__(self, root: Path, ports: Sequence[int], shown: Sequence[Sequence[int]] | None = None) -> None:
        """``shown``: for each member the ports that its policies name, in place of those of the members."""
        self.root, self.ports, self.shown = root, ports, shown or [ports] * len(ports)
        self.nodes: list[Node | None] = [None] * len(ports)

    async def start(self, number: int, *, without: Sequence[str] = (), archive: bool = True) -> Node:
        """``without``: beginnings of commands that are left out."""
        home = self.root / f"m{number}"
        write_members(home, self.shown[number])
        node = Node(home, name=f"m{number}", caller=PROMPT)
        await node.start()
        self.nodes[number] = node
        for line in member_script(number + 1, self.ports[number], archive=archive):
            if not line.startswith(tuple(without)):
                await node.execute(line)
        return node

    async def stop(self, number: int) -> None:
        node = self.nodes[number]
        if node is not None:
            self.nodes[number] = None
            await node.stop()

    def node(self, number: int) -> Node:
        found = self.nodes[number]
        assert found is not None
        return found

    def folder(self, number: int, name: str) -> Path:
        return Path(self.node(number).ctx.directories.path(name))

    def drop(self, number: int, content: bytes, name: str = "plant.t.0.0.0.json") -> None:
        """Move a file into the watch directory of a member."""
        working = self.folder(number, "prep_dir") / name
        working.write_bytes(content)
        working.rename(self.folder(number, "watch_dir") / name)

    async def data(self, number: int, command: str) -> Any:
        joined = "and" if " where " in command else "where"
        return (await self.node(number).execute(f"{command} {joined} format = json")).data

    async def values(self, number: int, columns: str = "v") -> list[Any]:
        """What is in the table at a member."""
        node = self.node(number)
        if node.ctx.stores.table("plant", "t") is None:
            return []
        found = [tuple(row.values()) async for row in node.query(f"select {columns} from plant.t order by v")]
        return [one[0] for one in found] if columns == "v" else found

    async def hold(self, expected: list[int]) -> None:
        """Until every member that runs holds these values, each once."""
        running = [number for number, node in enumerate(self.nodes) if node is not None]

        async def are_there() -> bool:
            return all([await self.values(number) == expected for number in running])

        await until(are_there)

    async def quiet(self) -> None:
        """Until nothing is left to send or to take in at the members that run."""

        async def is_quiet() -> bool:
            for number, node in enumerate(self.nodes):
                if node is not None and (
                    list(self.folder(number, "distr_dir").iterdir()) or list(self.folder(number, "watch_dir").iterdir())
                ):
                    return False
            return True

        await until(is_quiet)


@asynccontextmanager
async def cluster(
    root: Path, count: int = 2, shown: Sequence[Sequence[int]] | None = None, ports: Sequence[int] = ()
) -> AsyncIterator[Cluster]:
    """Members that run."""
    made = Cluster(root, ports or [free_port() for _ in range(count)], shown)
    async with AsyncExitStack() as stack:
        for number in range(len(made.ports)):
            stack.push_async_callback(made.stop, number)
            await made.start(number)
        yield made
