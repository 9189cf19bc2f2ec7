"""Message clients: subscriptions that map messages to rows (spec: brokers and mapping, sections 4 to 6, 12 and 15).

Messages come from the node's own broker (``broker = local``, without Python), by REST POST (``broker = rest``) or from
other brokers (``inputs.mqtt``). Mapping and counting are native (``_rust.MessageClients``); here are the declarations.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct, field
from msgspec.structs import asdict

from edgelake import _rust
from edgelake.errors import EdgeLakeError, JournalError, OverloadedError, StorageFullError, error
from edgelake.inputs.mapped import LOCAL, MappedSubmit, imported_by
from edgelake.model import Stored

REPORT_S = 1.0

Pairs = Sequence[tuple[str, str]]
"""The content of ``topic = (...)``: keys and values in order, a key may stand more than once."""

_TOPIC_KEYS = frozenset(("name", "qos", "dbms", "table", "policy", "persist", "flush", "dynamic"))
_FLAGS = ("persist", "flush", "dynamic")
_COLUMN_KEYS = frozenset(("type", "value", "optional"))


class Remote(Protocol):
    """The connection of a client whose broker is another process."""

    @property
    def connection(self) -> str: ...

    async def end(self) -> None:
        """Leave for good; the other side need keep nothing for us."""


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
    for key, given in pairs:
        value = _unquoted(given)
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


def _unquoted(value: str) -> str:
    """Single quotes around a whole value only hold it together."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value


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
        kind, source = _unquoted(given["type"]), _unquoted(given["value"])
        return {"name": name, "type": kind, "value": source, "optional": optional}
    column, dot, kind = name.rpartition(".")
    if not dot:
        raise error(124, f"column '{name}' has no type", hint=f"write column.{name}.<type> = ...")
    return {"name": column, "type": kind, "value": value, "optional": False}


# ---- clients


class Counters(Struct, frozen=True):
    """Messages of a client or a topic. Times are Unix seconds, 0 = never."""

    messages: int = 0
    success: int = 0
    errors: int = 0
    last_message: float = 0.0
    last_error_time: float = 0.0
    last_error: str = ""

    @classmethod
    def of(cls, counted: tuple[int, int, int, int, int, str]) -> Counters:
        messages, success, errors, last_us, error_us, text = counted
        return cls(messages, success, errors, last_us / 1e6, error_us / 1e6, text)


class Topic(Struct, frozen=True):
    """A topic of a client: its specification and what came."""

    spec: dict[str, Any]
    counters: Counters

    @property
    def name(self) -> str:
        return str(self.spec["name"])


@dataclass(frozen=True, slots=True)
class Files:
    """Where a client writes messages as they came.

    Attributes:
        errors: for those that could not be mapped; None = nowhere.
        log: for all of them, which are not mapped then; None = they are mapped.
        blobs: for the contents of blob columns.
    """

    errors: Path | None = None
    log: Path | None = None
    blobs: Path | None = None


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Where policies of a client's dynamic topics are sent; nowhere: none are made."""

    masters: Sequence[str] = ()
    chains: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.masters or self.chains)


class LineRule(Struct, frozen=True):
    """What becomes of lines on the broker's port that are no MQTT.

    Attributes:
        ip, port, header: of the sender, and what its lines begin with; None = any.
        extend_ip: adds the column source_ip.
        topic: the message client of this topic maps the rows.
        included: the first line names the columns.
    """

    name: str
    dbms: str
    table: str
    ip: str | None = None
    port: int | None = None
    header: str | None = None
    format: Literal["bsd", "ietf", "plain"] = "plain"
    extend_ip: bool = False
    topic: str | None = None
    included: bool = False


class MessageClient(Struct):
    """A subscription.

    Attributes:
        broker: ``local``, ``rest``, or ``host:port``.
        agent: product of the User-Agent whose POST calls come here, in lower case.
        ledgers: for the policies of its dynamic topics.
        options: the other values of the command, as they were given.
    """

    id: int
    broker: str
    agent: str
    user: str
    specs: Sequence[dict[str, Any]]
    native: _rust.MessageClients
    definition: str
    ledgers: Ledgers = Ledgers()
    options: dict[str, Any] = field(default_factory=dict)
    remote: Remote | None = None

    @property
    def connection(self) -> str:
        return self.remote.connection if self.remote is not None else "Connected to local Message Server"

    @property
    def counters(self) -> Counters:
        return Counters.of(self.native.counters(self.id)[0])

    @property
    def topics(self) -> list[Topic]:
        counted = self.native.counters(self.id)[1]
        return [Topic(spec, Counters.of(one)) for spec, one in zip(self.specs, counted, strict=True)]

    def topic(self, name: str) -> int | None:
        """Number of the topic that takes a message; an empty name is the first one."""
        return self.native.topic(self.id, name)


class MessageClients:
    """The message clients of a node.

    Args:
        entry: where messages go.
        report: told of messages that could not be mapped (a line each, the first ones of a second).
        policy: the policy of an id, or None: for those that others import.
        kind: what a client is called in what is reported.

    Attributes:
        announce: told, once a second, of dynamic topics that have brought their first row (client, database, topic);
            False: it wants to be told again, there is nowhere to publish them yet.
    """

    def __init__(
        self,
        entry: MappedSubmit,
        report: Callable[[str], None] = lambda line: None,
        policy: Callable[[str], Any] = lambda policy_id: None,
        kind: str = "msg client",
    ) -> None:
        self._kind = kind
        self._entry = entry
        self._policy = policy
        self._report = report
        self._clients: dict[int, MessageClient] = {}
        self._rules: dict[str, LineRule] = {}
        self._next = 1
        self._watching: asyncio.TimerHandle | None = None
        self.announce: Callable[[MessageClient, str, str], bool] = lambda client, dbms, topic: True
        self._unannounced: list[tuple[int, str, str]] = []

    @property
    def native(self) -> _rust.MessageClients:
        return self._entry.native

    def declare_rest(
        self,
        agent: str,
        topics: Sequence[dict[str, Any]],
        *,
        user: str = "unused",
        files: Files = Files(),
        ledgers: Ledgers = Ledgers(),
        **options: Any,
    ) -> MessageClient:
        """Subscribe POST messages of a User-Agent. Raises EdgeLakeError (124, 188)."""
        product = product_of(agent)
        if not product:
            raise error(124, "a client of the broker 'rest' needs user-agent = <name>")
        return self._declare("rest", product, topics, user, files, ledgers, options)

    def declare_local(
        self,
        topics: Sequence[dict[str, Any]],
        *,
        user: str = "unused",
        files: Files = Files(),
        ledgers: Ledgers = Ledgers(),
        **options: Any,
    ) -> MessageClient:
        """Subscribe topics of the node's own broker, running or not. Raises EdgeLakeError (124, 188)."""
        return self._declare(LOCAL, "", topics, user, files, ledgers, options)

    def declare_remote(
        self,
        broker: str,
        topics: Sequence[dict[str, Any]],
        *,
        user: str = "unused",
        files: Files = Files(),
        ledgers: Ledgers = Ledgers(),
        **options: Any,
    ) -> MessageClient:
        """Subscribe topics of another broker (``host:port``), whose messages come by ``deliver``.

        Raises EdgeLakeError (124, 188).
        """
        return self._declare(broker.lower(), "", topics, user, files, ledgers, options)

    def _declare(
        self,
        broker: str,
        agent: str,
        topics: Sequence[dict[str, Any]],
        user: str,
        files: Files,
        ledgers: Ledgers,
        options: dict[str, Any],
    ) -> MessageClient:
        names = [topic["name"] for topic in topics]
        for holder in self._clients.values():
            if (holder.broker, holder.agent) == (broker, agent):
                for known in holder.specs:
                    if known["name"] in names:
                        owner = f"the topic '{known['name']}' of '{agent or broker}' belongs to client {holder.id}"
                        raise error(124, owner, hint=f"exit msg client {holder.id}")
        definition, specs = self._definition(broker, topics, only_log=files.log is not None)
        number, native = self._next, self._entry.native
        native.add(
            number,
            _host(broker),
            definition,
            err_dir=files.errors,
            log_dir=files.log,
            blobs_dir=files.blobs,
        )
        client = MessageClient(number, broker, agent, user, specs, native, definition, ledgers, options)
        self._clients[number] = client
        self._next += 1
        self._watch()
        return client

    def _definition(
        self, broker: str, topics: Sequence[dict[str, Any]], *, only_log: bool
    ) -> tuple[str, list[dict[str, Any]]]:
        """What the native side compiles, and its topics, with the policies as they are now; a deleted one stays."""
        wanted: list[dict[str, Any]] = []
        for topic in topics:
            spec = dict(topic)
            if topic.get("persist") or topic.get("flush"):
                spec.setdefault("dbms", _host(broker))
            if "policies" in topic:
                spec["policies"] = [self._policy(_id_of(known)) or known for known in topic["policies"]]
            wanted.append(spec)
        policies = [policy for spec in wanted for policy in spec.get("policies", ())]
        imported = imported_by(policies, self._policy)
        definition = {"topics": wanted, "imported": imported, "only_log": only_log}
        return json.dumps(definition, ensure_ascii=False), wanted

    def policies_changed(self) -> None:
        """Map by the policies as they are now; one that cannot be compiled is reported, and the former one stays."""
        for client in self._clients.values():
            if not any("policies" in spec for spec in client.specs):
                continue
            only_log = bool(json.loads(client.definition)["only_log"])
            definition, specs = self._definition(client.broker, client.specs, only_log=only_log)
            if definition == client.definition:
                continue
            try:
                client.native.update(client.id, definition)
            except EdgeLakeError as problem:
                self._report(f"{self._kind} {client.id}: a changed policy is not used: {problem}")
                continue
            client.definition, client.specs = definition, specs

    @property
    def threads(self) -> int | None:
        """Threads that map messages of the node's own broker; None = as the broker says."""
        return self._entry.native.threads

    @threads.setter
    def threads(self, threads: int | None) -> None:
        self._entry.native.threads = threads

    # ---- lines on the broker's port

    def set_rule(self, rule: LineRule) -> None:
        """Add a rule, or replace the one of its name."""
        self._rules[rule.name] = rule
        self._entry.native.set_rule(**asdict(rule))

    def remove_rule(self, name: str) -> bool:
        """False when there is none of this name."""
        self._rules.pop(name, None)
        return self._entry.native.remove_rule(name)

    def rules(self) -> Iterable[LineRule]:
        return self._rules.values()

    # ---- messages

    async def deliver(self, client: MessageClient, messages: Sequence[tuple[str, bytes]]) -> None:
        """Topics and payloads from the client's broker; durable on return. What cannot be mapped is counted.

        Raises OverloadedError, StorageFullError, JournalError: nothing of it is stored, all are to be offered again.
        """
        await self._entry.submit_messages(messages, client.id)

    async def deliver_read(self, client: MessageClient, read: _rust.ReadMessages) -> None:
        """As ``deliver``, for messages out of logs; how far these are read becomes durable with their rows."""
        await self._entry.submit_read(read, client.id)

    async def submit(self, client: MessageClient, payload: bytes) -> Stored:
        """A payload for the client's only topic; as ``post``."""
        return await self._entry.submit_message(client.id, client.topics[0].name, payload)

    async def publish_local(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Topics and payloads to the clients of the broker 'local', as if they came from it.

        Raises EdgeLakeError 124 for a topic that nobody takes (nothing is mapped then); as ``deliver``.
        """
        for topic, _ in messages:
            if not self._entry.native.takers(LOCAL, topic):
                hint = "run msg client where broker = local and topic = (...)"
                raise error(124, f"Non-subscribed topic '{topic}'", hint=hint)
        await self._entry.submit_messages(messages)

    async def post(self, agent: str, topic: str, payload: bytes) -> Stored:
        """A payload of POST: mapped by the client of its agent, durable on return.

        Args:
            agent: the User-Agent or its product; any case.
            topic: empty = the first topic of the agent's first client.
        Returns: rows stored; elements of a list that could not be mapped are counted as rejected.
        Raises: EdgeLakeError 167 no agent, 163 no client for it, 159 topic, 299 not rows; what ingestion raises.
        """
        client, number = self._find(agent, topic)
        try:
            return await self._entry.submit_message(client.id, topic, payload)
        except (OverloadedError, StorageFullError, JournalError) as problem:
            client.native.refuse(client.id, number, problem.text)
            raise

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
            number = client.topic(topic)
            if number is not None:
                return client, number
        for client in clients:
            client.native.refuse(client.id, None, "Unrecognized MQTT topic")
        raise error(159, f"'{topic[:100]}'", hint="topics are declared by run msg client")

    def _of_agent(self, product: str) -> Iterator[MessageClient]:
        return (c for c in self._clients.values() if c.broker == "rest" and c.agent == product)

    # ---- what went wrong

    def _watch(self) -> None:
        """Report what failed once a second while there are clients."""
        if self._watching is None and self._clients:
            self._watching = asyncio.get_running_loop().call_later(REPORT_S, self._look)

    def _look(self) -> None:
        self._watching = None
        self.report_faults()
        self.announce_topics()
        self._watch()

    def report_faults(self) -> None:
        """Tell of messages that failed since the last time."""
        faults, more = self._entry.native.take_faults()
        for client, topic, start, number, reason in faults:
            text = start.decode(errors="replace")
            self._report(f"{self._kind} {client}, topic '{topic}': error {number}: {reason}: {text}")
        if more:
            self._report(f"{more} more messages could not be mapped")
        if problem := self._entry.native.take_log_error():
            self._report(f"message log: {problem}")

    def announce_topics(self) -> None:
        """Tell of dynamic topics that came since the last time."""
        topics, more = self._entry.native.take_topics()
        waiting, self._unannounced = self._unannounced + topics, []
        for client_id, dbms, topic in waiting:
            client = self._clients.get(client_id)
            if client is not None and not self.announce(client, dbms, topic):
                self._unannounced.append((client_id, dbms, topic))
        if more:
            self._report(f"{more} messages were too large, or of too many dynamic topics, for their namespaces")

    # ---- the end

    def stop(self, client_id: int) -> MessageClient:
        """End a client; returns what it was. Raises EdgeLakeError (128)."""
        client = self._clients.pop(client_id, None)
        if client is None:
            raise error(128, f"No such client subscription: {client_id}")
        client.native.remove(client_id)
        return client

    async def close(self) -> None:
        """Report what is left, write logged messages out."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        self.report_faults()
        await asyncio.to_thread(self._entry.native.flush_log)

    def __iter__(self) -> Iterator[MessageClient]:
        return iter(self._clients.values())


def product_of(agent: str) -> str:
    """``AnyLog/1.23`` -> ``anylog``."""
    return agent.partition("/")[0].strip().lower()


def _host(broker: str) -> str:
    """``host`` of ``host:port``."""
    return broker.rpartition(":")[0] or broker


def _id_of(policy: dict[str, Any]) -> str:
    return str(next(iter(policy.values())).get("id", ""))
