"""Nodes of one process whose messages go from hand to hand, as ``Peers`` would send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.master import Master
from edgelake.metadata.network import Network
from edgelake.metadata.platforms import Platforms
from edgelake.metadata.policies import Policies
from edgelake.metadata.policy import parse_policy
from edgelake.metadata.serve import LedgerService
from edgelake.metadata.sync import SyncConfig, Synchronizer
from edgelake.peering import FileTarget, PeerAnswer
from edgelake.store.ledger import LedgerTable
from edgelake.store.stores import Stores

MASTER = "10.0.0.1:32048"


class Wire:
    """The network between nodes. ``upgraded``: all are of our kind; ``down``: addresses that can't be reached."""

    def __init__(self, *, upgraded: bool = True) -> None:
        self.nodes: dict[str, Member] = {}
        self.upgraded = upgraded
        self.down: set[str] = set()
        self.payload_bytes = 0
        self.commands: list[str] = []

    def member(self, address: str) -> Member:
        if address in self.down or address not in self.nodes:
            raise error(208, address)
        return self.nodes[address]


class Member:
    """A node, as far as policies go."""

    def __init__(self, wire: Wire, address: str, home: Path) -> None:
        self.wire, self.address, self.home = wire, address, home
        self.stores = Stores(lambda: home)
        self.policies = Policies(home / "blockchain" / "blockchain.json")
        self.platforms = Platforms()
        self.master = Master(LedgerTable(self.stores))
        self.policies.network = Network(lambda: self, self.platforms, self.master)
        self.service = LedgerService(self.master, lambda: self, lambda: True)
        self.sync: Synchronizer | None = None
        wire.nodes[address] = self

    async def serve_ledger(self) -> None:
        await self.stores.connect("blockchain")
        await self.master.create_table()

    async def run_sync(self, **options: Any) -> Synchronizer:
        assert self.policies.network is not None
        config = SyncConfig(**{"source": "master", "seconds": 60.0, "connection": MASTER, **options})
        self.sync = Synchronizer(config, self.policies, self.policies.network, self.master, self.platforms)
        await self.sync.start()
        return self.sync

    async def close(self) -> None:
        if self.sync is not None:
            await self.sync.stop()
        await self.stores.close()

    # ---- Peers

    def source_for(self, peer: str) -> str:
        return self.address

    def is_own(self, address: str) -> bool:
        return address == self.address

    def is_upgraded(self, peer: str) -> bool:
        return self.wire.upgraded

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        self.wire.payload_bytes += len(command)
        self.wire.commands.append(command)
        try:
            await self.wire.member(peer).take(self.address, command)
        except EdgeLakeError as problem:
            if problem.number == 208:
                raise

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        answers = []
        for peer in peers:
            self.wire.payload_bytes += len(command)
            self.wire.commands.append(command)
            try:
                text = json.dumps(await self.wire.member(peer).take(self.address, command))
                self.wire.payload_bytes += len(text)
                answers.append(PeerAnswer(peer, text, True))
            except EdgeLakeError as problem:
                answers.append(PeerAnswer(peer, problem.detail, error=problem.number))
        return answers

    async def send_file(
        self, peer: str, destination: str, content: bytes | AsyncIterator[bytes], target: FileTarget
    ) -> None:
        assert isinstance(content, bytes)
        assert target is FileTarget.LEDGER
        self.wire.payload_bytes += len(content)
        receiver = self.wire.member(peer)
        path = receiver.home / "arrived"
        path.write_bytes(content)
        assert receiver.sync is not None
        await receiver.sync.on_ledger(self.address, destination, path)

    async def take(self, sender: str, command: str) -> Any:
        """What a node does with a message."""
        words = command.replace("\t", " ").split(" ")
        host = sender.partition(":")[0]
        body = command[command.index("{") :] if "{" in command else ""
        if command.startswith("event get_blockchain"):
            await self.service.get_blockchain(sender, command.split(" "))
        elif words[1] in ("push", "submit"):
            ignore = words[2] == "ignore" or words[1] == "submit"
            return {"id": await self.master.push(parse_policy(body), host=host, ignore=ignore)}
        elif words[1] in ("drop", "withdraw"):
            await self.master.drop([words[-1]])
        elif words[1] == "changes":
            return await self.master.changes(words[2])
        return None


async def settled(*members: Member) -> None:
    """A round at each node that began after this call."""
    for member in members:
        assert member.sync is not None
        assert await member.sync.round(timeout_s=10)
    await asyncio.sleep(0)
