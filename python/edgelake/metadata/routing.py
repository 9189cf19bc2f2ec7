"""Where the data of a table is: clusters and operators, out of the policies (spec: metadata, section 13).

For messages and queries::

    routes = ctx.parts[ROUTING]                             # Routes of the node
    routes.targets(dbms="edge", table="sensors")            # one Target for each cluster that has the table:
        # .cluster, and .operators in the order in which to ask them: the main one (or the next in turn), then the
        # other members, those known not to answer last. Ask the first; a failure goes on to the next.
    routes.operators(company="acme", dbms="edge", table="sensors")   # every operator that has the table
    routes.mark("10.0.0.5:32148", active=False)             # a send to this node failed (or worked again)
    routes.is_active("10.0.0.5:32148")
    routes.routing                                          # the immutable Routing that stands now

``company``, ``dbms`` and ``table`` are compared without case; "" and "*" stand for any. Reading never waits: a
``Routing`` is immutable and is made anew, at the first use after policies of clusters or operators have changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from edgelake.metadata.address import Addresses
from edgelake.metadata.ids import Policy, body_of, id_of, utc_text
from edgelake.metadata.image import Image

log = logging.getLogger(__name__)

ROUTING = "routing"
"""Name of the node's part that holds its ``Routes``."""

READABLE = frozenset({"active", "static"})
"""States of a cluster whose data is read; only an active one gets new data."""

NO_COMPANY = "none"
MAX_STATES = 10_000
INCOMPLETE_S = 10.0
"""A member that said that it lacks data is asked last for so long."""
_FOREIGN = "data source"


class Operator(Struct, frozen=True):
    """An operator that is a member of a cluster.

    Attributes:
        address: ``ip:port`` under which this node reaches it; the key of its state.
        external, local: ``ip:port`` as the policy names them.
        is_foreign: a data source that speaks another protocol: never queried.
    """

    policy_id: str
    name: str
    company: str
    cluster: str
    member: int
    address: str
    external: str
    local: str
    is_main: bool = False
    is_foreign: bool = False


class Cluster(Struct, frozen=True):
    """A share of the data of some tables, held by each of its operators.

    Attributes:
        id: of the cluster policy without parent.
        operators: its members, the main one first.
        tables: (company, dbms, table) in the order of the policies.
    """

    id: str
    name: str
    company: str
    status: str
    operators: tuple[Operator, ...] = ()
    tables: tuple[tuple[str, str, str], ...] = ()

    @property
    def takes_data(self) -> bool:
        """Whether new data goes there."""
        return self.status == "active"


class Target(Struct, frozen=True):
    """A cluster that is asked, and its operators in the order in which to try them; empty when it has none."""

    cluster: Cluster
    operators: tuple[Operator, ...]


class Place(Struct, frozen=True):
    """A table at a cluster, as a row of ``get data nodes`` shows it."""

    company: str
    dbms: str
    table: str
    cluster: Cluster


class Routing(Struct, frozen=True):
    """Clusters by id, and by the tables that they hold. Never changed after it is built.

    Attributes:
        places: every (table, cluster), by company, database and table in the order of the policies.
        problems: what is wrong with the policies: these are passed over.
    """

    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    by_table: Mapping[tuple[str, str], tuple[Place, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, image: Image, addresses: Addresses | None = None) -> Routing:
        """Build from the ``cluster`` and ``operator`` policies of an image."""
        return _Builder(addresses or Addresses()).build(image)

    def at(self, company: str = "", dbms: str = "", table: str = "") -> Sequence[Place]:
        """Tables at clusters that satisfy all of what is given."""
        company, dbms, table = _wanted(company), _wanted(dbms), _wanted(table)
        found = self.by_table.get((dbms, table), ()) if dbms and table else self.places
        return [
            p
            for p in found
            if (not company or p.company.lower() == company)
            and (not dbms or p.dbms.lower() == dbms)
            and (not table or p.table.lower() == table)
        ]

    def clusters_of(self, company: str = "", dbms: str = "", table: str = "") -> list[Cluster]:
        """Clusters that hold some data of what is given, each once."""
        return list({p.cluster.id: p.cluster for p in self.at(company, dbms, table)}.values())

    def cluster_of_operator(self, policy_id: str) -> tuple[Cluster, Operator] | None:
        """The cluster of the operator with this policy."""
        for cluster in self.clusters.values():
            for operator in cluster.operators:
                if operator.policy_id == policy_id:
                    return cluster, operator
        return None

    def lists(self, cluster_id: str, dbms: str, table: str) -> bool:
        """Whether a cluster lists a table."""
        return any(p.cluster.id == cluster_id for p in self.by_table.get((dbms.lower(), table.lower()), ()))


def _wanted(text: str) -> str:
    return "" if text == "*" else text.lower()


class _Builder:
    def __init__(self, addresses: Addresses) -> None:
        self._own = addresses
        self._problems: list[str] = []

    def build(self, image: Image) -> Routing:
        heads: dict[str, tuple[str, str, str]] = {}
        tables: dict[str, dict[tuple[str, str, str], None]] = {}
        policies = image.of_type("cluster")
        hidden = {id_of(p) for p in policies if not _is_readable(p)}
        for policy in policies:
            if id_of(policy) not in hidden and body_of(policy).get("parent") not in hidden:
                self._take_cluster(policy, heads, tables)
        members = self._members(image.of_type("operator"), heads)
        clusters = {
            key: Cluster(key, *head, tuple(members.get(key, ())), tuple(tables[key])) for key, head in heads.items()
        }
        places = [Place(*place, cluster) for cluster in clusters.values() for place in cluster.tables]
        grouped: dict[str, dict[str, dict[str, list[Place]]]] = {}
        by_table: dict[tuple[str, str], list[Place]] = {}
        for place in places:
            of_dbms = grouped.setdefault(place.company, {}).setdefault(place.dbms, {})
            of_dbms.setdefault(place.table, []).append(place)
            by_table.setdefault((place.dbms.lower(), place.table.lower()), []).append(place)
        ordered = [p for dbms in grouped.values() for table in dbms.values() for at in table.values() for p in at]
        return Routing(clusters, tuple(ordered), {k: tuple(v) for k, v in by_table.items()}, tuple(self._problems))

    def _take_cluster(
        self,
        policy: Policy,
        heads: dict[str, tuple[str, str, str]],
        tables: dict[str, dict[tuple[str, str, str], None]],
    ) -> None:
        body = body_of(policy)
        status = str(body.get("status", "active"))
        key = str(body.get("parent") or id_of(policy))
        name, company = str(body.get("name", "")), str(body.get("company") or NO_COMPANY)
        head = heads.setdefault(key, (name, company, status))
        if head[:2] != (name, company):
            self._problems.append(f"the cluster {key} is called {head[0]} of {head[1]}, and {name} of {company}")
            return
        if not body.get("parent"):
            heads[key] = (name, company, status)  # the root policy says what state the cluster is in
        listed = tables.setdefault(key, {})
        for entry in _entries(body.get("table")):
            place = (company, str(entry["dbms"]), str(entry["name"]))
            if place in listed:
                self._problems.append(f"the cluster {key} has the table {place[1]}.{place[2]} twice")
            elif str(entry.get("status", "active")) in READABLE:
                listed[place] = None

    def _members(
        self, policies: Iterable[Policy], heads: Mapping[str, tuple[str, str, str]]
    ) -> dict[str, list[Operator]]:
        found: dict[str, list[Operator]] = {}
        seen: dict[str, str] = {}
        for policy in policies:
            operator = self._operator(policy)
            if operator is None or operator.cluster not in heads:
                continue
            if operator.address in seen:
                self._problems.append(
                    f"the operators {seen[operator.address]} and {operator.policy_id} have one address, "
                    f"{operator.address}"
                )
                continue
            seen[operator.address] = operator.policy_id
            members = found.setdefault(operator.cluster, [])
            if operator.is_main and members and members[0].is_main:
                log.warning("the cluster %s has several main operators: %s counts", operator.cluster, operator.name)
                members[0] = replace(members[0], is_main=False)
            if operator.is_main:
                members.insert(0, operator)
            else:
                members.append(operator)
        return found

    def _operator(self, policy: Policy) -> Operator | None:
        body = body_of(policy)
        cluster, member = body.get("cluster"), body.get("member")
        address = self._own.of(body)
        if not cluster or not isinstance(member, int) or not address:
            return None
        external = f"{body.get('ip', '')}:{body.get('port', '')}"
        local_ip, local_port = body.get("local_ip"), body.get("local_port") or body.get("port", "")
        return Operator(
            id_of(policy),
            str(body.get("name", "")),
            str(body.get("company") or NO_COMPANY),
            str(cluster),
            member,
            address,
            external if body.get("ip") else address,
            f"{local_ip}:{local_port}" if local_ip else address,
            body.get("main") is True or str(body.get("main")).lower() == "true",
            str(body.get("type", "")).lower() == _FOREIGN,
        )


def _is_readable(policy: Policy) -> bool:
    return str(body_of(policy).get("status", "active")) in READABLE


def _entries(tables: Any) -> list[dict[str, Any]]:
    """The tables of a cluster policy that have a database and a name; anything else is passed over."""
    listed = tables if isinstance(tables, list) else []
    return [e for e in listed if isinstance(e, dict) and e.get("dbms") and e.get("name")]


class NodeState(Struct):
    """Whether a node answered the last time, and when that was; ``since`` on the monotonic clock, as is
    ``incomplete_until``: till then it counts as a member that lacks data of its cluster. ``failures``: times in a row
    that it did not answer."""

    is_active: bool = True
    recorded_s: float = 0.0
    since: float = 0.0
    incomplete_until: float = 0.0
    failures: int = 0

    @property
    def recorded(self) -> str:
        """When, as UTC text; "" = never."""
        return utc_text(datetime.fromtimestamp(self.recorded_s, UTC)) if self.recorded_s else ""


class Routes:
    """The routing that stands, with what changes between two versions of it: states of nodes, and whose turn it is.

    States are kept by ``ip:port`` across changes of the policies.

    Attributes:
        on_silent: called when a node did not answer.
    """

    def __init__(self, addresses: Callable[[], Addresses] = Addresses) -> None:
        self._addresses = addresses
        self._image = Image.of(())
        self._routing = Routing()
        self._built_for: tuple[object, ...] | None = None
        self._turns: dict[tuple[str, str], int] = {}
        self._states: dict[str, NodeState] = {}
        self.on_silent: Callable[[], None] = lambda: None

    def update(self, image: Image) -> None:
        """Take another image; hand it to ``Policies.watch``."""
        self._image = image

    @property
    def routing(self) -> Routing:
        """As the policies and our own addresses are now."""
        own = self._addresses()
        stamp = (*self._image.stamp("cluster", "operator"), own)
        if stamp != self._built_for:
            before = self._routing.problems
            self._routing, self._built_for = Routing.of(self._image, own), stamp
            for problem in self._routing.problems:
                if problem not in before:
                    log.error("policies of clusters and operators: %s", problem)
        return self._routing

    def operators(self, company: str = "", dbms: str = "", table: str = "") -> list[Operator]:
        """Every operator that holds data of what is given, each once; without data sources of another protocol."""
        clusters = self.routing.clusters_of(company, dbms, table)
        return [o for cluster in clusters for o in cluster.operators if not o.is_foreign]

    def targets(self, company: str = "", dbms: str = "", table: str = "", *, take_turns: bool = False) -> list[Target]:
        """For a query: each cluster with its operators in the order in which to try them.

        Args:
            take_turns: members in turn (``nodes = all``), instead of the main operator first; a cluster without a
                main operator always takes turns.
        """
        return [self._target(c, "query", take_turns) for c in self.routing.clusters_of(company, dbms, table)]

    def receivers(self, company: str = "", dbms: str = "", table: str = "") -> list[Target]:
        """For new data: the clusters that take it, the next in turn first, and likewise their operators."""
        found = [c for c in self.routing.clusters_of(company, dbms, table) if c.takes_data and c.operators]
        turn = self._next_turn(f"{company}.{dbms}.{table}".lower(), "distribution", len(found))
        return [self._target(c, "distribution", True) for c in (*found[turn:], *found[:turn])]

    def receivers_of(self, company: str = "") -> list[Target]:
        """For data of a table that no cluster has: every cluster that takes data, the next in turn first."""
        wanted = _wanted(company)
        found = [c for c in self.routing.clusters.values() if c.takes_data and c.operators]
        found = [c for c in found if not wanted or c.company.lower() == wanted]
        turn = self._next_turn(wanted, "any table", len(found))
        return [self._target(c, "distribution", True) for c in (*found[turn:], *found[:turn])]

    def _target(self, cluster: Cluster, use: str, take_turns: bool) -> Target:
        if len(operators := cluster.operators) == 1 and not operators[0].is_foreign:
            return Target(cluster, operators)
        members = [o for o in operators if not o.is_foreign]
        if members and (take_turns or not members[0].is_main):
            turn = self._next_turn(cluster.id, use, len(members))
            members = [*members[turn:], *members[:turn]]
        return Target(cluster, tuple(sorted(members, key=self._rank)))

    def _rank(self, operator: Operator) -> tuple[bool, bool]:
        """Those come first that answer, and of these those that have all data."""
        return not self.is_active(operator.address), not self.is_complete(operator.address)

    def _next_turn(self, key: str, use: str, count: int) -> int:
        turn = self._turns.get((key, use), 0) % max(count, 1)
        self._turns[key, use] = turn + 1
        return turn

    # ---- states

    def mark(self, address: str, *, active: bool) -> None:
        """Put down whether a node answered. ``address`` is ``ip:port`` as messages are sent to it."""
        state = self._kept(address)
        if state.is_active != active:
            log.log(logging.INFO if active else logging.WARNING, "%s %s", address, _said(active))
        state.is_active, state.recorded_s, state.since = active, time.time(), time.monotonic()
        state.failures = 0 if active else state.failures + 1
        if not active:
            self.on_silent()

    def mark_incomplete(self, address: str, seconds: float = INCOMPLETE_S) -> None:
        """Put down that a member lacks data of its cluster; that ends after ``seconds`` (0 = it is complete)."""
        self._kept(address).incomplete_until = time.monotonic() + seconds

    def _kept(self, address: str) -> NodeState:
        state = self._states.get(address)
        if state is None:
            if len(self._states) >= MAX_STATES:
                del self._states[next(iter(self._states))]
            state = self._states[address] = NodeState()
        return state

    def heard_of(self, address: str) -> None:
        """Put down that a node answers again; it may name an address of its policy that we do not send to."""
        named = [
            o.address for c in self.routing.clusters.values() for o in c.operators if address in (o.external, o.local)
        ]
        for one in {address, *named}:
            if not self.is_active(one):
                self.mark(one, active=True)

    def is_active(self, address: str) -> bool:
        """Whether a node answered the last time; one that was never asked counts as active."""
        state = self._states.get(address)
        return state is None or state.is_active

    def is_complete(self, address: str) -> bool:
        """Whether a member has all data of its cluster; one that said nothing of it counts as complete."""
        return time.monotonic() >= self.state(address).incomplete_until

    def silent(self) -> dict[str, NodeState]:
        """The operators of the policies that did not answer the last time."""
        return {
            o.address: state
            for c in self.routing.clusters.values()
            for o in c.operators
            if (state := self._states.get(o.address)) is not None and not state.is_active and not o.is_foreign
        }

    def state(self, address: str) -> NodeState:
        """What is known of a node (``get members status``)."""
        return self._states.get(address) or NodeState()

    def states(self) -> dict[str, NodeState]:
        """What is known of each operator of the policies and each node that was asked, by address."""
        known = {o.address: self.state(o.address) for c in self.routing.clusters.values() for o in c.operators}
        return {**known, **self._states}


def _said(active: bool) -> str:
    return "answers again" if active else "does not respond"
