"""A contract of an Ethereum network as a platform of the node."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from eth_account import Account
from web3 import AsyncWeb3

from edgelake.errors import CommandError, EdgeLakeError, NotPermittedError, TimeoutExpiredError, error
from edgelake.metadata.chain.interface import bytecode, call_data
from edgelake.metadata.chain.mirror import Mirror, counted
from edgelake.metadata.chain.options import Options, checked_url, shown_url
from edgelake.metadata.chain.reader import Reader
from edgelake.metadata.chain.rpc import HttpProvider, explained, web3_over
from edgelake.metadata.chain.sender import RECEIPT_S, Sender, account_of
from edgelake.metadata.ids import Policy, id_of, with_ledger
from edgelake.metadata.platforms import PlatformInfo, Pulled
from edgelake.metadata.policy import wire

PULL_S = 120.0
INFO_S = 5.0


class Ethereum:
    """One connection (``metadata.platforms.Platform``); ``optimism`` and other Ethereum networks are the same.

    Args:
        receipt_s: how long a change may take to get into a block.
    """

    def __init__(self, name: str, options: Options, *, receipt_s: float = RECEIPT_S) -> None:
        self.name = name
        self._options = replace(options, contract=_address(options.contract, "contract") if options.contract else "")
        self._receipt_s = receipt_s
        self._provider = HttpProvider(checked_url(options.provider))
        self._w3 = web3_over(self._provider)
        self._chain_id: int | None = None
        self._sender: Sender | None = None
        self._reader: Reader | None = None
        self._mirror = Mirror()
        self._pulling = asyncio.Lock()
        self._use(options)

    async def open(self) -> None:
        """Ask the provider which chain it is. Raises EdgeLakeError (81, 209)."""
        with explained(f"connect to {self.name}"):
            self._chain_id = int(await self._w3.eth.chain_id)
        self._check_chain(self._options)
        if self._reader is not None:
            await self._reader.counter()

    async def close(self) -> None:
        await self._provider.disconnect()

    async def set_account(self, options: Options) -> None:
        """Take keys, contract, gas limits, chain id. Raises EdgeLakeError; then nothing has changed."""
        if options.contract:
            options = replace(options, contract=_address(options.contract, "contract"))
        merged = self._options.merged(options)
        self._check_chain(merged)
        if options.contract and options.contract != self._options.contract:
            await Reader(self._w3, options.contract, merged.gas_read).counter()
        self._use(merged)

    def _use(self, options: Options) -> None:
        sender: Sender | None = None
        if options.private_key:
            account = account_of(options.private_key, options.public_key)
            sender = Sender(self._w3, account, options.gas_write, receipt_s=self._receipt_s)
        elif options.public_key:
            options = replace(options, public_key=_address(options.public_key, "public_key"))
        before = self._options
        if self._reader is None or (options.contract, options.gas_read) != (before.contract, before.gas_read):
            self._reader = Reader(self._w3, options.contract, options.gas_read) if options.contract else None
            self._mirror = Mirror()
        self._options, self._sender = options, sender

    def _check_chain(self, options: Options) -> None:
        if options.chain_id is not None and self._chain_id is not None and options.chain_id != self._chain_id:
            raise error(209, f"the provider serves the chain {self._chain_id}, not {options.chain_id}")

    # ---- reading

    async def counter(self) -> int:
        return await self._contract().counter()

    async def pull(self, cursor: str = "") -> Pulled:
        async with self._pulling:
            reader = self._contract()
            try:
                async with asyncio.timeout(PULL_S):
                    snapshot = await reader.read()
            except TimeoutError:
                raise TimeoutExpiredError(f"read the contract: not done within {PULL_S:g} seconds") from None
            mirror = self._mirror
            mirror.take(await asyncio.to_thread(counted, snapshot), snapshot.counter)
            return mirror.since(cursor)

    def _contract(self) -> Reader:
        if self._reader is None:
            raise error(
                209,
                f"{self.name}: no contract is set",
                hint=f"blockchain set account info where platform = {self.name} and contract = <address>",
            )
        return self._reader

    # ---- changing

    async def insert(self, policy: Policy) -> None:
        policy_id = id_of(policy)
        if not policy_id:
            raise error(170, "only a policy with an id goes to a platform")
        await self._change("insert", policy_id, wire(with_ledger(policy, "global")))

    async def update(self, policy_id: str, policy: Policy) -> None:
        await self._change("updatePolicy", policy_id, wire(with_ledger(policy, "global")))

    async def delete(self, policy_id: str) -> None:
        await self._change("deletePolicy", policy_id)

    async def _change(self, function: str, policy_id: str, *more: str) -> None:
        reader, sender = self._contract(), self._account()
        await reader.counter()  # a contract that is none would take the transaction, and do nothing
        data = call_data(function, policy_id, *more)
        try:
            await sender.send(f"{function} {policy_id} on {self.name}", data, reader.address)
        except EdgeLakeError as refused:
            raise _as_meant(refused, policy_id) from None

    async def deploy(self, public_key: str = "") -> str:
        """Put a new contract on the chain; returns its address, which is used from now on if none was set."""
        sender = self._account()
        if public_key and _address(public_key, "public_key") != sender.address:
            raise CommandError(f"the account is {sender.address}, not {public_key}")
        receipt = await sender.send(f"deploy a contract on {self.name}", bytes.fromhex(bytecode()[2:]))
        contract = str(receipt["contractAddress"])
        if not self._options.contract:
            self._use(replace(self._options, contract=contract))
        return contract

    def _account(self) -> Sender:
        if self._sender is None:
            raise CommandError(
                f"{self.name}: no account is set",
                hint=f"blockchain set account info where platform = {self.name} and private_key = <key>",
            )
        return self._sender

    # ---- showing

    async def info(self) -> PlatformInfo:
        options, balance, active = self._options, None, False
        address = self._sender.address if self._sender else options.public_key
        try:
            async with asyncio.timeout(INFO_S):
                with explained("ask for the balance"):
                    if address:
                        balance = int(await self._w3.eth.get_balance(address))  # type: ignore[arg-type]
                    else:
                        await self._w3.eth.chain_id
                    active = True
        except (EdgeLakeError, TimeoutError):
            balance = None
        url = shown_url(options.provider)
        return PlatformInfo(self.name, active, balance, self._chain_id, address, options.contract, url)


def new_account() -> tuple[str, str]:
    """Address and private key of a new account."""
    account = Account.create()
    return str(account.address), "0x" + bytes(account.key).hex()


def _address(value: str, name: str) -> str:
    text = value if value.lower().startswith("0x") else f"0x{value}"
    if not AsyncWeb3.is_address(text):
        raise CommandError(f"{name}: '{value[:50]}' is no address", hint="0x and 40 hexadecimal digits")
    return str(AsyncWeb3.to_checksum_address(text))


# What our contract says, and the error that it is.
_REASONS: dict[str, tuple[int, str]] = {
    "policy id exists": (70, "the contract holds a policy with this id"),
    "policy id unknown": (101, "the contract holds no policy with this id"),
}


def _as_meant(refused: EdgeLakeError, policy_id: str) -> Any:
    for reason, (number, detail) in _REASONS.items():
        if reason in refused.detail:
            return error(number, f"{detail}: {policy_id}", policy=policy_id)
    if "not the owner" in refused.detail:
        return NotPermittedError(f"another account owns the policy {policy_id}", hint="use the account that added it")
    return refused
