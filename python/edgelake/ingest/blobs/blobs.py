"""All blobs of a node, wherever they are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar
from weakref import WeakKeyDictionary

from edgelake.errors import error
from edgelake.ingest.blobs.arrival import Arrival
from edgelake.ingest.blobs.bucket import Bucket
from edgelake.ingest.blobs.database import BlobTables
from edgelake.ingest.blobs.folder import BlobFolder
from edgelake.ingest.blobs.names import Blob, BlobName, Wanted
from edgelake.ingest.blobs.objects import Group
from edgelake.ingest.blobs.spool import Spool
from edgelake.ingest.blobs.threads import Threads
from edgelake.store.sqlite import SqliteStore

PREFIX: Final = "blobs_"
"""``blobs_<dbms>`` holds the blobs of ``<dbms>``, as a database of SQLite or in object storage."""


THREADS: Final = 8
T = TypeVar("T")


class Place(Protocol):
    """What keeps blobs. All calls are for threads, not for the loop; they raise EdgeLakeError and OSError."""

    kind: str

    def find(self, wanted: Wanted) -> list[Blob]:
        """Those that fit, the oldest first."""

    def count(self) -> Counter[tuple[str, str]]:
        """Blobs by database and table."""

    def all(self, dbms: str) -> Iterator[Blob]:
        """All of a database that are archived, in any order. They may be removed meanwhile."""

    def store(self, arrival: Arrival, *, compress: bool) -> None:
        """Keep a content, checked, as of today; durable on return. Its file stays. Raises BlobDamagedError."""

    def fetch(self, blob: Blob, spool: Spool) -> Path:
        """A file with its content, checked. Raises BlobDamagedError, FileNotFoundError."""

    def remove(self, blob: Blob) -> None:
        """Remove it, unless it came again on a later day. One that is not there is no error."""


Databases = Callable[[], Iterable[SqliteStore]]
"""The databases of SQLite that are connected."""


class Blobs:
    """The blobs of a node. All calls are for threads, not for the loop: ``run`` has some.

    Args:
        folder: ``blobs_dir`` at the moment.
        buckets: object storage by name, ``blobs_<dbms>``.
        groups: services of ``bucket provider connect``, by name.
    """

    def __init__(self, folder: Callable[[], Path], databases: Databases = lambda: ()) -> None:
        self.folder = BlobFolder(folder)
        self.buckets: dict[str, Bucket] = {}
        self.groups: dict[str, Group] = {}
        self._databases = databases
        self._threads = Threads(THREADS, "blobs")
        self._tables: WeakKeyDictionary[SqliteStore, BlobTables] = WeakKeyDictionary()
        self._spool = Spool(lambda: folder() / ".copies")

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread of this part: a service that does not answer holds up no other part's work."""
        return await self._threads.run(work)

    def places(self, dbms: str = "") -> list[Place]:
        return [self.folder, *self.others(dbms)]

    def others(self, dbms: str = "") -> list[Place]:
        """Places beside the folder: what is connected as ``blobs_<dbms>``; "" = of all databases. It does no I/O."""
        names = {f"{PREFIX}{dbms}"} if dbms else None
        stores = [s for s in self._databases() if (s.dbms in names if names else s.dbms.startswith(PREFIX))]
        tables = [self._tables.setdefault(store, BlobTables(store)) for store in stores]
        buckets = [bucket for name, bucket in list(self.buckets.items()) if not names or name in names]
        return [*tables, *buckets]

    def find(self, wanted: Wanted) -> list[Blob]:
        """Blobs of a table, those that have just come first, then by day; one that is kept twice comes once.

        One that is asked for by its id is looked for where it is near, first. Raises ObjectStorageError, DatabaseError.
        """
        found: dict[str, Blob] = {}
        for place in self.places(wanted.dbms):
            for blob in place.find(wanted):
                found.setdefault(blob.name.id, blob)
            if wanted.id and found:
                break
        return list(found.values())

    def listed(self, wanted: Wanted) -> Iterator[Blob]:
        """As ``find``, one after another, and for an empty table those of all tables; one that is kept twice comes
        twice."""
        for blob in self.folder.arrivals():
            if wanted.covers(blob):
                yield blob
        for place in self.places(wanted.dbms):
            for blob in place.all(wanted.dbms):
                if wanted.covers(blob):
                    yield blob

    def count(self, dbms: str = "", table: str = "") -> list[tuple[str, str, int]]:
        """Number of blobs by database and table, for ``get files count``; one that is kept twice counts once."""
        near = self.folder.names()
        counted = Counter((name.dbms, name.table) for name in near)
        for place in self.others(dbms):
            there = place.count()
            for owner in {owner for owner, _ in there} & {name.dbms for name in near}:
                both = Counter((b.name.dbms, b.name.table) for b in place.all(owner) if b.name in near)
                there.subtract(both)
            counted.update(there)
        return [(d, t, n) for (d, t), n in sorted(counted.items()) if n and dbms in {"", d} and table in {"", t}]

    def fetch(self, blob: Blob) -> Path:
        """A file with the content of a blob, checked against its hash. Raises BlobDamagedError, EdgeLakeError 78."""
        name = blob.name
        for _ in range(3):  # the archiver may move it between the two steps
            try:
                return self._place(blob).fetch(blob, self._spool)
            except FileNotFoundError:
                if not (found := self.find(Wanted(name.dbms, name.table, name.id))):
                    break
                blob = found[0]
            except OSError as cause:
                raise error(78, f"{name.file}: {cause.strerror or cause}") from cause
        raise error(78, f"{name.file} is not there any more")

    def remove(self, name: BlobName) -> int:
        """Remove a blob from every place; the number of places that had it."""
        removed = 0
        for place in self.places(name.dbms):
            for blob in place.find(Wanted(name.dbms, name.table, name.id)):
                place.remove(blob)
                removed += 1
        self._spool.forget(name)
        return removed

    def expire(self, place: Place, blob: Blob) -> None:
        """Remove a blob from one place."""
        place.remove(blob)
        self._spool.forget(blob.name)

    def archive(self, source: Path, name: BlobName, places: Sequence[Place], *, compress: bool) -> None:
        """Bring a file that has just come to the places that keep it; then it goes. Durable on return.

        What was stored under the name on an earlier day goes too: the blob is of today. Raises BlobDamagedError.
        """
        arrival = Arrival(source, name)
        for place in places:
            place.store(arrival, compress=compress)
        source.unlink(missing_ok=True)
        if self.folder in places:
            self.folder.remove_older(name)

    def _place(self, blob: Blob) -> Place:
        found = next((place for place in self.places(blob.name.dbms) if place.kind == blob.place), None)
        if found is None:
            raise error(10, f"{PREFIX}{blob.name.dbms} is not connected any more")
        return found
