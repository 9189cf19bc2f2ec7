"""Queries over other nodes: from a statement to the merged answer (spec: query, sections 3, 4 and 9)."""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from edgelake._rust import PeerMerge, Plan, Select
from edgelake.errors import TableMissingError, error
from edgelake.metadata.routing import Routes
from edgelake.query.columns import rows
from edgelake.query.exchange import QueryPeers
from edgelake.query.gather import Gathering, Share
from edgelake.query.jobs import Job
from edgelake.query.options import ExtendItem, Options
from edgelake.query.run import Run
from edgelake.query.service import Answer, Queries, printed_for
from edgelake.store.base import TableInfo


@dataclass(frozen=True, slots=True)
class Asked:
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
            select = Select(sql)
            table = self._table(select, dbms)
            limit_s = _least(asked.timeout_s, options.max_time_s, queries.limits.timeout_s)
            plan = queries.planner().plan_for_peers(select, table, options)
            if plan.kind == "leading":
                latest = await self._latest(plan.sql, table, options, asked, limit_s)
                plan = queries.planner().plan_for_peers(select, table, options, (latest,))
            return await self._run(plan, table, options, asked, limit_s, job, started, json_null)
        except BaseException as raised:
            queries.jobs.end(job, raised)
            raise

    def _table(self, select: Select, dbms: str) -> TableInfo:
        if len(select.tables) != 1:
            raise error(46, "a select over other nodes reads one table", hint="include = (table) reads others with it")
        name, table = select.tables[0]
        found = self._table_of((name or dbms).lower(), table)
        if found is None:
            raise TableMissingError(f"{name or dbms}.{table}", hint="see: get data nodes")
        return found

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
        if passed is not None:
            text = msgspec.json.encode(render).decode()
            merge = PeerMerge(kinds, render=text, limit=passed[0], offset=passed[1])
        else:
            merge = PeerMerge(kinds, group_spec=plan.group_spec)
        gathering = self._gathering(shares, merge, asked, limit_s)
        if passed is not None:
            gathering.printed = printed_for(render)
        gathering.job = job
        job.status, job.stop = "Processing", gathering.stop
        if passed is not None:
            return PassedAnswer(job, queries, gathering, titles, started)
        async for _ in gathering.texts():
            pass
        job.blocks = gathering.messages
        run = Run(queries.stores, queries.pool, threads=1, limit_s=limit_s)
        job.stop = run.interrupt
        try:
            nodes = len(shares)
            render["nodes"] = {"target": nodes, "participating": nodes - gathering.failed}
            text = msgspec.json.encode(render).decode()
            elapsed_s = time.monotonic() - started
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

    def _gathering(self, shares: list[Share], merge: PeerMerge, asked: Asked, limit_s: float | None) -> Gathering:
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
