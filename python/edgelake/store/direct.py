"""Statements that users write themselves: INSERT, UPDATE, DELETE, CREATE, DROP on the writer's connection."""

from __future__ import annotations

import re
import time
from typing import Final

from edgelake.errors import DatabaseError, NotPermittedError
from edgelake.store import catalogue, statement
from edgelake.store.base import TableInfo
from edgelake.store.engine import quote
from edgelake.store.schema import Transaction

_NAME: Final = r'(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>\w+))'
_STATEMENT: Final = re.compile(
    r"\s*(?P<lead>insert\s+(?:or\s+\w+\s+)?into|replace\s+into|update(?:\s+or\s+\w+)?|delete\s+from"
    r"|create\s+table(?:\s+if\s+not\s+exists)?|drop\s+table(?:\s+if\s+exists)?|alter\s+table"
    rf"|create\s+(?:unique\s+)?index(?:\s+if\s+not\s+exists)?\s+\S+\s+on)\s+{_NAME}(?P<rest>.*)\Z",
    re.IGNORECASE | re.DOTALL,
)
_AUTOMATIC: Final = re.compile(r"\brow_id\b.*\binsert_timestamp\b", re.IGNORECASE | re.DOTALL)
_TEXT_TO_US: Final = (
    "CAST(strftime('%s', {0}) AS INTEGER) * 1000000"
    " + CAST(substr(substr({0}, 21, 6 * (substr({0}, 20, 1) = '.')) || '000000', 1, 6) AS INTEGER)"
)


def execute(tx: Transaction, sql: str) -> int:
    """Run one statement; returns the number of rows it changed.

    On a table that the node knows, inserted rows get what the node's own writer would give them (batch time,
    TSD fields, integer times) and go to their partitions; UPDATE and DELETE reach every partition.
    Raises NotPermittedError for other statements and for the node's own tables, what the database raises.
    """
    found = _STATEMENT.match(sql)
    if found is None:
        raise NotPermittedError(
            f"'{sql.strip()[:60]}' is no statement that changes tables",
            hint="INSERT, UPDATE, DELETE, CREATE TABLE or INDEX, ALTER TABLE or DROP TABLE, one at a time",
        )
    words = found["lead"].lower().split()
    name = found["quoted"].replace('""', '"') if found["quoted"] else found["plain"]
    if found["rest"].lstrip().startswith("."):
        raise NotPermittedError(f"'{name}.': name the table alone", hint="the database stands before the statement")
    if name.lower().startswith((catalogue.INTERNAL_PREFIX, "sqlite_")):
        raise NotPermittedError(f"table '{name}' belongs to the node")
    info = tx.table(name) or tx.table(name.lower())
    if words[0] in {"create", "drop", "alter"}:
        return _define(tx, sql, words, name, info)
    if words[0] in {"insert", "replace"}:
        return _insert(tx, sql, info)
    if info is None or not info.partitions:
        return tx.statement(sql)
    return sum(tx.statement(f"{found['lead']} {tx.quote(p.name)}{found['rest']}") for p in info.partitions)


def _define(tx: Transaction, sql: str, words: list[str], name: str, info: TableInfo | None) -> int:
    if words[0] == "drop" and info is not None:
        tx.drop_table(info)
        return 0
    if words[:2] == ["create", "table"] and _AUTOMATIC.search(sql):
        # The form that table policies and the reference's files carry: a table of the node.
        if info is None:
            tx.create_table(name.lower(), statement.user_columns(sql))
        elif "exists" not in words:
            raise DatabaseError(f"table {info.dbms}.{info.name} exists")
        return 0
    if words[0] == "alter" and info is not None and info.is_own:
        raise DatabaseError(
            f"table {info.dbms}.{info.name} is altered by the node", hint="new columns come with the data"
        )
    tx.statement(sql)
    tx.foreign_changes = True
    return 0


def _insert(tx: Transaction, sql: str, info: TableInfo | None) -> int:
    if info is None or not info.is_own:
        return tx.statement(sql)
    declared = tx.partitioning(info)
    if tx.fills_rows:
        count = tx.statement(sql)
        if declared is not None:
            tx.gather(info, declared)
        return count
    own = quote(info.name)
    first = tx.next_row_id(info)
    last = tx.value(f"SELECT max(row_id) FROM {own}")
    count = tx.statement(sql)
    after = last or 0
    _complete(tx, info, after)
    if info.partitions:  # their row ids go on from the table's, not from those of the empty table
        tx.execute(f"UPDATE {own} SET row_id = -row_id")
        tx.execute(f"UPDATE {own} SET row_id = ? - 1 - row_id", (first - after,))
    last = tx.value(f"SELECT max(row_id) FROM {own}")
    tx.next_row_ids[info.name] = max(first, (last or 0) + 1)
    if declared is not None:
        tx.gather(info, declared)
    return count


def _complete(tx: Transaction, info: TableInfo, after: int) -> None:
    """Give rows above a row id what the node's own writer gives."""
    now = time.time_ns() // 1000
    own = quote(info.name)
    tx.execute(
        f"UPDATE {own} SET insert_timestamp = coalesce(insert_timestamp, ?), tsd_name = coalesce(tsd_name, '0'),"
        " tsd_id = coalesce(tsd_id, 0) WHERE row_id > ?",
        (now, after),
    )
    for column in info.columns:
        if column.kind == "timestamp":
            field = quote(column.name)
            tx.execute(
                f"UPDATE {own} SET {field} = {_TEXT_TO_US.format(field)} WHERE row_id > ? AND typeof({field}) = 'text'",
                (after,),
            )
            if column.default_now:
                tx.execute(f"UPDATE {own} SET {field} = ? WHERE row_id > ? AND {field} IS NULL", (now, after))
