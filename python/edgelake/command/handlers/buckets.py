"""Files in object storage (``bucket ...``): services under a name, their buckets, what is in them.

Source: the reference's documentation, "Bucket Data Management"; spec "Command language", section 14.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from edgelake.command import transfer
from edgelake.command.context import Context
from edgelake.command.grammar import Key
from edgelake.command.handlers.blobs import blobs_of
from edgelake.command.registry import command
from edgelake.errors import CommandError, EdgeLakeError, NotAvailableError, ObjectStorageError
from edgelake.ingest.blobs.bucket import BucketConfig
from edgelake.ingest.blobs.objects import Group, ObjectRow, Objects, names_listed, refusal
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.callout import Call, send

_REACH_S: Final = 5.0
_CALL_S: Final = 30.0
_LISTED: Final = 10_000


@command(
    "bucket provider connect",
    cls=CommandClass.ADMIN,
    topics=("blobs", "configuration"),
    examples=(
        "bucket provider connect where group = plant and provider = minio and endpoint_url = http://10.0.0.9:9000 "
        "and access_key = !key and secret_key = !secret",
        "bucket provider connect where group = far and provider = aws and region = eu-central-1 and id = !key "
        "and password = !secret",
    ),
)
async def bucket_provider_connect(
    ctx: Context,
    *,
    group: str,
    provider: str,
    name: Annotated[str, Key("id")] = "",
    password: str = "",
    access_key: str = "",
    secret_key: str = "",
    region: str = "",
    endpoint_url: str = "",
) -> Reply:
    """Name a service of object storage and its keys as GROUP, for the commands ``bucket ...`` and ``get bucket ...``.

    provider: aws, minio, akave or s3 (all by the API of S3), azure, gcs. endpoint_url where it is not the provider's
    own. id and password are other names of access_key and secret_key; of azure they are account and key, of gcs
    secret_key is the service account. Without keys, those of the environment. Connecting again is no error.
    """
    secret = secret_key or password
    access = access_key or (name if secret else "")  # scripts give an id beside keys, or without any
    config = BucketConfig("", "", endpoint_url.rstrip("/"), access, secret, region)
    made = Group.of(group, provider.lower(), config)
    groups = blobs_of(ctx).groups
    if groups.setdefault(group, made) != made:
        raise CommandError(
            f"group '{group}' is connected otherwise", hint=f"bucket provider disconnect where group = {group}, first"
        )
    try:
        async with asyncio.timeout(_REACH_S):
            await _names(ctx, made)
    except NotAvailableError:
        return Reply.done()  # its buckets are not listed
    except TimeoutError:
        return Reply.of_text(f"Connected, but it has not answered within {_REACH_S:g} seconds")
    except ObjectStorageError as failure:
        if "AccessDenied" in failure.detail:  # keys of a single bucket may not list all
            return Reply.done()
        return Reply.of_text(f"Connected, but it cannot be used now: {failure.detail}")
    return Reply.done()


@command(
    "bucket provider disconnect",
    cls=CommandClass.ADMIN,
    topics=("blobs", "configuration"),
    examples=("bucket provider disconnect where group = plant",),
)
async def bucket_provider_disconnect(ctx: Context, *, group: str) -> Reply:
    """Forget a group and its keys. What is in its buckets stays."""
    _group(ctx, group)
    del blobs_of(ctx).groups[group]
    return Reply.done()


@command("get bucket groups", cls=CommandClass.DATA, topics=("blobs",), examples=("get bucket groups",))
async def get_bucket_groups(ctx: Context) -> Reply:
    """Services that are connected by ``bucket provider connect``, without their keys."""
    rows = [
        (one.name, one.provider, one.config.endpoint, one.config.region)
        for _, one in sorted(blobs_of(ctx).groups.items())
    ]
    data = [dict(zip(("group", "provider", "endpoint_url", "region"), row, strict=True)) for row in rows]
    return Reply.of_table(Table(("Group", "Provider", "Endpoint", "Region"), rows), data=data)


@command(
    "get bucket names",
    cls=CommandClass.FILES,
    topics=("blobs",),
    examples=("get bucket names where group = plant",),
)
async def get_bucket_names(ctx: Context, *, group: str) -> Reply:
    """Buckets that the keys of a group can list."""
    names = await _names(ctx, _group(ctx, group))
    return Reply.of_table(Table(("Bucket",), [(name,) for name in names]), data=names)


@command(
    "bucket create",
    cls=CommandClass.ADMIN,
    topics=("blobs",),
    examples=("bucket create where group = plant and name = readings",),
)
async def bucket_create(ctx: Context, *, group: str, name: str) -> Reply:
    """Make a bucket."""
    await _call(ctx, _group(ctx, group), "PUT", name)
    return Reply.done()


@command(
    "bucket drop",
    cls=CommandClass.ADMIN,
    topics=("blobs",),
    examples=(
        "bucket drop where group = plant and name = readings",
        "bucket drop where group = plant and name = readings and delete_all = true",
    ),
)
async def bucket_drop(
    ctx: Context,
    *,
    group: str,
    name: str,
    delete_all: bool = False,
    delete_all_files: Annotated[bool, Key("deleteAllFiles")] = False,
) -> Reply:
    """Remove a bucket that is empty, or (delete_all = true, or deleteAllFiles = true) with all that is in it."""
    found = _group(ctx, group)
    await blobs_of(ctx).run(lambda: found.signed("DELETE", name))  # before anything goes: can it be dropped at all?
    if delete_all or delete_all_files:
        await blobs_of(ctx).run(found.bucket(name).delete_all)
    await _call(ctx, found, "DELETE", name)
    return Reply.done()


@command(
    "get bucket files",
    cls=CommandClass.FILES,
    topics=("blobs",),
    examples=(
        "get bucket files where group = plant and name = readings",
        "get bucket files where group = plant and name = readings and prefix = 2026/ and limit = 100 and format = json",
    ),
)
async def get_bucket_files(ctx: Context, *, group: str, name: str, prefix: str = "", limit: int = _LISTED) -> Reply:
    """Files of a bucket whose keys begin with ``prefix``; up to ``limit``, 10,000 without it."""
    objects = await _objects(ctx, group, name)

    def listed() -> list[ObjectRow]:
        return list(islice(objects.rows(prefix), max(limit, 0)))

    return _shown(await blobs_of(ctx).run(listed))


@command(
    "get bucket file info",
    cls=CommandClass.FILES,
    topics=("blobs",),
    examples=("get bucket file info where group = plant and name = readings and key = 2026/day.csv",),
)
async def get_bucket_file_info(ctx: Context, *, group: str, name: str, key: str) -> Reply:
    """Size, time and tag of a file in a bucket."""
    objects = await _objects(ctx, group, name)
    return _shown([await blobs_of(ctx).run(lambda: objects.row(key))])


@command(
    "bucket file upload",
    cls=CommandClass.FILES,
    topics=("blobs", "files"),
    examples=(
        "bucket file upload where group = plant and name = readings and source_dir = !tmp_dir and file_name = day.csv "
        "and key = 2026/day.csv",
    ),
)
async def bucket_file_upload(
    ctx: Context, *, group: str, name: str, source_dir: str, file_name: str, key: str = ""
) -> Reply:
    """Copy a file into a bucket, as ``key`` (file_name without one); one that is there under that key is replaced."""
    objects = await _objects(ctx, group, name)
    source = transfer.readable(transfer.usable(ctx, f"{source_dir}/{file_name}"))
    await blobs_of(ctx).run(lambda: objects.put(key or file_name, source))
    return Reply.done()


@command(
    "bucket file download",
    cls=CommandClass.FILES,
    topics=("blobs", "files"),
    examples=(
        "bucket file download where group = plant and name = readings and key = 2026/day.csv and dest_dir = !tmp_dir "
        "and file_name = day.csv",
    ),
)
async def bucket_file_download(
    ctx: Context, *, group: str, name: str, key: str, dest_dir: str, file_name: str = ""
) -> Reply:
    """Copy a file of a bucket to ``dest_dir``, as ``file_name`` (the end of the key without one).

    It appears when all of it is there; a file of that name is replaced.
    """
    objects = await _objects(ctx, group, name)
    named = transfer.usable(ctx, f"{dest_dir}/{file_name or PurePosixPath(key).name}")
    path = await transfer.write(_pieces(ctx, objects, key), named.parent, named.name)
    return Reply.of_data({"file": str(path)}, text=str(path))


@command(
    "bucket file delete",
    cls=CommandClass.FILES,
    topics=("blobs", "files"),
    examples=(
        "bucket file delete where group = plant and name = readings and key = 2026/day.csv",
        "bucket file delete where group = plant and name = readings and prefix = 2025/",
    ),
)
async def bucket_file_delete(ctx: Context, *, group: str, name: str, key: str = "", prefix: str = "") -> Reply:
    """Remove a file of a bucket, the files whose keys begin with ``prefix``, or both."""
    if not key and not prefix:
        raise CommandError("key or prefix is needed", hint="all files: bucket drop ... and delete_all = true")
    objects = await _objects(ctx, group, name)
    deleted = 0
    if key:
        await blobs_of(ctx).run(lambda: objects.delete(key))
        deleted += 1
    if prefix:
        deleted += await blobs_of(ctx).run(lambda: objects.delete_all(prefix))
    return Reply.of_data({"deleted": deleted}, text=f"{deleted} files deleted")


def _group(ctx: Context, name: str) -> Group:
    found = blobs_of(ctx).groups.get(name)
    if found is None:
        raise CommandError(f"group '{name[:100]}' is not connected", hint="bucket provider connect where group = ...")
    return found


async def _objects(ctx: Context, group: str, bucket: str) -> Objects:
    found = _group(ctx, group)
    return await blobs_of(ctx).run(partial(found.bucket, bucket))


async def _names(ctx: Context, group: Group) -> list[str]:
    return names_listed(await _call(ctx, group, "GET"))


async def _call(ctx: Context, group: Group, method: Literal["GET", "PUT", "DELETE"], bucket: str = "") -> str:
    """The answer to a signed request. Raises ObjectStorageError, NotAvailableError, CommandError."""
    url, body = await blobs_of(ctx).run(lambda: group.signed(method, bucket))
    try:
        return (await send(Call(method, url, body=body, timeout_s=_CALL_S))).text
    except EdgeLakeError as failure:
        raise refusal(group, bucket or "list of buckets", failure.detail) from None


async def _pieces(ctx: Context, objects: Objects, key: str) -> AsyncIterator[bytes]:
    pieces = objects.pieces(key)
    while (piece := await blobs_of(ctx).run(lambda: next(pieces, None))) is not None:
        yield piece


def _shown(rows: list[ObjectRow]) -> Reply:
    cells: list[tuple[str, int, str, str]] = [
        (row.key, row.size_bytes, row.changed.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"), row.etag) for row in rows
    ]
    data: list[dict[str, Any]] = [dict(zip(("key", "bytes", "changed", "etag"), row, strict=True)) for row in cells]
    return Reply.of_table(Table(("Key", "Bytes", "Changed (UTC)", "ETag"), cells), data=data)
