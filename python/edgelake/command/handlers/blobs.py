"""Files that belong to rows (spec: ingestion and storage, section 3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from edgelake.command import transfer
from edgelake.command.blobcopies import CLUSTER_BLOBS, ClusterBlobs
from edgelake.command.context import Context
from edgelake.command.grammar import Bytes, Directory, Key
from edgelake.command.handlers.files import content_of
from edgelake.command.handlers.operator import watch_directory
from edgelake.command.registry import command
from edgelake.errors import AlreadyRunningError, CommandError, DatabaseError, ObjectStorageError, error
from edgelake.ingest.blobs.archiver import ArchiverConfig, BlobArchiver, Counted
from edgelake.ingest.blobs.blobs import PREFIX, Blobs
from edgelake.ingest.blobs.bucket import Bucket, BucketConfig
from edgelake.ingest.blobs.content import Summed, note
from edgelake.ingest.blobs.names import Blob, BlobName, Wanted, blob_name
from edgelake.ingest.blobs.retention import Retention, going, remove
from edgelake.ingest.blobs.rowfiles import RowFiles
from edgelake.ingest.names import check_part, running_hash
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.stores import DatabaseRow

PART = "blobs"
_REACH_S = 5
TITLES = ("Table/File", "Success", "Error", "Last Error", "Last File", "Last Message")


@command(
    "file store",
    cls=CommandClass.FILES,
    topics=("blobs", "files", "rest"),
    examples=("file store where dbms = d and table = t and source = !tmp_dir/picture.png",),
)
async def file_store(
    ctx: Context,
    *,
    dbms: str = "",
    table: str = "",
    source: str = "",
    file_hash: Annotated[str, Key("hash")] = "",
    dest: str = "",
) -> Reply:
    """Keep a file for rows of a table: the one that comes along with the request (REST POST), or ``source``.

    It gets the name <dbms>.<table>.<hash>.<type>, whose type is that of ``dest`` or of the file's own name; dbms and
    table may stand in that name too. The reply has what a row refers to: <hash>.<type>.
    """
    pieces, name = await transfer.coming(ctx, source)
    own = name.split(".")
    if not (dbms and table) and len(own) >= 3:
        dbms, table = dbms or own[0], table or own[1]
    if not dbms or not table:
        raise CommandError("dbms and table are needed", hint="where dbms = d and table = t, or a name d.t.picture.png")
    dbms, table, suffix = dbms.lower(), table.lower(), Path(dest or name).suffix
    blob_name(dbms, table, file_hash or "0", suffix)
    blobs = blobs_of(ctx)
    named, summed = running_hash(dbms, table), Summed()

    def place() -> Path:
        return blobs.folder.root if ctx.services.get(BlobArchiver.name) is not None else blobs.folder.day()

    def note_content(path: Path) -> None:
        """A hash that the caller gives says nothing of the content, so that its own is noted."""
        if file_hash and not note(path, summed.content):
            raise CommandError("the file system of blobs_dir keeps no attributes", hint="leave out the hash")

    path = await transfer.write(
        pieces,
        await asyncio.to_thread(place),
        lambda: blob_name(dbms, table, file_hash or named.hexdigest(), suffix).file,
        complete=note_content,
        see=summed.update if file_hash else named.update,
    )
    kept = path.name.removeprefix(f"{dbms}.{table}.")
    return Reply.of_data({"dbms": dbms, "table": table, "id": kept}, text=kept)


@command(
    "file retrieve",
    cls=CommandClass.FILES,
    topics=("blobs", "files", "rest"),
    examples=(
        "file retrieve where dbms = d and table = t and id = 0a1b.png and dest = !tmp_dir",
        "file retrieve where dbms = d and table = t and hash = 0a1b and dest = stdout",
        "file retrieve where dbms = d and table = t and date = 260131 and dest = !tmp_dir and limit = 10",
    ),
)
async def file_retrieve(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    dest: str,
    name: Annotated[str, Key("id")] = "",
    file_hash: Annotated[str, Key("hash")] = "",
    date: str = "",
    limit: int = 0,
    stream: bool = False,
) -> Reply:
    """Copy files of a table to a directory, one to a file, or one into the reply (dest = stdout or rest).

    id: <hash>.<type>; one that is not here comes from another member of the cluster. date: YYMMDD, the day it was
    stored. stream = true: a video that a browser plays.
    """
    found = await _wanted(ctx, dbms, table, (name, file_hash, date), of_cluster=True)
    found = found[:limit] if limit > 0 else found
    if dest.lower() in {"stdout", "rest"}:
        if len(found) > 1:
            raise CommandError(f"{len(found)} files fit", hint="name one by its id, or a directory as dest")
        path = await blobs_of(ctx).run(lambda: blobs_of(ctx).fetch(found[0]))
        return content_of(path, "video/mp4" if stream else "")
    place = transfer.usable(ctx, dest)
    if len(found) > 1 and not place.is_dir():
        raise error(78, f"'{dest}' is no directory, and {len(found)} files fit")
    for blob in found:
        path = await blobs_of(ctx).run(partial(blobs_of(ctx).fetch, blob))
        target = transfer.target_of(place, blob.name.file)
        await transfer.write(transfer.read(path), target.parent, target.name)
    names = [blob.name.file for blob in found]
    return Reply.of_data(names, text="\r\n".join(names))


@command(
    "file remove",
    cls=CommandClass.FILES,
    topics=("blobs", "files"),
    examples=("file remove where dbms = d and table = t and id = 0a1b.png",),
)
async def file_remove(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    name: Annotated[str, Key("id")] = "",
    file_hash: Annotated[str, Key("hash")] = "",
    date: str = "",
) -> Reply:
    """Remove files of a table: one by its id or hash, those of a day, or all."""
    found = await _wanted(ctx, dbms, table, (name, file_hash, date))
    for blob in found:
        await blobs_of(ctx).run(partial(blobs_of(ctx).remove, blob.name))
    return Reply.of_data({"removed": len(found)}, text=f"{len(found)} files removed")


async def _wanted(
    ctx: Context, dbms: str, table: str, which: tuple[str, str, str], *, of_cluster: bool = False
) -> list[Blob]:
    """``of_cluster``: one that is named by its id, and is not here, is fetched from another member of the cluster."""
    name, file_hash, date = which
    check_part(table, "table")
    wanted = Wanted(dbms.lower(), table.lower(), name, file_hash, date)
    found = await blobs_of(ctx).run(lambda: blobs_of(ctx).find(wanted))
    if not found and name and of_cluster and await _come(ctx, wanted):
        found = await blobs_of(ctx).run(lambda: blobs_of(ctx).find(wanted))
    if not found:
        raise error(78, f"no file of {dbms}.{table} fits", hint="see: get files count")
    return found


async def _come(ctx: Context, wanted: Wanted) -> bool:
    """Whether a member of the cluster had it. Raises EdgeLakeError 208 when one does not answer."""
    others: ClusterBlobs = ctx.parts[CLUSTER_BLOBS]
    return bool(await others.fetch(BlobName(wanted.dbms, wanted.table, wanted.id)))


def buckets_of(ctx: Context) -> dict[str, Bucket]:
    """Object storage that is connected, by name."""
    found = ctx.parts.get(PART)
    return found.buckets if isinstance(found, Blobs) else {}


def blobs_of(ctx: Context) -> Blobs:
    found = ctx.parts.get(PART)
    if not isinstance(found, Blobs):
        raise CommandError("this node keeps no files")
    return found


async def connect_bucket(ctx: Context, name: str, config: BucketConfig) -> Reply:
    """``connect dbms`` with object storage. One that does not answer now is connected all the same, and said."""
    if not name.startswith(PREFIX) or name == PREFIX:
        raise CommandError(f"'{name}': a bucket is for blobs", hint=f"connect dbms {PREFIX}<dbms> where type = bucket")
    if ctx.stores.find(name) is not None:
        raise DatabaseError(f"'{name}' is connected as a database", hint=f"disconnect dbms {name}, first")
    if config.provider == "file" and config.endpoint:
        config = replace(config, endpoint=str(transfer.usable(ctx, config.endpoint)))
    buckets = buckets_of(ctx)
    bucket = buckets.get(name)
    if bucket is None:
        bucket = await blobs_of(ctx).run(lambda: Bucket(config))
    if bucket.config != config:
        raise DatabaseError(f"'{name}' is connected to {bucket.config.storage}", hint=f"disconnect dbms {name}, first")
    buckets[name] = bucket
    try:
        async with asyncio.timeout(_REACH_S):
            await blobs_of(ctx).run(bucket.reach)
    except TimeoutError:
        return Reply.of_text(f"Connected, but it has not answered within {_REACH_S} seconds: {config.storage}")
    except ObjectStorageError as failure:
        return Reply.of_text(f"Connected, but it cannot be used now: {failure.detail}")
    return Reply.done()


def bucket_rows(ctx: Context) -> list[DatabaseRow]:
    """Buckets for ``get databases``."""
    return [
        DatabaseRow(
            name, "bucket", "user", bucket.config.endpoint or "-", bucket.config.provider, bucket.config.storage
        )
        for name, bucket in sorted(buckets_of(ctx).items())
    ]


@command(
    "run blobs archiver",
    cls=CommandClass.ADMIN,
    topics=("background processes", "blobs"),
    examples=(
        "run blobs archiver",
        "run blobs archiver where dbms = false and folder = true and compress = true and reuse_blobs = true",
        "run blobs archiver where bwatch_dir = /tmp and blobs_dir = /tmp",
    ),
)
async def run_blobs_archiver(
    ctx: Context,
    *,
    dbms: bool | None = None,
    folder: bool | None = None,
    file: bool | None = None,
    compress: bool = False,
    reuse_blobs: bool = False,
    reuse: bool = False,
    bwatch_dir: Directory | None = None,
    blobs_dir: Directory | None = None,
) -> Reply:
    """Bring blobs from blobs_dir to where they stay, and the row files of bwatch_dir on to watch_dir.

    Blobs go to folders by date (folder = true, or file = true: blobs_dir/YY/MM/DD) or to the database blobs_<dbms>
    (dbms = true); without either, to that database when it is connected, else to folders. compress = true: with gzip,
    where a file is not of a compressed type. Row files name a blob in the first blob column of their mapping policy,
    else in the column file: by its id, or by the name of any file in blobs_dir, which becomes a blob then (and stays
    there with reuse_blobs = true, or reuse = true, for row files to come). A row file whose blob is missing goes to
    err_dir.
    """
    if (running := ctx.services.get(BlobArchiver.name)) is not None:
        raise AlreadyRunningError(running.status().details, hint="exit archiver, first")
    blobs = blobs_of(ctx)
    if blobs_dir is not None:
        ctx.variables.set("blobs_dir", str(blobs_dir))
    config = ArchiverConfig(
        bwatch_dir=bwatch_dir or ctx.directories.path("bwatch_dir"),
        blobs_dir=ctx.directories.path("blobs_dir"),
        watch_dir=ctx.directories.path("watch_dir"),
        err_dir=ctx.directories.path("err_dir"),
        dbms=dbms,
        folder=folder if folder is not None else file,
        compress=compress,
        reuse_blobs=reuse_blobs or reuse,
    )
    if config.dbms is False and config.folder is False:
        raise CommandError("dbms and folder are both false", hint="one of them has to keep the blobs")
    await blobs.run(lambda: blobs.folder.clear_left(ctx.node.started_us / 1e6))
    rows = RowFiles(blobs, config.watch_dir, ctx.policies.get, reuse=config.reuse_blobs)
    await ctx.services.start(BlobArchiver(config, blobs, rows, watch_directory))
    return Reply.done()


@command(
    "get blobs archiver",
    cls=CommandClass.DATA,
    topics=("blobs", "monitor"),
    examples=("get blobs archiver", "get blobs archiver where format = json"),
)
async def get_blobs_archiver(ctx: Context) -> Reply:
    """What the archiver of blobs did: with row files (Source JSON), then with the blobs of each table."""
    running = ctx.services.get(BlobArchiver.name)
    if not isinstance(running, BlobArchiver):
        return Reply.of_data({"status": "not active"}, text="Archiver not active")
    rows = [_counted(key, one) for key, one in running.counted.items()]
    data = {
        "status": "active",
        **running.status().counters,
        "files": [dict(zip([title.lower().replace(" ", "_") for title in TITLES], row, strict=True)) for row in rows],
    }
    return Reply.of_table(Table(TITLES, rows), data=data)


def _counted(key: str, one: Counted) -> tuple[str | int, ...]:
    return key, one.success, one.errors, one.last_error, one.last_file, one.last_message


@command(
    "delete blobs",
    cls=CommandClass.ADMIN,
    topics=("blobs",),
    examples=(
        "delete blobs where dbms = d and days = 30 and dry_run = true",
        "delete blobs where dbms = d and table = t and size = 100 GB",
        "delete blobs where dbms = d and days = 365 and free = 20 GB",
    ),
)
async def delete_blobs(
    ctx: Context,
    *,
    dbms: str,
    table: str = "",
    days: int | None = None,
    size: Bytes | None = None,
    free: Bytes | None = None,
    dry_run: bool = False,
) -> Reply:
    """Remove the blobs of a database, or of a table, that are older than a number of days or take too much room.

    Whole days go, the oldest first, until the rest takes up to ``size`` in each place (a folder, a database, a bucket)
    and as much is free where blobs_dir is; blobs of today, and those that are not archived, stay. dry_run = true shows
    what would go. To do it every day: schedule time = 1 day and name = retention task delete blobs where ...
    """
    rule = Retention(dbms.lower(), table.lower(), days, size, free)
    rule.check()
    blobs = blobs_of(ctx)
    chosen = await blobs.run(lambda: going(blobs, rule))
    if not dry_run:
        chosen = await blobs.run(partial(remove, blobs, rule, chosen))
    rows = [(one.place, one.day, one.blobs, one.stored_bytes) for one in chosen]
    data = [dict(zip(("place", "date", "blobs", "bytes"), row, strict=True)) for row in rows]
    titles = ("Place", "Date", "Blobs", "Bytes")
    return Reply.of_table(Table(titles, rows, header="To be removed" if dry_run else "Removed"), data=data)
