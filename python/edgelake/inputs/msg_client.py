"""Message clients: subscriptions that map messages to rows (spec: brokers and mapping, sections 4 to 6, 12 and 15).

Messages come by REST POST (``broker = rest``) or from other brokers (``inputs.mqtt``). Mapping itself is native
(``_rust.MappingProgram``); here are the declarations and the counters.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgelake._rust import MappingProgram
from edgelake.errors import EdgeLakeError, JournalError, OverloadedError, StorageFullError, error
from edgelake.model import Stored

Pairs = Sequence[tuple[str, str]]
"""The content of ``topic = (...)``: keys and values in order, a key may stand more than once."""

_TOPIC_KEYS = frozenset(("name", "qos", "dbms", "table", "policy", "persist", "flush", "dynamic"))
_FLAGS = ("persist", "flush", "dynamic")
_COLUMN_KEYS = frozenset(("type", "value", "optional"))


class MappedIngest(Protocol):
    """The entry of mapped messages into the data path."""

    def add_program(self, definition: str) -> int:
        """Make a mapping known by its definition (JSON), which the journal keeps; returns its number."""

    async def submit_mapped(self, program_id: int, topic: str, payload: bytes) -> Stored:
        """Map and store a payload; returns when it is durable.

        Raises EdgeLakeError (299 not rows, 159 topic), OverloadedError, StorageFullError, JournalError.
        """


class Remote(Protocol):
    """The connection of a client whose broker is another process."""

    @property
    def connection(self) -> str: ...


# ---- declarations


def topic_spec(pairs: Pairs, parse: Callable[[str], Pairs], policy: Callable[[str], Any]) -> dict[str, Any]:
    """One topic as the specification of the mapping.

    Args:
        parse: splits the nested ``(type = .. and value = ..)`` of a column.
        policy: the policy of an id, or None.
    Raises: EdgeLakeError (124, 113).
    """
    spec: dict[str, Any] = {}
    columns: list[dict[str, Any]] = []
    for key, value in pairs:
        if key.startswith("column."):
            columns.append(_column(key.removeprefix("column."), value, parse))
        elif key not in _TOPIC_KEYS:
            raise error(124, f"unknown key '{key}' in topic", hint="allowed: " + ", ".join(sorted(_TOPIC_KEYS)))
        elif key == "policy":
            found = policy(value)
            if found is None:
                raise error(113, f"no mapping policy with id = {value}")
            spec.setdefault("policies", []).append(found)
        elif key in spec:
            raise error(124, f"'{key}' stands twice in topic")
        else:
            spec[key] = _flag(key, value) if key in _FLAGS else value
    if not spec.get("name"):
        raise error(124, "a topic needs a name")
    spec["qos"] = _qos(spec.get("qos", "0"))
    if columns:
        spec["columns"] = columns
    taken = [key for key in ("dbms", "table", "columns") if key in spec]
    if "policies" in spec and taken:
        raise error(124, f"topic '{spec['name']}': policy stands without {', '.join(taken)}")
    return spec


def _flag(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise error(124, f"{key} = {value}: true or false")
    return value.lower() == "true"


def _qos(value: str) -> int:
    if value not in ("0", "1", "2"):
        raise error(124, f"qos = {value}: 0, 1 or 2")
    return int(value)


def _column(name: str, value: str, parse: Callable[[str], Pairs]) -> dict[str, Any]:
    """``column.name.type = value`` or ``column.name = (type = .. and value = .. and optional = ..)``."""
    if value.startswith("(") and value.endswith(")"):
        given = dict(parse(value))
        unknown = given.keys() - _COLUMN_KEYS
        if unknown or not {"type", "value"} <= given.keys():
            raise error(124, f"column '{name}': (type = .. and value = .. [and optional = true]) is needed")
        optional = _flag("optional", given.get("optional", "false"))
        return {"name": name, "type": given["type"], "value": given["value"], "optional": optional}
    column, dot, kind = name.rpartition(".")
    if not dot:
        raise error(124, f"column '{name}' has no type", hint=f"write column.{name}.<type> = ...")
    return {"name": column, "type": kind, "value": value, "optional": False}


# ---- what is counted


@dataclass(slots=True)
class Counters:
    """Messages of a client or a topic. Times are Unix seconds, 0 = never."""

    messages: int = 0
    success: int = 0
    errors: int = 0
    last_message: float = 0.0
    last_error_time: float = 0.0
    last_error: str = ""

    def add(self, success: int, errors: int, reason: str = "") -> None:
        now = time.time()
        self.messages += success + errors
        self.success += success
        self.last_message = now
        if errors:
            self.errors += errors
            self.last_error_time = now
            self.last_error = reason


@dataclass(slots=True)
class Topic:
    """A topic of a client: its specification and what came."""

    spec: dict[str, Any]
    counters: Counters = field(default_factory=Counters)

    @property
    def name(self) -> str:
        return str(self.spec["name"])


@dataclass(slots=True)
class MessageClient:
    """A subscription.

    Attributes:
        agent: product of the User-Agent whose POST calls come here, in lower case.
        options: the other values of the command, as they were given.
    """

    id: int
    broker: str
    agent: str
    user: str
    topics: list[Topic]
    program: MappingProgram
    program_id: int
    options: dict[str, Any] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    remote: Remote | None = None

    @property
    def connection(self) -> str:
        return self.remote.connection if self.remote is not None else "Connected to local Message Server"


class MessageClients:
    """The message clients of a node.

    Args:
        ingest: where mapped messages go.
    """

    def __init__(self, ingest: MappedIngest) -> None:
        self._ingest = ingest
        self._clients: dict[int, MessageClient] = {}
        self._next = 1

    def declare_rest(
        self, agent: str, topics: Sequence[dict[str, Any]], *, user: str = "unused", **options: Any
    ) -> MessageClient:
        """Subscribe POST messages of a User-Agent. Raises EdgeLakeError (124, 188), NotAvailableError."""
        product = product_of(agent)
        if not product:
            raise error(124, "a client of the broker 'rest' needs user-agent = <name>")
        return self._declare("rest", product, topics, user, options)

    def declare_remote(
        self, broker: str, topics: Sequence[dict[str, Any]], *, user: str = "unused", **options: Any
    ) -> MessageClient:
        """Subscribe topics of another broker (``host:port``), whose messages come by ``deliver``.

        Raises EdgeLakeError (124, 188), NotAvailableError.
        """
        return self._declare(broker.lower(), "", topics, user, options)

    def _declare(
        self, broker: str, agent: str, topics: Sequence[dict[str, Any]], user: str, options: dict[str, Any]
    ) -> MessageClient:
        for topic in topics:
            for holder in self._clients.values():
                same = (holder.broker, holder.agent) == (broker, agent)
                if same and any(known.name == topic["name"] for known in holder.topics):
                    raise error(
                        124, f"the topic '{topic['name']}' of '{agent or broker}' belongs to client {holder.id}"
                    )
        definition = json.dumps({"topics": list(topics)}, ensure_ascii=False)
        program = MappingProgram(definition)
        number = self._ingest.add_program(definition)
        places = [Topic(spec) for spec in topics]
        client = MessageClient(self._next, broker, agent, user, places, program, number, options)
        self._clients[client.id] = client
        self._next += 1
        return client

    async def deliver(self, client: MessageClient, messages: Sequence[tuple[str, bytes]]) -> None:
        """Topics and payloads from the client's broker; durable on return. What cannot be mapped is counted.

        Raises OverloadedError, StorageFullError, JournalError: some may be stored, all are to be offered again.
        """
        await asyncio.gather(*(self._deliver_one(client, topic, payload) for topic, payload in messages))

    async def _deliver_one(self, client: MessageClient, topic: str, payload: bytes) -> None:
        number = client.program.topic(topic)
        counted = [client.counters] if number is None else [client.counters, client.topics[number].counters]
        try:
            stored = await self._ingest.submit_mapped(client.program_id, topic, payload)
        except (OverloadedError, StorageFullError, JournalError):
            raise
        except EdgeLakeError as problem:
            stored = Stored(0, 1, problem.text)
        for counters in counted:
            counters.add(stored.rows, stored.rejected, stored.reason)

    async def post(self, agent: str, topic: str, payload: bytes) -> Stored:
        """A payload of POST: mapped by the client of its agent, durable on return.

        Args:
            agent: the User-Agent or its product; any case.
            topic: empty = the first topic of the agent's first client.
        Returns: rows stored; elements of a list that could not be mapped are counted as rejected.
        Raises: EdgeLakeError 167 no agent, 163 no client for it, 159 topic, 299 not rows; what ingestion raises.
        """
        client, number = self._find(agent, topic)
        place = client.topics[number]
        try:
            stored = await self._ingest.submit_mapped(client.program_id, topic or place.name, payload)
        except EdgeLakeError as problem:
            for counters in (client.counters, place.counters):
                counters.add(0, 1, problem.text)
            raise
        for counters in (client.counters, place.counters):
            counters.add(stored.rows, stored.rejected, stored.reason)
        return stored

    def _find(self, agent: str, topic: str) -> tuple[MessageClient, int]:
        product = product_of(agent)
        if not product:
            raise error(167, "'None'", hint="send the header User-Agent")
        clients = list(self._of_agent(product))
        if not clients:
            raise error(
                163,
                "HTTP server received POST message to add data. Missing USER ID (associated to the message broker)",
                hint=f"run msg client where broker = rest and user-agent = {product} and topic = (...)",
            )
        for client in clients:
            number = client.program.topic(topic)
            if number is not None:
                return client, number
        for client in clients:
            client.counters.add(0, 1, "Unrecognized MQTT topic")
        raise error(159, f"'{topic[:100]}'", hint="topics are declared by run msg client")

    def _of_agent(self, product: str) -> Iterator[MessageClient]:
        return (c for c in self._clients.values() if c.broker == "rest" and c.agent == product)

    def stop(self, client_id: int) -> MessageClient:
        """End a client; returns what it was. Raises EdgeLakeError (128)."""
        client = self._clients.pop(client_id, None)
        if client is None:
            raise error(128, f"No such client subscription: {client_id}")
        return client

    def __iter__(self) -> Iterator[MessageClient]:
        return iter(self._clients.values())


def product_of(agent: str) -> str:
    """``AnyLog/1.23`` -> ``anylog``."""
    return agent.partition("/")[0].strip().lower()
