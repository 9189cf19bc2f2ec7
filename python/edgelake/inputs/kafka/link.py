"""One membership in a group of consumers: partitions come and go, messages are read in batches.

A module of nodes that have such a consumer: it loads aiokafka.

The node's journal keeps, with the rows, how far each partition is read. The group's own offset is committed behind
that and may lag: when a partition comes to us, reading goes on at the later of the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from itertools import chain
from typing import Any

import aiokafka
from aiokafka import errors as kafka_errors
from aiokafka.conn import create_conn

from edgelake._rust import ReadMessages
from edgelake.errors import ServiceError
from edgelake.inputs.kafka.blocks import Block, read_in_blocks
from edgelake.inputs.kafka.config import Cluster, Source

log = logging.getLogger(__name__)

BATCH_BLOCKS = 32
"""The most that is journalled at once, in blocks of 1,000 messages."""

FETCH_BYTES = 4 << 20
"""The most that a broker gives of a partition at once: with 1 MiB there is a round trip every few thousand messages."""

POLL_MS = 200
CONNECT_MS = 10_000
ANSWER_S = 15.0
LEAVE_S = 5.0
METADATA_MS = 10_000  # topics and partitions that are new are found so late

Position = Callable[[str], int | None]
Store = Callable[[ReadMessages, Callable[[], bool]], Awaitable[bool]]
"""Stores a batch; True when it is durable, False when it was given up since the second argument says so."""


class Link:
    """Reads until it fails or is left.

    Args:
        position: how far the node has read a source, by its name.
    """

    def __init__(self, cluster: Cluster, source: Source, position: Position, store: Store) -> None:
        self._cluster = cluster
        self._source = source
        self._position = position
        self._store = store
        self._consumer: Any = None
        self._lock = asyncio.Lock()  # whoever reads, or changes where reading goes on
        self._ready = asyncio.Event()
        self._generation = 0
        self._storing: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._uncommitted: dict[Any, int] = {}
        self._leaving = False
        self._fault: Exception | None = None  # of a listener, which aiokafka keeps to itself
        self._at: dict[Any, int] = {}
        self.commit_problem = ""

    async def open(self) -> None:
        """Join the group. Raises ServiceError."""
        security = await connected(self._cluster)
        with failures(self._cluster):
            self._consumer = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=self._cluster.address,
                client_id="edgelake",
                group_id=self._source.group,
                enable_auto_commit=False,
                auto_offset_reset=self._source.reset,
                metadata_max_age_ms=METADATA_MS,
                request_timeout_ms=30_000,
                max_partition_fetch_bytes=FETCH_BYTES,
                **security,
            )
            await asyncio.wait_for(self._consumer.start(), ANSWER_S)
            read_in_blocks(self._consumer)
            missing = await self.missing_topics()
            if len(missing) == len(self._source.topics):
                raise ServiceError(f"no topic {', '.join(missing)} there", hint="create it, it is looked for again")
            self._consumer.subscribe([*self._source.topics], listener=_listener(self))

    async def missing_topics(self) -> list[str]:
        """Of ours; a broker that answers is there. Raises ServiceError."""
        with failures(self._cluster):
            there = await asyncio.wait_for(self._consumer.topics(), ANSWER_S)
        return [topic for topic in self._source.topics if topic not in there]

    async def run(self) -> None:
        """Read and store. Returns after ``leave``; raises ServiceError."""
        with failures(self._cluster):
            while not self._leaving:
                if self._fault is not None:
                    raise self._fault
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ready.wait(), POLL_MS / 1000)
                async with self._lock:
                    if self._ready.is_set():
                        await self._read()
            async with self._lock:
                await self._settle()
                await self._committed()

    async def _read(self) -> None:
        generation = self._generation
        found: Mapping[Any, list[Block]] = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH_BLOCKS)
        if generation != self._generation:
            return  # what was read may be another's by now; whoever has the partition is set to its place
        ends = {tp: blocks[-1].next_offset for tp, blocks in found.items()}
        values = {tp: [*chain.from_iterable(block.values for block in blocks)] for tp, blocks in found.items()}
        read = ReadMessages([(tp.topic, self._name(tp), values[tp], end) for tp, end in ends.items()])
        await self._settle()
        if generation != self._generation or not len(read):
            return
        self._storing = asyncio.create_task(self._keep(read, ends, generation))

    async def _keep(self, read: ReadMessages, ends: dict[Any, int], generation: int) -> None:
        """Rows and positions into the journal, then the group's offsets."""
        if not await self._store(read, lambda: generation != self._generation or self._leaving):
            return
        self._at.update(ends)
        self._uncommitted.update(ends)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())

    async def _commit_all(self) -> None:
        """Commit what is stored; what is stored meanwhile goes with the next commit, so that no batch waits for one."""
        try:
            while self._uncommitted:
                ends, self._uncommitted = self._uncommitted, {}
                await self._commit(ends)
        except Exception as problem:  # noqa: BLE001 - raised by run
            self._fault = problem

    async def _committed(self) -> None:
        """Returns when all that is stored is committed, or the broker has refused it."""
        if self._committing is not None:
            await asyncio.wait([self._committing])

    async def _commit(self, ends: dict[Any, int]) -> None:
        """The rows are in whatever becomes of it: our own position stands with them."""
        try:
            await _within(ANSWER_S, self._consumer.commit(ends))
            self.commit_problem = ""
        except (kafka_errors.KafkaError, TimeoutError, OSError) as problem:
            self.commit_problem = f"offsets are not committed: {_text(problem)}"

    async def _settle(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    def _name(self, tp: Any) -> str:
        return f"kafka {self._cluster.address} {self._source.group} {tp.topic} {tp.partition}"

    # ---- partitions come and go

    async def revoked(self) -> None:
        """Returns when all that was read is stored and committed, or given up: another one reads it then."""
        self._ready.clear()
        self._generation += 1
        async with self._lock:
            try:
                await self._settle()
                await self._committed()
            except Exception as problem:  # noqa: BLE001 - raised by run
                self._fault = problem
            self._at.clear()

    async def assigned(self, partitions: set[Any]) -> None:
        """Set each partition to where reading goes on."""
        async with self._lock:
            try:
                await self._place(partitions)
            except Exception as problem:  # noqa: BLE001 - raised by run
                self._fault = problem
            else:
                self._ready.set()

    async def _place(self, partitions: set[Any]) -> None:
        consumer = self._consumer
        if not partitions:
            return
        begin = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
        first: dict[Any, int] = {}
        for tp in partitions:
            own, group = self._position(self._name(tp)), await consumer.committed(tp)
            known = [at for at in (own, group) if at is not None]
            at = max(known) if known else (begin if self._source.reset == "earliest" else end)[tp]
            if at > end[tp]:
                log.warning("%s: ends before what was read of it: it is read from its beginning", self._name(tp))
                at = begin[tp]
            elif known and at < begin[tp]:
                gone = begin[tp] - at
                log.warning("%s: %d messages were removed there before they were read", self._name(tp), gone)
                at = begin[tp]
            consumer.seek(tp, at)
            self._at[tp] = at
            if at != group:
                first[tp] = at
        if first:  # so that "latest" is the same place after a kill
            await self._commit(first)

    # ---- what is shown

    @property
    def is_assigned(self) -> bool:
        """Whether we know our partitions, of which there may be none."""
        return self._ready.is_set()

    @property
    def lag(self) -> int:
        """Messages of our partitions that were not read when the broker last told."""
        if self._consumer is None:
            return 0
        assigned = self._consumer.assignment()
        ends = ((self._consumer.highwater(tp), at) for tp, at in self._at.items() if tp in assigned)
        return sum(max(0, end - at) for end, at in ends if end is not None)

    # ---- the end

    def leave(self) -> None:
        """Store and commit what was taken, then ``run`` returns."""
        self._leaving = True

    async def close(self) -> None:
        self._generation += 1
        self._ready.clear()
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.cancel()
            await asyncio.wait([storing], timeout=LEAVE_S)
        if self._committing is not None:
            self._committing.cancel()
        if self._consumer is not None:
            with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError):
                await _within(LEAVE_S, self._consumer.stop())


async def _within(limit_s: float, work: Coroutine[Any, Any, None]) -> None:
    """Wait for work of the library no longer than that; its own calls may not end when they are cancelled.

    Raises TimeoutError, and what the work raises.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=limit_s)
    finally:
        task.cancel()
    if not done:
        raise TimeoutError
    if task.cancelled():  # by the library, whose connection broke
        raise ConnectionError("the connection broke off")
    task.result()


def _listener(link: Link) -> Any:
    class Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc,unused-ignore] # Any without the extra
        async def on_partitions_revoked(self, revoked: Any) -> None:
            await link.revoked()

        async def on_partitions_assigned(self, assigned: Any) -> None:
            await link.assigned(set(assigned))

    return Listener()


async def connected(cluster: Cluster) -> dict[str, Any]:
    """What clients of aiokafka need to be let in, tried out: why a connection fails they tell in their log only.

    Raises ServiceError, CommandError for TLS files.
    """
    security = await asyncio.to_thread(cluster.security)
    with failures(cluster):
        single = {"sasl_mechanism": None, **security}  # the default of clients is not that of connections
        conn = await create_conn(cluster.host, cluster.port, request_timeout_ms=CONNECT_MS, **single)
        conn.close()
    return security


@contextlib.contextmanager
def failures(cluster: Cluster) -> Iterator[None]:
    """What aiokafka raises, as ServiceError that says where and what."""
    try:
        yield
    except (kafka_errors.KafkaError, OSError, TimeoutError) as problem:
        raise ServiceError(f"{cluster.address}: {_text(problem)}", hint=_hint(problem, cluster)) from None
    except ServiceError as problem:
        if cluster.address not in problem.detail:
            problem.detail = f"{cluster.address}: {problem.detail}"
        raise


_NOT_LET_IN = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.IllegalSaslStateError,
)


def _text(problem: BaseException) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    return str(problem) or type(problem).__name__


def _hint(problem: BaseException, cluster: Cluster) -> str:
    if isinstance(problem, _NOT_LET_IN):
        return "user and password have to be those of the cluster"
    if isinstance(problem, kafka_errors.UnsupportedSaslMechanismError):
        return "mechanism = PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    if isinstance(problem, ssl.SSLError):
        return "ca = the authority's certificate; its name has to be that of ip"
    if isinstance(problem, kafka_errors.KafkaConnectionError) and cluster.tls is not None and not cluster.tls.cert:
        # It hangs up without a word.
        return "cert and key = those of the node, where the broker wants a certificate of its clients"
    return "ip and port of a broker; user, password and tls as its listener wants them"
