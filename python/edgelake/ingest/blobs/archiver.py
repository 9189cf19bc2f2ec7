"""``run blobs archiver``: brings blobs from ``blobs_dir`` to where they stay, and row files from ``bwatch_dir`` on.

A blob is durable in ``blobs_dir``, and can be retrieved, before the row that names it is acknowledged; so a place that
does not answer holds up neither rows nor the blobs of other places. Whatever is done here can be done again after a
crash: a blob leaves ``blobs_dir`` when all its places have it on disk.
Source: spec "Ingestion and storage", section 3; "Services and status", sections 3 and 10.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from edgelake.errors import (
    BlobDamagedError,
    DatabaseError,
    EdgeLakeError,
    ObjectStorageError,
    StorageFullError,
    error,
)
from edgelake.ingest import filing
from edgelake.ingest.blobs.blobs import Blobs, Place
from edgelake.ingest.blobs.names import BlobName
from edgelake.ingest.blobs.rowfiles import RowFiles
from edgelake.ingest.blobs.threads import Threads
from edgelake.ingest.operator import Watch, Watcher
from edgelake.ingest.settings import check_directory
from edgelake.model import Status
from edgelake.service import Streak

log = logging.getLogger(__name__)

WORKERS: Final = 4
"""Blobs that one place takes at a time."""

STOP_S: Final = 3.0
"""For so long a stop waits for blobs that are on their way."""

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
SOURCE: Final = "Source JSON"
_ASIDE: Final = ".aside"


@dataclass(frozen=True, slots=True)
class ArchiverConfig:
    """Options of ``run blobs archiver``.

    Attributes:
        dbms, folder: where blobs go; None = to ``blobs_<dbms>`` when it is connected, else to a folder.
        reuse_blobs: files that row files have named stay, for others to name.
    """

    bwatch_dir: Path
    blobs_dir: Path
    watch_dir: Path
    err_dir: Path
    dbms: bool | None = None
    folder: bool | None = None
    compress: bool = False
    reuse_blobs: bool = False

    def check(self) -> None:
        """Raises EdgeLakeError 35 for a missing directory, 63 for one that cannot be written."""
        for name in ("bwatch_dir", "blobs_dir", "watch_dir", "err_dir"):
            check_directory(name, getattr(self, name))


@dataclass(slots=True)
class Counted:
    """What became of the row files, or of the blobs of a table; a row of ``get blobs archiver``."""

    success: int = 0
    errors: int = 0
    last_error: str = ""
    last_file: str = ""
    last_message: str = ""

    def worked(self, name: str) -> None:
        self.success += 1
        self.last_file = name

    def failed(self, name: str, failure: EdgeLakeError) -> None:
        self.errors += 1
        self.last_error, self.last_file, self.last_message = failure.text, name, failure.detail


@dataclass(slots=True)
class _Queue:
    """Blobs of one database, which go to the same places and fail together. Its threads are its own."""

    threads: Threads
    paths: asyncio.Queue[Path] = field(default_factory=asyncio.Queue)
    workers: list[asyncio.Task[None]] = field(default_factory=list)
    streak: Streak = field(default_factory=Streak)
    last_error: str = ""


def _queue(name: str, threads: int) -> _Queue:
    return _Queue(Threads(threads, f"archive-{name}"))


class BlobArchiver:
    """The service.

    Args:
        rows: deals with the row files.
        watch: makes watchers of directories.
    """

    name = "blobs archiver"

    def __init__(self, config: ArchiverConfig, blobs: Blobs, rows: RowFiles, watch: Watch) -> None:
        self.config = config
        self._blobs = blobs
        self._rows = rows
        self._watchers: list[Watcher] = [
            watch(config.blobs_dir, self._blob_found, lambda name: BlobName.parse(name) is not None),
            watch(config.bwatch_dir, self._rows_found, lambda name: name.endswith((".json", ".json.gz"))),
        ]
        self._queues: dict[str, _Queue] = {}
        self._row_queue = _queue("rows", 1)
        self._ending = asyncio.Event()
        self._since = 0.0
        self.counted: dict[str, Counted] = {SOURCE: Counted()}

    @property
    def watched(self) -> tuple[Path, ...]:
        """For ``get watch directories``."""
        return (self.config.bwatch_dir, self.config.blobs_dir)

    async def start(self) -> None:
        """Raises EdgeLakeError 35 or 63."""
        self.config.check()
        await asyncio.to_thread(_put_back, self.config.blobs_dir)
        self._ending.clear()
        self._since = time.time()
        try:
            for watcher in self._watchers:
                watcher.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take no more, finish what is in work. What waits stays where it is for the next start."""
        self._since = 0.0
        self._ending.set()
        for watcher in self._watchers:
            watcher.stop()
        workers = [worker for queue in self._all_queues() for worker in queue.workers]
        for queue in self._all_queues():
            for _ in queue.workers:
                queue.paths.put_nowait(Path())  # wakes a worker that waits for a file
        if workers:
            _, late = await asyncio.wait(workers, timeout=STOP_S)
            for worker in late:  # a service does not answer: the blob stays in blobs_dir until all of it is there
                worker.cancel()
        for queue in self._all_queues():
            queue.threads.close()
        self._queues.clear()
        self._row_queue = _queue("rows", 1)

    def status(self) -> Status:
        config = self.config
        flags = {
            "dbms": self._to_dbms(""),
            "folder": self._to_folder(""),
            "compress": config.compress,
            "reuse_blobs": config.reuse_blobs,
        }
        details = f"Flags: {', '.join(f'{key} = {value}' for key, value in flags.items())}"
        counters: dict[str, int | float] = {
            "blobs": sum(one.success for key, one in self.counted.items() if key != SOURCE),
            "errors": sum(one.errors for one in self.counted.values()),
            "waiting": sum(queue.paths.qsize() for queue in self._all_queues()),
        }
        last_error = next((queue.last_error for queue in self._all_queues() if queue.streak.failures), "")
        return Status("Blobs Archiver", bool(self._since), details, int(self._since * 1e6), last_error, counters)

    def _all_queues(self) -> list[_Queue]:
        return [self._row_queue, *self._queues.values()]

    # ---- where blobs go

    def _to_dbms(self, dbms: str) -> bool:
        return self.config.dbms if self.config.dbms is not None else bool(self._blobs.others(dbms))

    def _to_folder(self, dbms: str) -> bool:
        return self.config.folder if self.config.folder is not None else not self._to_dbms(dbms)

    def _places(self, dbms: str) -> list[Place]:
        """Raises EdgeLakeError 10 when the database of the blobs is not connected."""
        others = list(self._blobs.others(dbms)) if self._to_dbms(dbms) else []
        if self._to_dbms(dbms) and not others:
            raise error(
                10, f"'blobs_{dbms}' is not connected", hint=f"connect dbms blobs_{dbms} where type = sqlite or bucket"
            )
        return [*others, *([self._blobs.folder] if self._to_folder(dbms) else [])]

    # ---- blobs

    def _blob_found(self, path: Path) -> None:
        dbms = path.name.partition(".")[0]
        queue = self._queues.get(dbms)
        if queue is None:
            queue = self._queues[dbms] = _queue(dbms, WORKERS)
        queue.paths.put_nowait(path)
        if len(queue.workers) < min(WORKERS, queue.paths.qsize()):
            queue.workers.append(
                asyncio.create_task(self._work(queue, partial(self._archive, queue), self._watchers[0]))
            )

    async def _archive(self, queue: _Queue, path: Path) -> None:
        name = BlobName.parse(path.name)
        assert name is not None
        counted = self.counted.setdefault(f"{name.dbms}.{name.table}", Counted())
        try:
            places = self._places(name.dbms)
            await queue.threads.run(partial(self._archive_file, path, name, places))
        except FileNotFoundError:
            return  # a row file brought it on, or it was removed
        except (EdgeLakeError, OSError) as failure:
            said = failure if isinstance(failure, EdgeLakeError) else _told(path, failure)
            counted.failed(path.name, said)
            if isinstance(failure, BlobDamagedError):
                log.error("%s goes to %s", failure, self.config.err_dir)
                return
            raise said from failure
        counted.worked(path.name)

    def _archive_file(self, path: Path, name: BlobName, places: list[Place]) -> None:
        """Raises BlobDamagedError when it is done with: the file is in the error folder then."""
        try:
            self._blobs.archive(path, name, places, compress=self.config.compress)
        except BlobDamagedError:
            aside = path.with_name(f".{path.name}{_ASIDE}")
            path.rename(aside)  # so that what a row brings anew under this name is not taken for it
            try:
                self._blobs.archive(aside, name, places, compress=self.config.compress)
            except BlobDamagedError as failure:
                target = filing.free_unique(self.config.err_dir, path.name, failure.number)
                filing.write_reason(filing.move(aside, self.config.err_dir, target.name), failure)
                raise
            except BaseException:
                aside.rename(path)
                raise

    # ---- rows

    def _rows_found(self, path: Path) -> None:
        self._row_queue.paths.put_nowait(path)
        if not self._row_queue.workers:
            self._row_queue.workers.append(
                asyncio.create_task(self._work(self._row_queue, self._take_rows, self._watchers[1]))
            )

    async def _take_rows(self, path: Path) -> None:
        counted = self.counted[SOURCE]
        try:
            await self._row_queue.threads.run(partial(self._rows.take, path))
        except FileNotFoundError:
            return
        except EdgeLakeError as failure:
            if isinstance(failure, ObjectStorageError | DatabaseError | StorageFullError):
                counted.failed(path.name, failure)
                raise  # it cannot be known whether the blobs are there
            await asyncio.to_thread(filing.to_error, path, self.config.err_dir, failure)
            counted.failed(path.name, failure)
            return
        except OSError as cause:
            said = _told(path, cause)
            counted.failed(path.name, said)
            raise said from cause
        counted.worked(path.name)

    # ---- both

    async def _work(self, queue: _Queue, deal: Callable[[Path], Awaitable[None]], watcher: Watcher) -> None:
        """Files of a queue, one after another. One that fails goes to the end, after a pause that grows."""
        while not self._ending.is_set():
            path = await queue.paths.get()
            if self._ending.is_set():
                return
            try:
                await deal(path)
            except EdgeLakeError as failure:
                queue.last_error = str(failure)
                if queue.streak.failed():
                    log.error("%s stays, and is tried again%s: %s", path, queue.streak.times, failure)
            except Exception:
                queue.last_error = f"fault with {path.name}"
                if queue.streak.failed():
                    log.exception("fault with %s%s", path, queue.streak.times)
            else:
                if failures := queue.streak.worked():
                    log.info("%s: taken again after %d failures", path.name, failures)
                watcher.release(path)
                continue
            await self._pause(min(FIRST_PAUSE_S * 2 ** min(queue.streak.failures // WORKERS, 10), LONGEST_PAUSE_S))
            queue.paths.put_nowait(path)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()


def _told(path: Path, cause: OSError) -> EdgeLakeError:
    if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFullError(f"{path}: {cause}", hint="make room: it is tried again")
    return error(63, f"{path}: {cause}")


def _put_back(folder: Path) -> None:
    """What a crash left aside is looked at again, unless it has come anew."""
    for aside in folder.glob(f".*{_ASIDE}"):
        path = aside.with_name(aside.name.removeprefix(".").removesuffix(_ASIDE))
        if not path.exists():
            aside.rename(path)
