"""The publisher: data files of its watch directory go to operators, in turn.

A file stays in the watch directory until an operator has said that it has the file, durable. Before it is sent, where
to is put down: when the sending breaks off, nobody knows whether the file was taken, and it goes to that operator again
until it says so. An operator that cannot be reached or refuses is passed over for a while; the others get its files.
Source: spec "Ingestion and storage", section 2; "Network protocol", section 6.4.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from edgelake.errors import EdgeLakeError, PayloadError, error
from edgelake.ingest import filing
from edgelake.ingest.claims import Claim, Claims
from edgelake.ingest.names import INSERTED, FileName, pieces_hash
from edgelake.ingest.operator import Watch
from edgelake.ingest.sending import BAD_FILE, DUPLICATE, Packed, Recipient, Sender, pause_s, says_what_became
from edgelake.ingest.settings import check_directory
from edgelake.ingest.source import Identity, identity_of
from edgelake.model import Status
from edgelake.peering import NO_ANSWER, UNREACHABLE, FileTarget, Peers

log = logging.getLogger(__name__)

STOP_S = 5.0
"""Files on their way have so long to arrive when the publisher stops."""
MAX_DESTINATIONS = 4096

_UNKNOWN_OUTCOME = frozenset({15, NO_ANSWER, UNREACHABLE})


class PublisherConfig(Struct, frozen=True):
    """Options of ``run publisher``. ``company``: of the operators that may get data; "" = any."""

    watch_dir: Path
    bkup_dir: Path
    err_dir: Path
    claims_dir: Path
    delete_json: bool = False
    compress_json: bool = False
    company: str = ""

    def check(self) -> None:
        """Raises EdgeLakeError 35 for a missing directory, 63 for one that cannot be written."""
        for name in ("watch_dir", "bkup_dir", "err_dir"):
            check_directory(name, getattr(self, name))


class Destination(Recipient):
    """An operator that got files, or should have. ``held``: files that may be there and are sent there again."""

    held: deque[_File] = field(default_factory=deque)


class _File(Struct):
    """A file that waits. ``claim``: where it may be already; ``refused``: by whom."""

    path: Path
    name: FileName
    claim: Claim | None = None
    refused: set[str] = field(default_factory=set)
    failures: int = 0


class Publisher(Sender):
    """Sends what appears in the watch directory.

    Args:
        candidates: addresses for new data of (dbms, table), the best first.
        mark: told whether a node answered.
        release: makes files of streamed rows that an earlier run of the node has left in the journal.
    """

    name = "publisher"

    def __init__(
        self,
        config: PublisherConfig,
        watch: Watch,
        peers: Callable[[], Peers],
        candidates: Callable[[str, str], Sequence[str]],
        mark: Callable[[str, bool], None],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(mark)
        self.config = config
        self.destinations: dict[str, Destination] = {}
        self.refused_files = 0
        self._claims = Claims(config.claims_dir)
        self._peers, self._candidates, self._release = peers, candidates, release
        self._watcher = watch(config.watch_dir, self._found, _is_data_file)
        self._claimed: dict[str, Claim] = {}
        self._pending: dict[tuple[str, str], deque[_File]] = {}
        self._later: dict[Path, asyncio.TimerHandle] = {}

    # ---- life

    @property
    def watched(self) -> tuple[Path, ...]:
        """For ``get watch directories``."""
        return (self.config.watch_dir,)

    async def start(self) -> None:
        """Check the directories and begin. Raises EdgeLakeError 35 or 63, OSError."""
        self.config.check()
        self._claimed = await asyncio.to_thread(self._claims.load, self.config.watch_dir)
        self._start_rounds()
        try:
            self._watcher.start()
        except BaseException:
            await self.stop()
            raise
        self._keep(self._release_rows())

    async def _release_rows(self) -> None:
        try:
            await self._release()
        except (EdgeLakeError, OSError) as problem:
            self._tell(f"streamed rows of an earlier run stay in the journal: {problem}")

    async def stop(self) -> None:
        """Begin no more files; what does not arrive in time goes to the same operator at the next start."""
        if not self._since:
            return
        self._since = 0.0  # what fails now is not queued again
        self._watcher.stop()
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()
        await self._stop_rounds(within_s=STOP_S)

    def status(self) -> Status:
        sent = sum(d.files for d in self.destinations.values())
        counters: dict[str, int | float] = {
            "files_sent": sent,
            "files_waiting": self.waiting,
            "files_refused": self.refused_files,
            "errors": sum(d.errors for d in self.destinations.values()),
        }
        details = f"Files sent: {sent}, Files waiting: {self.waiting}"
        return Status("Publisher", bool(self._since), details, int(self._since * 1e6), self.last_error, counters)

    @property
    def waiting(self) -> int:
        """Files that no operator has taken yet."""
        held = sum(len(d.held) + d.busy for d in self.destinations.values())
        return held + sum(map(len, self._pending.values())) + len(self._later)

    # ---- files that wait

    def _found(self, path: Path) -> None:
        try:
            name = FileName.parse(path.name)
            if name.kind != "json" or name.member == INSERTED:
                raise error(119, f"'{path.name}': a publisher sends JSON files with rows")
        except EdgeLakeError as failure:
            self._keep(self._to_error(path, failure))
            return
        self._queue(_File(path, name, self._claimed.pop(path.name, None)))

    def _queue(self, file: _File, *, first: bool = False) -> None:
        if file.claim is not None:
            queue = self._destination(file.claim.peer).held
        else:
            queue = self._pending.setdefault((file.name.dbms, file.name.table), deque())
        queue.appendleft(file) if first else queue.append(file)
        self._changed.set()

    def _again(self, file: _File) -> None:
        """The file itself makes trouble: it waits, ever longer, and others go before it."""
        file.failures += 1

        def now() -> None:
            del self._later[file.path]
            self._queue(file)

        if self._since:
            self._later[file.path] = asyncio.get_running_loop().call_later(pause_s(file.failures), now)

    def _destination(self, peer: str) -> Destination:
        known = self.destinations.get(peer)
        if known is None:
            if len(self.destinations) >= MAX_DESTINATIONS:
                idle = next((d for d in self.destinations.values() if not d.busy and not d.held), None)
                if idle is not None:
                    del self.destinations[idle.peer]
            known = self.destinations[peer] = Destination(peer)
        return known

    # ---- who gets what

    def _begin(self) -> None:
        """Give every operator that is free its next file."""
        for destination in self.destinations.values():
            if destination.held and _is_free(destination):
                self._send(destination.held.popleft(), destination)
        for key in list(self._pending):
            queue = self._pending.pop(key)
            while queue and (chosen := self._choose(queue[0])) is not None:
                self._send(queue.popleft(), chosen)
            if queue:
                self._pending[key] = queue  # the other tables have their turn first

    def _choose(self, file: _File) -> Destination | None:
        """A free operator for a file; one that refused it is asked again when all have."""
        peers = self._candidates(file.name.dbms, file.name.table)
        if not peers:
            self._tell(f"no operator for the data of {file.name.dbms}.{file.name.table}")
            return None
        file.refused &= set(peers)
        if file.refused == set(peers):
            file.refused.clear()
        free = (self._destination(peer) for peer in peers if peer not in file.refused)
        return next((d for d in free if _is_free(d)), None)

    def _send(self, file: _File, destination: Destination) -> None:
        destination.busy = 1
        self._keep(self._deliver(file, destination))

    # ---- one file

    async def _deliver(self, file: _File, destination: Destination) -> None:
        try:
            await self._attempt(file, destination)
        except FileNotFoundError:
            if file.path.exists():  # a folder is missing
                self._problem(file, destination, f"{file.path.name}: a folder is missing")
            else:  # somebody took it away
                await asyncio.to_thread(self._claims.drop, file.path.name)
                self._watcher.release(file.path)
        except (OSError, EOFError, zlib.error) as problem:
            self._problem(file, destination, f"{file.path.name}: {problem}")
        except Exception as fault:  # the file stays where it is
            log.exception("fault with %s", file.path.name)
            self._problem(file, destination, f"{type(fault).__name__}: {fault}")
        finally:
            destination.busy = 0
            self._changed.set()

    def _problem(self, file: _File, destination: Destination, text: str) -> None:
        destination.note(text)
        self._tell(text)
        self._again(file)

    async def _attempt(self, file: _File, destination: Destination) -> None:
        peer = destination.peer
        try:
            peers = self._peers()
            # Asked each time: a file that nothing was sent of may go to another operator.
            is_ours = await says_what_became(peers, peer)
            if file.claim is not None and file.claim.is_known_there and not is_ours:
                raise error(UNREACHABLE, f"{peer}: it does not say any more which files it has")
        except EdgeLakeError as failure:  # nothing was sent: another one may have the file
            self._failed(destination, failure)
            self._queue(file, first=True)
            return
        was_sent = file.claim is not None
        if not await self._claim(file, peer, is_ours):
            return
        claim, sent = file.claim, Packed(file.path)
        assert claim is not None
        try:
            name = f"{claim.sent_as}.gz"
            target = FileTarget.DELIVERY if claim.is_known_there else FileTarget.WATCH_DIRECTORY
            await peers.send_file(peer, name, sent.pieces(), target)
        except EdgeLakeError as failure:
            if not (failure.number == DUPLICATE and was_sent):
                await self._refused(file, destination, failure)
                return
        self._worked(destination, claim.sent_as, sent.bytes)
        await asyncio.to_thread(self._finish, file, claim)
        self._watcher.release(file.path)

    async def _claim(self, file: _File, peer: str, is_ours: bool) -> bool:
        """Put down where the file goes; False: it is not to be sent now. Raises OSError."""
        identity = identity_of(file.path)
        if identity is None:
            raise FileNotFoundError(str(file.path))
        if file.claim is not None and file.claim.identity != identity:
            file.claim = None  # another file has taken its name
            self._queue(file)
            return False
        if file.claim is None:
            try:
                made = await asyncio.to_thread(_claim_of, file, identity, peer, is_ours)
            except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
                await self._to_error(file.path, PayloadError(f"{file.path.name}: {problem}"))
                return False
            await asyncio.to_thread(self._claims.put, made)
            file.claim = made
        return True

    async def _refused(self, file: _File, destination: Destination, failure: EdgeLakeError) -> None:
        if failure.number in _UNKNOWN_OUTCOME:  # it may have the file
            self._failed(destination, failure)
            self._queue(file, first=True)
            return
        await asyncio.to_thread(self._claims.drop, file.path.name)
        file.claim = None
        if failure.number == DUPLICATE or failure.number in BAD_FILE:
            destination.note(str(failure))
            await self._to_error(file.path, failure)
            return
        self._failed(destination, failure)
        file.refused.add(destination.peer)
        self._again(file)

    def _finish(self, file: _File, claim: Claim) -> None:
        """An operator has it: to the backup folder, or away."""
        if identity_of(file.path) == claim.identity:  # else another file has taken its name
            if self.config.delete_json:
                file.path.unlink()
            else:
                packed = file.path.name.endswith(".gz")
                shown = f"{claim.sent_as}.gz" if packed else claim.sent_as
                filing.move(file.path, self.config.bkup_dir, shown, compress=self.config.compress_json)
        self._claims.drop(claim.file)

    async def _to_error(self, path: Path, failure: EdgeLakeError) -> None:
        self.refused_files += 1
        self.last_error = f"{path.name} is in the error folder: {failure}"
        log.warning("publisher: %s goes to the error folder: %s", path.name, failure)
        try:
            await asyncio.to_thread(filing.to_error, path, self.config.err_dir, failure)
        except OSError as problem:
            if path.exists():
                self._tell(f"{path.name} cannot be moved to the error folder: {problem}")
                return  # it is found again at the next start
        self._watcher.release(path)


def _is_data_file(name: str) -> bool:
    return name.removesuffix(".gz").endswith((".json", ".sql"))


def _claim_of(file: _File, identity: Identity, peer: str, is_ours: bool) -> Claim:
    """The file's name at the operator has the hash of the content, by which it is known there."""
    name = replace(file.name, compressed=False)
    if name.hash == "0":
        name = replace(name, hash=pieces_hash(name.dbms, name.table, filing.pieces_of(file.path)))
    return Claim(file.path.name, identity, peer, name.text(), is_ours)


def _is_free(destination: Destination) -> bool:
    return not destination.busy and destination.is_ready
