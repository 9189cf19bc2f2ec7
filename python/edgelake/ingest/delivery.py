"""What members of the cluster ask for: which files there are, and the files.

Source: network protocol, section 6.5.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from edgelake.errors import EdgeLakeError, error
from edgelake.ingest.members import MemberFiles, archived_file, name_of_entry
from edgelake.ingest.names import FileName
from edgelake.ingest.sending import BAD_FILE, DUPLICATE, Packed, says_what_became
from edgelake.ingest.settings import OperatorConfig
from edgelake.peering import FileTarget, Peers
from edgelake.store.tsd import FileEntry, tsd_name

log = logging.getLogger(__name__)

GET_RANGE: Final = "get_recent_tsd_info"
RANGE: Final = "recent_tsd_info"
MISSING: Final = "missing_archived_file"
MAX_IDS: Final = 10_000
"""Files that one message may ask for."""
SETTLE_S: Final = 60.0
"""A file that was taken in so lately may not be in the archive yet."""


def one_word(text: str) -> str:
    """A text as one word of a message."""
    return text.replace(" ", "\t")


def time_text(time_us: int) -> str:
    """A time as it stands in messages, blanks already TABs."""
    return one_word(datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f"))


def time_of(word: str) -> int | None:
    """Unix microseconds of a time in a message; None for ``0``. Raises EdgeLakeError (2)."""
    text = word.replace("\t", " ").strip()
    if text == "0":
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise error(2, f"'{text[:40]}' is no time") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e6)


def ids_text(ids: Sequence[int]) -> str:
    """Numbers as they travel: ``1,2-4`` is 1, 2 and 3."""
    parts: list[list[int]] = []
    for one in ids:
        if parts and parts[-1][1] == one:
            parts[-1][1] = one + 1
        else:
            parts.append([one, one + 1])
    return ",".join(str(a) if b == a + 1 else f"{a}-{b}" for a, b in parts)


def ids_of(text: str) -> list[int]:
    """The numbers of ``ids_text``. Raises EdgeLakeError (2)."""
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, end = part.partition("-")
        if not first.isdigit() or (dash and not end.isdigit()):
            raise error(2, f"'{text[:40]}' names no files")
        begin = int(first)
        stop = int(end) if dash else begin + 1
        if stop - begin + len(found) > MAX_IDS:
            raise error(2, f"more than {MAX_IDS:,} files are asked for")
        found += range(begin, stop)
    return found


class Delivery:
    """Answers members.

    Args:
        operator: what runs here; None = no operator.
        members: numbers of all members of its cluster.
        rows_of: the rows of a file as they stand in its table, as JSON lines; for files that are in no archive.
        sends: whether the distributor sends a file (name) to a node now.
    """

    def __init__(
        self,
        files: MemberFiles,
        peers: Callable[[], Peers],
        operator: Callable[[], OperatorConfig | None],
        members: Callable[[], Sequence[int]],
        rows_of: Callable[[FileName], AsyncIterator[bytes]],
        sends: Callable[[str, str], bool] = lambda peer, name: False,
    ) -> None:
        self._rows_of, self._sends = rows_of, sends
        self._files, self._peers, self._operator, self._members = files, peers, operator, members
        self._giving: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def range(self, member: int, start: str, end: str, reply_to: str) -> None:
        """Tell a member which files there are of a time range. Raises EdgeLakeError."""
        start_us, end_us = time_of(start), time_of(end)
        table, peers = self._files.table_of(member), self._peers()
        found = await table.span(start_us, end_us) if table.exists and start_us is not None else None
        if found is None and not peers.is_upgraded(reply_to) and not await says_what_became(peers, reply_to):
            return  # as the reference, which is silent then
        if found is None:
            ends = "0 0 0 0"
        else:
            first, last, before = found
            ends = f"{time_text(first.file_time_us)} {before} {time_text(last.file_time_us)} {last.file_id}"
        safe = "".join([f"*{name}~{number}" async for name, number in self._safe_ids(but=member)])
        await peers.tell(reply_to, f"event {RANGE} {tsd_name(member)} {ends} {safe}*")

    async def _safe_ids(self, *, but: int) -> AsyncIterator[tuple[str, int]]:
        for member in self._members():
            table = self._files.table_of(member)
            if member != but and table.exists:
                yield tsd_name(member), await table.safe_id()

    def give(self, member: int, ids: Sequence[int], reply_to: str) -> None:
        """Send files to a member, in the background; while that goes on, what it asks for again is passed over."""
        key = (reply_to, member)
        if key in self._giving:
            return
        task = asyncio.get_running_loop().create_task(self._give(member, ids, reply_to))
        self._giving[key] = task
        task.add_done_callback(lambda _: self._giving.pop(key, None))

    async def stop(self) -> None:
        """End what is under way; who asked asks again."""
        tasks = list(self._giving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _give(self, member: int, ids: Sequence[int], reply_to: str) -> None:
        try:
            for file_id in ids:
                try:
                    await self._give_one(member, file_id, reply_to)
                except EdgeLakeError as failure:
                    if failure.number not in BAD_FILE:  # then the others may get there
                        raise
                    log.warning("file %d of member %d, which %s asked for: %s", file_id, member, reply_to, failure)
        except EdgeLakeError as failure:
            log.warning("files that %s asked for do not get there: %s", reply_to, failure)
        except Exception:
            log.exception("files that %s asked for", reply_to)

    async def _give_one(self, member: int, file_id: int, reply_to: str) -> None:
        table = self._files.table_of(member)
        entry = await table.entry(file_id) if table.exists else None
        if entry is not None and not entry.rows and not entry.status1:
            return  # it is being taken in: whoever asks again gets it then
        name = name_of_entry(member, entry) if entry else FileName("0", "0", member=member, tsd_id=file_id)
        if self._sends(reply_to, name.text()):
            return
        path = await asyncio.to_thread(self._find, name) if entry else None
        if path is None and entry is not None and _is_new(entry):
            return
        try:
            if path is not None:
                await self._send(reply_to, f"{name.text()}.gz", Packed(path).pieces())
            elif entry is None or not entry.rows or not await self._send_rows(reply_to, name):
                await self._tell_missing(member, name, reply_to)
        except FileNotFoundError:
            return  # it moves just now
        except (OSError, EOFError, zlib.error) as problem:
            log.error("%s of the archive cannot be read: %s", name.text(), problem)
            await self._tell_missing(member, name, reply_to)

    async def _send(self, reply_to: str, name: str, content: AsyncIterator[bytes]) -> None:
        peers = self._peers()
        target = FileTarget.DELIVERY if peers.is_upgraded(reply_to) else FileTarget.WATCH_DIRECTORY
        try:
            await peers.send_file(reply_to, name, content, target)
        except EdgeLakeError as failure:
            if failure.number != DUPLICATE:
                raise

    async def _send_rows(self, reply_to: str, name: FileName) -> bool:
        """Send what the table has of a file; False: nothing. Its rows are mapped already."""
        rows = self._rows_of(name)
        first = await anext(rows, b"")
        if not first:
            return False

        async def content() -> AsyncIterator[bytes]:
            yield first
            async for piece in rows:
                yield piece

        await self._send(reply_to, replace(name, instructions="0").text(), content())
        return True

    async def _tell_missing(self, member: int, name: FileName, reply_to: str) -> None:
        await self._peers().tell(reply_to, f"event {MISSING} {tsd_name(member)} {name.text()}")

    def _find(self, name: FileName) -> Path | None:
        config = self._operator()
        if config is None:
            return None
        waiting = (config.distr_dir / f"{name.text()}{kind}" for kind in (".gz", ""))
        return archived_file(config.archive_dir, name) or next((one for one in waiting if one.is_file()), None)


def _is_new(entry: FileEntry) -> bool:
    # A time that is still to come is that of a clock that was put back since.
    return not entry.status1 and 0 <= time.time() - entry.file_time_us / 1e6 < SETTLE_S


def member_of(word: str) -> int:
    """The member of ``tsd_<member>``. Raises EdgeLakeError (117)."""
    number = word.removeprefix("tsd_")
    if number == word or not number.isdigit():
        raise error(117, f"'{word[:40]}'")
    return int(number)


def missing_id(file_name: str) -> int | None:
    """The number in the name of a file that a member does not have; None for no name. The reference's may have dots
    in its hash."""
    parts = file_name.removesuffix(".gz").split(".")
    return int(parts[-3]) if len(parts) > 4 and parts[-3].isdigit() else None


def safe_ids_of(word: str) -> Iterator[tuple[str, int]]:
    """``*tsd_1~7*tsd_2~9*``."""
    for part in word.split("*"):
        name, found, number = part.partition("~")
        if found and number.isdigit():
            yield name, int(number)
