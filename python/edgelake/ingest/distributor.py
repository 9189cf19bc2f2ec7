"""The distributor: files of ``distr_dir`` go to every other member of the cluster.

A file leaves the folder when all members have it; it is in the archive besides. A member that does not answer is passed
over and tried again ever more seldom. A file may be sent more than once: members know what they have.
Source: spec "Security and high availability", section 11.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from edgelake.errors import EdgeLakeError, error
from edgelake.ingest import filing
from edgelake.ingest.members import archived_file
from edgelake.ingest.names import FileName
from edgelake.ingest.operator import Watch
from edgelake.ingest.sending import BAD_FILE, DUPLICATE, Packed, Recipient, Sender, says_what_became
from edgelake.ingest.settings import OperatorConfig, check_directory
from edgelake.metadata.routing import Operator as Member
from edgelake.model import Status
from edgelake.peering import FileTarget, Peers

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Files on their way to one member."""


class DistributorConfig(Struct, frozen=True):
    """Options of ``run data distributor``."""

    distr_dir: Path
    archive_dir: Path

    def check(self) -> None:
        """Raises EdgeLakeError 35 for a missing directory, 63 for one that cannot be written."""
        check_directory("distr_dir", self.distr_dir)
        check_directory("archive_dir", self.archive_dir)


class _File(Struct):
    path: Path
    name: FileName
    done: set[str] = field(default_factory=set)
    """Members that have it."""


class Destination(Recipient):
    """A member that gets the files. ``todo``: those that it lacks, the oldest first."""

    todo: deque[_File] = field(default_factory=deque)


class Distributor(Sender):
    """Sends what appears in the folder.

    Args:
        operator: what runs here; None = no operator, and files wait.
        members: the other members of its cluster.
        mark: told whether a node answered.
    """

    name = "distributor"

    def __init__(
        self,
        config: DistributorConfig,
        watch: Watch,
        peers: Callable[[], Peers],
        operator: Callable[[], OperatorConfig | None],
        members: Callable[[], Sequence[Member]],
        mark: Callable[[str, bool], None],
    ) -> None:
        super().__init__(mark)
        self.config = config
        self.destinations: dict[str, Destination] = {}
        self.distributed = 0
        self._peers, self._operator, self._members = peers, operator, members
        self._watcher = watch(config.distr_dir, self._found, lambda name: name.removesuffix(".gz").endswith(".json"))
        self._files: dict[Path, _File] = {}

    # ---- life

    @property
    def watched(self) -> tuple[Path, ...]:
        """For ``get watch directories``."""
        return (self.config.distr_dir,)

    async def start(self) -> None:
        """Check the directories and begin. Raises EdgeLakeError 35 or 63."""
        self.config.check()
        self._start_rounds()
        try:
            self._watcher.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Send nothing more; what is on its way is sent again at the next start."""
        if not self._since:
            return
        self._watcher.stop()
        await self._stop_rounds()

    def status(self) -> Status:
        counters: dict[str, int | float] = {
            "files_distributed": self.distributed,
            "files_waiting": self.waiting,
            "errors": sum(one.errors for one in self.destinations.values()),
        }
        details = f"Files distributed: {self.distributed}, Files waiting: {self.waiting}"
        return Status("Distributor", bool(self._since), details, int(self._since * 1e6), self.last_error, counters)

    @property
    def waiting(self) -> int:
        """Files that some member lacks."""
        return len(self._files)

    # ---- who lacks what

    def sends(self, peer: str, name: str) -> bool:
        """Whether a file goes to a member now, or is about to."""
        destination, folder = self.destinations.get(peer), self.config.distr_dir
        if not self._since or destination is None or not (destination.is_ready or destination.busy):
            return False
        file = self._files.get(folder / name) or self._files.get(folder / f"{name}.gz")
        return file is not None and peer not in file.done

    def _found(self, path: Path) -> None:
        try:
            name = FileName.parse(path.name)
            if not isinstance(name.member, int) or not name.tsd_id or not name.tsd_date:
                raise error(119, f"'{path.name}': members of a cluster get files with TSD member, id and date")
        except EdgeLakeError as failure:
            self._tell(str(failure))
            return
        file = self._files[path] = _File(path, name)
        for destination in self.destinations.values():
            destination.todo.append(file)
        self._changed.set()

    def _begin(self) -> None:
        """Give every member that answers its next files."""
        if self._operator() is None:
            if self._files:
                self._tell("no operator of a cluster runs here")
            return
        self._follow_members()
        for destination in self.destinations.values():
            while destination.todo and destination.busy < AT_ONCE and destination.is_ready:
                destination.busy += 1
                self._keep(self._deliver(destination.todo.popleft(), destination))

    def _follow_members(self) -> None:
        """Members come and go with the policies."""
        members = {one.address for one in self._members()}
        if members == self.destinations.keys():
            return
        for gone in self.destinations.keys() - members:
            del self.destinations[gone]
        for peer in members - self.destinations.keys():
            todo = deque(file for file in self._files.values() if peer not in file.done)
            self.destinations[peer] = Destination(peer, todo=todo)
        for file in list(self._files.values()):
            self._keep(self._finish_if_done(file))

    # ---- one file to one member

    async def _deliver(self, file: _File, destination: Destination) -> None:
        try:
            await self._send(file, destination)
        except EdgeLakeError as failure:
            destination.todo.appendleft(file)
            self._failed(destination, failure)
        except (OSError, EOFError, zlib.error) as problem:
            if file.path.exists():
                destination.todo.appendleft(file)
                self._failed(destination, error(63, f"{file.path.name}: {problem}"))
            else:  # somebody took it away
                self._forget(file)
        except Exception as fault:  # the file stays where it is
            log.exception("fault with %s", file.path.name)
            destination.todo.appendleft(file)
            self._failed(destination, error(3, f"{type(fault).__name__}: {fault}"))
        finally:
            destination.busy -= 1
            self._changed.set()

    async def _send(self, file: _File, destination: Destination) -> None:
        peers, peer = self._peers(), destination.peer
        is_ours = peers.is_upgraded(peer) or await says_what_became(peers, peer)
        sent = Packed(file.path)
        try:
            target = FileTarget.DELIVERY if is_ours else FileTarget.WATCH_DIRECTORY
            await peers.send_file(peer, f"{file.name.text()}.gz", sent.pieces(), target)
        except EdgeLakeError as failure:
            if failure.number in BAD_FILE:
                destination.note(str(failure))
                self._tell(str(failure))
            elif failure.number != DUPLICATE:
                raise
        self._worked(destination, file.name.text(), sent.bytes)
        file.done.add(peer)
        await self._finish_if_done(file)

    async def _finish_if_done(self, file: _File) -> None:
        if self.destinations.keys() <= file.done and self._forget(file):
            await asyncio.to_thread(self._finish, file)
            self.distributed += 1
            self._watcher.release(file.path)

    def _forget(self, file: _File) -> bool:
        """False: another one has dealt with it."""
        return self._files.pop(file.path, None) is not None

    def _finish(self, file: _File) -> None:
        """All members have it: away, or to the archive if it is not there."""
        config, running = self.config, self._operator()
        if running is not None and running.archive_json and archived_file(config.archive_dir, file.name) is None:
            day = datetime.fromtimestamp((filing.date_us(file.name.tsd_date) or 0) / 1e6, UTC)
            filing.move(file.path, filing.day_folder(config.archive_dir, day), file.path.name)
        else:
            file.path.unlink(missing_ok=True)
