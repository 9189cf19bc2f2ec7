"""Policies of the tables that an operator holds, published as data arrives (spec: metadata, section 13).

A table needs two: the ``table`` policy with its columns, and a ``cluster`` policy below the operator's cluster that
says where its rows are. Both ids follow from the content, so that operators that publish the same at once agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec import Struct

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.ids import Policy, body_of, id_of, make_id, type_of
from edgelake.metadata.ledger import is_local
from edgelake.metadata.policies import Policies

log = logging.getLogger(__name__)

RETRY_S = 5.0
MAX_RETRY_S = 300.0

_ARRIVED = frozenset({70, 180})
"""Errors that say: another has published it in the meantime."""

Table = tuple[str, str]
"""(dbms, table)"""


class TableText(Struct, frozen=True):
    """A table as its policy describes it: names of its columns, and the statement that creates it."""

    columns: tuple[str, ...]
    create: str


class Owner(Struct, frozen=True):
    """The operator that publishes.

    Attributes:
        cluster: id of its cluster; "" = it runs alone, and publishes columns only.
        address: ``ip:port`` of its policy.
        masters, chains: where the policies are sent, beside the local file.
    """

    cluster: str = ""
    address: str = ""
    masters: Sequence[str] = ()
    chains: Sequence[str] = ()


class Ownership:
    """Publishes what is missing, and sends it again until the shared ledger has it.

    Args:
        describe: a local table, now; None when it is not there. Columns of a published statement: ``columns_of``.
    """

    def __init__(
        self,
        owner: Owner,
        policies: Policies,
        describe: Callable[[Table], TableText | None],
        columns_of: Callable[[str], Sequence[str]],
    ) -> None:
        self._owner = owner
        self._policies = policies
        self._describe = describe
        self._columns_of = columns_of
        self._waiting: dict[Table, None] = {}
        self._sent: dict[str, Policy] = {}
        self._wake = asyncio.Event()
        self._told: dict[Table, str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to publish."""
        self._task = asyncio.create_task(self._run(), name="table policies")

    async def stop(self) -> None:
        """End; what is not confirmed stays in the local file and is sent by the synchroniser. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def seen(self, dbms: str, table: str) -> None:
        """A table has got rows for the first time, or other columns."""
        self._waiting[dbms, table] = None
        self._wake.set()

    async def _run(self) -> None:
        pause_s = RETRY_S
        while True:
            if await self._publish_all():
                pause_s = RETRY_S
            await self._repeat()
            try:
                async with asyncio.timeout(pause_s if self._waiting or self._sent else None):
                    await self._wake.wait()
                pause_s = RETRY_S
            except TimeoutError:
                pause_s = min(pause_s * 2, MAX_RETRY_S)
            self._wake.clear()

    async def _publish_all(self) -> bool:
        """Publish what waits; whether nothing is left that failed."""
        for place in list(self._waiting):
            self._waiting.pop(place, None)
            try:
                await self._publish(place)
                self._told.pop(place, None)
            except EdgeLakeError as problem:
                self._waiting[place] = None
                if self._told.get(place) != str(problem):
                    self._told[place] = str(problem)
                    log.error("policies of the table %s.%s are not published yet: %s", *place, problem)
        return not self._waiting

    async def _publish(self, place: Table) -> None:
        described = self._describe(place)
        if described is None:
            return
        dbms, name = place
        known = self._policies.find("table", dbms=dbms, name=name)
        if not known:
            source = "Processing JSON file"  # as the reference says it
            await self._insert({"table": {"name": name, "dbms": dbms, "create": described.create, "source": source}})
        else:
            await self._add_columns(known[0], described)
        if self._owner.cluster:
            await self._own(dbms, name)

    async def _add_columns(self, policy: Policy, described: TableText) -> None:
        """Columns that came later: the policy keeps its id, and gets another statement by an ``anmp`` policy."""
        known = {name.lower() for name in self._columns_of(str(body_of(policy).get("create", "")))}
        if known >= {name.lower() for name in described.columns} or not known <= {c.lower() for c in described.columns}:
            return  # nothing new; or columns that are not here: a statement without them would hide them
        await self._insert({"anmp": {id_of(policy): {"create": described.create}}})

    async def _own(self, dbms: str, name: str) -> None:
        parent = self._policies.get(self._owner.cluster)
        if parent is None or type_of(parent) != "cluster":
            raise error(222, f"no cluster policy with id = {self._owner.cluster}")
        if self._lists(dbms, name):
            return
        body = {
            "parent": self._owner.cluster,
            "name": body_of(parent).get("name"),
            "company": body_of(parent).get("company"),
            "table": [{"dbms": dbms, "name": name}],
            "source": f"Node at {self._owner.address}",
        }
        await self._insert({"cluster": body})

    def _lists(self, dbms: str, name: str) -> bool:
        """Whether the cluster, or a policy below it, has the table already, in whatever state."""
        image = self._policies.image
        found = [image.get(self._owner.cluster), *image.find("parent", value=self._owner.cluster)]
        tables = [body_of(p).get("table") for p in found if p is not None and type_of(p) == "cluster"]
        entries = [e for listed in tables if isinstance(listed, list) for e in listed if isinstance(e, dict)]
        return any(e.get("dbms") == dbms and e.get("name") == name for e in entries)

    async def _insert(self, policy: Policy) -> None:
        policy_id = make_id(policy)
        if self._policies.get(policy_id) is None:
            try:
                await self._policies.insert(policy, masters=self._owner.masters, chains=self._owner.chains)
            except EdgeLakeError as problem:
                if problem.number not in _ARRIVED:
                    raise
        if (made := self._policies.get(policy_id)) is not None and (self._owner.masters or self._owner.chains):
            self._sent[policy_id] = made

    async def _repeat(self) -> None:
        """Send again what the shared ledger does not have yet; a synchroniser says that it has it."""
        for policy_id in list(self._sent):
            found = self._policies.get(policy_id)
            if found is None or not is_local(found):
                del self._sent[policy_id]
            elif found is not self._sent[policy_id] and self._policies.network is not None:
                await self._policies.network.send(found, self._owner.masters, self._owner.chains, again=True)
            else:
                self._sent[policy_id] = dict(found)  # sent a moment ago: again at the next turn
