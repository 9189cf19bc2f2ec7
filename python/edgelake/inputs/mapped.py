"""Mapped messages into the data path of plain rows.

A payload is mapped natively and each target's rows go the durable way of any rows: one journal record per table, in
the table's own form, so that a replay after a crash needs no mapping. The payload is acknowledged when all of its
records are durable. (Design, section 3, keeps the payload as received: with several tables to a payload that would
need positions over all of them in one commit.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from edgelake._rust import MappingProgram
from edgelake.model import Stored, Submit
from edgelake.store.base import ColumnInfo
from edgelake.store.stores import Stores

Columns = Sequence[tuple[str, str, bool]]
"""Columns as (name, kind, default now)."""
Declare = Callable[[str, str, Columns], Awaitable[bool]]
"""(dbms, table, columns): make the types known before the first row creates the table; False = not now."""


async def _no_declaration(dbms: str, table: str, columns: Columns) -> bool:
    """Types are inferred from the rows."""
    return True


def declare_in(stores: Stores) -> Declare:
    """Create the tables of mapped rows with the types that the mapping declares.

    Without it the first rows decide, and ``1`` in a float column would make it an int.
    """

    async def declare(dbms: str, table: str, columns: Columns) -> bool:
        store = stores.find(dbms)
        if store is None:
            return False  # connected later: the rows wait in the journal until then
        if table not in store.tables:
            wanted = [ColumnInfo(name, kind, default_now) for name, kind, default_now in columns]
            await store.change(lambda tx: tx.table(table) or tx.create_table(table, wanted))
        return True

    return declare


class MappedSubmit:
    """Maps payloads and submits their rows; the ``MappedIngest`` of message clients.

    Args:
        submit: entry of the data path.
        declare: called once for each table and set of columns (``declare_in(stores)``).
        timezone: of times that name no zone; None = the machine's.
    """

    def __init__(self, submit: Submit, declare: Declare = _no_declaration, *, timezone: str | None = None) -> None:
        self._submit = submit
        self._declare = declare
        self._timezone = timezone
        self._programs: list[MappingProgram] = []
        self._declared: set[tuple[str, str, tuple[tuple[str, str, bool], ...]]] = set()

    def add_program(self, definition: str) -> int:
        """Compile a definition; returns its number. Raises EdgeLakeError (124, 188), NotAvailableError."""
        self._programs.append(MappingProgram(definition))
        return len(self._programs) - 1

    async def submit_mapped(self, program_id: int, topic: str, payload: bytes) -> Stored:
        """Map and store a payload; returns when all of its rows are durable.

        Raises EdgeLakeError (299 not rows, 159 topic), and what submitting raises; rows of other tables may be stored
        then, as with any batch that is sent again.
        """
        targets, rejected = self._programs[program_id].map(
            payload, topic, now_us=time.time_ns() // 1000, timezone=self._timezone
        )
        for dbms, table, _, _, columns, _ in targets:
            await self._make_known(dbms, table, columns)
        stored = await asyncio.gather(
            *(
                self._submit(dbms, table, rows.to_json_lines(), source=source, instructions=instructions)
                for dbms, table, source, instructions, _, rows in targets
            )
        )
        reasons = [reason for _, _, reason in rejected] + [s.reason for s in stored if s.rejected]
        if rejected:
            reasons[0] = f"element {rejected[0][0]}: {reasons[0]}"
        return Stored(
            sum(s.rows for s in stored),
            len(rejected) + sum(s.rejected for s in stored),
            reasons[0] if reasons else "",
        )

    async def _make_known(self, dbms: str, table: str, columns: list[tuple[str, str, bool]]) -> None:
        known = (dbms, table, tuple(columns))
        if columns and known not in self._declared and await self._declare(dbms, table, columns):
            self._declared.add(known)
