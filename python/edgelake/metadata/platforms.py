"""Blockchain platforms as the rest of the node sees them: where policies are kept in a contract.

What speaks to a chain stands in ``metadata/chain``; it is loaded when the first platform is connected.
Source: spec metadata, sections 9, 10 and 12.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from msgspec import Struct

from edgelake.errors import error
from edgelake.metadata.chain.options import Options
from edgelake.metadata.ids import Policy

PLATFORMS = "platforms"
"""Name of the node's part that holds its ``Platforms``."""

KINDS = ("ethereum", "optimism")
"""Names of platforms; both are Ethereum networks, and one node may be connected to both."""


class Pulled(Struct, frozen=True):
    """What a platform's contract holds, or what changed in it since an earlier pull.

    Policies count as a reader of the contract counts them: of several with one id the latest, none that is discarded.

    Attributes:
        cursor: hand it to the next :meth:`Platform.pull`, to get the changes since this one.
        counter: transactions of the contract so far (insert, update, delete), as ``blockchain state`` shows it.
        full: whether ``policies`` is everything that counts; ``removed`` is empty then.
        policies: in the order of their dates; else those that are new or differ.
        removed: ids that counted before and don't any more.
    """

    cursor: str
    counter: int
    full: bool
    policies: tuple[Policy, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing has happened since the cursor that was given."""
        return not self.full and not self.policies and not self.removed


class PlatformInfo(Struct, frozen=True):
    """A row of ``get platforms``. Secrets in the address of the provider are masked; the private key is never shown."""

    name: str
    active: bool
    balance_wei: int | None
    chain_id: int | None
    public_key: str
    contract: str
    url: str


class Platform(Protocol):
    """A connection to a contract. All methods wait for the chain, in bounded time.

    Every method raises EdgeLakeError: 81 chain out of reach, 209 the contract can't be used, TimeoutExpiredError.
    Changes also: 2 no account, and what they name. A change that returned is in a block.
    """

    @property
    def name(self) -> str: ...

    async def counter(self) -> int:
        """Transactions of the contract so far."""

    async def pull(self, cursor: str = "") -> Pulled:
        """What the contract holds: all of it without a cursor, else the changes since then where they are known."""

    async def insert(self, policy: Policy) -> None:
        """Add a policy that has an id; ``ledger`` is set to ``global``.

        Raises 70 when the contract holds the id: for one who sends again, the policy has arrived.
        """

    async def update(self, policy_id: str, policy: Policy) -> None:
        """Put another text in the place of a policy. Raises 101 unknown id, 212 another account owns it."""

    async def delete(self, policy_id: str) -> None:
        """Remove a policy. Raises 101 unknown id, 212 another account owns it."""

    async def deploy(self, public_key: str = "") -> str:
        """Put a new contract on the chain; returns its address, which is used from now on if none was set."""

    async def set_account(self, options: Options) -> None:
        """Take keys, contract, gas limits, chain id. Raises EdgeLakeError; then nothing has changed."""

    async def info(self) -> PlatformInfo:
        """For ``get platforms``. Raises nothing: a chain out of reach is not active."""

    async def close(self) -> None:
        """Give up the connection. Idempotent."""


class Platforms:
    """The platforms that the node is connected to, by name."""

    def __init__(self) -> None:
        self._connected: dict[str, Platform] = {}

    def get(self, name: str) -> Platform:
        """A connected platform. Raises EdgeLakeError: 19 unknown name, 81 not connected."""
        kind = self.kind(name)
        if kind not in self._connected:
            raise error(81, f"{kind} is not connected", hint=f"blockchain connect to {kind} where provider = <url>")
        return self._connected[kind]

    @staticmethod
    def kind(name: str) -> str:
        """The name of a platform in the form that counts. Raises EdgeLakeError (19)."""
        if name.lower() not in KINDS:
            reason = "is not supported by this node" if name.lower() == "hyperledger" else "is no platform"
            raise error(19, f"'{name}' {reason}", hint=f"platforms: {', '.join(KINDS)}")
        return name.lower()

    async def connected(self, platform: Platform) -> None:
        """Keep a connection; an earlier one of that name is given up."""
        earlier = self._connected.get(platform.name)
        self._connected[platform.name] = platform
        if earlier is not None:
            await earlier.close()

    async def info(self) -> list[PlatformInfo]:
        """All platforms, in the order in which they were connected first."""
        return list(await asyncio.gather(*(platform.info() for platform in self._connected.values())))

    async def close(self) -> None:
        """Give up all connections."""
        while self._connected:
            await self._connected.popitem()[1].close()
