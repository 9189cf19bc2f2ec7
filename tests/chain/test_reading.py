"""Reading contracts that are not as ours, and chains whose providers don't give everything."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from eth_abi.abi import encode
from web3.exceptions import Web3RPCError

from edgelake.metadata.chain.ethereum import Ethereum
from edgelake.metadata.chain.interface import call_data
from edgelake.metadata.chain.options import Options
from edgelake.metadata.chain.reader import Reader
from edgelake.metadata.ids import id_of
from edgelake.metadata.policy import dumps
from tests.chain.anvil import JS, Anvil
from tests.chain.test_platform import contract_of, names, platform, policy


def lists_only() -> bytes:
    done = subprocess.run(["node", JS / "compile.mjs", JS.parent / "ListsOnly.sol"], capture_output=True, timeout=60)
    return bytes.fromhex(json.loads(done.stdout)["bytecode"])


async def send(made: Ethereum, data: bytes, to: str | None) -> Any:
    sender = made._sender
    assert sender is not None
    return await sender.send("test", data, to)


async def test_a_contract_that_has_only_lists_is_read_and_written(chain: Anvil) -> None:
    async with platform(chain) as made:
        contract = (await send(made, lists_only(), None))["contractAddress"]
        await made.set_account(Options(contract=contract))
        first = await made.pull()
        assert first.full
        assert not first.policies
        await made.insert(policy("one", date="2026-01-01T00:00:00.000000Z", id="x"))
        await made.insert(policy("newer", date="2026-01-02T00:00:00.000000Z", id="x"))
        await made.insert(policy("two"))
        changed = await made.pull(first.cursor)
        assert (changed.full, changed.counter, names(changed)) == (False, 3, ["newer", "two"])
        assert (await made.pull(changed.cursor)).is_unchanged
        before = chain.rpc("evm_snapshot")
        await made.insert(policy("gone"))
        await made.pull()
        assert chain.rpc("evm_revert", before)
        assert names(await made.pull()) == ["newer", "two"]


@pytest.mark.parametrize("answer", ["nothing", "an error"])
async def test_without_events_everything_is_read(chain: Anvil, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    async def logs(self: Reader, first: int, last: int) -> list[Any]:
        if answer == "nothing":
            return []
        raise Web3RPCError("pruned", rpc_response={"error": {"message": "history has been pruned"}})

    async with platform(chain) as made:
        first = await made.pull()
        monkeypatch.setattr(Reader, "_logs", logs)
        await made.insert(policy("one"))
        assert names(await made.pull(first.cursor)) == ["one"]


async def test_events_are_asked_for_in_ranges_that_the_provider_takes(
    chain: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    given = Reader._logs

    async def logs(self: Reader, first: int, last: int) -> list[Any]:
        if last - first >= 4:
            raise Web3RPCError("range", rpc_response={"error": {"message": "at most 4 blocks"}})
        asked.append(last - first + 1)
        return await given(self, first, last)

    async with platform(chain) as made, platform(chain, await contract_of(made)) as reader:
        first = await reader.pull()
        monkeypatch.setattr(Reader, "_logs", logs)
        for number in range(6):
            await made.insert(policy(f"p{number}"))
        assert names(await reader.pull(first.cursor)) == [f"p{number}" for number in range(6)]
        assert asked
        assert max(asked) <= 4


async def test_what_strangers_put_into_the_contract_keeps_nobody_from_reading(chain: Anvil) -> None:
    async with platform(chain) as made:
        first = await made.pull()
        contract = await contract_of(made)
        good = policy("good")
        await made.insert(good)
        selector = call_data("insert", "", "")[:4]
        for key, text in (
            (b"\xff", b"\xfe\xff"),
            (b"a", b"no json"),
            (b"b", b'{"thing": {"name": "no id"}}'),
            (b"c", b"[]"),
        ):
            await send(made, selector + encode(("bytes", "bytes"), (key, text)), contract)
        shadow = {"thing": {"name": "shadow", "id": id_of(good), "date": "2999-01-01T00:00:00.000000Z"}}
        await send(made, call_data("insert", "d", dumps(shadow)), contract)
        assert names(await made.pull(first.cursor)) == ["good"]
        async with platform(chain, contract) as another:
            assert names(await another.pull()) == ["good"]
