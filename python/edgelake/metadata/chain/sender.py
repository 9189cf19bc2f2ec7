"""Sending transactions of one account: nonces, fees, and waiting for their receipts."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import AsyncWeb3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from edgelake.errors import CommandError, EdgeLakeError, TimeoutExpiredError, error
from edgelake.metadata.chain.rpc import explained, rpc_message

log = logging.getLogger(__name__)

RECEIPT_S = 180.0
DISPLACED_S = 5.0
"""A receipt may be known later than the account's new number; after so long there is none."""

_POLL_S = 0.05
_LONGEST_POLL_S = 2.0
_NONCE_ATTEMPTS = 8
_TIP_WEI = 1_000_000_000
_HAS_IT = re.compile(r"already known|already imported|known transaction", re.IGNORECASE)
_NONCE_TAKEN = re.compile(
    r"nonce too low|replacement transaction|underpriced|nonce.*(used|lower|invalid)", re.IGNORECASE
)


class Displaced(Exception):
    """Another transaction of this account took the nonce of ours: ours will never get into a block."""


def account_of(private_key: str, public_key: str = "") -> LocalAccount:
    """The account of a key. Raises CommandError, which never repeats the key."""
    digits = private_key.removeprefix("0x").removeprefix("0X")
    account: LocalAccount | None = None
    if re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        try:
            account = Account.from_key("0x" + digits)
        except Exception:  # noqa: BLE001 - a number that is no key; the library's text may show it
            account = None
    if account is None:
        raise CommandError("the private key is no key", hint="64 hexadecimal digits")
    if public_key and public_key.lower().removeprefix("0x") != account.address.lower().removeprefix("0x"):
        raise CommandError(f"the private key is not the one of the account {public_key}")
    return account


class Sender:
    """Transactions of one account, also when other nodes use the same account.

    Args:
        gas: limit of a transaction; None = what the chain estimates, and a quarter more.
        receipt_s: how long a transaction may take to get into a block.
    """

    def __init__(
        self, w3: AsyncWeb3[Any], account: LocalAccount, gas: int | None = None, *, receipt_s: float = RECEIPT_S
    ) -> None:
        self._w3 = w3
        self._account = account
        self._gas = gas
        self._receipt_s = receipt_s
        self._lock = asyncio.Lock()
        self._open: set[int] = set()  # nonces of transactions whose receipt is awaited

    @property
    def address(self) -> str:
        return str(self._account.address)

    async def send(self, what: str, data: bytes, to: str | None = None) -> Any:
        """Have a transaction done; returns its receipt.

        Args:
            to: a contract; None = ``data`` is a new contract.
        Raises: EdgeLakeError: 209 with the contract's reason, 81, TimeoutExpiredError (the transaction may still get
            into a block).
        """
        call: dict[str, Any] = {"from": self.address, "data": data, "value": 0}
        if to:
            call["to"] = to
        with explained(what):
            for _ in range(_NONCE_ATTEMPTS):
                try:
                    receipt = await self._sent(what, call)
                except Displaced:
                    continue
                if not receipt["status"]:
                    await self._w3.eth.call(call, receipt["blockNumber"])  # type: ignore[arg-type]
                    raise error(209, f"{what}: the transaction failed in block {receipt['blockNumber']}", hint="gas?")
                return receipt
        raise error(209, f"{what}: other transactions of {self.address} came in between, {_NONCE_ATTEMPTS} times")

    async def _sent(self, what: str, call: dict[str, Any]) -> Any:
        async with self._lock:  # two that ask for a nonce at once would get the same
            nonce, digest = await self._submit(call)
            self._open.add(nonce)
        try:
            return await self._receipt(what, digest, nonce)
        finally:
            self._open.discard(nonce)

    async def _submit(self, call: dict[str, Any]) -> tuple[int, Any]:
        eth = self._w3.eth
        gas = self._gas or int(await eth.estimate_gas(call) * 1.25)  # type: ignore[arg-type]
        chain_id, fees = await eth.chain_id, await self._fees()
        for attempt in range(_NONCE_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_POLL_S * 2**attempt)  # the other one's transaction becomes known
            nonce = int(await eth.get_transaction_count(self._account.address, "pending"))
            while nonce in self._open:
                nonce += 1
            signed = self._account.sign_transaction({**call, **fees, "gas": gas, "nonce": nonce, "chainId": chain_id})
            try:
                await eth.send_raw_transaction(signed.raw_transaction)
            except Web3RPCError as refused:
                message = rpc_message(refused)
                if _HAS_IT.search(message):
                    return nonce, signed.hash
                if _NONCE_TAKEN.search(message) and not await self._has(signed.hash):
                    continue
                raise
            except EdgeLakeError:
                # No answer: it may have arrived. It can arrive only once, so it is sent again as it is.
                await self._again(signed)
            return nonce, signed.hash
        raise error(209, f"other transactions of {self.address} take its numbers", hint="one account for each node")

    async def _again(self, signed: Any) -> None:
        await asyncio.sleep(_POLL_S)
        try:
            await self._w3.eth.send_raw_transaction(signed.raw_transaction)
        except Web3RPCError as refused:
            if not _HAS_IT.search(rpc_message(refused)) and not await self._has(signed.hash):
                raise

    async def _has(self, digest: Any) -> bool:
        try:
            await self._w3.eth.get_transaction(digest)
        except TransactionNotFound:
            return False
        return True

    async def _fees(self) -> dict[str, int]:
        block: Any = await self._w3.eth.get_block("latest")
        if "baseFeePerGas" not in block:
            return {"gasPrice": int(await self._w3.eth.gas_price)}
        try:
            tip = int(await self._w3.eth.max_priority_fee)
        except Web3RPCError:
            tip = _TIP_WEI
        return {"maxPriorityFeePerGas": tip, "maxFeePerGas": tip + 2 * int(block["baseFeePerGas"])}

    async def _receipt(self, what: str, digest: Any, nonce: int) -> Any:
        pause, loop = _POLL_S, asyncio.get_running_loop()
        ends, lost_since = loop.time() + self._receipt_s, 0.0
        while True:
            try:
                taken = await self._w3.eth.get_transaction_count(self._account.address, "latest") > nonce
                return await self._w3.eth.get_transaction_receipt(digest)
            except TransactionNotFound:
                lost_since = (lost_since or loop.time()) if taken else 0.0
                if lost_since and loop.time() - lost_since >= DISPLACED_S:
                    raise Displaced from None
            except ContractLogicError:
                raise
            except (EdgeLakeError, Web3RPCError) as problem:  # the chain is away, or still sorts its blocks
                log.info("%s: waiting for the receipt: %s", what, problem)
            if loop.time() >= ends:
                raise TimeoutExpiredError(
                    f"{what}: the transaction 0x{bytes(digest).hex()} is in no block after {self._receipt_s:g} seconds",
                    hint="it may still get in: look before you send it again",
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL_S)
