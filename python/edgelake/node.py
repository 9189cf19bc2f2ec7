"""The node: builds every part, hands each what it needs from the others, starts and stops them in order.

Source: design, sections 3 to 6; style, "one-way rule".
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from edgelake._rust import VERSION
from edgelake.command.blobcopies import CLUSTER_BLOBS, ClusterBlobs
from edgelake.command.cluster import CLUSTER, ClusterMessages
from edgelake.command.context import Context, NodeInfo
from edgelake.command.flow import Flow
from edgelake.command.formdata import FormData
from edgelake.command.handlers.aggregation import PART as AGGREGATES
from edgelake.command.handlers.blobs import PART as BLOBS
from edgelake.command.handlers.broker import ROWS
from edgelake.command.handlers.grpc import PART as GRPC_MAPPING
from edgelake.command.handlers.identity import gate_of
from edgelake.command.handlers.messages import NAMESPACES, publish_topic
from edgelake.command.handlers.messages import PART as MESSAGE_CLIENTS
from edgelake.command.handlers.mqtt import own_name
from edgelake.command.handlers.peer import peers_of
from edgelake.command.handlers.query import NETWORK_QUERIES
from edgelake.command.handlers.retention import PART as RETENTION
from edgelake.command.handlers.script import engine
from edgelake.command.handlers.synchronizer import ledger_arrived
from edgelake.command.handlers.tables import find_columns
from edgelake.command.kinds import Moment
from edgelake.command.local import language_context
from edgelake.command.machine_values import announce
from edgelake.command.peerfiles import PEER_FILES, PeerFiles
from edgelake.command.variables import RowVariables
from edgelake.errors import EdgeLakeError
from edgelake.ingest.blobs.blobs import Blobs
from edgelake.ingest.forwarder import Forwarder
from edgelake.ingest.operator import Operator
from edgelake.ingest.payload import submit_rows
from edgelake.ingest.putfile import FilePut
from edgelake.ingest.service import Ingest
from edgelake.inputs.instructed import Instructions
from edgelake.inputs.mapped import MappedSubmit
from edgelake.inputs.msg_client import MessageClients
from edgelake.metadata.address import Addresses
from edgelake.metadata.distribution import DISTRIBUTION, Distribution
from edgelake.metadata.master import MASTER, Master
from edgelake.metadata.namespaces import Namespaces
from edgelake.metadata.network import Network
from edgelake.metadata.platforms import PLATFORMS, Platforms
from edgelake.metadata.policies import Policies
from edgelake.metadata.routing import ROUTING, Routes
from edgelake.metadata.serve import GET_BLOCKCHAIN, LedgerService
from edgelake.model import LIBRARY, Caller, Reply, Stored
from edgelake.net.mqtt import Rows
from edgelake.peering import Peers
from edgelake.query.jobs import Job
from edgelake.query.network import NetworkQueries
from edgelake.query.service import Queries
from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.keys import PART as IDEMPOTENCY
from edgelake.store.ledger import LedgerTable
from edgelake.store.retention import Retention
from edgelake.store.statement import user_columns
from edgelake.store.store import Store
from edgelake.store.stores import SYSTEM_NAMES, Stores

if TYPE_CHECKING:
    from numpy import ndarray


PING_TASK: Final = "Metadata Ping"
PING_S: Final = 60


def version() -> str:
    """Version of the program."""
    return VERSION


class Node:
    """A node inside this process. Several may live in one process, each with a home of its own.

    ``async with Node(home) as node`` starts it and stops it; ``ctx`` is the way to its parts.

    Args:
        home: folder below which the node keeps its files (in ``EdgeLake/``); absent = ``EDGELAKE_HOME``, else the
            current directory. Nothing is written before something has to be kept.
        name: as ``set node name`` gives it.
        timezone: of readings whose times name no zone; None = the machine's.
        memory_limit_bytes: readings in memory, on the way to the journal and the databases; beyond it new ones are
            refused until there is room.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        name: str = "",
        timezone: str | None = None,
        memory_limit_bytes: int = 64 << 20,
        caller: Caller = LIBRARY,
    ) -> None:
        where = Path(home or os.environ.get("EDGELAKE_HOME") or Path.cwd()).expanduser().absolute()
        info = NodeInfo(name=name, version=version(), started_us=time.time_ns() // 1000)
        self.ctx: Context = language_context(caller=caller, home=where, node=info)
        announce(self.ctx.variables)
        self._wire(timezone, memory_limit_bytes)

    def _wire(self, timezone: str | None, memory_limit_bytes: int) -> None:
        ctx, directories = self.ctx, self.ctx.directories
        ctx.policies = Policies(directories.path("blockchain_file"), self._addresses)
        ctx.stores = Stores(lambda: directories.path("dbms_dir"), self._schema_changed)
        ctx.stores.on_attach = self._attach
        ctx.stores.on_wait = self._expect
        ctx.stores.on_report = lambda text: ctx.logs.error(text)
        ctx.stores.published = self._published
        ctx.ingest = Ingest(
            lambda: directories.root / "data" / "journal", timezone=timezone, limit_bytes=memory_limit_bytes
        )
        ctx.queries = Queries(
            ctx.stores, timezone=timezone, views_file=lambda: directories.root / "data" / "views.json"
        )
        ctx.queries.jobs.on_end = self._query_ended
        ctx.ingest.map_rows = Instructions(
            ctx.policies.get,
            timezone=timezone,
            blobs_dir=self._blobs_dir,
            act=lambda command, seen: ctx.ingest.pipeline.act(command, seen),
        )
        ctx.ingest.conditions.run = self._run_beside
        ctx.ingest.on_report = lambda text: ctx.logs.error(text)
        mapped = MappedSubmit(ctx.ingest.submit_native, timezone=timezone)
        clients = MessageClients(mapped, lambda line: ctx.logs.error(line), ctx.policies.get)
        ctx.policies.watch(lambda image: clients.policies_changed())
        clients.announce = functools.partial(publish_topic, ctx)
        ctx.parts[MESSAGE_CLIENTS] = clients
        ctx.parts[NAMESPACES] = Namespaces(ctx.policies, lambda: own_name(ctx))
        ctx.parts[GRPC_MAPPING] = self._grpc_mapping(timezone)
        ctx.parts[ROWS] = self._rows_of(mapped)
        ctx.parts["post_data"] = clients.post
        ctx.parts["post_form"] = FormData(lambda: directories.path("blobs_dir"), clients.post).post
        self._wire_metadata()
        ctx.parts[AGGREGATES] = Forwarder(ctx.stores, lambda text: ctx.logs.error(text))
        ctx.parts[RETENTION] = Retention(ctx.stores)
        ctx.parts[BLOBS] = Blobs(lambda: directories.path("blobs_dir"), lambda: ctx.stores)
        files = FilePut(lambda: (directories.path("prep_dir"), directories.path("watch_dir")))
        ctx.parts[CLUSTER] = ClusterMessages(ctx)
        ctx.parts[CLUSTER_BLOBS] = ClusterBlobs(ctx)
        ctx.parts[PEER_FILES] = PeerFiles(ctx)
        ctx.parts["put_file"] = files.put
        ctx.ingest.put_counts = files.counts

    def _grpc_mapping(self, timezone: str | None) -> MessageClients:
        """What maps the replies of gRPC servers, apart from the clients that ``get msg clients`` shows."""
        ctx = self.ctx
        mapped = MappedSubmit(ctx.ingest.submit_native, timezone=timezone)
        clients = MessageClients(mapped, lambda line: ctx.logs.error(line), ctx.policies.get, kind="grpc client")
        ctx.policies.watch(lambda image: clients.policies_changed())
        return clients

    def _wire_metadata(self) -> None:
        """Policies to and from other nodes; ``peers`` sends the messages."""
        ctx = self.ctx
        platforms, master = Platforms(), Master(LedgerTable(ctx.stores))
        ctx.parts[PLATFORMS], ctx.parts[MASTER] = platforms, master
        ctx.parts[ROUTING] = Routes(self._addresses)
        ctx.policies.watch(ctx.parts[ROUTING].update)
        ctx.parts[DISTRIBUTION] = Distribution(lambda: ctx.parts[ROUTING], lambda: ctx.policies.of_type(DISTRIBUTION))
        ctx.policies.network = Network(self._peers, platforms, master)
        service = LedgerService(master, self._peers, lambda: bool(ctx.variables.get("blockchain_file")))
        ctx.parts[NETWORK_QUERIES] = NetworkQueries(
            ctx.queries, lambda: peers_of(ctx), lambda: ctx.parts[ROUTING], self._network_table
        )
        ctx.parts[GET_BLOCKCHAIN] = service.get_blockchain
        ctx.parts["on_ledger"] = functools.partial(ledger_arrived, ctx)

    def _peers(self) -> Peers | None:
        found: Peers | None = self.ctx.parts.get("peers")
        return found

    def _rows_of(self, mapped: MappedSubmit) -> Callable[[], Awaitable[Rows]]:
        """For the broker: where messages of the message clients go. It opens the journal."""

        async def rows() -> Rows:
            await self.ctx.ingest.start()
            return Rows(mapped.native, self.ctx.ingest.pipeline)

        return rows

    def _addresses(self) -> Addresses:
        return Addresses(self.ctx.variables.get("external_ip"), self.ctx.variables.get("ip"))

    def _blobs_dir(self) -> Path | None:
        path = self.ctx.directories.path("blobs_dir")
        return path if path.is_dir() else None

    async def _run_beside(self, line: str, row: Mapping[str, Any]) -> None:
        """A command of a streaming condition or of a policy's script; ``!column`` is the row's value."""
        await self.ctx.at(variables=RowVariables(self.ctx.variables, row), flow=Flow()).execute(line)

    async def _attach(self, store: Store, connected: bool) -> None:
        """Rows of a database go there from its connection to its disconnection; the node's own take none."""
        if store.dbms in SYSTEM_NAMES:
            return
        ingest: Ingest = self.ctx.ingest
        if connected:
            self.ctx.parts[AGGREGATES].attach(store)
            await ingest.attach(store)
        else:
            await ingest.detach(store.dbms)

    def _expect(self, dbms: str, waits: bool) -> None:
        """Rows of a database whose server is away stay in the journal."""
        if dbms not in SYSTEM_NAMES:
            self.ctx.ingest.expect(dbms, waits)

    def _schema_changed(self, dbms: str, table: str, schema: list[tuple[str, str, bool]] | None) -> None:
        """In the writer's thread: later payloads are parsed with the columns as they are now."""
        ingest: Ingest = self.ctx.ingest
        ingest.schema_changed(dbms, table, schema)

    def _published(self, dbms: str, table: str) -> list[ColumnInfo]:
        """In the writer's thread: the columns that the policy of a table names."""
        for policy in self.ctx.policies.find("table", dbms=dbms, name=table):
            if create := policy["table"].get("create"):
                with contextlib.suppress(EdgeLakeError):
                    return user_columns(str(create))
        return []

    def _network_table(self, dbms: str, table: str) -> TableInfo | None:
        """What is known here of a table of the network."""
        try:
            return TableInfo(dbms, table, find_columns(self.ctx, dbms, table))
        except EdgeLakeError:
            return None

    def _query_ended(self, job: Job) -> None:
        """``set query log``: every query, or the slow ones."""
        longest = self.ctx.logs.query_seconds
        if longest is not None and job.seconds >= longest:
            self.ctx.logs.query(
                f"{job.seconds:.3f} sec., {job.shown_status}, {job.rows} rows: {job.dbms} {job.command}"
            )

    # ---- life

    async def start(self) -> None:
        """Read users and ledger, start the system's scheduler. Raises EdgeLakeError for a file that cannot be read."""
        await asyncio.to_thread(gate_of(self.ctx).identities.load)
        await self.ctx.policies.load(self.ctx.directories.path("blockchain_file"))
        await self.ctx.services.start(self.ctx.queries)
        self._ping_each_minute()
        self.ctx.scheduler.start(0)

    def _ping_each_minute(self) -> None:
        """Nodes that did not answer are asked again."""
        tasks = self.ctx.scheduler.system
        if PING_TASK not in tasks.tasks:
            first = Moment(time.time_ns() // 1000 + PING_S * 1_000_000)
            tasks.add(PING_TASK, "set servers ping", PING_S, first, self.ctx.caller)

    async def stop(self) -> None:
        """Stop in the order of the data's way: tasks and scripts, entries, journal and writers, databases.

        What was acknowledged is stored or stays in the journal. Idempotent.
        """
        self.ctx.node.stopping.set()
        await self.ctx.scheduler.stop()
        await engine(self.ctx).stop()
        await self.ctx.services.stop_all(but=Operator.name)
        await self.ctx.parts[CLUSTER].stop()
        await self.ctx.parts[MESSAGE_CLIENTS].close()
        await self.ctx.parts[NAMESPACES].stop()
        await self.ctx.parts[GRPC_MAPPING].close()
        await self.ctx.services.stop(Operator.name)  # it books what came in up to here
        await self.ctx.parts[PLATFORMS].close()
        await self.ctx.ingest.stop()
        await self.ctx.parts[AGGREGATES].stop()
        await self.ctx.queries.stop()
        await self.ctx.stores.close()
        gate_of(self.ctx).close()
        if (keys := self.ctx.parts.get(IDEMPOTENCY)) is not None:
            await asyncio.to_thread(keys.close)
        await asyncio.to_thread(self.ctx.audit.close)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(self.stop())

    # ---- use

    def execute(self, line: str) -> Coroutine[Any, Any, Reply]:
        """Run one command as the program that owns the node. Raises EdgeLakeError."""
        return self.ctx.dispatcher.run(line, self.ctx)

    async def ingest(self, dbms: str, table: str, rows: object) -> Stored:
        """Take rows for a table; on return they are durable. They can be queried after the next flush (0.1 s).

        Args:
            rows: JSON as bytes or text (an object, a list of objects, or one object a line); columns as a mapping of
                names to numpy arrays; or records: mappings, msgspec Structs, dataclasses or named tuples.

        Raises: PayloadError (nothing stored), OverloadedError, StorageFullError, JournalError. Of more than 20,000
            rows some may be stored then: ``where["stored_rows"]`` of the error.
        """
        return await submit_rows(self.ctx.ingest.submit, dbms, table, rows)

    def query(self, sql: str, *, dbms: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Rows of a select, one dictionary each: times as datetime in UTC, a null as None.

        Args:
            dbms: database of tables that stand without one; absent = the statement says ``from dbms.table``.

        Raises QueryError, TableMissingError, DatabaseMissingError, when the first row is asked for.
        """
        queries: Queries = self.ctx.queries
        return queries.rows(sql, dbms)

    async def columns(self, sql: str, *, dbms: str | None = None) -> dict[str, ndarray]:
        """Columns of a select as numpy arrays, without a Python object a value.

        Times are datetime64[us], texts objects; numbers with nulls are floats with NaN. Needs numpy.
        """
        queries: Queries = self.ctx.queries
        return await queries.columns(sql, dbms)
