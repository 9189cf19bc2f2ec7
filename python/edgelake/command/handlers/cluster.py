"""Members of a cluster hold the same data: what sends it to them, and what fetches it.

Source: spec "Security and high availability", sections 11 and 13; "Ingestion and storage", section 2.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any

from edgelake.command.blobcopies import CLUSTER_BLOBS, ClusterBlobs
from edgelake.command.cluster import CLUSTER, ClusterMessages
from edgelake.command.context import Context
from edgelake.command.grammar import After, Directory, Timestamp
from edgelake.command.handlers.comparison import start_comparison
from edgelake.command.handlers.operator import watch_directory
from edgelake.command.handlers.peer import peers_of
from edgelake.command.handlers.placement import routes_of
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.ingest.blobs.copies import BlobCopies
from edgelake.ingest.consumer import OWN, Consumer, ConsumerConfig, Mode, Progress
from edgelake.ingest.distributor import Destination, Distributor, DistributorConfig
from edgelake.model import CommandClass, Reply, Table

DISTRIBUTOR_TITLES = ("Member", "Status", "Files", "Bytes", "Waiting", "Errors", "Last File", "Last Error")
CONSUMER_TITLES = (
    "Member",
    "Address",
    "Status",
    "Last ID",
    "Complete To",
    "Missing",
    "Fetched",
    "Complete",
    "Last Error",
)
_TOPICS = ("background processes", "high availability")


def cluster_of(ctx: Context) -> ClusterMessages:
    found: ClusterMessages = ctx.parts[CLUSTER]
    return found


@command(
    "run data distributor",
    cls=CommandClass.ADMIN,
    topics=_TOPICS,
    examples=("run data distributor", "run data distributor where distr_dir = /tmp and archive_dir = /tmp"),
)
async def run_data_distributor(
    ctx: Context, *, distr_dir: Directory | None = None, archive_dir: Directory | None = None
) -> Reply:
    """Send the files that this operator takes in to the other members of its cluster.

    For an operator with distributor = true and update_tsd_info = true. A file leaves distr_dir when every member has
    it; a member that does not answer is tried again ever more seldom.
    """
    peers_of(ctx)
    cluster, routes = cluster_of(ctx), routes_of(ctx)
    config = DistributorConfig(
        distr_dir or ctx.directories.path("distr_dir"), archive_dir or ctx.directories.path("archive_dir")
    )
    await ctx.services.start(
        Distributor(
            config,
            watch_directory,
            cluster.peers,
            cluster.operator,
            cluster.members,
            lambda peer, active: routes.mark(peer, active=active),
        )
    )
    return Reply.done()


@command(
    "run data consumer",
    cls=CommandClass.ADMIN,
    topics=_TOPICS,
    examples=(
        "run data consumer where start_date = -30d",
        "run data consumer where start_date = -3d and end_date = -1d and mode = suspend",
    ),
)
async def run_data_consumer(
    ctx: Context, *, start_date: Timestamp, end_date: Timestamp | None = None, mode: Mode = "active"
) -> Reply:
    """Fetch what other members of the cluster took in since start_date and what is not here.

    Asks the members every 10 seconds. Files come from the member that took them in, else from another one that has
    them, and the blobs that their rows name too. What the members hold is compared in the background (``get cluster
    comparison``). mode = suspend: nothing is asked for until ``set consumer mode = active``; what members send still
    comes in.
    """
    if end_date is not None and end_date <= start_date:
        raise CommandError("end_date is not after start_date")
    peers_of(ctx)
    cluster = cluster_of(ctx)
    config = ConsumerConfig(start_date, end_date, mode)
    links = (cluster.files, cluster.peers, cluster.operator, cluster.members, cluster.hosts_of, cluster.held)
    await ctx.services.start(Consumer(config, *links, lambda is_complete: _tell(ctx, is_complete=is_complete)))
    if ctx.services.get(BlobCopies.name) is None:
        others: ClusterBlobs = ctx.parts[CLUSTER_BLOBS]
        await ctx.services.start(others.copies(lambda: config.mode == "active"))
    await start_comparison(ctx)
    return Reply.done()


def _tell(ctx: Context, *, is_complete: bool) -> None:
    """Say what this node itself is among the members (``get data nodes``)."""
    cluster, routes = cluster_of(ctx), routes_of(ctx)
    others = cluster.members()
    for own in cluster.all_members():
        if own not in others:
            routes.mark_incomplete(own.address, 0 if is_complete else math.inf)


@command(
    "set consumer mode",
    cls=CommandClass.ADMIN,
    topics=("configuration", "high availability"),
    examples=("set consumer mode = suspend", "set consumer mode = active"),
)
async def set_consumer_mode(ctx: Context, mode: Annotated[Mode, After("=")]) -> Reply:
    """suspend: the consumer asks other members for nothing; active: it does."""
    running = ctx.services.get(Consumer.name)
    if not isinstance(running, Consumer):
        raise error(222, "no consumer runs here", hint="run data consumer where start_date = -30d")
    running.set_mode(mode)
    return Reply.done()


@command(
    "get distributor",
    cls=CommandClass.DATA,
    topics=("monitor", "high availability"),
    examples=("get distributor", "get distributor where format = json"),
)
async def get_distributor(ctx: Context) -> Reply:
    """Files that each member of the cluster has taken from this node, and what is wrong."""
    running = ctx.services.get(Distributor.name)
    if not isinstance(running, Distributor):
        return Reply.of_data({"status": "not active"}, text="Distributor not active")
    rows = [_destination(ctx, one) for one in running.destinations.values()]
    data = {
        "status": "active",
        "files_distributed": running.distributed,
        "files_waiting": running.waiting,
        "last_error": running.last_error,
        "members": [_keyed(DISTRIBUTOR_TITLES, row) for row in rows],
    }
    totals = Table(
        ("Files Distributed", "Files Waiting", "Last Error"),
        [(running.distributed, running.waiting, running.last_error)],
    )
    return Reply.of_table(totals, Table(DISTRIBUTOR_TITLES, rows), data=data)


def _destination(ctx: Context, one: Destination) -> tuple[str | int, ...]:
    status = "active" if routes_of(ctx).is_active(one.peer) else "not_responding"
    waiting = len(one.todo) + one.busy
    return one.peer, status, one.files, one.bytes, waiting, one.errors, one.last_file, one.last_error


@command(
    "get consumer",
    cls=CommandClass.DATA,
    topics=("monitor", "high availability"),
    examples=("get consumer", "get consumer where format = json"),
)
async def get_consumer(ctx: Context) -> Reply:
    """For each member: its last file, up to which number its files are here, and what is wrong; then for this node's
    own files that the others have.

    Complete: at the last round nothing was missing that is known of. Blobs lost: no member has them any more.
    """
    running = ctx.services.get(Consumer.name)
    if not isinstance(running, Consumer):
        return Reply.of_data({"status": "not active"}, text="Consumer not active")
    progress = [one for one in running.progress.values() if one.peer != OWN]
    own = [one for one in running.progress.values() if one.peer == OWN]
    rows = [_progress(ctx, one) for one in progress]
    own_rows = [_progress(ctx, one) for one in own]
    data: dict[str, Any] = {
        "status": "active",
        "mode": running.config.mode,
        "start_date": _text(running.config.start_us),
        "last_round": _text(int(running.last_round_s * 1e6)) if running.last_round_s else "",
        "is_complete": running.is_complete,
        "last_error": running.last_error,
        "members": [
            {**_keyed(CONSUMER_TITLES, row), "safe_ids": one.safe} for row, one in zip(rows, progress, strict=True)
        ],
        "own": [_keyed(CONSUMER_TITLES, row) for row in own_rows],
    }
    totals = Table(
        ("Mode", "Start Date", "Last Round", "Complete", "Last Error"),
        [(running.config.mode, data["start_date"], data["last_round"], str(running.is_complete), running.last_error)],
    )
    copies = ctx.services.get(BlobCopies.name)
    if isinstance(copies, BlobCopies):
        data["blobs"] = {"copied": copies.copied, "lost": copies.lost, "last_error": copies.last_error}
        blobs = Table(("Blobs Copied", "Blobs Lost", "Last Error"), [tuple(data["blobs"].values())])
        return Reply.of_table(totals, Table(CONSUMER_TITLES, [*rows, *own_rows]), blobs, data=data)
    return Reply.of_table(totals, Table(CONSUMER_TITLES, [*rows, *own_rows]), data=data)


def _progress(ctx: Context, one: Progress) -> tuple[str | int, ...]:
    status = "not_responding" if one.last_error else "active"
    numbers = (one.last_id, one.complete_to, one.missing, one.fetched)
    return one.member, one.peer, status, *numbers, str(one.is_complete), one.last_error


def _keyed(titles: tuple[str, ...], row: tuple[str | int, ...]) -> dict[str, str | int]:
    return dict(zip([title.lower().replace(" ", "_") for title in titles], row, strict=True))


def _text(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
