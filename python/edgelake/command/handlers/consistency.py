"""Whether the members of a cluster hold the same rows, and which files differ.

Members are compared by counts, sums and hashes of every column and of the rows as a whole, for the rows of each member
that took them in; where these differ, the numbers of files are halved until the files stand alone. Hashes are made in
native code and added up, so that the order of rows does not count.
Source: spec "Security and high availability", sections 13 and 14.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Struct, field

from edgelake.command.context import Context
from edgelake.command.grammar import Key, Timestamp
from edgelake.command.handlers.peer_tests import ask_each, said
from edgelake.command.handlers.placement import own_cluster
from edgelake.command.registry import command
from edgelake.errors import CommandError, TableMissingError
from edgelake.ingest.comparison import Comparison, Place, time_word
from edgelake.metadata.routing import Operator
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.base import ColumnInfo, TableInfo

CONTENT: Final = "content "
"""Begins the names of the two sums over whole rows."""
MAX_COLUMNS: Final = 60
MAX_NAMED: Final = 20
"""Files that are named for a table; the others are counted among its rows."""
SETTLE_S: Final = 60.0
"""Rows that came later may be on their way to the others; they are compared when they are named by end_date."""
_NUMBERS: Final = ("int", "bigint", "float", "decimal", "boolean")

Facts = dict[str, Any]
"""Counts, sums, ends and hashes, by what they are of."""


@command(
    "get table digest",
    cls=CommandClass.DATA,
    topics=("table", "high availability"),
    examples=(
        "get table digest where dbms = d and table = t",
        "get table digest where dbms = d and table = t and member = 3 and first = 100 and last = 200",
    ),
)
async def get_table_digest(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    member: int | None = None,
    first: int | None = None,
    last: int | None = None,
    start_date: Timestamp | None = None,
    end_date: Timestamp | None = None,
    column: str = "",
    start: Annotated[Timestamp | None, Key("from")] = None,
    end: Annotated[Timestamp | None, Key("to")] = None,
) -> Reply:
    """Counts, sums and hashes of the columns of a table, for the rows of each member that took them in.

    What members of a cluster compare (``test cluster rows``). member, first, last: the rows of files with these
    numbers; dates: of insert_timestamp. column, from, to: the rows of a time, as those of a partition.
    """
    info = own_table(ctx, dbms, table)
    tests = [
        *within(info, column, start, end),
        f"tsd_name = '{member}'" if member is not None else "",
        f"tsd_id >= {first}" if first is not None else "",
        f"tsd_id <= {last}" if last is not None else "",
        f"insert_timestamp >= '{_text(start_date)}'" if start_date is not None else "",
        f"insert_timestamp < '{_text(end_date)}'" if end_date is not None else "",
    ]
    where = " and ".join(test for test in tests if test) or "row_id > 0"
    names, asked = _asked(info)
    sql = f"select tsd_name, {asked} from {info.dbms}.{info.name} where {where} group by tsd_name order by tsd_name"
    found = {}
    async for row in ctx.queries.rows(sql, info.dbms):
        origin, *values = row.values()
        found[str(origin).strip()] = dict(zip(names, map(_plain, values), strict=True))
    rows = [(origin, name, _shown(value)) for origin, facts in found.items() for name, value in facts.items()]
    return Reply.of_table(Table(("Member", "Of", "Value"), rows), data=found)


def own_table(ctx: Context, dbms: str, table: str) -> TableInfo:
    """A table that the node made. Raises TableMissingError."""
    info: TableInfo | None = ctx.stores.table(dbms.lower(), table.lower())
    if info is None or not info.is_own:
        raise TableMissingError(f"{dbms}.{table}")
    return info


def within(info: TableInfo, column: str, start: int | None, end: int | None) -> list[str]:
    """Conditions of rows whose time lies in ``[start, end)``. Raises CommandError for a column that is no time."""
    if column and not any(one.name == column and one.kind == "timestamp" for one in info.columns):
        raise CommandError(f"column = {column}", hint=f"a column of the type timestamp of {info.dbms}.{info.name}")
    return [
        f"\"{column}\" {sign} '{_text(at)}'" for sign, at in ((">=", start), ("<", end)) if column and at is not None
    ]


def _asked(info: TableInfo) -> tuple[list[str], str]:
    """What is asked of each column: its name in the digest, and the select."""
    names, asked = ["rows", "first file", "last file"], ["count(*)", "min(tsd_id)", "max(tsd_id)"]
    columns = info.user_columns[:MAX_COLUMNS]
    values = {column.name: hashed(column) for column in columns}
    for half in (0, 1):
        names.append(f"{CONTENT}{half}")
        asked.append(f"sum(content_hash({half}, {', '.join(values.values()) or 'tsd_id'}))")
    for column in columns:
        quoted = f'"{column.name}"'
        names += [f"{column.name} values", f"{column.name} min", f"{column.name} max"]
        asked += [f"count({quoted})", f"min({quoted})", f"max({quoted})"]
        names.append(f"{column.name} sum")
        asked.append(f"sum({quoted})" if column.kind in _NUMBERS else f"sum(length({quoted}))")
        names.append(f"{column.name} hash")
        asked.append(f"sum(content_hash(0, {values[column.name]}))")
    return names, ", ".join(f"{one} as f{at}" for at, one in enumerate(asked))


def hashed(column: ColumnInfo) -> str:
    """A column as it is hashed: a decimal is a text on one engine and a number on the other."""
    return f'"{column.name}" * 1.0' if column.kind == "decimal" else f'"{column.name}"'


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _text(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


class _Difference(Struct, frozen=True):
    """``file``: number at the member that took it in; 0 = of all its rows. ``values``: at each member."""

    table: tuple[str, str]
    origin: str
    file: int
    what: str
    values: tuple[str, ...]


class _Comparison(Struct):
    """Members side by side. ``silent``: those that did not answer; they are left out from then on."""

    ctx: Context
    members: Sequence[Operator]
    dates: str
    silent: dict[str, str] = field(default_factory=dict)

    async def digests(self, table: tuple[str, str], rest: str = "") -> list[Mapping[str, Facts] | None]:
        """What each member answers; None for one that is silent."""
        line = f"get table digest where dbms = {table[0]} and table = {table[1]}{self.dates}{rest} and format = json"
        asked = await ask_each(self.ctx, [one.address for one in self.members], line)
        return [self._digest(one, asked[one.address].answer) for one in self.members]

    def _digest(self, member: Operator, answer: Any) -> Mapping[str, Facts] | None:
        if member.address in self.silent:
            return None
        if answer.error == TableMissingError.number:
            return {}
        try:
            if answer.error:
                raise ValueError(said(answer))
            found: Mapping[str, Facts] = json.loads(answer.text or "{}")
        except ValueError as fault:
            self.silent[member.address] = str(fault)
            return None
        return found

    async def of_table(self, table: tuple[str, str]) -> list[_Difference]:
        digests = await self.digests(table)
        origins = sorted({origin for one in digests for origin in one or ()})
        found: list[_Difference] = []
        for origin in origins:
            facts = _of(digests, origin)
            if not (differing := _differing(facts)):
                continue
            named = [one async for one in self._files(table, origin, *_ends(facts))] if origin.isdigit() else []
            found += named or [_difference(table, origin, 0, differing[0], facts)]
        return found

    async def _files(self, table: tuple[str, str], origin: str, first: int, last: int) -> AsyncIterator[_Difference]:
        """The first files that differ."""
        named, ranges = 0, [(first, last)]
        while ranges and named < MAX_NAMED:
            first, last = ranges.pop()
            digests = await self.digests(table, f" and member = {origin} and first = {first} and last = {last}")
            facts = _of(digests, origin)
            differing = _differing(facts)
            if differing and first == last:
                named += 1
                yield _difference(table, origin, first, differing[0], facts)
            elif differing:
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]


def _of(digests: Sequence[Mapping[str, Facts] | None], origin: str) -> list[Facts | None]:
    return [None if one is None else one.get(origin, {}) for one in digests]


def _ends(facts: Sequence[Facts | None]) -> tuple[int, int]:
    found = [one for one in facts if one]
    return min(int(one["first file"]) for one in found), max(int(one["last file"]) for one in found)


def _differing(facts: Sequence[Facts | None]) -> list[str]:
    """What is not the same at all members that answered: rows first."""
    answered = [one for one in facts if one is not None]
    names = dict.fromkeys(["rows", *(name for one in answered for name in one)])
    names = dict.fromkeys(sorted(names, key=lambda name: name.startswith(CONTENT)))  # a column says more
    return [name for name in names if any(not _is_same(answered[0].get(name), one.get(name)) for one in answered)]


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, float) or isinstance(b, float):  # sums of the same numbers in another order
        return isinstance(a, int | float) and isinstance(b, int | float) and math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


def _difference(
    table: tuple[str, str], origin: str, file: int, what: str, facts: Sequence[Facts | None]
) -> _Difference:
    default = 0 if what == "rows" else None
    values = ["?" if one is None else _shown(one.get(what, default)) for one in facts]
    return _Difference(table, origin, file, what, tuple(values))


@command(
    "test cluster rows",
    cls=CommandClass.DATA,
    topics=("test", "high availability"),
    examples=(
        "test cluster rows",
        "test cluster rows where dbms = d and table = t and start_date = -1d",
        "test cluster rows where dbms = d and table = t and partition = par_t_2026_07_m01_timestamp",
    ),
)
async def check_cluster_rows(
    ctx: Context,
    *,
    dbms: str = "",
    table: str = "",
    partition: str = "",
    start_date: Timestamp | None = None,
    end_date: Timestamp | None = None,
) -> Reply:
    """Compare the rows of the members of the own cluster, and name what differs: table, file, column.

    Rows, and for each column the number of values, their sum (of texts: of their lengths), the least and the greatest,
    and a hash of all values; and a hash of all rows.
    Rows of the last minute are left out, which may be on their way, unless end_date says otherwise. partition: the rows
    of its time alone, as this node or another member (``get cluster comparison``) calls it.
    """
    cluster, _ = own_cluster(ctx)
    end_us = end_date if end_date is not None else int((time.time() - SETTLE_S) * 1e6)
    dates = f" and end_date = {time_word(end_us)}"
    if start_date is not None:
        dates += f" and start_date = {time_word(start_date)}"
    if partition:
        dates += f" and {_partition(ctx, dbms.lower(), table.lower(), partition).time}"
    members = [one for one in cluster.operators if not one.is_foreign]
    comparison = _Comparison(ctx, members, dates)
    tables = [(d, t) for _, d, t in cluster.tables if dbms.lower() in ("", d) and table.lower() in ("", t)]
    found = [one for place in tables for one in await comparison.of_table(place)]
    return _reply(comparison, tables, found)


def _partition(ctx: Context, dbms: str, table: str, name: str) -> Place:
    """A partition of this node, or one that another member has. Raises CommandError."""
    info = ctx.stores.table(dbms, table)
    own = [Place(dbms, table, p.name, p.column, p.start_us, p.end_us) for p in (info.partitions if info else ())]
    running = ctx.services.get(Comparison.name)
    looks = running.report.looks if isinstance(running, Comparison) else []
    for place in (*own, *(look.place for look in looks)):
        if (place.dbms, place.table, place.partition) == (dbms, table, name):
            return place
    raise CommandError(f"no partition {name} of {dbms}.{table}", hint="get partitions where dbms = ... and table = ...")


def _reply(comparison: _Comparison, tables: Sequence[tuple[str, str]], found: Sequence[_Difference]) -> Reply:
    members = comparison.members
    heads = tuple(f"{one.name} {one.address}" for one in members)
    titles = ("DBMS", "Table", "Taken In By", "File ID", "Differs", *heads)
    rows = [(*one.table, one.origin, str(one.file or ""), one.what, *one.values) for one in found]
    answered = len(members) - len(comparison.silent)
    summary = f"{len(tables)} tables, {answered} of {len(members)} members: {len(found) or 'no'} differences"
    data = {
        "tables": len(tables),
        "members": answered,
        "silent": comparison.silent,
        "differences": [
            {
                "dbms": one.table[0],
                "table": one.table[1],
                "member": one.origin,
                "file_id": one.file,
                "differs": one.what,
                "values": dict(zip([member.name for member in members], one.values, strict=True)),
            }
            for one in found
        ],
    }
    silent = Table(("Member", "Does Not Answer"), list(comparison.silent.items()))
    shown = [Table(titles, rows, header=summary), *([silent] if comparison.silent else [])]
    return Reply.of_table(*shown, data=data)
