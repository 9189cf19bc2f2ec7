"""Reading a contract: at one block, and onwards from there by its events.

Whatever the chain does in between (a reorganisation, logs that a provider no longer has), what is returned adds up
with the contract's own counters at one block, or everything is read anew.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

from eth_abi.exceptions import DecodingError
from web3 import AsyncWeb3
from web3.exceptions import BlockNotFound, ContractLogicError, Web3RPCError

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.chain.interface import EVENT_BY_TOPIC, answer_of, call_data, event_values, text
from edgelake.metadata.chain.mirror import Change, Entry, Snapshot
from edgelake.metadata.chain.rpc import explained

log = logging.getLogger(__name__)

PAGE = 100
CALLS_AT_ONCE = 16
LOG_BLOCKS = 10_000
LOG_REQUESTS = 16
"""More requests for events than this, and everything is read instead."""

MOST_POLICIES = 1_000_000
SAFE_BLOCKS = 64
_FULL_ATTEMPTS = 3


class Reader:
    """Reads one contract; not to be used by two tasks at once.

    Args:
        gas: limit of a call; None = the provider's.
    """

    def __init__(self, w3: AsyncWeb3[Any], address: str, gas: int | None = None) -> None:
        self._w3 = w3
        self.address = address
        self._gas = gas
        self._ours: bool | None = None
        self._log_blocks = LOG_BLOCKS
        self._history: list[Snapshot] = []  # at most one that is safe, and the last one

    async def counter(self, block: int | str = "latest") -> int:
        """Transactions of the contract. Raises EdgeLakeError (81, 209)."""
        await self._known()
        with explained("read the contract's counter"):
            return int((await self._call("transaction_count", block=block))[0])

    async def read(self) -> Snapshot:
        """The contract at the chain's last block. Raises EdgeLakeError (81, 209)."""
        await self._known()
        for attempt in range(1, _FULL_ATTEMPTS + 1):
            try:
                with explained("read the contract"):
                    found = await self._read()
            except EdgeLakeError as problem:
                if attempt == _FULL_ATTEMPTS or problem.number == 81:
                    raise
                log.info("the chain moved while its contract was read, again: %s", problem)
                continue
            self._remember(found)
            return found
        raise AssertionError("unreachable")

    async def _read(self) -> Snapshot:
        number, digest = await self._block("latest")
        known = await self._standing(number, digest)
        if known is None:
            return await self._full(number, digest)
        if known.block_hash == digest:
            return known
        counter = int((await self._call("transaction_count", block=number))[0])
        if counter == known.counter:
            return replace(known, block=number, block_hash=digest)
        if self._ours:
            changes = await self._changes(known.block + 1, number, counter - known.counter)
            if changes is not None:
                entries = await asyncio.to_thread(known.after, changes)
                if len(entries) == int((await self._call("num_policies", block=number))[0]):
                    return replace(known, block=number, block_hash=digest, counter=counter, entries=entries)
            log.info("events of the contract don't add up: everything is read")
        return await self._full(number, digest)

    # ---- where the chain is

    async def _block(self, which: int | str) -> tuple[int, str]:
        block: Any = await self._w3.eth.get_block(which)  # type: ignore[arg-type]
        return int(block["number"]), "0x" + bytes(block["hash"]).hex()

    async def _standing(self, number: int, digest: str) -> Snapshot | None:
        """The newest snapshot that is still part of the chain; newer ones are forgotten."""
        while self._history:
            last = self._history[-1]
            if last.block <= number:
                try:
                    found = digest if last.block == number else (await self._block(last.block))[1]
                except BlockNotFound:
                    found = ""
                if found == last.block_hash:
                    return last
            log.warning("the chain was reorganised: block %d is not the one that was read", last.block)
            self._history.pop()
        return None

    def _remember(self, found: Snapshot) -> None:
        keep = self._history
        if len(keep) == 2 and keep[1].block - keep[0].block >= SAFE_BLOCKS:
            del keep[0]
        self._history = [*keep[:1], found] if keep and keep[0].block < found.block else [found]

    # ---- all of it

    async def _full(self, number: int, digest: str) -> Snapshot:
        counter = int((await self._call("transaction_count", block=number))[0])
        size = int((await self._call("num_policies", block=number))[0])
        if size > MOST_POLICIES:
            raise error(209, f"the contract says that it has {size} policies", hint="check its address")
        if self._ours:
            entries = await self._pages(size, number)
            deployer = str((await self._call("deployer", block=number))[0])
        else:
            entries, deployer = await self._one_by_one(size, number), ""
        return Snapshot(number, digest, counter, {e.key: e for e in entries}, deployer)

    async def _pages(self, size: int, block: int) -> list[Entry]:
        entries: list[Entry] = []
        step = PAGE
        while len(entries) < size:
            try:
                found = await self._call("page", len(entries), step, block=block)
            except (Web3RPCError, ContractLogicError):
                if step == 1:
                    raise
                step = max(1, step // 4)  # long policies: the call took more gas than the provider gives
                continue
            if not found[0]:
                raise error(209, f"the contract says that it has {size} policies, and gives {len(entries)}")
            entries += [Entry.of(text(i), text(p), str(o)) for i, p, o in zip(*found, strict=True)]
        return entries

    async def _one_by_one(self, size: int, block: int) -> list[Entry]:
        """From a contract that has only the functions of the lists."""
        free = asyncio.Semaphore(CALLS_AT_ONCE)

        async def one(place: int) -> Entry:
            async with free:
                key = (await self._call("policy_ids", place, block=block))[0]
                policy = (await self._call("policies", place, block=block))[0]
            return Entry.of(text(key), text(policy))

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(place)) for place in range(size)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    # ---- events

    async def _changes(self, first: int, last: int, count: int) -> list[Change] | None:
        """Events in their order; None when they are not exactly ``count``, or too much work."""
        logs: list[Any] = []
        start, requests = first, 0
        while start <= last:
            end = min(last, start + self._log_blocks - 1)
            requests += 1
            if requests + (last - start) // self._log_blocks > LOG_REQUESTS:
                return None
            try:
                logs += await self._logs(start, end)
            except Web3RPCError as refused:  # a range or an answer that is too long for the provider
                if end == start:
                    log.info("the provider gives no events: %s", refused)
                    return None
                self._log_blocks = max(1, (end - start + 1) // 8)
                continue
            start = end + 1
        logs.sort(key=lambda entry: (entry["blockNumber"], entry["logIndex"]))
        return [_change(entry) for entry in logs] if len(logs) == count else None

    async def _logs(self, first: int, last: int) -> list[Any]:
        topics = [["0x" + topic.hex() for topic in EVENT_BY_TOPIC]]
        wanted: Any = {"address": self.address, "fromBlock": first, "toBlock": last, "topics": topics}
        found: Any = await self._w3.eth.get_logs(wanted)
        return [entry for entry in found if not entry.get("removed")]

    # ---- calls

    async def _call(self, name: str, *arguments: Any, block: int | str) -> tuple[Any, ...]:
        transaction: Any = {"to": self.address, "data": call_data(name, *arguments)}
        if self._gas:
            transaction["gas"] = self._gas
        raw = await self._w3.eth.call(transaction, block)  # type: ignore[arg-type]
        return answer_of(name, bytes(raw))

    async def _known(self) -> None:
        """Once: whether there is a contract that keeps policies, and whether it is ours."""
        if self._ours is not None:
            return
        with explained(f"look at the contract {self.address}"):
            if not await self._w3.eth.get_code(self.address):  # type: ignore[arg-type]
                raise error(
                    209, f"there is no contract at {self.address} on this chain", hint="check contract and provider"
                )
            await self._call("transaction_count", block="latest")
            await self._call("num_policies", block="latest")
            try:
                self._ours = (await self._call("ledger_version", block="latest"))[0] == 1
            except (ContractLogicError, DecodingError):
                self._ours = False


def _change(entry: Any) -> Change:
    kind, values = event_values(bytes(entry["topics"][0]), bytes(entry["data"]))
    key = text(values[0])
    if kind == "deleted":
        return Change("deleted", Entry(key, None))
    if kind == "updated":
        return Change("updated", Entry.of(key, text(values[1])))
    return Change("inserted", Entry.of(key, text(values[1]), str(values[2])))
