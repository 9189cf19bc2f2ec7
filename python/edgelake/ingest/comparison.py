"""The comparison: whether the members of a cluster hold the same rows, found out in the background.

A partition of a table (all of it, where it has none) is looked at when rows have come to it at some member since the
last look, and once a week: the members count its rows and add up their hashes, of files that every member has. The
member with the lowest number does that for all; the others take over what it found. After each look it rests for many
times as long, so that no more than a small share of any member's time goes into it.
Source: spec "Security and high availability", section 14.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from edgelake.durable import make_folder, write_whole
from edgelake.errors import EdgeLakeError, TableMissingError, error
from edgelake.ingest.settings import OperatorConfig
from edgelake.metadata.routing import Operator as Member
from edgelake.model import Status
from edgelake.peering import Peers
from edgelake.service import Streak

log = logging.getLogger(__name__)

FILE: Final = "cluster_comparison.json"
"""Below the node's ``data``: what was found."""
EVERY_S: Final = 600.0
"""How often it is looked for what has changed."""
AGAIN_S: Final = 7 * 24 * 3600.0
"""What has not changed is looked at again after this time: a disk may have, or a statement."""
REST: Final = 20
"""A look is followed by a rest of so many times its length."""
SETTLE_S: Final = 60.0
"""What differs is looked at once more so much later: members may be told one after the other to delete rows."""
ANSWER_S: Final = 20.0
LOOK_S: Final = 600.0
"""Longest time in which a member goes through the rows of a partition."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)

Mode = Literal["active", "suspend"]
Key = tuple[str, str, str, int, int]


class ComparisonConfig(Struct):
    """``set cluster comparison``."""

    mode: Mode = "active"
    every_s: float = EVERY_S


class Place(msgspec.Struct, frozen=True):
    """A partition: the rows of a table with ``start_us <= column < end_us``; all of it where ``column`` is empty."""

    dbms: str
    table: str
    partition: str = ""
    column: str = ""
    start_us: int = 0
    end_us: int = 0

    @property
    def key(self) -> Key:
        """What is one place on all members, whatever they call it."""
        return self.dbms, self.table, self.column, self.start_us, self.end_us

    @property
    def time(self) -> str:
        """Its time as a condition of commands."""
        return f"column = {self.column} and from = {time_word(self.start_us)} and to = {time_word(self.end_us)}"

    @property
    def condition(self) -> str:
        """Of the commands that look at it."""
        return f"dbms = {self.dbms} and table = {self.table}" + (f" and {self.time}" if self.column else "")

    @property
    def command(self) -> str:
        """Names the files that differ."""
        named = f" and partition = {self.partition}" if self.partition else ""
        return f"test cluster rows where dbms = {self.dbms} and table = {self.table}{named}"

    def __str__(self) -> str:
        return f"{self.dbms}.{self.table}" + (f", partition {self.partition}" if self.partition else "")


class Differing(msgspec.Struct, frozen=True):
    """Rows that one member took in and that are not the same everywhere.

    Attributes:
        origin: number of that member.
        rows: by name of the member that holds them.
        odd: members that hold others than most do; all of them where there is no majority.
    """

    origin: str
    rows: dict[str, int]
    odd: tuple[str, ...]

    def __str__(self) -> str:
        if len(counted := set(self.rows.values())) == 1:
            return f"the {counted.pop():,} rows that member {self.origin} took in have other values"
        held = ", ".join(f"{rows:,} on {name}" for name, rows in self.rows.items())
        return f"of the rows that member {self.origin} took in there are {held}"


class Look(msgspec.Struct):
    """What was found in a place.

    Attributes:
        at_s: when, Unix seconds.
        since_s: when it differed for the first time; 0 = it does not.
        rows: that were compared, of the member that has most.
        marks: the last row of each member then; empty = there were rows that some member does not have yet.
    """

    place: Place
    at_s: float
    since_s: float = 0.0
    rows: int = 0
    marks: dict[str, int] = {}
    differing: tuple[Differing, ...] = ()

    @property
    def is_told(self) -> bool:
        """Whether it differed twice."""
        return bool(self.differing) and self.at_s > self.since_s

    @property
    def odd(self) -> list[str]:
        """Members that hold something else."""
        return sorted({name for one in self.differing for name in one.odd})


class Report(msgspec.Struct):
    """What one member has found: for which cluster, who, when it last looked for changes."""

    cluster: str = ""
    compared_by: str = ""
    at_s: float = 0.0
    looks: list[Look] = []

    def told(self) -> Iterator[Look]:
        """What differed twice."""
        return (look for look in self.looks if look.is_told)


class Told(msgspec.Struct):
    """What a member says of it: whether it compares by itself, and the report."""

    compares: bool = False
    report: Report = msgspec.field(default_factory=Report)


def read(path: Path) -> Report:
    """The report of a file; an empty one when there is none. Raises OSError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except FileNotFoundError:
        return Report()
    except (msgspec.DecodeError, UnicodeDecodeError) as damage:
        log.error("%s is damaged, all partitions are compared again: %s", path, damage)
        return Report()


class _Round(Struct):
    """What is known of the members at the beginning of one.

    Attributes:
        members: those that answer.
        marks: the last row of each place, by name of the member.
    """

    members: Sequence[Member]
    places: dict[Key, Place] = field(default_factory=dict)
    marks: dict[Key, dict[str, int]] = field(default_factory=dict)


class Comparison:
    """Compares round by round.

    Args:
        operator: what runs here; None = no operator.
        members: all of the cluster, this node too.
        tables: (database, table) of the cluster.
        safe_ids: by member, the number up to which every member has its files. Raises EdgeLakeError.
        state: file of what was found.
    """

    name = "cluster comparison"

    def __init__(
        self,
        config: ComparisonConfig,
        peers: Callable[[], Peers],
        operator: Callable[[], OperatorConfig | None],
        members: Callable[[], Sequence[Member]],
        tables: Callable[[], Iterable[tuple[str, str]]],
        safe_ids: Callable[[], Awaitable[Mapping[int, int] | None]],
        state: Path,
    ) -> None:
        self.config = config
        self._peers, self._operator, self._members = peers, operator, members
        self._tables, self._safe_ids = tables, safe_ids
        self._state = state
        self.report = Report()
        self.last_error = ""
        self._written = b""
        self._streak = Streak()
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._since_us = 0

    # ---- life

    async def start(self) -> None:
        """Go on with what was found before. Raises OSError for a file that cannot be read."""
        self.report = await asyncio.to_thread(read, self._state)
        self._since_us = time.time_ns() // 1000
        self._runner = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Idempotent."""
        runner, self._runner, self._since_us = self._runner, None, 0
        if runner is not None:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)
            with contextlib.suppress(OSError):  # then it is found anew
                await self._write()

    def status(self) -> Status:
        """It belongs to the consumer, and ends with it."""
        told = sum(1 for _ in self.report.told())
        counters: dict[str, int | float] = {"partitions_compared": len(self.report.looks), "partitions_differing": told}
        return Status("Consumer", self._runner is not None, "", self._since_us, "", counters)

    def changed(self) -> None:
        """The configuration has."""
        self._wake.set()

    @property
    def told(self) -> Told:
        """What is said to other members."""
        return Told(self.config.mode == "active" and not self.last_error, self.report)

    # ---- rounds

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):  # members that have just started are left alone
                async with asyncio.timeout(self.config.every_s):
                    await self._wake.wait()
                    continue
            if self.config.mode == "active":
                await self.round()

    async def round(self) -> None:
        """Compare what has changed, or take over what another member found. Never raises."""
        try:
            await self._round()
            self.last_error = ""
            self._streak.worked()
        except (EdgeLakeError, OSError) as failure:
            self._fails(str(failure))
        except Exception as fault:
            log.exception("comparison of the cluster")
            self._fails(f"{type(fault).__name__}: {fault}")

    def _fails(self, problem: str) -> None:
        self.last_error = problem
        if self._streak.failed():
            log.warning("comparison of the cluster: %s; the node tries again", problem)

    async def _round(self) -> None:
        config, members = self._operator(), self._members()
        if config is None or not config.cluster:
            raise error(222, "no operator of a cluster runs here")
        if self.report.cluster != config.cluster or len(members) < 2:
            self.report = Report(config.cluster)
        if len(members) > 1:
            await self._find(config, members)
        await self._write()

    async def _find(self, config: OperatorConfig, members: Sequence[Member]) -> None:
        for one in sorted(members, key=lambda member: member.member):
            if one.member == config.member:
                self.report.compared_by = _label(one)
                await self._compare(members)
                return
            (told,) = await self._ask([one], "get cluster comparison where format = json", ANSWER_S)
            if told is not None and (found := msgspec.convert(told, Told)).compares:
                self.report = found.report
                return

    async def _compare(self, members: Sequence[Member]) -> None:
        if await self._safe_ids() is None:
            return
        now = await self._marks(members)
        looks = {look.place.key: look for look in self.report.looks if look.place.key in now.places}
        self.report.looks = list(looks.values())  # what is gone everywhere is forgotten
        self.report.at_s = time.time()
        due = [key for key in now.places if _is_due(looks.get(key), now.marks[key])]
        due.sort(key=lambda key: looks[key].at_s if key in looks else 0.0)
        await self._look_at(due, now, looks)
        if fresh := [key for key in due if key in looks and looks[key].differing and not looks[key].is_told]:
            await asyncio.sleep(SETTLE_S)
            await self._look_at(fresh, now, looks)

    async def _look_at(self, keys: Sequence[Key], now: _Round, looks: dict[Key, Look]) -> None:
        for key in keys:
            if self.config.mode == "active":
                began = time.monotonic()
                await self._look(key, now, looks)
                await asyncio.sleep(REST * (time.monotonic() - began))

    async def _marks(self, members: Sequence[Member]) -> _Round:
        """Where there are rows, and which is the last one there."""
        tables = set(self._tables())
        answers = await self._ask(members, "get table marks where format = json", ANSWER_S)
        answered = [(one, answer) for one, answer in zip(members, answers, strict=True) if answer is not None]
        found = _Round([one for one, _ in answered])
        none = {_label(one): 0 for one, _ in answered}
        for one, answer in answered:
            for entry in answer:
                place = msgspec.convert(entry, Place)
                if (place.dbms, place.table) in tables:
                    found.places.setdefault(place.key, place)
                    found.marks.setdefault(place.key, dict(none))[_label(one)] = int(entry["last_row"])
        return found

    async def _look(self, key: Key, now: _Round, looks: dict[Key, Look]) -> None:
        """Compare one place, when at least two members answer."""
        place, before = now.places[key], looks.get(key)
        safe = await self._safe_ids() or {}
        upto = " and ".join(f"{member} = {number}" for member, number in sorted(safe.items()))
        line = f"get table checksum where {place.condition} and upto = ({upto}) and format = json"
        answers = await self._ask(now.members, line, LOOK_S)
        held = {_label(one): answer for one, answer in zip(now.members, answers, strict=True) if answer is not None}
        if len(held) < 2:
            return
        look = Look(place, time.time(), differing=tuple(_differing(held)))
        if look.differing:
            look.since_s = before.since_s if before is not None and before.differing else look.at_s
        look.rows = max(sum(int(one["rows"]) for one in answer.values()) for answer in held.values())
        if not any(one["later"] for answer in held.values() for one in answer.values()):
            look.marks = {name: now.marks[key][name] for name in held}
        self._keep(look, looks, before)

    def _keep(self, look: Look, looks: dict[Key, Look], before: Look | None) -> None:
        if look.is_told and not (before is not None and before.is_told):
            log.error("%s: %s differ: %s", look.place, ", ".join(look.odd), "; ".join(map(str, look.differing)))
        looks[look.place.key] = look
        self.report.looks = list(looks.values())

    async def _ask(self, members: Sequence[Member], line: str, timeout_s: float) -> list[Any]:
        """What each member answers; None = nothing that can be used."""
        found: list[Any] = []
        for answer in await self._peers().ask([one.address for one in members], line, timeout_s=timeout_s):
            try:
                found.append({} if answer.error == TableMissingError.number else None)
                if not answer.error:
                    found[-1] = json.loads(answer.text)
            except ValueError:
                log.warning("comparison of the cluster: %s answers %.80r", answer.peer, answer.text)
        return found

    async def _write(self) -> None:
        """Keep what was found. Raises OSError."""
        if (content := msgspec.json.encode(self.report)) != self._written:
            await asyncio.to_thread(self._put, content)
            self._written = content

    def _put(self, content: bytes) -> None:
        make_folder(self._state.parent)
        write_whole(self._state, content)


def _is_due(look: Look | None, marks: Mapping[str, int]) -> bool:
    """Whether a place is to be looked at. A member that does not answer now has changed nothing that is known of."""
    if look is None or look.differing or look.at_s + AGAIN_S < time.time():
        return True
    return any(look.marks.get(name, 0) != last for name, last in marks.items())


def _label(member: Member) -> str:
    """As the columns of ``test cluster`` call it."""
    return f"{member.name} {member.address}"


def _differing(held: Mapping[str, Mapping[str, Any]]) -> Iterator[Differing]:
    """Rows that are not the same at all members that answered, by the member that took them in."""
    nothing = {"rows": 0, "checksum": ""}
    for origin in sorted({origin for answer in held.values() for origin in answer}):
        facts = {name: answer.get(origin, nothing) for name, answer in held.items()}
        rows = {name: int(one["rows"]) for name, one in facts.items()}
        sums = {name: (rows[name], str(one["checksum"]) if rows[name] else "") for name, one in facts.items()}
        counted = Counter(sums.values()).most_common(2)
        if len(counted) > 1:
            has_most = counted[0][1] > counted[1][1]
            yield Differing(origin, rows, tuple(n for n, one in sums.items() if not has_most or one != counted[0][0]))


def time_word(time_us: int) -> str:
    """A time as one word of a command; one that the calendar does not have as the last or first that it has."""
    try:
        found = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        found = _LAST if time_us > 0 else _FIRST
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")
