"""What a master answers to a node that asks for the ledger (network protocol, section 6.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import PurePath

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.master import Master
from edgelake.peering import FileTarget, Peers

GET_BLOCKCHAIN = "get_blockchain"
"""Name of the node's part that answers ``event get_blockchain``: ``LedgerService.get_blockchain``."""

SAME_S = 5.0
"""The same ledger is not sent to the same node again before this time is over."""

_NUMBERS = 9
_REMEMBERED = 1000


class LedgerService:
    """Sends the ledger of this node to those that ask.

    Args:
        folder_known: whether the node has a folder for its copies (``blockchain_file`` is set).
    """

    def __init__(self, master: Master, peers: Callable[[], Peers | None], folder_known: Callable[[], bool]) -> None:
        self._master = master
        self._peers = peers
        self._folder_known = folder_known
        self._number = 0
        self._sent: dict[str, tuple[str, float]] = {}

    async def get_blockchain(self, peer: str, words: Sequence[str]) -> None:
        """Answer ``event get_blockchain <dir>/blockchain.new <hash> <trace>``: with the whole ledger as a file, or not
        at all when the peer has it.

        Args:
            peer: where the answer goes, ``ip:port``.
            words: of the command, with or without the first two.

        Raises EdgeLakeError: 64 arguments, 58 no path of the ledger, 68 it can't be read, 69 it is no master, 208.
        """
        words = [word for word in words if word not in ("event", GET_BLOCKCHAIN)]
        if len(words) < 2:
            raise error(64, "event get_blockchain <file> <hash> <trace>")
        if not self._folder_known():
            raise error(58, "blockchain_file is not set at the master")
        if not self._master.exists:
            raise error(69, "this node has no table blockchain.ledger", hint="ask the master of the network")
        peers = self._peers()
        if peers is None:
            raise error(21, "this node sends no messages")
        try:
            data, version = await self._master.content()
        except EdgeLakeError as problem:
            raise error(68, problem.detail or problem.text) from problem
        trace = words[2] if len(words) > 2 else "0"
        if version == words[1]:
            if trace == "2":
                await peers.tell(peer, f"print {_one_word(f'The ledger is up to date: {version}')}")
            return
        await self._space_out(peer, version)
        await peers.send_file(peer, self._name(words[0]), data, FileTarget.LEDGER)

    async def _space_out(self, peer: str, version: str) -> None:
        """A node that can't keep what it gets would ask for it without end."""
        loop = asyncio.get_running_loop()
        known = self._sent.get(peer)
        if known is not None and known[0] == version and loop.time() - known[1] < SAME_S:
            await asyncio.sleep(SAME_S)
        self._sent.pop(peer, None)
        self._sent[peer] = version, loop.time()
        if len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def _name(self, wanted: str) -> str:
        """Where the peer gets the file: beside what it named, with a number that tells masters apart."""
        self._number = self._number % _NUMBERS + 1
        path = PurePath(wanted)
        return str(path.with_name(f"{path.stem}.master_id_{self._number}{path.suffix}"))


def _one_word(text: str) -> str:
    return text.replace(" ", "\t")
