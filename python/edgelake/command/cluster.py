"""The own cluster: who belongs to it, and what its members ask and say.

Source: network protocol, section 6.5; spec "Security and high availability", section 11. Only members get files and
ranges, and only of those who run an operator of the same cluster here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from edgelake.command.context import Context
from edgelake.errors import NotPermittedError, error
from edgelake.ingest.consumer import Consumer
from edgelake.ingest.delivery import (
    GET_RANGE,
    MISSING,
    RANGE,
    Delivery,
    ids_of,
    member_of,
    missing_id,
    safe_ids_of,
)
from edgelake.ingest.distributor import Distributor
from edgelake.ingest.members import MemberFiles
from edgelake.ingest.names import FileName
from edgelake.ingest.numbers import OwnNumbers
from edgelake.ingest.operator import Operator
from edgelake.ingest.settings import OperatorConfig
from edgelake.metadata.address import ips_of
from edgelake.metadata.ids import body_of
from edgelake.metadata.routing import ROUTING
from edgelake.metadata.routing import Operator as Member
from edgelake.peering import Peers
from edgelake.store.tsd import FileEntry

CLUSTER: Final = "cluster"
"""Name of the node's part."""
LINES: Final = 1000
"""Rows that are sent at once."""


class ClusterMessages:
    """Implements ``net.peer.dispatch.Cluster``."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.files = MemberFiles(ctx.stores, self.operator)
        self.numbers = OwnNumbers(self.files, self.peers, self.operator, self.members, self.hosts_of)
        self.delivery = Delivery(self.files, self.peers, self.operator, self._numbers, self._rows_of, self._sends)

    async def stop(self) -> None:
        """End what is under way. Idempotent."""
        await self.numbers.stop()
        await self.delivery.stop()

    # ---- who belongs to it

    def operator(self) -> OperatorConfig | None:
        """What the operator that runs here was told; None = none runs."""
        running = self._ctx.services.get(Operator.name)
        return running.config if isinstance(running, Operator) else None

    def peers(self) -> Peers:
        """Raises EdgeLakeError (21) without a TCP server."""
        found: Peers | None = self._ctx.parts.get("peers")
        if found is None:
            raise error(21, "this node has no TCP server", hint="run tcp server where ...")
        return found

    def all_members(self) -> tuple[Member, ...]:
        """Members of the own cluster, this node too."""
        config = self.operator()
        cluster = self._ctx.parts[ROUTING].routing.clusters.get(config.cluster) if config else None
        return tuple(one for one in cluster.operators if not one.is_foreign) if cluster else ()

    def members(self) -> list[Member]:
        """The other members of the own cluster."""
        config = self.operator()
        return [one for one in self.all_members() if config is None or one.member != config.member]

    def _numbers(self) -> list[int]:
        return [one.member for one in self.all_members()]

    def hosts_of(self, member: Member) -> frozenset[str]:
        """Addresses, without ports, of a member's policy."""
        policy = self._ctx.policies.get(member.policy_id)
        return ips_of(body_of(policy)) if policy is not None else frozenset()

    def takes(self, name: FileName, ip: str) -> bool:
        """Whether a file of that name comes from a member, and this node distributes or consumes itself."""
        if not any(self._ctx.services.get(one) for one in (Consumer.name, Distributor.name)):
            return False
        return name.member in self._numbers() and self._is_member(ip)

    def _is_member(self, ip: str) -> bool:
        return any(ip in self.hosts_of(one) for one in self.members())

    def shares(self, dbms: str, table: str, ip: str) -> bool:
        """Whether an address is that of a member, and the own cluster has the table."""
        config = self.operator()
        routing = self._ctx.parts[ROUTING].routing
        return config is not None and self._is_member(ip) and routing.lists(config.cluster, dbms, table)

    def _check_member(self, ip: str) -> None:
        if not self._is_member(ip):
            raise NotPermittedError(f"{ip} is no member of a cluster that has an operator here")

    def _sends(self, peer: str, name: str) -> bool:
        distributor = self._ctx.services.get(Distributor.name)
        return isinstance(distributor, Distributor) and distributor.sends(peer, name)

    async def _rows_of(self, name: FileName) -> AsyncIterator[bytes]:
        """The rows of a member's file as the table has them, JSON lines."""
        info = self._ctx.stores.table(name.dbms, name.table)
        if info is None or not info.is_own:
            return
        columns = ", ".join(f'"{column.name}"' for column in info.user_columns)
        sql = (
            f"select {columns} from {info.dbms}.{info.name} where tsd_name = '{name.member}' and tsd_id = {name.tsd_id}"
        )
        lines: list[bytes] = []
        async for row in self._ctx.queries.rows(sql, info.dbms):
            lines.append(msgspec.json.encode({key: value for key, value in row.items() if value is not None}) + b"\n")
            if len(lines) == LINES:
                yield b"".join(lines)
                lines.clear()
        if lines:
            yield b"".join(lines)

    async def held(self, member: int, after: int, upto: int) -> dict[int, FileEntry]:
        """Files of a member whose rows stand in tables here, by number: a TSD table may have been lost alone."""
        found: dict[int, FileEntry] = {}
        for store in self._ctx.stores:
            for info in list(store.tables.values()):
                if not info.is_own or not {"tsd_name", "tsd_id"} <= {column.name for column in info.columns}:
                    continue
                sql = (
                    f"select tsd_id, count(*) as rows from {info.dbms}.{info.name} where tsd_name = '{member}'"
                    f" and tsd_id > {after} and tsd_id <= {upto} group by tsd_id"
                )
                async for row in self._ctx.queries.rows(sql, info.dbms):
                    number, rows = int(row["tsd_id"]), int(row["rows"])
                    found[number] = FileEntry(info.dbms, info.name, f"held-{number}", rows=rows, file_id=number)
        return found

    # ---- what they ask and say

    async def event(self, words: Sequence[str], ip: str, reply_to: str) -> bool:
        """An event of a member, its words as they came. Raises EdgeLakeError."""
        if words[:1] == [GET_RANGE]:
            self._check_member(ip)
            if len(words) < 4:
                raise error(2, f"event {GET_RANGE} tsd_<member> <start> <end>")
            await self.delivery.range(member_of(words[1]), words[2], words[3], reply_to)
        elif words[:1] == [RANGE]:
            self._told_range(words, ip)
        elif words[:1] == [MISSING]:
            self._told_missing(words, ip)
        else:
            return False
        return True

    def _consumer(self) -> Consumer | None:
        found = self._ctx.services.get(Consumer.name)
        return found if isinstance(found, Consumer) else None

    @property
    def is_complete(self) -> bool:
        """Whether this node has all data of its cluster, as far as its consumer knows; without one it has."""
        consumer = self._consumer()
        return consumer is None or consumer.is_complete

    async def safe_ids(self) -> dict[int, int] | None:
        """By member, the number up to which every member has its files; None without others.

        Raises EdgeLakeError 175 where nothing tells what the others have.
        """
        config, members = self.operator(), self.members()
        if config is None or not members:
            return None
        consumer = self._consumer()
        if consumer is None:
            raise error(175, "committed: nothing tells what the other members have", hint="run data consumer")
        found = {}
        for one in self.all_members():
            table = self.files.table_of(one.member)
            own = await table.safe_id() if table.exists else 0
            others = [consumer.safe_id_at(other.member, one.member) for other in members if other is not one]
            found[one.member] = min([own, *others])
        return found

    def _told_range(self, words: Sequence[str], ip: str) -> None:
        if len(words) < 6 or not (words[3].isdigit() and words[5].isdigit()):
            return
        consumer = self._consumer()
        if self.numbers.told(member_of(words[1]), int(words[5]), ip) or consumer is None:
            return
        safe = dict(safe_ids_of("".join(words[6:])))
        consumer.told_range(member_of(words[1]), int(words[3]), int(words[5]), safe, ip)

    def _told_missing(self, words: Sequence[str], ip: str) -> None:
        consumer = self._consumer()
        file_id = missing_id(words[2]) if len(words) > 2 else None
        if consumer is not None and file_id is not None and self._is_member(ip):
            consumer.told_missing(member_of(words[1]), file_id)

    async def deliver(self, table: str, ids: str, ip: str, reply_to: str) -> None:
        """A member asks for files. Raises EdgeLakeError."""
        self._check_member(ip)
        self.delivery.give(member_of(table), await asyncio.to_thread(ids_of, ids), reply_to)
