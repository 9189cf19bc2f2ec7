"""Files to other nodes and from them: which may come, which may go, and those that this node asked for.

Source: network protocol, sections 3.5, 6.4 and 11. The reference takes and gives any file; here nothing comes or goes
that the owner of the node has not opened a directory for.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import os
import re
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from edgelake.command import transfer
from edgelake.command.cluster import CLUSTER, ClusterMessages
from edgelake.command.context import Context
from edgelake.errors import CommandError, EdgeLakeError, NotPermittedError, error
from edgelake.ingest import filing
from edgelake.ingest.blobs.blobs import Blobs
from edgelake.ingest.blobs.names import BlobName
from edgelake.ingest.blobs.names import Wanted as WantedBlobs
from edgelake.ingest.names import INSERTED, FileName, check_part
from edgelake.ingest.putfile import hand_over
from edgelake.ingest.received import Received
from edgelake.metadata.address import NODE_TYPES, ips_of
from edgelake.metadata.ids import body_of
from edgelake.model import FILE_BYTES, CommandClass
from edgelake.net.peer.send import address_of
from edgelake.peering import NO_ANSWER, FileTarget, PeerAnswer, Peers, file_words

PEER_FILES: Final = "peer files"
"""Name of the node's part."""

MAX_FILES: Final = 10_000
BEGIN_S: Final = 20.0
"""Longest time until a file begins to come, and between two."""

FILE_S: Final = 900.0
"""Longest time for a file that has begun to come."""

_TO_WATCH: Final = (FileTarget.WATCH_DIRECTORY, FileTarget.DELIVERY)
_TARGETS: Final = {
    "": FileTarget.PATH,
    "watch_dir": FileTarget.WATCH_DIRECTORY,
    "ledger": FileTarget.LEDGER,
}


class Allowed(Struct, frozen=True):
    """What other nodes may do.

    Attributes:
        read, write: directories below which they get files and put them.
        watch_dir: whether they put data files into the watch directory.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    watch_dir: bool = False


class Wanted(Struct):
    """Files that this node asked another one for.

    Attributes:
        hosts: addresses of that node.
        name: under which it sends the file; the directory when ``many``.
        target: where the file goes; the directory when ``many``.
        events: files that began or were complete.
        count: complete ones.
    """

    hosts: frozenset[str]
    name: str
    target: Path
    many: bool
    events: int = 0
    count: int = 0
    begun: int = 0
    failure: EdgeLakeError | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def place_of(self, host: str, name: str) -> Path | None:
        """Where a file of that name goes; None when it is none of these."""
        path = PurePath(name)
        if host not in self.hosts:
            return None
        if not self.many:
            return self.target if path == PurePath(self.name) else None
        return self.target / path.name if path.parent == PurePath(self.name) and _is_plain(path.name) else None


class PeerFiles:
    """Implements ``net.peer.Files``; and asks for files, and sends them."""

    def __init__(self, ctx: Context) -> None:
        self.allowed = Allowed()
        self._ctx = ctx
        self._wanted: list[Wanted] = []
        self._received = Received(lambda: ctx.directories.root / "data" / "received.log")

    # ---- files that come

    def check(self, ip: str, name: str, target: FileTarget) -> None:
        """Raises NotPermittedError for a file that may not come."""
        wanted = self._wanted_of(ip, name, target)
        if wanted is not None:
            wanted.events, wanted.begun = wanted.events + 1, wanted.begun + 1
        elif target in _TO_WATCH:
            found = _data_file(name)
            if not self.allowed.watch_dir and not self._cluster().takes(found, ip):
                raise _closed("files of other nodes are not taken into the watch directory", "watch_dir = true")
            if found.member is not None:
                self._cluster().files.check(found)
            self._check_room()
        else:
            self._path(name)

    async def take(self, ip: str, name: str, target: FileTarget, path: Path) -> None:
        """Put a file in its place. Raises EdgeLakeError."""
        wanted = self._wanted_of(ip, name, target)
        if wanted is None:
            if target in _TO_WATCH:
                await self._to_watch_directory(_data_file(name), path, once=target == FileTarget.DELIVERY)
            else:
                await _store(path, self._path(name))
            return
        try:
            place = wanted.place_of(ip, name)
            assert place is not None
            await _store(path, place)
            wanted.count += 1
        except EdgeLakeError as failure:
            wanted.failure = failure
            raise
        finally:
            wanted.events, wanted.begun = wanted.events + 1, wanted.begun - 1
            if not wanted.many or wanted.failure is not None:
                wanted.done.set()

    def _wanted_of(self, ip: str, name: str, target: FileTarget) -> Wanted | None:
        if target != FileTarget.PATH:
            return None
        return next((one for one in self._wanted if one.place_of(ip, name) is not None), None)

    def _check_room(self) -> None:
        """Others cannot fill the watch directory while nobody loads its files."""
        watch = self._ctx.directories.path("watch_dir")
        if not watch.is_dir():
            raise error(35, "the watch directory is missing", hint="create work directories")
        with os.scandir(watch) as waiting:
            if next(itertools.islice(waiting, MAX_FILES, None), None) is not None:
                raise NotPermittedError(f"more than {MAX_FILES:,} files wait in the watch directory")

    def _path(self, name: str) -> Path:
        if not self.allowed.write:
            raise _closed("files of other nodes are not taken", "write = <directory>")
        return transfer.below(self._ctx, self._translated(name), self.allowed.write)

    def _translated(self, name: str) -> str:
        """A path of another node, with a value of this node's dictionary at its beginning; none of its secrets."""
        return str(self._ctx.variables.view(secrets=False).translate(name)) if name.startswith("!") else name

    async def _to_watch_directory(self, name: FileName, path: Path, *, once: bool) -> None:
        prep, watch = self._ctx.directories.path("prep_dir"), self._ctx.directories.path("watch_dir")
        plain = replace(name, compressed=False)
        working = prep / f"{plain.text() if once else path.stem}.taken"

        async def arrive() -> Path:
            return await transfer.write(_content(path, name.compressed), prep, working.name)

        try:
            if name.member is not None:
                working = prep / f"{path.stem}.taken"
                await self._of_member(name, path, working, arrive)
            elif once:
                await self._received.take(plain, working, arrive, watch)
            else:
                await arrive()
                await asyncio.to_thread(hand_over, working, watch, plain)
        except OSError as cause:
            raise error(63, f"the watch directory: {cause.strerror or cause}") from cause
        finally:
            if not once:
                working.unlink(missing_ok=True)

    async def _of_member(
        self, name: FileName, path: Path, working: Path, arrive: Callable[[], Awaitable[Path]]
    ) -> None:
        """A file of another member stays packed where the archive packs it again."""
        cluster, watch = self._cluster(), self._ctx.directories.path("watch_dir")
        config = cluster.operator()

        async def arrive_packed() -> None:
            async for _ in _content(path, compressed=True):
                pass
            await asyncio.to_thread(filing.sync, path)
            path.rename(working)

        if name.compressed and config is not None and config.compress_json and config.wants(f"{name.text()}.gz"):
            await cluster.files.take(name, working, arrive_packed, watch)
        else:
            await cluster.files.take(replace(name, compressed=False), working, arrive, watch)

    def _cluster(self) -> ClusterMessages:
        found: ClusterMessages = self._ctx.parts[CLUSTER]
        return found

    # ---- files that go

    async def deliver(self, peer: str, source: str, target: str) -> None:
        """Send a file, or (``source`` ends in ``*``) the files of a directory. Raises EdgeLakeError."""
        if source.startswith("("):
            path = await self._blob(blob_of(source), peer)
            await self._peers().send_file(peer, target, transfer.read(path), FileTarget.PATH)
            return
        if not self.allowed.read:
            raise _closed("files of this node are not given to others", "read = <directory>")
        found = named_files(source, lambda text: transfer.below(self._ctx, self._translated(text), self.allowed.read))
        for path in found:
            name = f"{target.rstrip('/')}/{path.name}" if source.endswith("*") else target
            await self._peers().send_file(peer, name, transfer.read(path), FileTarget.PATH)

    async def _blob(self, name: BlobName, peer: str) -> Path:
        """The content of a blob, wherever it is kept: for members of a cluster that has the table, which get the rows
        too; for others where ``blobs_dir`` is open."""
        blobs: Blobs = self._ctx.parts["blobs"]
        if not self._cluster().shares(name.dbms, name.table, address_of(peer)[0]):
            if not self.allowed.read:
                raise _closed("files of this node are not given to others", "read = <directory>")
            transfer.below(self._ctx, str(blobs.folder.root / name.file), self.allowed.read)
        found = await blobs.run(lambda: blobs.find(WantedBlobs(name.dbms, name.table, name.id)))
        if not found:
            raise error(12, f"no blob {name.file}", hint="see: get files count")
        return await blobs.run(lambda: blobs.fetch(found[0]))

    def _peers(self) -> Peers:
        found: Peers | None = self._ctx.parts.get("peers")
        if found is None:
            raise error(21, "this node has no TCP server")
        return found

    # ---- what a user of this node asks for

    async def run(
        self, ctx: Context, peers: Peers, nodes: Sequence[str], words: Sequence[str], timeout_s: float
    ) -> list[PeerAnswer]:
        """``file copy|get``, its words as they travel; what became of it at each node.

        Raises EdgeLakeError for what this node cannot do or its caller may not.
        """
        if not ctx.may(CommandClass.FILES):
            raise NotPermittedError(f"'file {words[1]}' needs the command class '{CommandClass.FILES}'")
        if not nodes:
            raise error(155, f"file {words[1]}: name the nodes", hint=f"run client (ip:port) file {words[1]} ...")
        names = file_words([word.replace("\t", " ") for word in words[2:]])
        if words[1].lower() == "copy":
            return await self._copy(ctx, peers, nodes, names)
        if len(names) not in (1, 2) or (names[0].startswith("(") and len(names) == 1):
            raise CommandError("a file and where to put it are needed", hint="file get <source> <destination>")
        if len(nodes) != 1:
            raise CommandError("a file is got from one node", hint="run client (ip:port) file get ...")
        return [await self._get(ctx, peers, nodes[0], names[0], names[-1], timeout_s)]

    async def _copy(self, ctx: Context, peers: Peers, nodes: Sequence[str], names: list[str]) -> list[PeerAnswer]:
        kind = names.pop().lower() if len(names) == 3 else ""
        if len(names) not in (1, 2) or kind not in _TARGETS:
            raise CommandError("file copy", hint="file copy <source> <destination> [watch_dir|ledger]")
        source, target = names[0], names[-1]
        found = named_files(source, lambda text: transfer.usable(ctx, text))
        folder = "" if kind == "watch_dir" else f"{target.removesuffix('*').rstrip('/')}/"
        sent = [(path, f"{folder}{path.name}" if source.endswith("*") else target) for path in found]

        async def to(node: str) -> PeerAnswer:
            try:
                for path, name in sent:
                    await peers.send_file(node, name, transfer.read(path), _TARGETS[kind])
            except EdgeLakeError as failure:
                return PeerAnswer(node, failure.detail or failure.text, error=failure.number)
            return PeerAnswer(node, f"{len(sent)} files" if source.endswith("*") else "")

        return list(await asyncio.gather(*map(to, nodes)))

    async def _get(
        self, ctx: Context, peers: Peers, node: str, source: str, target: str, timeout_s: float
    ) -> PeerAnswer:
        """Ask, and wait until the file is in its place, the node refuses, or nothing happens any more."""
        many = source.endswith("*")
        place = transfer.usable(ctx, str(ctx.visible.translate(target.removesuffix("*"))))
        if many and not place.is_dir():
            raise error(78, f"'{place}' is no directory", hint="the files of a directory go into one")
        if source.startswith("("):
            place = transfer.target_of(place, blob_of(source).file)
        return await self._come(peers, node, source, place, timeout_s, many=many)

    async def blob(self, peers: Peers, node: str, name: BlobName, place: Path) -> PeerAnswer:
        """Get a blob that another member of the cluster keeps, as the file ``place``. Raises EdgeLakeError."""
        source = f"(dbms = {name.dbms} and table = {name.table} and id = {name.id})"
        return await self._come(peers, node, source, place, BEGIN_S)

    async def _come(
        self, peers: Peers, node: str, source: str, place: Path, timeout_s: float, *, many: bool = False
    ) -> PeerAnswer:
        """Have files sent, and wait for them."""
        wanted = Wanted(await self._hosts_of(address_of(node)[0]), str(place), place, many)
        self._wanted.append(wanted)
        request = f"file get {_word(source)} {_word(str(place))}{'/' if many else ''}"
        asking = asyncio.ensure_future(peers.ask([node], request, timeout_s=FILE_S))
        coming = asyncio.ensure_future(wanted.done.wait())
        try:
            await _until_quiet(wanted, (asking, coming), timeout_s)
            if wanted.failure is not None:
                raise wanted.failure
            refused = asking.result()[0] if asking.done() else PeerAnswer(node)
            if refused.error not in (0, NO_ANSWER) and not coming.done():
                return refused
            if not wanted.count:
                return PeerAnswer(node, "the file did not come in time", error=NO_ANSWER)
            return PeerAnswer(node, f"{wanted.count} files" if many else "")
        finally:
            self._wanted.remove(wanted)
            for task in (asking, coming):
                task.cancel()
            await asyncio.gather(asking, coming, return_exceptions=True)

    async def _hosts_of(self, host: str) -> frozenset[str]:
        """The addresses from which a node may send: the one asked, and the others of its policy."""
        found = {host}
        with contextlib.suppress(OSError):  # the request says what is wrong with the name
            found |= {str(info[4][0]) for info in await asyncio.get_running_loop().getaddrinfo(host, None)}
        for policy in self._ctx.policies.of_type(*NODE_TYPES):
            known = ips_of(body_of(policy))
            found |= known if host in known else frozenset()
        return frozenset(found)


_BLOB: Final = re.compile(r"\(\s*dbms\s*=\s*(\S+)\s+and\s+table\s*=\s*(\S+)\s+and\s+id\s*=\s*(\S+?)\s*\)")


def blob_of(text: str) -> BlobName:
    """The blob of ``(dbms = d and table = t and id = x)``. Raises CommandError."""
    found = _BLOB.fullmatch(text.strip())
    name = BlobName.parse(".".join(found.groups())) if found is not None else None
    if name is None:
        raise CommandError(f"'{text[:100]}' names no blob", hint="(dbms = d and table = t and id = <hash>.<type>)")
    return name


async def _until_quiet(wanted: Wanted, tasks: Sequence[asyncio.Future[Any]], timeout_s: float) -> None:
    """Wait until all is said, or nothing has begun for ``timeout_s`` and nothing is on its way."""
    loop = asyncio.get_running_loop()
    end = loop.time() + FILE_S
    while not any(task.done() for task in tasks) and loop.time() < end:
        seen = wanted.events
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if wanted.events == seen and not wanted.begun:
            break


def named_files(source: str, allowed: Callable[[str], Path]) -> list[Path]:
    """The file that is named, or those of a directory (``directory/*``). Raises EdgeLakeError (12, 212)."""
    if not source.endswith("*"):
        path = allowed(source)
        if not path.is_file():
            raise error(12, f"'{source[:200]}'")
        return [path]
    folder, begin = str(PurePath(source).parent), PurePath(source).name.removesuffix("*")
    inside = allowed(f"{folder}/{begin or '_'}").parent
    names = sorted(p.name for p in inside.glob("*") if p.name.startswith(begin) and _is_plain(p.name))
    found = [path for name in names if (path := allowed(f"{folder}/{name}")).is_file()]
    if not found:
        raise error(12, f"no files for '{source[:200]}'")
    if len(found) > MAX_FILES:
        raise error(3, f"'{source[:200]}' stands for more than {MAX_FILES:,} files")
    return found


async def _store(path: Path, place: Path) -> None:
    """Put what arrived in its place; as the reference does, a compressed file loses its ``.gz`` there."""
    compressed = place.suffix == ".gz"
    name = place.name.removesuffix(".gz")
    if not _is_plain(name):
        raise NotPermittedError(f"'{place.name}' is no name of a file")
    if (place.parent / name).is_dir():
        raise error(78, f"'{place.parent / name}' is a directory", hint="name the file, too")
    await transfer.write(_content(path, compressed), place.parent, name)


async def _content(path: Path, compressed: bool) -> AsyncGenerator[bytes]:
    """Pieces of what arrived, unpacked. Raises EdgeLakeError (100, 9)."""
    if not compressed:
        async for piece in transfer.read(path):
            yield piece
        return
    size = 0
    with gzip.open(path, "rb") as file:
        while True:
            try:
                piece = await asyncio.to_thread(file.read, transfer.PIECE_BYTES)
            except (OSError, EOFError, zlib.error) as fault:
                raise error(100, f"{fault}") from fault
            if not piece:
                return
            size += len(piece)
            if size > FILE_BYTES:
                raise error(9, f"it holds more than {FILE_BYTES:,} bytes")
            yield piece


def _data_file(name: str) -> FileName:
    """A name by the convention of data files, of a file with rows. Raises NotPermittedError."""
    try:
        if not _is_plain(name):
            raise error(119, f"'{name[:200]}' is more than a name")
        found = FileName.parse(name)
        for part in (found.dbms, found.table, found.source, found.hash, found.instructions):
            check_part(part, "a part of the name")
    except EdgeLakeError as fault:
        raise NotPermittedError(f"the watch directory takes data files: {fault}") from fault
    if found.kind != "json" or found.member == INSERTED:
        # A file of SQL is executed as it is; ``@`` says that the rows are in the table already.
        raise NotPermittedError(f"the watch directory takes JSON files of other nodes, not '{name[:200]}'")
    return found


def _is_plain(name: str) -> bool:
    return bool(name) and name[0] != "." and not any(c in "/\\" or ord(c) < 32 for c in name)


def _word(text: str) -> str:
    """A path as one word of a message."""
    return text.replace(" ", "\t")


def _closed(what: str, key: str) -> NotPermittedError:
    return NotPermittedError(what, hint=f"its owner may open it: set peer files where {key}")
