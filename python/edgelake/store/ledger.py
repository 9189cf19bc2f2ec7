"""The ``ledger`` table of a master: the policies of a network (spec: metadata, section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from edgelake.errors import TableMissingError
from edgelake.store.engine import quote
from edgelake.store.schema import Transaction
from edgelake.store.store import Store
from edgelake.store.stores import Stores

LEDGER_DBMS: Final = "blockchain"
LEDGER: Final = "ledger"

LedgerRow = tuple[str, str, str, str, str, str]
"""(policy type, policy id, company, date as the policy has it, host, policy as JSON)."""


def create(tx: Transaction) -> None:
    """Create the table if it is missing."""
    own = quote(LEDGER)
    tx.execute(
        f"CREATE TABLE IF NOT EXISTS {own} (sequence_id {tx.number_key()},"
        " policy_type varchar NOT NULL, policy_id varchar NOT NULL, company_name varchar, date timestamp,"
        " host varchar, status varchar, policy varchar NOT NULL)"
    )
    tx.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS ledger_policy_id ON {own} (policy_id)")
    tx.execute(f"CREATE INDEX IF NOT EXISTS ledger_date ON {own} (date)")
    tx.foreign_changes = True


class LedgerTable:
    """The table in the database ``blockchain``. Every change is durable on return, all of it or nothing."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @property
    def exists(self) -> bool:
        store = self._stores.find(LEDGER_DBMS)
        return store is not None and LEDGER in store.tables

    def _store(self) -> Store:
        """Raises DatabaseMissingError, TableMissingError."""
        store = self._stores.get(LEDGER_DBMS)
        if LEDGER not in store.tables:
            raise TableMissingError(f"{LEDGER_DBMS}.{LEDGER}", hint=f"create table {LEDGER} where dbms = {LEDGER_DBMS}")
        return store

    async def create(self) -> None:
        """Create it where it is missing. Raises DatabaseMissingError."""
        await self._stores.get(LEDGER_DBMS).change(create)

    async def drop(self) -> None:
        """Drop it with all policies. Raises DatabaseMissingError, TableMissingError."""
        store = self._store()
        await store.change(lambda tx: tx.drop_table(store.table(LEDGER)))

    async def change(self, removed: Sequence[str], added: Sequence[LedgerRow]) -> tuple[int, ...]:
        """Remove policies by id, then add others; the numbers of those added. Raises DatabaseError for a known id."""

        def work(tx: Transaction) -> tuple[int, ...]:
            own = quote(LEDGER)
            tx.connection.executemany(f"DELETE FROM {own} WHERE policy_id = ?", [(one,) for one in removed])
            numbers = []
            for kind, policy_id, company, date, host, policy in added:
                done = tx.execute(
                    f"INSERT INTO {own} (policy_type, policy_id, company_name, date, host, status, policy)"
                    " VALUES (?, ?, ?, ?, ?, 'active', ?) RETURNING sequence_id",
                    (kind, policy_id, company, tx.time(_date_us(date)), host, policy),
                ).fetchall()
                numbers.append(int(done[0][0]))
            return tuple(numbers)

        return await self._store().change(work)

    async def ids_of_host(self, host: str) -> list[str]:
        """Ids of the policies that a node has sent."""
        sql = f"SELECT policy_id FROM {quote(LEDGER)} WHERE host = ? ORDER BY sequence_id"
        return [str(row[0]) for row in await self._store().read(lambda db: db.execute(sql, (host,)).fetchall())]

    async def rows(self) -> list[tuple[int, str]]:
        """(number, policy as JSON) in the order in which they came."""
        sql = f"SELECT sequence_id, policy FROM {quote(LEDGER)} ORDER BY sequence_id"
        found = await self._store().read(lambda db: db.execute(sql).fetchall())
        return [(int(str(number)), str(policy)) for number, policy in found]

    async def stamp(self) -> tuple[int, int]:
        """Differs when anything in the database was changed in between, by whomever in this process."""
        store = self._store()
        return id(store), await store.run(lambda db: db.total_changes())


def _date_us(text: str) -> int | None:
    """A policy's date for SQL, microseconds UTC; None for a text that is no date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
