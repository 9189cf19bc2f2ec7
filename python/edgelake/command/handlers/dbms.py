"""Databases: connect, disconnect, drop, list (spec: ingestion, part 2, section 4)."""

from __future__ import annotations

from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import After, Key
from edgelake.command.handlers.blobs import bucket_rows, buckets_of, connect_bucket
from edgelake.command.registry import command
from edgelake.errors import DatabaseError, NotAvailableError
from edgelake.ingest.blobs.blobs import PREFIX
from edgelake.ingest.blobs.bucket import BucketConfig
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.server import Server

_ADDRESS_WIDTH = 30  # of ``ip_port`` in the JSON form


@command(
    "connect dbms",
    cls=CommandClass.ADMIN,
    topics=("dbms", "configuration"),
    examples=(
        "connect dbms lsl_demo where type = sqlite",
        "connect dbms system_query where type = sqlite and memory = true",
        "connect dbms plant where type = psql and ip = 127.0.0.1 and user = edge and password = !secret",
        "connect dbms blobs_lsl_demo where type = bucket and provider = s3 and connection = edge and "
        "endpoint = http://127.0.0.1:9000 and access_key = !key and secret_key = !secret",
    ),
)
async def connect_dbms(
    ctx: Context,
    name: str,
    *,
    kind: Annotated[str, Key("type")] = "sqlite",
    user: str = "",
    password: str = "",
    ip: str = "",
    port: str = "",
    memory: bool = False,
    connection: str = "",
    autocommit: bool = True,
    unlog: bool = False,
    provider: str = "",
    endpoint: str = "",
    access_key: str = "",
    secret_key: str = "",
    region: str = "",
    network_id: str = "",
) -> Reply:
    """Attach the logical database NAME: a SQLite file in dbms_dir (or in memory), or a database of a PostgreSQL server.

    type = psql: ip, port (5432), user and password of the server; the database NAME is made there when it is missing.
    unlog = true: new tables are not in the server's log, and empty after its crash. A server that is away is tried
    until it is there; meanwhile rows wait in the journal, and get databases says why.

    type = bucket: object storage for the blobs of a database, NAME is blobs_<dbms>. provider = s3 (and what speaks its
    API), azure, gcs or file; connection = the bucket; endpoint where it is not the provider's own (the directory of
    file); access_key, secret_key, region. Connecting again is no error.

    type = mongo, where the reference keeps blobs, is not supported.
    """
    if kind.lower() == "bucket":
        config = BucketConfig(provider.lower() or "s3", connection, endpoint, access_key, secret_key, region)
        return await connect_bucket(ctx, name.lower(), config)
    if name.lower() in buckets_of(ctx):
        raise DatabaseError(f"'{name.lower()}' is connected as a bucket", hint=f"disconnect dbms {name.lower()}, first")
    if kind.lower() == "psql" and name.lower().startswith(PREFIX):
        raise NotAvailableError(f"'{name.lower()}' is for blobs", hint="blobs: type = sqlite, or type = bucket")
    server = Server.parse(ip, port, user, password, autocommit=autocommit, unlog=unlog)
    reason = await ctx.stores.connect_or_wait(name.lower(), kind=kind.lower(), memory=memory, server=server)
    if reason:
        return Reply.of_text(f"Not connected yet, the node tries again: {reason}")
    return Reply.done()


@command(
    "disconnect dbms", cls=CommandClass.ADMIN, topics=("dbms", "configuration"), examples=("disconnect dbms lsl_demo",)
)
async def disconnect_dbms(ctx: Context, name: str) -> Reply:
    """Detach a database. A file, or what is in a bucket, stays as it is; a database in memory is gone."""
    if buckets_of(ctx).pop(name.lower(), None) is not None:
        return Reply.done()
    await ctx.stores.disconnect(name.lower())
    return Reply.done()


@command(
    "drop dbms",
    cls=CommandClass.ADMIN,
    topics=("dbms",),
    examples=("drop dbms lsl_demo from sqlite", "drop dbms lsl_demo from psql where ip = 127.0.0.1 and port = 5432"),
)
async def drop_dbms(
    ctx: Context,
    name: str,
    kind: Annotated[str, After("from")] = "sqlite",
    *,
    user: str = "",
    password: str = "",
    ip: str = "",
    port: str = "",
) -> Reply:
    """Delete a database that is not connected, with everything in it."""
    await ctx.stores.drop(name.lower(), kind=kind.lower(), server=Server.parse(ip, port, user, password))
    return Reply.done()


@command("get databases", cls=CommandClass.DATA, topics=("dbms",), examples=("get databases",))
async def get_databases(ctx: Context) -> Reply:
    """List the connected databases."""
    found = [*ctx.stores.databases(), *bucket_rows(ctx)]
    data = {
        row.name: {"dbms_type": row.kind, "ip_port": row.address.ljust(_ADDRESS_WIDTH), "storage": row.storage}
        for row in found
    }
    if not found:
        return Reply.of_data(data, text="No DBMS connections found")
    titles = ("Logical DBMS", "Database Type", "Owner", "IP:Port", "Configuration", "Storage")
    rows = [(r.name, r.kind, r.owner, r.address, r.configuration, r.storage) for r in found]
    return Reply.of_table(Table(titles, rows, header="Active DBMS Connections"), data=data)


@command("get database size", cls=CommandClass.DATA, topics=("dbms",), examples=("get database size lsl_demo",))
async def get_database_size(ctx: Context, name: str) -> Reply:
    """Size of a database in bytes."""
    size = await ctx.stores.get(name.lower()).size_bytes()
    return Reply.of_data({"dbms": name.lower(), "bytes": size}, text=str(size))
