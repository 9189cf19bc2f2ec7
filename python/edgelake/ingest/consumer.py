"""The consumer: asks the members of the cluster which files they have, and for those that are not here.

A member is asked for its own files, and the others for them too when it is silent or has them no more.
Source: spec "Security and high availability", section 11; "Network protocol", section 6.5.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from msgspec import Struct, field

from edgelake.errors import EdgeLakeError
from edgelake.ingest.delivery import GET_RANGE, ids_text, time_text
from edgelake.ingest.members import WINDOW, MemberFiles, News
from edgelake.ingest.settings import OperatorConfig
from edgelake.metadata.routing import Operator as Member
from edgelake.model import Status
from edgelake.peering import Peers
from edgelake.service import Streak
from edgelake.store.tsd import FileEntry, tsd_name

log = logging.getLogger(__name__)

ROUND_S: Final = 10.0
"""How often members are asked."""
ANSWER_S: Final = 5.0
QUIET_S: Final = 5.0
"""A member that was asked for files and sends none for so long is left for the next round."""
CHUNK: Final = 32
"""Files that are asked for at once."""

OWN: Final = "this node"
"""Stands for the address of the member that this node is itself."""

Mode = Literal["active", "suspend"]


class ConsumerConfig(Struct):
    """Options of ``run data consumer``. Times: of files, Unix microseconds; ``end_us`` None = up to now."""

    start_us: int
    end_us: int | None = None
    mode: Mode = "active"


class Progress(Struct):
    """Where a member's files are.

    Attributes:
        last_id: the number of its last file, as far as it is known.
        seen_id: the highest number of a file that came on its own.
        complete_to: up to this number of the range nothing is missing here.
        missing: files that are known to be lacking.
        fetched: files that were asked for and came.
        is_compared: it was complete once, so that what is not listed is not here.
        asks_owner: files are asked of the member itself now, not of another one.
        safe: by TSD table, the number up to which that member has all files.
    """

    member: int
    peer: str
    last_id: int = 0
    seen_id: int = 0
    complete_to: int = 0
    missing: int = 0
    fetched: int = 0
    is_complete: bool = False
    is_compared: bool = False
    asks_owner: bool = False
    last_error: str = ""
    safe: dict[str, int] = field(default_factory=dict)
    streak: Streak = field(default_factory=Streak)


class _Question(Struct):
    """A range of a member's files that a node was asked for: the member ``source``, at one of ``hosts``."""

    member: int
    source: int
    hosts: frozenset[str]
    answer: asyncio.Future[tuple[int, int]]


class Consumer:
    """Fetches what is not here.

    Args:
        members: the other members of the cluster.
        hosts_of: addresses from which a member may answer.
        held: files of a member (numbers above, up to) whose rows are here, by number.
        told: whether this node has all data, after each round and when that changes.
    """

    name = "consumer"

    def __init__(
        self,
        config: ConsumerConfig,
        files: MemberFiles,
        peers: Callable[[], Peers],
        operator: Callable[[], OperatorConfig | None],
        members: Callable[[], Sequence[Member]],
        hosts_of: Callable[[Member], frozenset[str]],
        held: Callable[[int, int, int], Awaitable[dict[int, FileEntry]]],
        told: Callable[[bool], None] = lambda is_complete: None,
    ) -> None:
        self.config = config
        self._told = told
        self.progress: dict[int, Progress] = {}
        self.last_error = ""
        self.last_round_s = 0.0
        self._files, self._peers, self._operator = files, peers, operator
        self._members, self._hosts_of, self._held = members, hosts_of, held
        self._questions: list[_Question] = []
        self._waiting: dict[tuple[int, int], Progress] = {}
        self._moved = asyncio.Event()
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._since = 0.0
        self._gone: set[tuple[int, int]] = set()

    # ---- life

    async def start(self) -> None:
        self._since = time.time()
        self._told(False)
        self._files.listeners.append(self._heard)
        self._runner = asyncio.create_task(self._run(), name="consumer")

    async def stop(self) -> None:
        """Ask for nothing more. Idempotent."""
        if not self._since:
            return
        self._since = 0.0
        self._files.listeners.remove(self._heard)
        self._told(True)  # no consumer, nothing to wait for
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    def status(self) -> Status:
        counters: dict[str, int | float] = {
            "files_fetched": sum(one.fetched for one in self.progress.values()),
            "files_missing": sum(one.missing for one in self.progress.values()),
        }
        details = f"Mode: {self.config.mode}, Complete: {self.is_complete}"
        return Status("Consumer", bool(self._since), details, int(self._since * 1e6), self.last_error, counters)

    @property
    def is_complete(self) -> bool:
        """Whether every member's files were here at the last round."""
        return bool(self.last_round_s) and all(one.is_complete for one in self.progress.values())

    def set_mode(self, mode: Mode) -> None:
        """``suspend``: ask for nothing; files that members send on their own still come in."""
        self.config.mode = mode
        self._wake.set()

    # ---- rounds

    async def _run(self) -> None:
        while True:
            if self.config.mode == "active":
                try:
                    await self._round()
                except EdgeLakeError as failure:
                    self._tell(str(failure))
                except Exception as fault:
                    self.last_error = f"{type(fault).__name__}: {fault}"
                    log.exception("consumer")
                self._told(self.is_complete)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._wake.wait()

    def _tell(self, problem: str) -> None:
        if problem != self.last_error:  # a change of state, not every attempt
            log.error("consumer: %s", problem)
        self.last_error = problem

    async def _round(self) -> None:
        config = self._operator()
        if config is None or not config.cluster:
            self._tell("no operator of a cluster runs here")
            return
        members = list(self._members())
        for gone in self.progress.keys() - {one.member for one in members} - {config.member}:
            del self.progress[gone]
        for one in members:
            self.progress.setdefault(one.member, Progress(one.member, one.address)).peer = one.address
        own = self.progress.setdefault(config.member, Progress(config.member, OWN))
        await asyncio.gather(*(self._catch_up(one, members) for one in members), self._recover(own, members))
        self.last_round_s, self.last_error = time.time(), ""

    async def _catch_up(self, member: Member, members: Sequence[Member]) -> None:
        """Get what is not here of a member's files: from it, then from the others."""
        progress, own, is_known = self.progress[member.member], None, False
        for source in (member, *(one for one in members if one is not member)):
            found = await self._ask(source, member, progress)
            if found is None:
                continue
            progress.asks_owner, is_known = source is member, True
            own = found if source is member else own
            is_whole = await self._fetch(source, progress, *found)
            if is_whole and (source is member or progress.complete_to >= progress.last_id):
                break
        else:
            if own is not None and await self._give_up(member.member):
                await self._fetch(member, progress, *own)
        progress.is_complete = (is_known or progress.last_id > 0) and progress.complete_to >= progress.last_id
        progress.is_compared |= progress.is_complete

    async def _recover(self, progress: Progress, members: Sequence[Member]) -> None:
        """Get what this node took in itself and lost: it was replaced, or came back from an old backup.

        Numbers of files that are still to come go on behind those that members know.
        """
        answered = 0
        for source in members:
            found = await self._ask(source, None, progress)
            if found is None:
                continue
            answered += 1
            await self._files.reserve(found[1])
            await self._fetch(source, progress, *found)
        if answered == len(members) and await self._give_up(progress.member):
            await self._fetch(members[0], progress, progress.complete_to, progress.last_id)
        progress.is_complete = progress.complete_to >= progress.last_id
        progress.is_compared |= progress.is_complete and answered == len(members)

    async def _ask(self, source: Member, member: Member | None, progress: Progress) -> tuple[int, int] | None:
        """The range of a member's files that a node has: (number before the first, number of the last).

        None asks for this node's own, of any time.
        """
        answer = asyncio.get_running_loop().create_future()
        question = _Question(progress.member, source.member, self._hosts_of(source), answer)
        self._questions.append(question)
        start_us, end_us = (0, None) if member is None else (self.config.start_us, self.config.end_us)
        end = "0" if end_us is None else time_text(end_us)
        text = f"event {GET_RANGE} {tsd_name(progress.member)} {time_text(start_us)} {end}"
        try:
            await self._peers().tell(source.address, text)
            async with asyncio.timeout(ANSWER_S):
                found: tuple[int, int] = await answer
        except (EdgeLakeError, TimeoutError) as failure:
            if source is member:
                progress.last_error = str(failure) or "no answer"
                if progress.streak.failed():
                    log.warning("consumer: member %d at %s: %s", member.member, source.address, progress.last_error)
            return None
        finally:
            self._questions.remove(question)
        if source is member:
            progress.last_error = ""
            progress.streak.worked()
        progress.last_id = max(progress.last_id, found[1])
        return found

    async def _fetch(self, source: Member, progress: Progress, before: int, last: int) -> bool:
        """Get the files of a range that are not here; whether all are now."""
        number, at = progress.member, max(before, progress.complete_to)
        is_whole = True
        while at < last:
            lacking = await self._lacking(progress, at, last)
            progress.missing = len(lacking)
            if len(lacking) > CHUNK:
                self._lacks(progress)
            for begin in range(0, len(lacking), CHUNK):
                await self._fetch_chunk(source, number, progress, lacking[begin : begin + CHUNK])
            is_whole = is_whole and not (lacking and await self._files.absent(number, at, last))
            at = min(last, at + WINDOW)
            if is_whole:
                progress.complete_to, progress.missing = at, 0
        return is_whole

    async def _lacking(self, progress: Progress, after: int, upto: int) -> list[int]:
        """The first files that are not here.

        Until the member was complete once, those whose rows are in the tables are entered: what lists them was lost.
        """
        lacking = await self._files.absent(progress.member, after, upto)
        if not lacking or progress.is_compared:
            return lacking
        held = await self._held(progress.member, lacking[0] - 1, lacking[-1])
        for number in (found := [one for one in lacking if one in held]):
            await self._files.enter(progress.member, held[number])
        if found:
            log.warning("consumer: %d files of member %d were not listed any more", len(found), progress.member)
        return [one for one in lacking if one not in held]

    async def _fetch_chunk(self, source: Member, member: int, progress: Progress, ids: Sequence[int]) -> None:
        """Ask for files and wait until each is taken in or known to be missing there, or nothing comes any more."""
        keys = [(member, file_id) for file_id in ids]
        self._waiting.update(dict.fromkeys(keys, progress))
        try:
            wanted = [file_id for file_id in ids if not self._files.has_arrived(member, file_id)]
            if wanted:
                await self._peers().tell(source.address, f"file deliver {tsd_name(member)}", ids_text(wanted).encode())
            while any(key in self._waiting for key in keys):
                self._moved.clear()
                async with asyncio.timeout(QUIET_S):
                    await self._moved.wait()
        except (EdgeLakeError, TimeoutError) as failure:
            progress.last_error = str(failure) or f"{source.address} does not send the files that it has"
        finally:
            for key in keys:
                self._waiting.pop(key, None)

    async def _give_up(self, member: int) -> bool:
        """Every member was asked, and the one whose files they are says that they are gone; whether there are such."""
        gone = {key for key in self._gone if key[0] == member}
        self._gone -= gone
        if gone:
            log.error("consumer: %d files of member %d are nowhere any more", len(gone), member)
            await self._files.book_missing(member, sorted(file_id for _, file_id in gone))
        return bool(gone)

    def _lacks(self, progress: Progress) -> None:
        """More files are missing than are on their way at any time."""
        progress.is_complete = False
        self._told(False)

    # ---- what is said to it

    def _heard(self, member: int, file_id: int, news: News) -> None:
        self._moved.set()
        if news == "forgotten" and (known := self.progress.get(member)) is not None:
            known.complete_to = min(known.complete_to, file_id - 1)
        if news == "arrived" and (known := self.progress.get(member)) is not None and known.last_id:
            if file_id > max(known.last_id, known.seen_id) + CHUNK:  # it comes after a time in which nothing did
                self._lacks(known)
                self._wake.set()
            known.seen_id = max(known.seen_id, file_id)
        if news == "booked":
            self._gone.discard((member, file_id))
            progress = self._waiting.pop((member, file_id), None)
            if progress is not None:
                progress.fetched += 1

    def told_range(self, member: int, first: int, last: int, safe: dict[str, int], host: str) -> None:
        """A member says which files it has."""
        for question in self._questions:
            if question.member == member and host in question.hosts and not question.answer.done():
                question.answer.set_result((first, last))
                if (source := self.progress.get(question.source)) is not None:
                    source.safe.update(safe)  # an answer leaves out the files that it is about
                return

    def safe_id_at(self, holder: int, member: int) -> int:
        """Up to which number a member (``holder``) has the files of another one, as far as it has said."""
        progress = self.progress.get(holder)
        return progress.safe.get(tsd_name(member), 0) if progress is not None else 0

    def told_missing(self, member: int, file_id: int) -> None:
        """A member says that it does not have a file any more."""
        progress = self._waiting.pop((member, file_id), None)
        if progress is not None:
            self._moved.set()
            if progress.asks_owner or progress.peer == OWN:
                self._gone.add((member, file_id))
