"""Queries over other nodes: from a statement to the merged answer (spec: query, sections 3, 4 and 9)."""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import PeerMerge, Plan, Select
from edgelake.errors import QueryError, TableMissingError, error
from edgelake.metadata.routing import Routes, Target
from edgelake.query import leading
from edgelake.query.columns import rows
from edgelake.query.exchange import QueryPeers
from edgelake.query.gather import Gathering, Merge, Share
from edgelake.query.jobs import Job
from edgelake.query.options import ExtendItem, Options
from edgelake.query.run import Run
from edgelake.query.service import Answer, Queries, printed_for
from edgelake.query.spill import SortedRows
from edgelake.store.base import TableInfo


class Asked(Struct, frozen=True):
    """Which nodes are asked.

    Attributes:
        peers: exactly these; empty = those that hold the table, by the policies.
        subset: the answers of some are enough.
    """

    peers: Sequence[str] = ()
    subset: bool = False
    timeout_s: float | None = None


class PassedAnswer:
    """Rows of other nodes that are passed on as they come. To be read once."""

    def __init__(self, job: Job, queries: Queries, gathering: Gathering, titles: list[str], started: float) -> None:
        self.job, self.titles = job, titles
        self._queries, self._gathering, self._started = queries, gathering, started
        self._dropped = weakref.finalize(self, _drop, queries, gathering, job)
        self._dropped.atexit = False

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The text. Ends the query, however it is left."""
        failure: BaseException | None = None
        gathering, job = self._gathering, self.job
        texts = gathering.texts()
        try:
            async for text in texts:
                job.blocks, job.rows = gathering.messages, gathering.merge.rows
                yield text
            job.rows = gathering.merge.rows
            seconds, nodes = int(time.monotonic() - self._started), len(gathering.shares)
            yield gathering.merge.end(seconds, nodes, nodes - gathering.failed)
        except BaseException as raised:
            failure = raised
            raise
        finally:
            self._dropped.detach()
            await texts.aclose()
            self._queries.jobs.end(job, failure)


class NetworkQueries:
    """Plans selects for other nodes, asks them, merges what they answer."""

    def __init__(
        self,
        queries: Queries,
        peers: Callable[[], QueryPeers],
        routes: Callable[[], Routes],
        table_of: Callable[[str, str], TableInfo | None],
    ) -> None:
        """``table_of``: what is known of a table of the network, by database and name."""
        self._queries, self._peers, self._routes, self._table_of = queries, peers, routes, table_of

    async def ask(
        self, dbms: str, sql: str, options: Options, asked: Asked, *, command: str, json_null: str = "empty"
    ) -> Answer | PassedAnswer:
        """Begin a select at other nodes.

        Raises QueryError, TableMissingError, TimeoutExpiredError, EdgeLakeError (20, 21, 73, 203, 208 and what nodes
        answer).
        """
        queries = self._queries
        queries.check_timezone(options.timezone)
        started = time.monotonic()
        job = queries.jobs.begin(dbms, command, options.destination or options.format)
        try:
            limit_s = _least(asked.timeout_s, options.max_time_s, queries.limits.timeout_s)
            if "{" in sql:
                sql = await leading.resolved(sql, lambda one: self._value(dbms, one, options, asked, limit_s))
            select = Select(sql)
            tables = self._tables(select, dbms)
            plan = queries.planner().plan_for_peers(select, tables, dbms, options)
            if plan.kind == "elsewhere":
                return self._whole(plan, tables, options, asked, limit_s, job, started, json_null)
            (table,) = tables
            if plan.kind == "leading":
                latest = await self._latest(plan.sql, table, options, asked, limit_s)
                plan = queries.planner().plan_for_peers(select, tables, dbms, options, (latest,))
            return await self._run(plan, table, options, asked, limit_s, job, started, json_null)
        except BaseException as raised:
            queries.jobs.end(job, raised)
            raise

    def _tables(self, select: Select, dbms: str) -> list[TableInfo]:
        if not select.tables:
            raise QueryError(
                "a select over other nodes reads a table", hint="sql <dbms> select ... without the network"
            )
        found = []
        for name, table in select.tables:
            known = self._table_of((name or dbms).lower(), table)
            if known is None:
                raise TableMissingError(f"{name or dbms}.{table}", hint="see: get data nodes")
            found.append(known)
        return found

    async def _value(self, dbms: str, sql: str, options: Options, asked: Asked, limit_s: float | None) -> Any:
        """Value of a leading query over the same nodes. Raises EdgeLakeError 166 unless it is one row of one column."""
        limited = Options(format="json:output", statistics=False, timezone="utc", include=options.include)
        answer = await self.ask(
            dbms, sql, replace(limited, max_time_s=limit_s), asked, command=f"{{{sql}}}", json_null="null"
        )
        lines = b"".join([piece async for piece in answer.pieces()]).splitlines()
        found = [list(msgspec.json.decode(line).values()) for line in lines if line.strip()]
        if len(found) != 1 or len(found[0]) != 1:
            raise error(166, f"'{sql[:100]}' gives no single value", hint="select one function, such as max(timestamp)")
        return found[0][0]

    def _whole(
        self,
        plan: Plan,
        tables: list[TableInfo],
        options: Options,
        asked: Asked,
        limit_s: float | None,
        job: Job,
        started: float,
        json_null: str,
    ) -> PassedAnswer:
        """A statement that one node runs as it is: no merge makes a join of the rows of several."""
        if options.include:
            raise QueryError(f"{plan.reason} does not go with include", hint="name the tables in the statement")
        share = self._only_share(plan, tables, options, asked)
        outputs: list[dict[str, Any]] = msgspec.json.decode(plan.outputs)
        render = self._queries.render(plan, outputs, options, json_null)
        render["nodes"] = {"target": 1, "participating": 1}
        kinds = msgspec.json.encode([output["kind"] for output in outputs]).decode()
        merge = PeerMerge(kinds, render=msgspec.json.encode(render).decode())
        gathering = self._gathering([share], merge, asked, limit_s)
        gathering.printed = printed_for(render)
        job.table, job.scans, job.merge = ", ".join(table.name for table in tables), [plan.sql], ""
        job.operators, job.partitions = (share.peers[0],), 1
        gathering.job, job.status, job.stop = job, "Processing", gathering.stop
        titles = [output["title"] for output in outputs]
        return PassedAnswer(job, self._queries, gathering, titles, started)

    def _only_share(self, plan: Plan, tables: list[TableInfo], options: Options, asked: Asked) -> Share:
        """The one node that is named, or the one cluster that holds all rows of all tables.

        Raises QueryError for several, EdgeLakeError 73 and 203 as ``_shares`` does.
        """
        asks = [_command(plan.dbms, plan.sql, one) for one in (options, replace(options, incomplete=True))]
        if len(asked.peers) == 1:
            return Share(tuple(asked.peers), asks[0], asks[1])
        routes = self._routes()
        targets: dict[str, Target] = {}
        for table in tables:
            found = {t.cluster.id: t for t in routes.targets(dbms=table.dbms, table=table.name)}
            if not found:
                raise error(73, f"{table.dbms}.{table.name}", hint="see: get data nodes")
            targets |= found
        places = ", ".join(asked.peers or [target.cluster.name for target in targets.values()])
        if asked.peers or len(targets) > 1:
            raise QueryError(
                f"{plan.reason}: rows of different nodes do not meet each other, and those of the tables lie with "
                f"{places}",
                hint="ask one node: run client (ip:port) sql ...; or bring the rows here, a table at a time: "
                "run client () sql <dbms> table = a select ..., then: sql system_query select ... from a join b ...",
            )
        (target,) = targets.values()
        if not target.operators:
            raise error(203, f"the cluster '{target.cluster.name}' has no operator")
        return Share(tuple(operator.address for operator in target.operators), asks[0], asks[1])

    async def _run(
        self,
        plan: Plan,
        table: TableInfo,
        options: Options,
        asked: Asked,
        limit_s: float | None,
        job: Job,
        started: float,
        json_null: str,
    ) -> Answer | PassedAnswer:
        queries, network = self._queries, plan.network
        assert network is not None
        statement, kinds, passed = network
        outputs: list[dict[str, Any]] = msgspec.json.decode(plan.outputs)
        titles = [output["title"] for output in outputs]
        render = queries.render(plan, outputs, options, json_null)
        shares = self._shares(table, statement, options, asked)
        job.table, job.scans, job.merge = table.name, [statement], plan.sql
        job.operators = tuple(share.peers[0] for share in shares)
        job.partitions = len(shares)
        if plan.increments is not None:
            job.increments = f"{plan.increments[0]} {plan.increments[1]}"
        sorted_rows: SortedRows | None = None
        merge: PeerMerge | SortedRows
        if passed is not None:
            text = msgspec.json.encode(render).decode()
            merge = PeerMerge(kinds, render=text, limit=passed[0], offset=passed[1])
        elif plan.group_spec:
            merge = PeerMerge(kinds, group_spec=plan.group_spec)
        else:
            limits = queries.limits
            columns = len(msgspec.json.decode(kinds))
            merge = sorted_rows = SortedRows(kinds, columns, limits.sort_memory_bytes, limits.sort_disk_bytes)
        gathering = self._gathering(shares, merge, asked, limit_s)
        gathering.is_slow = sorted_rows is not None
        if passed is not None:
            gathering.printed = printed_for(render)
        gathering.job = job
        job.status, job.stop = "Processing", gathering.stop
        if isinstance(merge, PeerMerge) and passed is not None:
            return PassedAnswer(job, queries, gathering, titles, started)
        try:
            async for _ in gathering.texts():
                pass
            job.blocks = gathering.messages
            nodes = len(shares)
            render["nodes"] = {"target": nodes, "participating": nodes - gathering.failed}
            return await self._merged(plan, merge, render, job, started, titles, limit_s)
        finally:
            if sorted_rows is not None:
                sorted_rows.close()

    async def _merged(
        self,
        plan: Plan,
        merge: PeerMerge | SortedRows,
        render: dict[str, Any],
        job: Job,
        started: float,
        titles: list[str],
        limit_s: float | None,
    ) -> Answer:
        """The statement over rows that are all here."""
        queries = self._queries
        run = Run(queries.stores, queries.pool, threads=1, limit_s=limit_s)
        job.stop = run.interrupt
        try:
            text = msgspec.json.encode(render).decode()
            elapsed_s = time.monotonic() - started
            if isinstance(merge, SortedRows) and merge.is_spilled:
                reader = await run.open_sorted(plan.sql, merge.whole, text, elapsed_s=elapsed_s)
            else:
                reader = await run.open_merged(plan.sql, merge.take, text, elapsed_s=elapsed_s)
        except BaseException:
            run.close()
            raise
        return Answer(job, run, reader, queries.jobs, titles, queries.limits.max_volume_bytes)

    async def _latest(
        self, statement: str, table: TableInfo, options: Options, asked: Asked, limit_s: float | None
    ) -> int | None:
        """The latest time that a period begins from, over all nodes."""
        group_spec = '{"keys":[],"aggregates":[{"function":"max","column":0}]}'
        merge = PeerMerge('["timestamp"]', group_spec=group_spec)
        plain = replace(options, extend=())
        gathering = self._gathering(self._shares(table, statement, plain, asked), merge, asked, limit_s)
        async for _ in gathering.texts():
            pass
        run = Run(self._queries.stores, self._queries.pool, threads=1)
        try:
            outputs = {"outputs": [{"title": "latest", "kind": "int"}], "zone": "utc"}
            sql = "SELECT c0 FROM edgelake_batch"
            reader = await run.open_merged(sql, merge.take, msgspec.json.encode(outputs).decode())
            (block,) = [block async for block in run.blocks(reader, 1)]
        finally:
            run.close()
        latest: int | None = rows(block)[0]["latest"]
        return latest

    def _gathering(self, shares: list[Share], merge: Merge, asked: Asked, limit_s: float | None) -> Gathering:
        routes = self._routes()

        def mark(peer: str, is_active: bool) -> None:
            routes.mark(peer, active=is_active)

        peers = self._peers()
        told = (mark, routes.mark_incomplete)
        return Gathering(peers.query(), shares, merge, asked.subset, limit_s, *told, peers.ask, routes.is_active)

    def _shares(self, table: TableInfo, statement: str, options: Options, asked: Asked) -> list[Share]:
        """Who is asked what: one node of each cluster that holds the table, or an included one.

        Raises EdgeLakeError 73 without a cluster, 203 for one without operators.
        """
        anyhow = replace(options, incomplete=True)
        if asked.peers:
            asks = [_command(table.dbms, statement, one) for one in (options, anyhow)]
            return [Share((peer,), asks[0], asks[1]) for peer in asked.peers]
        routes = self._routes()
        shares: dict[str, Share] = {}
        for dbms, name in [(table.dbms, table.name), *((d or table.dbms, t) for d, t in options.include)]:
            for target in routes.targets(dbms=dbms, table=name, take_turns=options.all_nodes):
                if target.cluster.id in shares:
                    continue
                if not target.operators:
                    raise error(203, f"the cluster '{target.cluster.name}' has no operator")
                peers = tuple(operator.address for operator in target.operators)
                if name != table.name:  # a cluster that holds this table only
                    others = tuple(one for one in options.include if one[1] != name)
                    text = statement.replace(f" from {table.name}", f" from {name}", 1)
                    first, then = (_command(dbms, text, replace(one, include=others)) for one in (options, anyhow))
                else:
                    first, then = (_command(table.dbms, statement, one) for one in (options, anyhow))
                shares[target.cluster.id] = Share(peers, first, then)
        if not shares:
            raise error(73, f"{table.dbms}.{table.name}", hint="see: get data nodes")
        return list({share.peers[0]: share for share in shares.values()}.values())


def _drop(queries: Queries, gathering: Gathering, job: Job) -> None:
    gathering.query.close()
    queries.jobs.end(job, GeneratorExit())


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit), default=None)


def _command(dbms: str, statement: str, options: Options) -> str:
    """The request: the options that the rows depend on, then the statement (network protocol, section 6.2)."""
    written = [f"include = {f'{d}.{t}' if d else t}" for d, t in options.include]
    written += [f"extend = {_extended(item)}" for item in options.extend]
    written += ["committed = true"] if options.committed else []
    written += ["incomplete = true"] if options.incomplete else []
    between = f"{' and '.join(written)} " if written else ""
    return f"sql {dbms} {between}{statement}"


def _extended(item: ExtendItem) -> str:
    kind = "" if item.kind == "varchar" else f".{item.kind}"
    return f"{item.what}{kind} as {item.title}"
