"""The way of a reading through the node, stage by stage, and where it ends: what ``explain flow`` shows.

Only counters and states that are there already are looked at: nothing is sent, and no table is read.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from msgspec import Struct, field

from edgelake.command.context import Context
from edgelake.ingest.service import Ingest
from edgelake.ingest.streaming import StreamCounts, Threshold, in_force
from edgelake.inputs.msg_client import MessageClient, Topic
from edgelake.model import Status

State = Literal["ok", "idle", "note", "stopped"]
LOW_BYTES: Final = 16 << 20
LATE_S: Final = 5.0
"""Rows that are past their threshold for longer are held up."""

Place = tuple[str, str]
"""(dbms, table)"""


class Stage(Struct, frozen=True):
    """One stage.

    Attributes:
        where: what does it here.
        state: idle = nothing came that far; note = it works, and there is something to know; stopped = no further.
        counts: by what they count.
        advice: the command that mends it, or shows more.
    """

    name: str
    where: str
    state: State
    counts: dict[str, int | float] = field(default_factory=dict)
    reason: str = ""
    advice: str = ""


class Trail(Struct, frozen=True):
    """The stages of one topic or table, in the order in which a reading passes them."""

    name: str
    kind: Literal["topic", "table"]
    stages: Sequence[Stage]

    @property
    def end(self) -> Stage | None:
        """Where readings stop; None = they arrive."""
        return next((stage for stage in self.stages if stage.state == "stopped"), None)


def trail(ctx: Context, name: str, dbms: str, statuses: dict[str, Status]) -> Trail:
    """Follow a topic of a message client, or a table.

    Args:
        dbms: of the table; "" = wherever one of that name is.
        statuses: of the services, by row.
    """
    sources = [] if dbms else list(_sources(ctx, name))
    if sources:
        places = sorted({place for _, topic in sources for place in _targets(topic.spec)})
        stages = [stage for client, topic in sources for stage in _entry(client, topic, statuses)]
        return Trail(name, "topic", [*stages, *_storage(ctx, places, statuses, is_known=bool(places))])
    places = list(_places(ctx, name, dbms))
    if not places:
        return Trail(name, "topic", list(_nowhere(ctx, name, dbms, statuses)))
    feeding = [(c, t) for c in _clients(ctx) for t in c.topics if set(places) & set(_targets(t.spec))]
    stages = [stage for client, topic in feeding for stage in _entry(client, topic, statuses)]
    if not stages:
        has_rows = any((one.dbms, one.table) in places for one in ctx.ingest.streams())
        stages = [_any_listener(statuses, has_rows=has_rows)]
    return Trail(name, "table", [*stages, *_storage(ctx, places, statuses, is_known=True)])


# ---- which topics, which tables


def _clients(ctx: Context) -> Sequence[MessageClient]:
    return list(ctx.parts.get("message clients") or ())


def _sources(ctx: Context, name: str) -> Iterator[tuple[MessageClient, Topic]]:
    """Topics that take messages of this name, by a filter, too."""
    for client in _clients(ctx):
        topics = client.topics
        same = next((topic for topic in topics if topic.name == name), None)
        if same is not None:
            yield client, same
        elif (number := client.topic(name)) is not None:
            yield client, topics[number]


def _targets(spec: dict[str, Any]) -> Iterator[Place]:
    """Tables that a topic's mapping names; none where the messages name them."""
    found = [spec]
    for policy in spec.get("policies", ()):
        found += [body for body in policy.values() if isinstance(body, dict)]
    for one in found:
        dbms, table = str(one.get("dbms", "")), str(one.get("table", ""))
        if dbms and table and not any(text.startswith(("bring", "[")) for text in (dbms, table)):
            yield dbms.lower(), table.lower()


def _places(ctx: Context, name: str, dbms: str) -> Iterator[Place]:
    """Tables of this name that the node has, gets rows for, or knows from the policies."""
    first, dot, second = name.lower().partition(".")
    wanted_dbms, table = (first, second) if dot and not dbms else (dbms.lower(), name.lower())
    known: set[Place] = {(one.dbms, one.table) for one in ctx.ingest.streams()}
    known |= {(store.dbms, each) for store in ctx.stores for each in store.tables}
    for policy in ctx.policies.of_type("table"):
        known.add((str(policy["table"].get("dbms", "")).lower(), str(policy["table"].get("name", "")).lower()))
    known |= {place for client in _clients(ctx) for topic in client.topics for place in _targets(topic.spec)}
    yield from sorted(place for place in known if place[1] == table and wanted_dbms in ("", place[0]))


def _nowhere(ctx: Context, name: str, dbms: str, statuses: dict[str, Status]) -> Iterator[Stage]:
    """Nobody waits for this topic, and no table has this name."""
    broker = statuses.get("MSG Broker")
    if not dbms and broker is not None and broker.running:
        yield Stage("arrival", "message broker", "ok", _shown(broker, "messages", "publish"))
    else:
        yield _any_listener(statuses)
    what = f"no message client subscribes to '{name}', and no table has that name"
    target = dbms or next((store.dbms for store in ctx.stores if store.dbms != "system_query"), "DBMS")
    advice = (
        f"run msg client where broker = local and topic = (name = {name} and dbms = {target} and table = TABLE"
        " and column.timestamp.timestamp = now and column.value = (type = float and value = bring [value]))"
    )
    yield Stage("topic", "message clients", "stopped", {"clients": len(_clients(ctx))}, what, advice)


# ---- arrival, topic, mapping


def _any_listener(statuses: dict[str, Status], *, has_rows: bool = False) -> Stage:
    """Where rows of a table come in that no message client feeds."""
    rows = ("REST", "TCP", "MSG Broker", "Kafka Consumer", "gRPC", "Operator")
    running = [row for row in rows if (found := statuses.get(row)) is not None and found.running]
    if running:
        return Stage("arrival", ", ".join(running), "ok")
    if has_rows:
        return Stage("arrival", "the program that has the node", "ok")
    advice = "run rest server where external_ip = !ip and external_port = 32149 and bind = true"
    return Stage("arrival", "no service", "stopped", {}, "no service of the node takes readings", advice)


def _entry(client: MessageClient, topic: Topic, statuses: dict[str, Status]) -> Iterator[Stage]:
    yield _arrival(client, statuses)
    counters = topic.counters
    subscribed = Stage(
        "topic",
        f"msg client {client.id}: '{topic.name}'",
        "ok" if counters.messages else "idle",
        {"messages": counters.messages},
        "" if counters.messages else "no message has come yet",
        "" if counters.messages else f"get msg client where id = {client.id}",
    )
    yield subscribed
    how = "mapping policy" if topic.spec.get("policies") else "columns of the topic"
    counts: dict[str, int | float] = {"mapped": counters.success, "failed": counters.errors}
    if not counters.errors:
        yield Stage("mapping", how, "ok" if counters.success else "idle", counts)
        return
    is_failing = counters.last_error_time >= counters.last_message or not counters.success
    yield Stage(
        "mapping",
        how,
        "stopped" if is_failing else "note",
        counts,
        f"{_ago(counters.last_error_time)}: {counters.last_error}",
        f"get msg client where id = {client.id} and detailed = true",
    )


def _arrival(client: MessageClient, statuses: dict[str, Status]) -> Stage:
    if client.broker == "rest":
        return _of_service("REST", statuses, "run rest server where external_ip = !ip and external_port = 32149")
    if client.remote is None:
        return _of_service(
            "MSG Broker", statuses, "run message broker where external_ip = !ip and external_port = 32150"
        )
    if client.connection.startswith("Connected"):
        return Stage("arrival", client.broker, "ok")
    reason = client.connection.removeprefix("Not connected: ")
    advice = f"test connection {client.broker}"
    return Stage("arrival", client.broker, "stopped", {}, reason, advice)


def _of_service(row: str, statuses: dict[str, Status], advice: str) -> Stage:
    found = statuses.get(row)
    if found is not None and found.running:
        return Stage("arrival", f"{row}: {found.details.partition(',')[0]}", "ok", _shown(found, "messages", "publish"))
    why = found.last_error if found is not None and found.last_error else "it does not run"
    return Stage("arrival", row, "stopped", {}, why, advice)


def _shown(status: Status, *words: str) -> dict[str, int | float]:
    return {key: value for key, value in status.counters.items() if any(word in key for word in words)}


def _ago(unix_s: float) -> str:
    return f"{max(time.time() - unix_s, 0):,.0f} s ago"


# ---- journal, buffer, database, table, distribution


def _storage(ctx: Context, places: Sequence[Place], statuses: dict[str, Status], *, is_known: bool) -> Iterator[Stage]:
    yield _journal(ctx)
    if not is_known:
        yield Stage("buffer", "tables that the messages name", "idle", {}, "", "explain flow TABLE, for one of them")
        return
    streams = {(one.dbms, one.table): one for one in ctx.ingest.streams()}
    for dbms, table in places:
        counts = streams.get((dbms, table), StreamCounts(dbms, table))
        yield _buffer(ctx, counts)
        yield _database(ctx, counts, statuses)
        yield _table(ctx, counts)
        yield _distribution(ctx, dbms, table, statuses)


def _journal(ctx: Context) -> Stage:
    ingest: Ingest = ctx.ingest
    found = ingest.status()
    counts = {key.removesuffix("_bytes") + " KB": value // 1024 for key, value in found.counters.items()}
    where = str(ingest.journal_directory)
    if not found.running:
        return Stage("journal", where, "idle", counts, "nothing has come since the node began")
    if ingest.refusal:
        advice = "get streaming (rows that wait), get databases (who should store them), help delete rows"
        return Stage("journal", where, "stopped", counts, ingest.refusal, advice)
    folder = next(path for path in (ingest.journal_directory, *ingest.journal_directory.parents) if path.exists())
    if (free := shutil.disk_usage(folder).free) < LOW_BYTES:
        return Stage("journal", where, "stopped", counts, f"{free:,} bytes are free on its disk", "help delete rows")
    return Stage("journal", where, "ok", counts)


def _buffer(ctx: Context, counts: StreamCounts) -> Stage:
    threshold = in_force(ctx.ingest.settings(), counts.dbms, counts.table).threshold or Threshold()
    where = f"{counts.dbms}.{counts.table}: {threshold.time_s:g} s or {threshold.volume_bytes:,} bytes"
    shown: dict[str, int | float] = {"rows": counts.rows + counts.recovered_rows, "waiting": counts.cached_rows}
    if not counts.cached_rows:
        return Stage("buffer", where, "ok" if shown["rows"] else "idle", shown)
    if threshold.time_s and counts.age_s > threshold.time_s + LATE_S:
        return Stage("buffer", where, "note", shown, f"they are due for {counts.age_s - threshold.time_s:,.0f} s")
    return Stage("buffer", where, "note", shown, "they wait for a threshold", "flush buffers")


def _database(ctx: Context, counts: StreamCounts, statuses: dict[str, Status]) -> Stage:
    """Whether somebody stores the rows: a database, else files for an operator."""
    dbms = counts.dbms
    has_operator = (found := statuses.get("Operator")) is not None and found.running
    waiting: dict[str, int | float] = {"waiting": counts.cached_rows}
    if (awaited := ctx.stores.waiting.get(dbms)) is not None:
        why = f"its server at {awaited.server.address} is away: {awaited.reason}; rows wait in the journal"
        return Stage("database", dbms, "stopped", waiting, why, "get databases")
    if dbms in ctx.stores:
        writer = ctx.ingest.writer(dbms)
        if writer is not None and writer.last_error:
            return Stage("database", dbms, "stopped", waiting, writer.last_error, "get databases")
        return _operated(ctx, counts, has_operator=has_operator)
    advice = f"connect dbms {dbms} where type = sqlite"
    if has_operator:
        return Stage("database", dbms, "stopped", waiting, "it is not connected; rows wait in the journal", advice)
    files = _files(ctx, "watch_dir", counts)
    if (publisher := statuses.get("Publisher")) is not None and publisher.running:
        return Stage("database", "publisher", "ok", {"files waiting": files})
    why = "it is not connected, and no operator takes files of the watch directory"
    return Stage("database", dbms, "stopped", {**waiting, "files waiting": files}, why, advice)


def _operated(ctx: Context, counts: StreamCounts, *, has_operator: bool) -> Stage:
    """The database is there: whether an operator is needed for what comes as files, and books the rest."""
    stored: dict[str, int | float] = {"stored": counts.stored_rows}
    files = 0 if has_operator else _files(ctx, "watch_dir", counts)
    if files:
        why = f"{files} files wait in the watch directory for an operator, and none runs"
        return Stage("database", counts.dbms, "stopped", {**stored, "files waiting": files}, why, _RUN_OPERATOR)
    if not has_operator and counts.put_files:
        why = "PUT in file mode needs an operator, and none runs"
        return Stage("database", counts.dbms, "stopped", stored, why, _RUN_OPERATOR)
    if not has_operator:
        why = "rows are stored; without an operator nothing books, archives or publishes them"
        return Stage("database", counts.dbms, "note", stored, why, _RUN_OPERATOR)
    return Stage("database", counts.dbms, "ok", stored)


_RUN_OPERATOR: Final = "run operator where policy = !operator_id and create_table = true and update_tsd_info = true"


def _files(ctx: Context, key: str, counts: StreamCounts) -> int:
    """Files of a table in a directory of the node."""
    folder = ctx.directories.root / "data" / "watch"
    if given := ctx.variables.get(key):
        folder = type(folder)(given)
    return sum(1 for _ in folder.glob(f"{counts.dbms}.{counts.table}.*")) if folder.is_dir() else 0


def _table(ctx: Context, counts: StreamCounts) -> Stage:
    dbms, table = counts.dbms, counts.table
    shown: dict[str, int | float] = {"stored": counts.stored_rows, "kept out": counts.rejected_rows}
    store = ctx.stores.find(dbms)
    info = store.tables.get(table) if store is not None else None
    partition = next((p for p in (store.partitioning.values() if store else ()) if p.table in (table, "*")), None)
    where = f"{dbms}.{table}" + (
        f", a partition each {partition.interval.amount} {partition.interval.unit}" if partition is not None else ""
    )
    why = ctx.ingest.rejection(dbms, table)
    if counts.rejected_rows and not counts.stored_rows:
        return Stage("table", where, "stopped", shown, why or "no row fits it", _LOOK.format(dbms=dbms, table=table))
    if counts.rejected_rows:
        return Stage("table", where, "note", shown, why, _LOOK.format(dbms=dbms, table=table))
    if store is not None and info is None:
        return Stage("table", where, "idle", shown, "it is made with the first row")
    return Stage("table", where, "ok" if info is not None else "idle", shown)


_LOOK: Final = "get columns where dbms = {dbms} and table = {table} (the rows are in the error directory)"


def _distribution(ctx: Context, dbms: str, table: str, statuses: dict[str, Status]) -> Stage:
    """Whether other nodes find the rows, and get copies."""
    distributor = statuses.get("Distributor")
    if distributor is not None and distributor.running:
        state: State = "note" if distributor.last_error else "ok"
        shown = dict(distributor.counters)
        return Stage("distribution", "distributor", state, shown, distributor.last_error, "get distributor")
    if ctx.policies.find("table", dbms=dbms, name=table):
        return Stage("distribution", "queries of the network find the table", "ok")
    why = "no policy names the table: only this node knows it"
    return Stage("distribution", "this node alone", "note", {}, why, "help run operator (it publishes its tables)")
