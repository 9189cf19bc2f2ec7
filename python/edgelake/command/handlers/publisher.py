"""The publisher: start it, where data goes, what became of the files.

Source: spec "Ingestion and storage", section 2.
"""

from __future__ import annotations

from edgelake.command.context import Context
from edgelake.command.grammar import Directory
from edgelake.command.handlers.operator import watch_directory
from edgelake.command.handlers.peer import peers_of
from edgelake.command.handlers.streamer import streaming_of
from edgelake.command.registry import command
from edgelake.errors import AlreadyRunningError, CommandError, error
from edgelake.ingest.operator import Operator
from edgelake.ingest.publisher import Destination, Publisher, PublisherConfig
from edgelake.metadata.distribution import DISTRIBUTION, Distribution
from edgelake.metadata.routing import ROUTING, Routes
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.peer.send import address_of

TITLES = ("Destination", "Status", "Files", "Bytes", "Held", "Errors", "Last File", "Last Error")
DISTRIBUTION_TITLES = ("DBMS", "Table", "Destination")
NOT_ACTIVE = "Publisher not active"


def _distribution(ctx: Context) -> Distribution:
    found: Distribution = ctx.parts[DISTRIBUTION]
    return found


@command(
    "run publisher",
    cls=CommandClass.ADMIN,
    topics=("background processes", "ingest", "high availability"),
    examples=(
        "run publisher",
        "run publisher where compress_json = true",
        "run publisher where delete_json = true and company = acme and watch_dir = /tmp and bkup_dir = /tmp",
        "run publisher where dbms_name = file_name[0] and table_name = file_name[1] and master_node = 10.0.0.1:32048",
    ),
)
async def run_publisher(
    ctx: Context,
    *,
    watch_dir: Directory | None = None,
    bkup_dir: Directory | None = None,
    error_dir: Directory | None = None,
    err_dir: Directory | None = None,
    delete_json: bool = False,
    delete_sql: bool = False,
    compress_json: bool = False,
    compress_sql: bool = False,
    company: str = "",
    master_node: str = "",
    dbms_name: str = "file_name[0]",
    table_name: str = "file_name[1]",
) -> Reply:
    """Send the data files of the watch directory to operators, in turn; they travel compressed.

    Who gets a file: what ``set data distribution`` says, then policies of the type distribution, then the operators
    whose cluster has the table, then any operator (of the company). An operator that does not answer or refuses is
    passed over, and tried again ever more seldom. A file leaves the watch directory when an operator has said that it
    has it: to bkup_dir (compress_json: compressed), or away (delete_json). What no operator can take goes to error_dir:
    files of SQL, and files that an operator had before. Streamed rows whose database is not connected become files.
    delete_sql, compress_sql and master_node are taken for the sake of older scripts. Not beside an operator.
    """
    if ctx.services.get(Operator.name) is not None:
        raise AlreadyRunningError("the operator takes the files of the watch directory", hint="exit operator, first")
    if (dbms_name, table_name) != ("file_name[0]", "file_name[1]"):
        raise CommandError(
            "database and table are the first two parts of a file's name",
            hint="leave out dbms_name and table_name, or give file_name[0] and file_name[1]",
        )
    peers_of(ctx)
    config = PublisherConfig(
        watch_dir=watch_dir or ctx.directories.path("watch_dir"),
        bkup_dir=bkup_dir or ctx.directories.path("bkup_dir"),
        err_dir=error_dir or err_dir or ctx.directories.path("err_dir"),
        claims_dir=ctx.directories.root / "data" / "publisher",
        delete_json=delete_json,
        compress_json=compress_json,
        company=company,
    )
    distribution, routes = _distribution(ctx), ctx.parts[ROUTING]
    assert isinstance(routes, Routes)
    ingest = streaming_of(ctx)
    await ingest.start()
    ingest.set_directories(ctx.directories.path("prep_dir"), config.watch_dir, config.err_dir)
    await ctx.services.start(
        Publisher(
            config,
            watch_directory,
            lambda: peers_of(ctx),
            lambda dbms, table: distribution.candidates(dbms, table, company),
            lambda peer, active: routes.mark(peer, active=active),
            ingest.flush,
        )
    )
    return Reply.done()


@command(
    "get publisher",
    cls=CommandClass.DATA,
    topics=("monitor", "ingest", "high availability"),
    examples=("get publisher", "get publisher where format = json"),
)
async def get_publisher(ctx: Context) -> Reply:
    """Files that each operator has taken, and what is wrong.

    Held: files whose sending broke off. The operator may have them, so that they wait for it and for no other.
    """
    running = ctx.services.get(Publisher.name)
    if not isinstance(running, Publisher):
        return Reply.of_data({"status": "not active"}, text=NOT_ACTIVE)
    rows = [_row(ctx, one) for one in running.destinations.values()]
    data = {
        "status": "active",
        "files_sent": sum(one.files for one in running.destinations.values()),
        "files_waiting": running.waiting,
        "files_refused": running.refused_files,
        "last_error": running.last_error,
        "destinations": [
            dict(zip([title.lower().replace(" ", "_") for title in TITLES], row, strict=True)) for row in rows
        ],
    }
    totals = Table(
        ("Files Sent", "Files Waiting", "Files Refused", "Last Error"),
        [(data["files_sent"], running.waiting, running.refused_files, running.last_error)],
    )
    return Reply.of_table(totals, Table(TITLES, rows), data=data)


def _row(ctx: Context, one: Destination) -> tuple[str | int, ...]:
    status = "active" if ctx.parts[ROUTING].is_active(one.peer) else "not_responding"
    return one.peer, status, one.files, one.bytes, len(one.held), one.errors, one.last_file, one.last_error


@command(
    "set data distribution",
    cls=CommandClass.ADMIN,
    topics=("configuration", "ingest", "high availability"),
    examples=(
        "set data distribution where dbms = d and table = * and dest = 10.0.0.2:7848",
        "set data distribution where dbms = d and table = t and dest = 10.0.0.2:7848 and dest = 10.0.0.3:7848",
        "set data distribution where dbms = d and table = t and remove = true",
    ),
)
async def set_data_distribution(
    ctx: Context, *, dbms: str, table: str = "*", dest: list[str] | None = None, remove: bool = False
) -> Reply:
    """Which operators the publisher sends the data of a table to: several take turns.

    table = *: every table of the database that has no entry of its own. remove = true forgets a dest, or all of them.
    Holds while the node runs.
    """
    peers = [peer for peer in dest or () if address_of(peer)]
    if remove:
        if not _distribution(ctx).remove(dbms, table, peers):
            raise error(155, f"{dbms}.{table} has no such destination", hint="get publisher distribution")
        return Reply.done()
    if not peers:
        raise CommandError("no destination", hint="dest = ip:port of an operator's TCP server")
    _distribution(ctx).set(dbms, table, peers)
    return Reply.done()


@command(
    "get publisher distribution",
    cls=CommandClass.DATA,
    topics=("monitor", "ingest", "high availability"),
    examples=("get publisher distribution", "get publisher distribution where format = json"),
)
async def get_publisher_distribution(ctx: Context) -> Reply:
    """What ``set data distribution`` has set."""
    rows = _distribution(ctx).entries()
    data = [dict(zip(("dbms", "table", "destination"), row, strict=True)) for row in rows]
    return Reply.of_table(Table(DISTRIBUTION_TITLES, rows), data=data)
