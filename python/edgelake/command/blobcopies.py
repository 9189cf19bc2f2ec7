"""Blobs of the cluster: those that are not here are fetched from the members that have them.

A blob is asked of each member in turn. Of a node that is not a member, or whose cluster lacks the table, none is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgelake.command.cluster import CLUSTER, ClusterMessages
from edgelake.command.context import Context
from edgelake.command.peerfiles import PEER_FILES, PeerFiles
from edgelake.errors import BlobDamagedError, EdgeLakeError, error
from edgelake.ingest.blobs.archiver import BlobArchiver
from edgelake.ingest.blobs.blobs import Blobs
from edgelake.ingest.blobs.content import Summed, note, noted, pieces_of
from edgelake.ingest.blobs.copies import BlobColumn, BlobCopies
from edgelake.ingest.blobs.names import BlobName, Wanted
from edgelake.metadata.ids import body_of
from edgelake.peering import failure_of

NO_BLOB: Final = 12
"""What a member says that has no such blob."""


class ClusterBlobs:
    """Fetches blobs from other members."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._coming: dict[BlobName, asyncio.Task[bool | None]] = {}

    @property
    def _cluster(self) -> ClusterMessages:
        found: ClusterMessages = self._ctx.parts[CLUSTER]
        return found

    @property
    def _blobs(self) -> Blobs:
        found: Blobs = self._ctx.parts["blobs"]
        return found

    def copies(self, is_active: Callable[[], bool]) -> BlobCopies:
        """The service that fetches what rows name, while ``is_active`` says so."""
        return BlobCopies(
            self.columns,
            lambda: [one.member for one in self._cluster.members()],
            self._ctx.queries.rows,
            self.fetch,
            is_active,
            lambda: self._blobs.folder.clear_left(self._ctx.node.started_us / 1e6),
            self._ctx.directories.root / "data" / "blob_copies.json",
        )

    def columns(self) -> Iterator[BlobColumn]:
        """Columns that hold ids of blobs, in the tables that are here: those of mapping policies, else ``file``."""
        named: dict[tuple[str, str], set[str]] = {}
        for policy in self._ctx.policies.of_type("mapping"):
            body = body_of(policy)
            found = {name for name, one in _columns(body.get("schema")) if one.get("blob") or one.get("hash")}
            if found:
                named.setdefault((str(body.get("dbms")).lower(), str(body.get("table")).lower()), set()).update(found)
        for store in self._ctx.stores:
            for info in list(store.tables.values()):
                known = {column.name for column in info.columns}
                if info.is_own and {"row_id", "tsd_name"} <= known:
                    for column in sorted(named.get((info.dbms, info.name), {"file"}) & known):
                        yield BlobColumn(info.dbms, info.name, column)

    async def fetch(self, name: BlobName) -> bool | None:
        """Bring a blob here: True when it came, None when it was here, False when no member has it.

        One that is asked for by several comes once.
        Raises BlobDamagedError when it is damaged wherever it is, EdgeLakeError when a member that may have it does not
        answer, or it cannot be kept.
        """
        task = self._coming.get(name)
        if task is None:
            task = self._coming[name] = asyncio.ensure_future(self._fetch(name))
            task.add_done_callback(lambda _: self._coming.pop(name, None))
        return await asyncio.shield(task)

    async def _fetch(self, name: BlobName) -> bool | None:
        if await self._is_here(name):
            return None
        members = self._cluster.members()
        problems: dict[str, EdgeLakeError] = {}
        for member in members:
            try:
                if await self._from(member.address, name):
                    return True
            except EdgeLakeError as failure:
                problems[member.address] = failure
        if problems:
            said = "; ".join(f"{address}: {failure}" for address, failure in problems.items())
            if all(isinstance(failure, BlobDamagedError) for failure in problems.values()):
                raise BlobDamagedError(said, hint="it is taken anew when its content comes again")
            raise error(208, f"the blob {name.file}: {said}")
        return False

    async def _from(self, address: str, name: BlobName) -> bool:
        """Whether a member had it; it is here then, durably, with a note of what it is."""
        files: PeerFiles = self._ctx.parts[PEER_FILES]
        place = await self._blobs.run(partial(self._place, name))
        answer = await files.blob(self._cluster.peers(), address, name, place)
        if answer.error == NO_BLOB:
            return False
        if answer.error == BlobDamagedError.number and BlobDamagedError.text in answer.text:
            raise BlobDamagedError(answer.text)
        if answer.error:
            raise failure_of(answer.error, answer.text)
        await self._blobs.run(partial(_noted, place))
        return True

    def _place(self, name: BlobName) -> Path:
        """As for one that comes from outside: the archiver, where one runs, brings it to its place."""
        is_archived = self._ctx.services.get(BlobArchiver.name) is not None
        return (self._blobs.folder.root if is_archived else self._blobs.folder.day()) / name.file

    async def _is_here(self, name: BlobName) -> bool:
        return bool(await self._blobs.run(lambda: self._blobs.find(Wanted(name.dbms, name.table, name.id))))


def _columns(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Columns of a mapping policy; one may have several definitions."""
    for name, defined in schema.items() if isinstance(schema, dict) else ():
        for one in defined if isinstance(defined, list) else [defined]:
            if isinstance(one, dict):
                yield str(name).lower(), one


def _noted(path: Path) -> None:
    """Who stored it may have given it a hash that says nothing of the content: the sender has checked it."""
    if noted(path) is None:
        summed = Summed()
        for piece in pieces_of(path):
            summed.update(piece)
        note(path, summed.content)


CLUSTER_BLOBS: Final = "cluster blobs"
"""Name of the node's part."""
