"""SQL over a network without a master: two operators and a query node, in three processes, that a contract joins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edgelake.bench.processes import free_port
from tests.chain.anvil import ANN, BOB, Anvil
from tests.chain.test_commands import connected
from tests.system.program import AGENT, Program

CAROL = (  # a third account of anvil
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
)

_NODE = """\
set node name {name}
create work directories
run tcp server where external_ip = 127.0.0.1 and external_port = {tcp} and bind = true
blockchain connect to ethereum where provider = {url}
<blockchain set account info where platform = ethereum and
    private_key = {key} and public_key = {account} and chain_id = 31337>
blockchain set account info where platform = ethereum and contract = {contract}
run blockchain sync where source = blockchain and platform = ethereum and time = 1 second and dest = file
"""

_OPERATOR = """\
connect dbms plant where type = sqlite
connect dbms almgm where type = sqlite
on error ignore
create table tsd_info where dbms = almgm
on error end script
id = blockchain get operator where name = {name} bring.first [operator][id]
if not !id then
do p = create policy cluster where name = {name}-cluster and company = acme
do c = blockchain insert where policy = !p and local = true and blockchain = ethereum
<do p = create policy operator where name = {name} and company = acme and
    cluster = !c and ip = 127.0.0.1 and port = {tcp}>
do id = blockchain insert where policy = !p and local = true and blockchain = ethereum
run streamer
run operator where policy = !id and create_table = true and update_tsd_info = true and blockchain = ethereum
"""

_REST = "run rest server where external_ip = 127.0.0.1 and external_port = {{port}} and bind = true\n"


class Joined(Program):
    """A node that follows the contract."""

    def __init__(self, home: Path, chain: Anvil, contract: str, account: tuple[str, str], more: str = "") -> None:
        self.tcp_port = free_port()
        script = (_NODE + more + _REST).format(
            name=home.name, tcp=self.tcp_port, url=chain.url, account=account[0], key=account[1], contract=contract
        )
        super().__init__(home, script)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.tcp_port}"

    def over_all(self, sql: str) -> tuple[int, Any]:
        """Status and reply of ``run client () sql``."""
        command = f'run client () sql plant format = json and stat = true "{sql}"'
        status, body = self.request("POST", {**AGENT, "command": command})
        return status, json.loads(body)


SQL = "select count(*) as n, sum(value) as total from sensors"


@contextmanager
def network(chain: Anvil, folder: Path) -> Iterator[tuple[Joined, Joined, Joined]]:
    """Two operators and a query node on a new contract of the chain."""

    async def deploy() -> str:
        async with connected(folder / "deployer", chain) as node:
            return node.ctx.variables.get("contract")

    contract = asyncio.run(deploy())
    north = Joined(folder / "north", chain, contract, ANN, _OPERATOR)
    south = Joined(folder / "south", chain, contract, BOB, _OPERATOR)
    query = Joined(folder / "query", chain, contract, CAROL)
    with ExitStack() as opened:
        yield (opened.enter_context(north), opened.enter_context(south), opened.enter_context(query))


def known(query: Joined, table: str = "sensors") -> bool:
    """Whether the query node knows that both operators have the table."""
    return query.get(f"get data nodes where table = {table}").count("|active ") == 4


def put(operator: Joined, *values: int, table: str = "sensors") -> None:
    rows = "\n".join(json.dumps({"timestamp": "2026-01-01T00:00:00Z", "value": value}) for value in values)
    status, said = operator.put(rows.encode(), table=table)
    assert status == 200, said
    operator.post("flush buffers")


def test_a_query_finds_the_rows_of_both_operators_through_the_contract_alone(chain: Anvil, tmp_path: Path) -> None:
    with network(chain, tmp_path) as (north, south, query):
        put(north, 1, 2, 3)
        put(south, 10, 20)
        query.until(lambda: known(query), limit_s=60)
        assert json.loads(query.get("blockchain get master")) == []
        assert {p["operator"]["name"] for p in json.loads(query.get("blockchain get operator"))} == {"north", "south"}

        status, said = query.over_all(SQL)
        assert (status, said["Query"]) == (200, [{"n": 5, "total": 36}])
        assert said["Statistics"][0]["Nodes"] == 2
        status, said = query.over_all("select value from sensors order by value desc limit 3")
        assert (status, [row["value"] for row in said["Query"]]) == (200, [20, 10, 3])

        south.kill()
        status, said = query.over_all(SQL)
        assert (status, said["err_code"]) == (502, 208)
        assert south.address in said["local_msg"]
        south.start()
        assert query.over_all(SQL)[1]["Query"] == [{"n": 5, "total": 36}]


def test_queries_go_on_without_the_chain_and_policies_travel_again_when_it_is_back(tmp_path: Path) -> None:
    with Anvil(tmp_path / "chain") as chain, network(chain, tmp_path) as (north, south, query):
        put(north, 1, 2, 3)
        put(south, 10, 20)
        query.until(lambda: known(query), limit_s=60)
        chain.stop()
        put(north, 4)
        assert query.over_all(SQL)[1]["Query"] == [{"n": 6, "total": 40}]
        put(north, 7, table="later")
        put(south, 8, table="later")
        assert not known(query, "later")
        chain.start()
        query.until(lambda: known(query, "later"), limit_s=90)
        assert query.over_all(SQL.replace("sensors", "later"))[1]["Query"] == [{"n": 2, "total": 15}]
