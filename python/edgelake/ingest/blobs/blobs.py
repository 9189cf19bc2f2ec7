"""All blobs of a node, wherever they are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from edgelake.errors import error
from edgelake.ingest.blobs.content import Content, check, noted, pieces_of
from edgelake.ingest.blobs.folder import BlobFolder
from edgelake.ingest.blobs.names import Blob, BlobName, Wanted
from edgelake.ingest.blobs.spool import Spool


class Place(Protocol):
    """What keeps blobs. All calls are for threads, not for the loop; they raise EdgeLakeError and OSError."""

    kind: str

    def find(self, wanted: Wanted) -> list[Blob]:
        """Those that fit, the oldest first."""

    def count(self) -> Counter[tuple[str, str]]:
        """Blobs by database and table."""

    def all(self) -> Iterator[Blob]:
        """All of them, the oldest first."""

    def store(self, source: Path, name: BlobName, content: Content, *, compress: bool) -> None:
        """Keep the content of a file, as of today; durable on return. The file stays."""

    def fetch(self, blob: Blob, spool: Spool) -> Path:
        """A file with its content, checked. Raises BlobDamagedError, FileNotFoundError."""

    def remove(self, blob: Blob) -> None:
        """One that is not there is no error."""


Others = Callable[[str], Sequence[Place]]
"""Places beside the folder, of a database; "" = of all."""


class Blobs:
    """The blobs of a node. All calls are for threads, not for the loop.

    Args:
        folder: ``blobs_dir`` at the moment.
        others: places beside it.
    """

    def __init__(self, folder: Callable[[], Path], others: Others = lambda dbms: ()) -> None:
        self.folder = BlobFolder(folder)
        self.others = others
        self._spool = Spool(lambda: folder() / ".copies")

    def places(self, dbms: str = "") -> list[Place]:
        return [self.folder, *self.others(dbms)]

    def find(self, wanted: Wanted) -> list[Blob]:
        """Blobs of a table, those that have just come first, then by day; one that is kept twice comes once."""
        found: dict[str, Blob] = {}
        for place in self.places(wanted.dbms):
            for blob in place.find(wanted):
                found.setdefault(blob.name.id, blob)
        return list(found.values())

    def count(self, dbms: str = "", table: str = "") -> list[tuple[str, str, int]]:
        """Number of blobs by database and table, for ``get files count``: in the place that has most of a table."""
        counted: Counter[tuple[str, str]] = Counter()
        for place in self.places(dbms):
            counted |= place.count()
        return [(d, t, n) for (d, t), n in sorted(counted.items()) if dbms in {"", d} and table in {"", t}]

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

    def archive(self, source: Path, name: BlobName, places: Sequence[Place], *, compress: bool) -> None:
        """Bring a file that has just come to the places that keep it; then it goes. Durable on return.

        What was stored under the name on an earlier day goes too: the blob is of today. Raises BlobDamagedError.
        """
        content = check(name, noted(source), lambda: pieces_of(source))
        for place in places:
            place.store(source, name, content, compress=compress)
        source.unlink(missing_ok=True)
        if self.folder in places:
            self.folder.remove_older(name)

    def _place(self, blob: Blob) -> Place:
        return next(place for place in self.places(blob.name.dbms) if place.kind == blob.place)
