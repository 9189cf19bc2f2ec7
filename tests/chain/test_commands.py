"""The commands of the chain, on nodes that know each other through a contract alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake import Node
from edgelake.command.prompt import MaskedHistory
from edgelake.errors import EdgeLakeError, NotAvailableError, NotPermittedError
from edgelake.model import LOOPBACK_CLASSES, PROMPT, Caller, CommandClass
from tests.chain.anvil import ANN, BOB, Anvil


async def run(node: Node, line: str) -> str:
    reply = await node.execute(line)
    return reply.value if reply.value is not None else reply.text or ""


@asynccontextmanager
async def connected(
    home: Path, chain: Anvil, contract: str = "", account: tuple[str, str] = ANN
) -> AsyncIterator[Node]:
    """A node on the contract; without one it puts a new one on the chain."""
    async with Node(home, caller=PROMPT) as node:
        await run(node, f"blockchain connect to ethereum where provider = {chain.url}")
        await run(
            node,
            "blockchain set account info where platform = ethereum and "
            f"private_key = {account[1]} and public_key = {account[0]} and chain_id = 31337",
        )
        if not contract:
            await run(
                node, f"contract = blockchain deploy contract where platform = ethereum and public_key = {account[0]}"
            )
            contract = node.ctx.variables.get("contract")
        await run(node, f"blockchain set account info where platform = ethereum and contract = {contract}")
        node.ctx.variables.set("contract", contract)
        yield node


async def arrives(node: Node, policy_id: str) -> bool:
    async with asyncio.timeout(20):
        while node.ctx.policies.get(policy_id) is None:  # noqa: ASYNC110 - the synchroniser's rounds
            await asyncio.sleep(0.05)
    return True


async def test_policies_are_committed_updated_shown_and_dropped(chain: Anvil, tmp_path: Path) -> None:
    async with connected(tmp_path, chain) as node:
        await run(node, 'p = {"thing": {"name": "one"}}')
        await run(node, "id = blockchain commit to ethereum !p")
        thing = node.ctx.variables.get("id")
        assert await run(node, "blockchain state where platform = ethereum") == "1"
        await run(node, f'q = {{"thing": {{"name": "two", "id": "{thing}"}}}}')
        await run(node, f"blockchain update to ethereum {thing} !q")
        with pytest.raises(EdgeLakeError) as other:
            await run(node, "blockchain update to ethereum another !q")
        assert other.value.number == 247
        await run(node, "blockchain checkout from ethereum")
        assert await run(node, "blockchain get thing bring [*][name]") == "two"
        shown = (await node.execute("blockchain checkout from ethereum to stdout")).data
        assert [p["thing"]["name"] for p in shown] == ["two"]
        target = tmp_path / "EdgeLake" / "blockchain" / "copy.json"
        await run(node, f"blockchain checkout from ethereum to {target}")
        assert target.read_text().count("\n") == 1
        assert "two" in target.read_text()
        await run(node, f"blockchain drop policy from ethereum where id = {thing}")
        await run(node, "blockchain checkout from ethereum")
        assert await run(node, "blockchain get thing bring.count") == "0"
        assert await run(node, "blockchain state where platform = ethereum") == "3"


async def test_two_nodes_share_policies_through_the_contract_alone(chain: Anvil, tmp_path: Path) -> None:
    async with connected(tmp_path / "a", chain) as one:
        contract = one.ctx.variables.get("contract")
        async with connected(tmp_path / "b", chain, contract, BOB) as two:
            for node in (one, two):
                await run(
                    node,
                    "run blockchain sync where source = blockchain and platform = ethereum and time = 1 second "
                    "and dest = file",
                )
            for node, name in ((one, "first"), (two, "second")):
                await run(node, f'p = {{"thing": {{"name": "{name}"}}}}')
                await run(node, "id = blockchain insert where policy = !p and local = true and blockchain = ethereum")
            first, second = one.ctx.variables.get("id"), two.ctx.variables.get("id")
            assert await arrives(two, first)
            assert await arrives(one, second)
            await run(one, f"blockchain delete policy where id = {first} and blockchain = ethereum")
            async with asyncio.timeout(20):
                while two.ctx.policies.get(first) is not None:  # noqa: ASYNC110 - the synchroniser's rounds
                    await asyncio.sleep(0.05)
            assert two.ctx.policies.get(second) is not None


async def test_platforms_are_shown_without_keys(chain: Anvil, tmp_path: Path) -> None:
    async with Node(tmp_path, caller=PROMPT) as node:
        assert await run(node, "get platforms") == "No connections to blockchain platforms"
        with pytest.raises(EdgeLakeError) as unconnected:
            await run(node, "blockchain state where platform = optimism")
        assert unconnected.value.number == 81
    async with connected(tmp_path, chain) as node:
        shown = (await node.execute("get platforms where format = json")).data
        assert shown[0]["Public Key"] == ANN[0]
        assert shown[0]["Active"] is True
        assert shown[0]["Balance"].startswith("Ether: ")
        assert shown[0]["Chain ID"] == 31337
        assert shown[0]["Contract"] == node.ctx.variables.get("contract")
        log = await node.execute("get event log")
        everything = f"{shown} {log.text} {log.tables} {log.data} {node.ctx.logs.__dict__}"
        assert ANN[1] not in everything
        assert "private_key = ****" in str(log.tables)
        await run(node, f"blockchain connect to ethereum where provider = {chain.url}/?key=accesskey")
        shown = (await node.execute("get platforms where format = json")).data
        log = await node.execute("get event log")
        assert "accesskey" not in f"{shown} {log.tables}"


async def test_an_account_is_made(tmp_path: Path) -> None:
    async with Node(tmp_path, caller=PROMPT) as node:
        made = (await node.execute("blockchain create account ethereum")).data
        assert len(made["public_key"]) == 42
        assert len(made["private_key"]) == 66


async def test_what_is_no_platform_is_refused(chain: Anvil, tmp_path: Path) -> None:
    async with Node(tmp_path, caller=PROMPT) as node:
        for line in (
            "blockchain connect to hyperledger where certificate_dir = /x and config_file = /y",
            "blockchain connect to bitcoin where provider = http://127.0.0.1:1",
            "blockchain create account hyperledger",
            "blockchain state where platform = hyperledger",
        ):
            with pytest.raises(EdgeLakeError) as refused:
                await run(node, line)
            assert refused.value.number == 19
        weak = node.ctx.for_caller(Caller("rest", classes=LOOPBACK_CLASSES - {CommandClass.ADMIN}))
        for line in (
            f"blockchain connect to ethereum where provider = {chain.url}",
            "blockchain create account ethereum",
            "blockchain deploy contract where platform = ethereum",
        ):
            with pytest.raises(NotPermittedError):
                await weak.execute(line)


async def test_without_the_library_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("edgelake.metadata.chain.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("web3", "eth_abi", "eth_account", "aiohttp"):
        monkeypatch.setitem(sys.modules, name, None)
    async with Node(tmp_path, caller=PROMPT) as node:
        with pytest.raises(NotAvailableError, match="edgelake\\[ethereum\\]"):
            await run(node, "blockchain connect to ethereum where provider = http://127.0.0.1:1")


async def test_keys_of_the_dictionary_and_of_earlier_lines_are_masked(tmp_path: Path) -> None:
    async with Node(tmp_path, caller=PROMPT) as node:
        await run(node, f"blockchain_private_key = {ANN[1]}")
        shown = (await node.execute("get dictionary private")).data
        assert shown == {"blockchain_private_key": "****"}
        assert await run(node, "get !blockchain_private_key") == ANN[1]
    history = MaskedHistory(str(tmp_path / "history"))
    history.store_string(f"blockchain set account info where platform = ethereum and private_key = {ANN[1]}")
    assert "private_key = ****" in (tmp_path / "history").read_text()
    assert ANN[1] not in (tmp_path / "history").read_text()


def test_web3_is_loaded_when_it_is_wanted_and_leaves_the_process_as_it_was() -> None:
    program = (
        "import asyncio, sys; limit = sys.getrecursionlimit(); import edgelake.node; "
        "from edgelake.metadata.chain.connect import library; assert 'web3' not in sys.modules; "
        "asyncio.run(library()); assert 'web3' in sys.modules; assert sys.getrecursionlimit() == limit"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
