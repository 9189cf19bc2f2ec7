"""A network without a master: an operator and a query node that know each other through a contract alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelake import Node
from edgelake.metadata.ids import body_of
from tests.chain.anvil import BOB, Anvil
from tests.chain.test_commands import connected, run

SYNC = "run blockchain sync where source = blockchain and platform = ethereum and time = 1 second and dest = file"


async def policy_of(node: Node, query: str) -> dict[str, Any]:
    """The policy that a query selects, as soon as there is one."""
    policies = node.ctx.policies
    assert await policies.until(lambda: bool(policies.select(query).data), timeout_s=30), query
    return dict(body_of(policies.select(query).data[0]))


async def test_an_operator_and_a_query_node_share_all_policies_through_the_contract(
    chain: Anvil, tmp_path: Path
) -> None:
    async with connected(tmp_path / "op", chain) as op:
        contract = op.ctx.variables.get("contract")
        async with connected(tmp_path / "query", chain, contract, BOB) as query:
            await run(op, SYNC)
            await run(query, SYNC)
            await run(op, "connect dbms plant where type = sqlite and memory = true")
            await run(op, "create work directories")
            await run(op, 'c = {"cluster": {"company": "acme", "name": "c1"}}')
            await run(op, "cluster = blockchain insert where policy = !c and local = true and blockchain = ethereum")
            await run(op, "o = create policy operator where name = op-1 and company = acme and ip = 10.0.0.5 "
                          "and port = 32148 and cluster = !cluster")  # fmt: skip
            await run(op, "id = blockchain insert where policy = !o and local = true and blockchain = ethereum")
            await run(op, "run operator where create_table = true and blockchain = ethereum and policy = !id")
            await run(query, 'q = {"query": {"company": "acme", "name": "q-1", "ip": "10.0.0.6", "port": 32348}}')
            await run(query, "blockchain insert where policy = !q and local = true and blockchain = ethereum")

            await op.ingest("plant", "pumps", {"timestamp": "2026-01-01T00:00:00Z", "flow": 1.5})

            table = await policy_of(query, "table where dbms = plant and name = pumps")
            assert " flow " in table["create"]
            child = await policy_of(query, "cluster where parent = " + op.ctx.variables.get("cluster"))
            assert child["table"] == [{"dbms": "plant", "name": "pumps", "status": "active"}]
            assert (await policy_of(op, "query where name = q-1"))["port"] == 32348
            nodes: Any = (await query.execute("get data nodes where table = pumps")).data
            assert [(row["Table"], row["Node Name"]) for row in nodes] == [("pumps", "op-1")]
