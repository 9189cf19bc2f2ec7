"""Which operators get the data of a table (spec: ingestion and storage, section 2).

In this order, the first that names somebody: what ``set data distribution`` says of the table, then of its database; a
``distribution`` policy of the table, then of its database; the operators whose cluster has the table; any operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from edgelake.metadata.ids import Policy, body_of
from edgelake.metadata.routing import Routes, Target

DISTRIBUTION: Final = "distribution"
"""Name of the node's part that holds its ``Distribution``, and the type of the policies."""

MAX_ENTRIES: Final = 10_000
ANY: Final = "*"


class Distribution:
    """Where the data of tables goes. Addresses are ``ip:port``; names are compared without case.

    A policy: ``{"distribution": {"dbms": "d", "table": "t", "dest": ["10.0.0.2:32148", "<id of an operator or a
    cluster>"]}}``; without ``table``, or with ``*``, for all tables of the database.
    """

    def __init__(self, routes: Callable[[], Routes], policies: Callable[[], Iterable[Policy]]) -> None:
        self._routes, self._policies = routes, policies
        self._entries: dict[tuple[str, str], list[str]] = {}
        self._turns: dict[tuple[str, str], int] = {}

    def set(self, dbms: str, table: str, peers: Sequence[str]) -> None:
        """Send a table's data (``*``: of all tables of the database) to these, in turn; replaces what was set."""
        if len(self._entries) >= MAX_ENTRIES:
            raise ValueError(f"{MAX_ENTRIES:,} tables have a distribution already")
        self._entries[dbms.lower(), table.lower()] = list(dict.fromkeys(peers))
        self._turns.pop((dbms.lower(), table.lower()), None)

    def remove(self, dbms: str, table: str, peers: Sequence[str]) -> bool:
        """Forget destinations of a table, all of them when none is named; False: there was nothing to forget."""
        key = dbms.lower(), table.lower()
        known = self._entries.get(key, [])
        left = [peer for peer in known if peers and peer not in peers]
        if left:
            self._entries[key] = left
        else:
            self._entries.pop(key, None)
        return left != known

    def entries(self) -> list[tuple[str, str, str]]:
        """(dbms, table, destination) of what was set."""
        return [(*key, peer) for key, peers in sorted(self._entries.items()) for peer in peers]

    def candidates(self, dbms: str, table: str, company: str = "") -> list[str]:
        """Addresses for new data of a table, the next in turn first; the others are for when it fails."""
        key = dbms.lower(), table.lower()
        if named := self._entries.get(key) or self._entries.get((key[0], ANY)) or self._of_policies(*key):
            if len(self._turns) > MAX_ENTRIES:
                self._turns.clear()
            turn = self._turns.get(key, 0) % len(named)
            self._turns[key] = turn + 1
            return [*named[turn:], *named[:turn]]
        routes = self._routes()
        return _addresses(routes.receivers(company, *key)) or _addresses(routes.receivers_of(company))

    def _of_policies(self, dbms: str, table: str) -> list[str]:
        found: dict[str, list[str]] = {}
        for policy in self._policies():
            body = body_of(policy)
            place = str(body.get("table") or ANY).lower()
            dest = body.get("dest")
            if str(body.get("dbms", "")).lower() == dbms and place in (table, ANY):
                found.setdefault(place, []).extend(map(str, dest if isinstance(dest, list) else [dest]))
        names = found.get(table) or found.get(ANY) or []
        return list(dict.fromkeys(peer for name in names for peer in self._named(name)))

    def _named(self, name: str) -> list[str]:
        """Addresses of what a policy names: an address, an operator or a cluster."""
        if ":" in name:
            return [name]
        routing = self._routes().routing
        if (found := routing.cluster_of_operator(name)) is not None:
            return [found[1].address]
        cluster = routing.clusters.get(name)
        return [o.address for o in cluster.operators] if cluster is not None and cluster.takes_data else []


def _addresses(targets: Sequence[Target]) -> list[str]:
    return list(dict.fromkeys(o.address for target in targets for o in target.operators))
