"""What a node does with a message of a peer (network protocol, sections 5 and 11)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import PeerMessage
from edgelake.errors import EdgeLakeError, NotPermittedError, UnknownCommandError, error
from edgelake.model import Caller, Reply
from edgelake.peering import Asker, FileTarget, file_words

log = logging.getLogger(__name__)

LARGE_COMMAND: Final = 3
"""Generic flag of a file that is a command too long for a block."""

GET_BLOCKCHAIN: Final = "get_blockchain"

PING: Final = "metadata_ping"
"""Event that asks whether a node is there; it answers with ``PONG``."""

PONG: Final = "metadata_pong"

JOB_STOP: Final = "job_stop"
"""Event of a node that wants no more rows of its query, named by location and number (section 6.2.4)."""

MONITOR: Final = "monitor"
"""Command by which a node says how it is."""

_READY: Final = 512
"""Commands of peers that are kept ready, by text and address."""

_BEGIN, _END = "peer-", ".transfer"
"""Of the names of files on their way."""

ALLOWED: Final = ("get ", "test ", "help ", "blockchain get ", "blockchain test ")
"""Beginnings of commands that peers may send; for others the owner of the node grants the right."""

LEDGER: Final = tuple(f"blockchain {verb} " for verb in ("push", "drop", "replace", "submit", "withdraw", "changes"))
"""What a master takes as well: the ledger is its own, and others are told to write there."""


class Files(Protocol):
    """Files of other nodes, and files for them."""

    def check(self, ip: str, name: str, target: FileTarget) -> None:
        """A file of that name begins, from that connection. Raises NotPermittedError when it may not come."""

    async def take(self, ip: str, name: str, target: FileTarget, path: Path) -> None:
        """It is complete, at ``path`` (removed afterwards). Raises EdgeLakeError."""

    async def deliver(self, peer: str, source: str, target: str) -> None:
        """A peer asks for files, to be sent under the name ``target``. Raises EdgeLakeError."""


class Cluster(Protocol):
    """What members of the own cluster ask and say (section 6.5). Methods raise EdgeLakeError."""

    async def event(self, words: Sequence[str], ip: str, reply_to: str) -> bool:
        """An event, its words as they came; False: it is none of a cluster."""

    async def deliver(self, table: str, ids: str, ip: str, reply_to: str) -> None:
        """A member asks for files of a TSD table."""


class Answer(Struct, frozen=True):
    """Text of a reply."""

    text: str = ""
    is_json: bool = False
    error: int = 0
    in_command: bool = False


class Ready(NamedTuple):
    """A command that takes no waiting, as often as it comes.

    Attributes:
        run: carry it out. Raises EdgeLakeError.
        note: put down that it was, after the reply.
    """

    run: Callable[[], Reply]
    note: Callable[[], None]


class RowRequest(Struct, frozen=True):
    """A select of a peer.

    Attributes:
        line: as it is run.
        printed: how its rows are to be printed; "" = as they travel.
        knows_others: who asks asks another member when this one declines.
    """

    line: str
    asker: Asker
    printed: str
    knows_others: bool


class Hooks(Struct, frozen=True):
    """What the node does for its peers.

    Attributes:
        run: a command of a peer. Raises EdgeLakeError.
        told: its reply as text for the peer.
        standing: the same for a command that takes no waiting, as often as it comes; None: it is one for ``run``.
        query: a select of a peer: the rows, a line each. Raises EdgeLakeError.
        stop_query: a peer wants no more rows of a query.
        shown: text that a peer sends for the console.
        get_blockchain: a peer asks for the ledger: where its answer goes, words of the command. Raises EdgeLakeError.
        pinged: a peer asks whether this node is there. Raises EdgeLakeError.
        alive: a peer says that it is there.
        is_master: whether the ledger of the network is kept here.
        expects_ledger: whether a copy was asked of that peer, under that name.
        on_ledger: a copy of the ledger came: from whom, its name, the file (removed afterwards). Raises EdgeLakeError.
        files: that come from peers and go to them.
        cluster: what goes on between members of a cluster.
        caller: rights of an address and a key ("" = the message is not signed) for a command or message.
            Raises NotPermittedError.
        granted: rights for a command that is opened to the node at that address or with that key; None = it is not.
        trusts_ledger: whether a copy of the ledger that was asked for may come without a permission: the first one,
            which brings the permissions.
        refused: put down that something was not permitted: address, key, command, reason.
        working_dir: for files that arrive.
    """

    run: Callable[[str, Caller], Awaitable[Reply]]
    told: Callable[[str, Reply], Answer]
    standing: Callable[[str, Caller], Ready | None]
    query: Callable[[RowRequest, Caller], Awaitable[AsyncIterator[bytes]]]
    stop_query: Callable[[Asker], int]
    shown: Callable[[str, str], None]
    get_blockchain: Callable[[str, Sequence[str]], Awaitable[None]]
    pinged: Callable[[str], Awaitable[None]]
    alive: Callable[[str], None]
    is_master: Callable[[], bool]
    expects_ledger: Callable[[str, str], bool]
    on_ledger: Callable[[str, str, Path], Awaitable[None]]
    files: Files
    cluster: Cluster
    caller: Callable[[str, str, str], Caller]
    granted: Callable[[str, str, str], Caller | None]
    trusts_ledger: Callable[[str], bool]
    refused: Callable[[str, str, str, str], None]
    working_dir: Callable[[], Path]


class Dispatch:
    """Carries out the commands of peers."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._ready = lru_cache(_READY)(self._find_ready)

    async def command(self, text: str, data: bytes, ip: str, reply_to: str, key: str = "") -> Answer | None:
        """Carry out a command; None = no reply belongs to it.

        Args:
            text: TABs as they came; they stand for blanks.
            ip: of the connection; it decides what is allowed.
            reply_to: ``ip:port`` of the peer.
            key: of who signed it; "" = nobody.
        """
        line = _line(text)
        words = line.split()
        if not words:
            return None
        if words[0] in ("print", "echo"):
            said = data.decode(errors="replace") or line.partition(" ")[2]
            with contextlib.suppress(NotPermittedError):  # an answer to it would be one of these again
                self._caller(ip, key, words[0])
                self._hooks.shown(reply_to, said)
            return None
        try:
            if words[0] in ("event", "file"):
                self._caller(ip, key, words[0])
            if words[:2] == ["event", GET_BLOCKCHAIN]:
                # The folder that the peer names may hold blanks, which came as TABs.
                await self._hooks.get_blockchain(reply_to, text.split(" "))
                return None
            if words[:2] == ["file", "get"]:
                return await self._file_get(text, reply_to)
            if words[:2] == ["file", "deliver"]:
                await self._hooks.cluster.deliver(" ".join(words[2:3]), data.decode(errors="replace"), ip, reply_to)
                return None
            if words[:2] == ["event", PING]:
                await self._hooks.pinged(reply_to)
                return None
            if words[:2] == ["event", PONG]:
                self._hooks.alive(reply_to)
                return None
            if words[:2] == ["event", JOB_STOP]:
                self._stop_query(words[2:], reply_to)
                return None
            if words[0] == "event" and await self._hooks.cluster.event(text.split(" ")[1:], ip, reply_to):
                return None
            if words[0] in ("event", "job"):
                log.info("%s of %s is not known here", " ".join(words[:2]), reply_to)
                return None
            if words[0] == MONITOR:
                # Kept under the address that the peer's replies go to: several nodes may share a machine.
                caller = replace(self._caller(ip, key, MONITOR), address=reply_to)
            elif f"{line} ".startswith((*ALLOWED, *LEDGER) if self._hooks.is_master() else ALLOWED):
                caller = self._caller(ip, key, line)
            elif (granted := self._hooks.granted(" ".join(words).lower(), ip, key)) is not None:
                caller = granted
            else:
                raise NotPermittedError(f"'{' '.join(words[:2])}' is not taken from other nodes")
            return self._hooks.told(line, await self._hooks.run(line, caller))
        except Exception as failure:  # noqa: BLE001 - who waits is told of a fault, too
            return _failed(failure, words, reply_to)

    def _stop_query(self, words: Sequence[str], reply_to: str) -> None:
        if len(words) == 2 and all(word.isdecimal() and word.isascii() for word in words):
            self._hooks.stop_query(Asker(reply_to, int(words[0]), int(words[1])))

    def _caller(self, ip: str, key: str, command: str) -> Caller:
        """Rights for a command. Raises NotPermittedError, which is put down."""
        try:
            return self._hooks.caller(ip, key, command)
        except NotPermittedError as refusal:
            self._hooks.refused(ip, key, command, refusal.detail)
            raise

    def not_taken(self, ip: str, command: str, why: str) -> None:
        """Put down a message whose signature is wrong."""
        self._hooks.refused(ip, "", command, why)

    def ready(self, text: str, ip: str, key: str = "") -> Ready | None:
        """A command that takes no waiting; None: it is one for ``command``."""
        try:
            return self._ready(text, self._hooks.caller(ip, key, text))
        except NotPermittedError:
            return None

    def carry_out(self, ready: Ready, text: str, reply_to: str) -> Answer:
        """Carry out such a command. When the peer has the answer, ``note`` follows, unless it failed."""
        try:
            return self._hooks.told(text, ready.run())
        except Exception as failure:  # noqa: BLE001 - as in command
            return _failed(failure, text.split(), reply_to)

    def _find_ready(self, text: str, caller: Caller) -> Ready | None:
        line = _line(text)
        return self._hooks.standing(line, caller) if line.startswith(ALLOWED) else None

    async def _file_get(self, text: str, reply_to: str) -> Answer:
        """``file get source [target]``; blanks of a name came as TABs."""
        names = file_words([word.replace("\t", " ").strip() for word in text.split(" ") if word][2:])
        try:
            if len(names) not in (1, 2):
                raise error(64, "file get <source> <target>")
            await self._hooks.files.deliver(reply_to, names[0], names[-1])
        except EdgeLakeError as failure:
            return _not_done("get", failure)
        return Answer()

    async def query(self, request: RowRequest, ip: str, key: str = "") -> AsyncIterator[bytes] | EdgeLakeError:
        """Begin a select; its rows, or why there are none."""
        try:
            return await self._hooks.query(request, self._caller(ip, key, "sql"))
        except EdgeLakeError as failure:
            return failure
        except Exception as fault:  # who waits is told of a fault, too
            log.exception("fault in a query of %s: %s", ip, request.line[:200])
            return error(3, f"{type(fault).__name__}: {fault}")

    async def file(self, arrived: File, ip: str, reply_to: str, key: str = "") -> Answer | None:
        """A file is complete; the temporary one is removed in any case."""
        try:
            if arrived.flag == LARGE_COMMAND:
                text = await asyncio.to_thread(arrived.path.read_text, errors="replace")
                return await self.command(text, b"", ip, reply_to, key)
            if arrived.flag == FileTarget.LEDGER:
                await self._hooks.on_ledger(reply_to, arrived.name, arrived.path)
            else:
                await self._hooks.files.take(ip, arrived.name, FileTarget(arrived.flag), arrived.path)
            return None
        except EdgeLakeError as failure:
            return self.refused(failure)
        finally:
            arrived.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what was on its way when the node was killed."""
        for left in self._hooks.working_dir().glob(f"{_BEGIN}*{_END}"):
            left.unlink(missing_ok=True)

    def open(self, command: str, flag: int, peer: str, ip: str, key: str = "") -> File:
        """A file begins: ``file write <name>``. Raises NotPermittedError, before anything is kept, for files that
        peers may not send and for copies of the ledger that nobody asked for."""
        name = command.removeprefix("file write ").replace("\t", " ").strip()
        if flag not in (FileTarget.LEDGER, LARGE_COMMAND):
            caller = self._caller(ip, key, "file")
            if caller.rights is not None and flag != FileTarget.PATH and name.count(".") > 1:
                caller.rights.check("file", *name.split(".")[:2])  # dbms.table.source ...
        elif flag == FileTarget.LEDGER and not self._hooks.trusts_ledger(key):
            self._caller(ip, key, "file")
        if flag in (FileTarget.PATH, FileTarget.WATCH_DIRECTORY, FileTarget.DELIVERY):
            self._hooks.files.check(ip, name, FileTarget(flag))
        elif flag not in (FileTarget.LEDGER, LARGE_COMMAND):
            raise NotPermittedError(f"files with the flag {flag} are not taken here")
        if flag == FileTarget.LEDGER and not self._hooks.expects_ledger(peer, name):
            raise NotPermittedError(f"no copy of the ledger was asked of {peer}")
        folder = self._hooks.working_dir()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=_BEGIN, suffix=_END, delete=False) as made:
            return File(name, flag, Path(made.name))

    def refused(self, failure: EdgeLakeError) -> Answer:
        """What the sender of a file is told."""
        return _not_done("write", failure)


def row_request(message: PeerMessage, reply_to: str, printed: str, *, knows_others: bool) -> RowRequest:
    """A select that came as a message."""
    asker = Asker(reply_to, message.job[0], message.job[1])
    return RowRequest(_line(message.command), asker, printed, knows_others)


def _line(text: str) -> str:
    """A command as it is run: TABs stand for blanks."""
    return text.replace("\t", " ").strip()


def _failed(failure: Exception, words: Sequence[str], reply_to: str) -> Answer:
    if isinstance(failure, UnknownCommandError):
        return Answer(f"Command '{' '.join(words[:2])}' not recoginzed", error=1, in_command=True)
    if isinstance(failure, EdgeLakeError):
        return Answer(str(failure), error=failure.number)
    log.error("fault in a command of %s: %s", reply_to, " ".join(words[:2]), exc_info=failure)
    return Answer(f"{type(failure).__name__}: {failure}", error=3)


def _not_done(verb: str, failure: EdgeLakeError) -> Answer:
    return Answer(f"'File {verb}' operation failed: <{failure}>", error=failure.number)


class File(Struct):
    """A file on its way in, kept beside its target until it is whole."""

    name: str
    flag: int
    path: Path
    size_bytes: int = 0

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        self.size_bytes += len(data)
