"""The platform on a real chain: what is changed is there, what is read adds up, whatever the chain does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import CommandError, EdgeLakeError, NotPermittedError
from edgelake.metadata.chain.connect import connect
from edgelake.metadata.chain.ethereum import Ethereum
from edgelake.metadata.chain.options import Options
from edgelake.metadata.ids import Policy, body_of, complete, id_of
from edgelake.metadata.platforms import Pulled
from tests.chain.anvil import ANN, BOB, JS, Anvil

SOURCE = JS.parents[2] / "python" / "edgelake" / "metadata" / "chain" / "PolicyLedger.sol"
NOWHERE = "0x00000000000000000000000000000000000000aa"


def policy(name: str, **more: Any) -> Policy:
    return complete({"thing": {"name": name, **more}})


def names(pulled: Pulled) -> list[str]:
    return [body_of(p)["name"] for p in pulled.policies]


@asynccontextmanager
async def platform(chain: Anvil, contract: str = "", account: tuple[str, str] = ANN) -> AsyncIterator[Ethereum]:
    made = await connect("ethereum", Options(chain.url, private_key=account[1]))
    try:
        if contract:
            await made.set_account(Options(contract=contract))
        else:
            await made.deploy()
        yield made
    finally:
        await made.close()


async def contract_of(made: Ethereum) -> str:
    return (await made.info()).contract


def test_the_compiled_contract_is_the_one_of_the_source() -> None:
    done = subprocess.run(["node", JS / "compile.mjs", SOURCE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(SOURCE.with_suffix(".json").read_text()), "run: make contract"


async def test_policies_are_inserted_updated_and_deleted(chain: Anvil) -> None:
    async with platform(chain) as made:
        one, two, three = policy("one"), policy("two"), policy("drei ÄÖ 🦊")
        for each in (one, two, three):
            await made.insert(each)
        assert names(await made.pull()) == ["one", "two", "drei ÄÖ 🦊"]
        assert all(body_of(p)["ledger"] == "global" for p in (await made.pull()).policies)
        await made.update(id_of(two), {"thing": {**body_of(two), "name": "zwei"}})
        await made.delete(id_of(one))
        assert sorted(names(await made.pull())) == ["drei ÄÖ 🦊", "zwei"]
        assert await made.counter() == 5


async def test_what_cannot_be_changed_is_said(chain: Anvil) -> None:
    async with platform(chain) as made:
        one = policy("one")
        await made.insert(one)
        with pytest.raises(EdgeLakeError) as exists:
            await made.insert(one)
        with pytest.raises(EdgeLakeError) as unknown:
            await made.delete("none")
        async with platform(chain, await contract_of(made), BOB) as stranger:
            with pytest.raises(NotPermittedError):
                await stranger.update(id_of(one), policy("another"))
            with pytest.raises(NotPermittedError):
                await stranger.delete(id_of(one))
        assert (exists.value.number, unknown.value.number) == (70, 101)
        assert names(await made.pull()) == ["one"]
        assert await made.counter() == 1


async def test_a_reader_gets_what_changed_since_its_cursor(chain: Anvil) -> None:
    async with platform(chain) as made, platform(chain, await contract_of(made)) as reader:
        first = await reader.pull()
        assert first.full
        assert not first.policies
        one, two = policy("one"), policy("two")
        await made.insert(one)
        await made.insert(two)
        second = await reader.pull(first.cursor)
        assert (second.full, names(second), second.counter) == (False, ["one", "two"], 2)
        assert (await reader.pull(second.cursor)).is_unchanged
        await made.update(id_of(two), {"thing": {**body_of(two), "name": "zwei"}})
        await made.delete(id_of(one))
        third = await reader.pull(second.cursor)
        assert (names(third), third.removed) == (["zwei"], (id_of(one),))
        assert names(await reader.pull(first.cursor)) == ["zwei"]
        again = await reader.pull("another-1")
        assert again.full
        assert names(again) == ["zwei"]


async def test_a_contract_of_many_pages_is_read_whole(chain: Anvil) -> None:
    async with platform(chain) as made:
        for number in range(103):
            await made.insert(policy(f"p{number}"))
        async with platform(chain, await contract_of(made)) as reader:
            assert names(await reader.pull()) == [f"p{number}" for number in range(103)]


async def test_a_reorganised_chain_is_followed(chain: Anvil) -> None:
    async with platform(chain) as made:
        kept, gone, other = policy("kept"), policy("gone"), policy("other")
        await made.insert(kept)
        before = chain.rpc("evm_snapshot")
        await made.insert(gone)
        async with platform(chain, await contract_of(made)) as reader:
            seen = await reader.pull()
            assert sorted(names(seen)) == ["gone", "kept"]
            assert chain.rpc("evm_revert", before)
            await made.insert(other)  # the same block number and the same counter, another block
            changed = await reader.pull(seen.cursor)
            assert (names(changed), changed.removed) == (["other"], (id_of(gone),))
            assert sorted(names(await reader.pull())) == ["kept", "other"]


async def test_a_shorter_chain_is_followed(chain: Anvil) -> None:
    async with platform(chain) as made:
        await made.insert(policy("kept"))
        before = chain.rpc("evm_snapshot")
        first = await made.pull()
        await made.insert(policy("gone"))
        await made.pull()
        assert chain.rpc("evm_revert", before)
        assert names(await made.pull()) == ["kept"]
        back = await made.pull(first.cursor)
        assert (back.full, back.policies, back.counter) == (False, (), 1)


async def test_of_several_entries_the_latest_counts_and_discarded_ones_do_not(chain: Anvil) -> None:
    async with platform(chain) as made, platform(chain, await contract_of(made), BOB) as stranger:
        old = policy("old", id="x", date="2024-01-01T00:00:00.000000Z")
        await made.insert(old)
        hidden, guarded = policy("hidden"), policy("guarded")
        await made.insert(hidden)
        await made.insert(guarded)
        await made.insert(complete({"discard": {"policy": id_of(hidden), "status": "active"}}))
        await stranger.insert(complete({"discard": {"policy": id_of(guarded), "status": "active"}}))
        assert sorted(names(await made.pull())) == ["guarded", "old"]
        await made.insert(complete({"discard": {"policy": id_of(hidden), "status": "off"}}))
        assert sorted(names(await made.pull())) == ["guarded", "hidden", "old"]


async def test_many_changes_at_once_of_one_account_on_two_nodes(chain: Anvil) -> None:
    import asyncio

    async with platform(chain) as made, platform(chain, await contract_of(made)) as other:
        await asyncio.gather(
            *(who.insert(policy(f"{at}{n}")) for n in range(8) for at, who in (("a", made), ("b", other)))
        )
        assert len((await made.pull()).policies) == 16


async def test_a_contract_that_is_none_is_refused(chain: Anvil) -> None:
    async with platform(chain) as made:
        with pytest.raises(EdgeLakeError, match="no contract at") as nothing:
            await made.set_account(Options(contract=NOWHERE))
        assert nothing.value.number == 209
        with pytest.raises(CommandError, match="no address"):
            await made.set_account(Options(contract="0x12"))
        await made.insert(policy("one"))  # the contract that was set is still in use


async def test_wrong_keys_are_refused_and_never_shown(chain: Anvil) -> None:
    async with platform(chain) as made:
        for wrong in ("12", "0x" + "0" * 64, "zz" * 32, ANN[1] + "00"):
            with pytest.raises(CommandError) as refused:
                await made.set_account(Options(private_key=wrong))
            assert wrong not in str(refused.value)
            assert "no key" in str(refused.value)
        with pytest.raises(CommandError, match="not the one of the account"):
            await made.set_account(Options(private_key=BOB[1], public_key=ANN[0]))
        with pytest.raises(EdgeLakeError, match="serves the chain"):
            await made.set_account(Options(chain_id=1))
        assert ANN[1] not in repr(made.__dict__)
        assert ANN[1][2:] not in repr(made._options)
        await made.insert(policy("one"))


async def test_an_account_without_ether_cannot_change(chain: Anvil) -> None:
    from edgelake.metadata.chain.ethereum import new_account

    address, key = new_account()
    async with platform(chain) as made, platform(chain, await contract_of(made), (address, key)) as poor:
        with pytest.raises(EdgeLakeError) as refused:
            await poor.insert(policy("one"))
        assert refused.value.number == 209
        assert key not in str(refused.value)


async def test_a_chain_that_is_down_is_an_error_and_back_again_is_not(tmp_path: Path) -> None:
    with Anvil(tmp_path) as own:
        async with platform(own) as made:
            await made.insert(policy("one"))
            seen = await made.pull()
            own.stop()
            with pytest.raises(EdgeLakeError) as down:
                await made.pull(seen.cursor)
            with pytest.raises(EdgeLakeError) as unsent:
                await made.insert(policy("two"))
            assert (down.value.number, unsent.value.number) == (81, 81)
            assert (await made.info()).active is False
            own.start()
            await made.insert(policy("three"))
            assert names(await made.pull(seen.cursor)) == ["three"]


async def test_a_provider_that_is_none_is_refused(chain: Anvil) -> None:
    with pytest.raises(EdgeLakeError) as refused:
        await connect("ethereum", Options("http://127.0.0.1:1/v3/accesskey"))
    assert refused.value.number == 81
    assert "accesskey" not in str(refused.value)
    with pytest.raises(CommandError, match="can't be used"):
        await connect("ethereum", Options("ftp://127.0.0.1/accesskey"))
