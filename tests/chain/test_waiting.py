"""Changes while the chain makes no blocks, or is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelake.errors import TimeoutExpiredError
from edgelake.metadata.chain.ethereum import Ethereum
from edgelake.metadata.chain.options import Options
from tests.chain.anvil import ANN, Anvil
from tests.chain.test_platform import contract_of, names, platform, policy


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Anvil]:
    """A chain of the test's own."""
    with Anvil(tmp_path) as running:
        yield running


async def pending(chain: Anvil, count: int) -> None:
    async with asyncio.timeout(20):
        while int(chain.rpc("txpool_status")["pending"], 16) < count:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def test_a_change_that_gets_into_no_block_is_an_error_and_may_still_arrive(own: Anvil) -> None:
    async with platform(own) as made:
        contract = await contract_of(made)
        hasty = Ethereum("ethereum", Options(own.url, contract, private_key=ANN[1]), receipt_s=0.3)
        own.rpc("evm_setAutomine", False)
        try:
            with pytest.raises(TimeoutExpiredError, match="0x"):
                await hasty.insert(policy("late"))
        finally:
            await hasty.close()
        own.rpc("evm_mine")
        assert names(await made.pull()) == ["late"]


async def test_changes_wait_together_for_a_block(own: Anvil) -> None:
    async with platform(own) as made:
        own.rpc("evm_setAutomine", False)
        waiting = [asyncio.create_task(made.insert(policy(f"p{number}"))) for number in range(5)]
        await pending(own, 5)
        own.rpc("evm_mine")
        await asyncio.gather(*waiting)
        assert sorted(names(await made.pull())) == [f"p{number}" for number in range(5)]


async def test_a_change_survives_that_the_chain_goes_away_while_it_waits(own: Anvil) -> None:
    async with platform(own) as made:
        own.rpc("evm_setAutomine", False)
        waiting = asyncio.create_task(made.insert(policy("one")))
        await pending(own, 1)
        own.rpc("evm_mine")
        own.stop()
        own.start()
        await waiting
        assert names(await made.pull()) == ["one"]


async def test_the_second_of_two_inserts_of_one_id_in_one_block_is_refused(own: Anvil) -> None:
    async with platform(own) as made:
        own.rpc("evm_setAutomine", False)
        one = policy("one")
        waiting = [asyncio.create_task(made.insert(one)) for _ in range(2)]
        await pending(own, 2)
        own.rpc("evm_mine")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(result, "number", 0) for result in results if result is not None] == [70]
        assert await made.counter() == 1
