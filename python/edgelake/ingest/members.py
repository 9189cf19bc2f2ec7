"""Files of the other members of the cluster: which of them are here.

A member's file is known by that member's number and the number that the file has there. ``tsd_<member>`` is entered
when the rows are committed; until then the marker that was committed with them says so, under a name of its own, so
that the file may come as often as it likes. Source: spec "Security and high availability", section 11.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from msgspec.structs import replace

from edgelake.durable import sync_directory
from edgelake.errors import NotPermittedError, error
from edgelake.ingest import filing
from edgelake.ingest.names import INSERTED, FileName
from edgelake.ingest.settings import OperatorConfig
from edgelake.store.tsd import (
    KNOWN_CONTENT,
    MISSING_AT_SOURCE,
    TSD_DBMS,
    FileEntry,
    TsdTable,
    tsd_name,
    tsd_tables,
)

log = logging.getLogger(__name__)

MEMBER_FILES: Final = "member files"
"""Name of the node's part."""
WINDOW: Final = 10_000
"""Numbers of files that are compared at a time."""

ARRIVED_S: Final = 60.0
"""A file that came so long ago and is not entered is asked for again."""

News = Literal["arrived", "booked", "missing", "forgotten"]
Listener = Callable[[int, int, News], None]
"""Told of (member, number of the file, what became of it)."""


class MemberFiles:
    """What the TSD tables know of the files of members.

    Args:
        operator: what runs here; None = no operator.
    """

    def __init__(self, stores: Any, operator: Callable[[], OperatorConfig | None]) -> None:
        self._stores, self._operator = stores, operator
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self.listeners: list[Listener] = []
        self._arrived: dict[tuple[int, int], float] = {}

    def tell(self, member: int, file_id: int, news: News) -> None:
        """Tell who waits for files."""
        if news == "arrived":
            self._arrived[(member, file_id)] = time.monotonic()
        else:
            self._arrived.pop((member, file_id), None)
        for listener in self.listeners:
            listener(member, file_id, news)

    # ---- what is here

    def table_of(self, member: int) -> TsdTable:
        """The TSD table of a member's files, or of the own ones; it may be missing. Raises DatabaseMissingError."""
        config = self._operator()
        own = config is not None and member == config.member
        return TsdTable(self._stores.get(TSD_DBMS), tsd_name(None if own else member))

    async def status(self, name: FileName, file_hash: str = "") -> str | None:
        """Status 1 of a member's file; None = it was never here. Without a hash: of whatever has its number."""
        table = self.table_of(_member(name))
        known = await table.entry(name.tsd_id) if table.exists else None
        if known is None or (file_hash and known.file_hash != file_hash) or known.status1 == MISSING_AT_SOURCE:
            return None
        return known.status1

    async def is_in(self, name: FileName, file_hash: str = "") -> bool:
        """Whether the rows of a member's file are in."""
        return await self.status(name, file_hash) in ("", KNOWN_CONTENT)

    async def is_listed(self, file_hash: str, *, but: int | None) -> bool:
        """Whether rows of this content came in another way than from the member ``but`` (None = as an own file)."""
        store = self._stores.get(TSD_DBMS)
        for name in tsd_tables(store):
            known = None if name == tsd_name(but) else await TsdTable(store, name).of_hash(file_hash)
            if known is not None and known.rows:
                return True
        return False

    async def book(self, name: FileName, file_hash: str, rows: int, status: str = "") -> None:
        """Enter a member's file; durable on return."""
        member = _member(name)
        table = self.table_of(member)
        if not table.exists:
            await table.create()
        await table.put(
            FileEntry(
                name.dbms,
                name.table,
                file_hash,
                name.source,
                name.instructions,
                filing.date_us(name.tsd_date) or 0,
                rows,
                status,
                file_id=name.tsd_id,
            )
        )
        self.tell(member, name.tsd_id, "missing" if status == MISSING_AT_SOURCE else "booked")

    async def enter(self, member: int, entry: FileEntry) -> None:
        """Enter a file whose rows are here."""
        table = self.table_of(member)
        if not table.exists:
            await table.create()
        await table.put(entry)
        self.tell(member, entry.file_id, "booked")

    async def reserve(self, number: int) -> None:
        """Own files that are still to come get higher numbers than this."""
        table = TsdTable(self._stores.get(TSD_DBMS))
        if number and table.exists:
            await table.reserve(number)

    async def knows_content(self, name: FileName, file_hash: str, rows: int) -> bool:
        """Whether these rows are in under another number of that member: it gave them one twice.

        The hash of streamed rows names their place in the journal. A member that came back from a backup whose journal
        held rows takes them in again; what it has under that hash itself may still be on its way into the table.
        """
        table = self.table_of(_member(name))
        known = await table.of_hash(file_hash) if table.exists else None
        is_own = table.name == tsd_name(None)
        return known is not None and known.file_id != name.tsd_id and (is_own or known.rows == rows)

    async def number_is_taken(self, name: FileName, file_hash: str) -> bool:
        """Whether another file has the number."""
        table = self.table_of(_member(name))
        known = await table.entry(name.tsd_id) if table.exists else None
        return known is not None and known.file_hash != file_hash and known.status1 != MISSING_AT_SOURCE

    async def book_missing(self, member: int, ids: Iterable[int]) -> None:
        """Enter files that no member has any more, so that nobody is asked for them again."""
        for file_id in ids:
            gone = FileName("0", "0", member=member, tsd_id=file_id)
            await self.book(gone, f"missing-{file_id}", 0, MISSING_AT_SOURCE)

    async def absent(self, member: int, after: int, upto: int) -> list[int]:
        """The first numbers in (``after``, ``upto``] that are not entered, of ``WINDOW`` that are looked at."""
        table = self.table_of(member)
        upto = min(upto, after + WINDOW)
        known = set(await table.ids(after, upto)) if table.exists else set()
        return [file_id for file_id in range(after + 1, upto + 1) if file_id not in known]

    def has_arrived(self, member: int, file_id: int) -> bool:
        """Whether a file came lately that is not entered yet: nobody needs to send it again."""
        at = self._arrived.get((member, file_id))
        if at is not None and time.monotonic() - at > ARRIVED_S:  # somebody may have taken it away
            del self._arrived[(member, file_id)]
            at = None
        return at is not None

    # ---- what comes

    def check(self, name: FileName) -> None:
        """Raises EdgeLakeError when a member's file cannot be taken in now."""
        config = self._operator()
        if config is None:
            raise NotPermittedError("no operator runs here that would take files of its cluster")
        if not config.update_tsd_info:
            raise NotPermittedError(
                "files of members are told apart by the TSD tables", hint="run operator where update_tsd_info = true"
            )

    async def take(self, name: FileName, working: Path, arrive: Callable[[], Awaitable[object]], watch: Path) -> None:
        """Put a member's file into the watch directory, durable on return.

        Args:
            working: of the file system of the watch directory; removed in any case.
            arrive: writes the content there, packed when the name says so.

        Raises EdgeLakeError 86 for a file that is here already, OSError.
        """
        self.check(name)
        text = name.text()
        async with self._locks.setdefault(text, asyncio.Lock()):
            plain, packed = watch / text, watch / f"{text}.gz"
            if plain.exists() or packed.exists() or await self.status(name, name.hash) is not None:
                await asyncio.to_thread(sync_directory, watch)  # another sender may have been cut off before
                raise error(86, f"{text} is here")
            try:
                await arrive()
                await asyncio.to_thread(_place, working, packed if name.compressed else plain)
            finally:
                working.unlink(missing_ok=True)
        self.tell(_member(name), name.tsd_id, "arrived")


def marker_of(name: FileName) -> str:
    """Under which the database remembers a member's file, whatever the file is called in the watch directory."""
    return f"{tsd_name(_member(name))}.{name.tsd_id}"


def name_of_marker(marker: str) -> FileName | None:
    """The file of ``marker_of``, as far as the marker tells; None for a marker of another kind."""
    head, _, file_id = marker.partition(".")
    member = head.removeprefix("tsd_")
    if head == member or not (member.isdigit() and file_id.isdigit()):
        return None
    return FileName("0", "0", member=int(member), tsd_id=int(file_id))


def name_of_entry(member: int, entry: FileEntry) -> FileName:
    """What a file is called that a TSD table lists, as all members call it."""
    name = FileName(entry.dbms, entry.table, entry.source, entry.file_hash, entry.instructions)
    return name.with_tsd(member, entry.file_id, filing.tsd_date(entry.file_time_us))


def archived_file(archive: Path, name: FileName) -> Path | None:
    """A member's file in the archive, under the name that all members give it."""
    time_us = filing.date_us(name.tsd_date)
    if time_us is None:
        return None
    folder = filing.day_folder(archive, datetime.fromtimestamp(time_us / 1e6, UTC))
    inserted = replace(name, member=INSERTED)  # rows of immediate mode
    candidates = (folder / f"{one.text()}{kind}" for one in (name, inserted) for kind in (".gz", ""))
    return next((path for path in candidates if path.is_file()), None)


def _member(name: FileName) -> int:
    if not isinstance(name.member, int):
        raise error(119, f"'{name.text()}' is no file of a member")
    return name.member


def _place(working: Path, target: Path) -> None:
    working.rename(target)
    sync_directory(target.parent)
