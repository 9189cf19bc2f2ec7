"""The table of the vectors in a real database: plain, and cut into partitions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import Rows, parse_time
from edgelake.bench.postgres_server import PostgresServer
from edgelake.errors import EdgeLakeError
from edgelake.query.options import parse_options
from edgelake.query.service import Queries
from edgelake.store.base import ColumnInfo
from edgelake.store.insert import Insertion
from edgelake.store.partition import Interval, Partitioning
from edgelake.store.server import Server
from edgelake.store.stores import Stores

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
INTERVALS = {"plain": None, "days": "1 day", "weeks": "1 week", "months": "1 month", "years": "1 year"}


@dataclass
class Asked:
    """Databases, and questions to them."""

    stores: Stores
    queries: Queries

    async def text(self, sql: str, options: str = "stat = false", dbms: str = "edge") -> str:
        answer = await self.queries.ask(dbms, sql, parse_options(options))
        return b"".join([piece async for piece in answer.pieces()]).decode()

    async def rows(self, sql: str, options: str = "stat = false", dbms: str = "edge") -> list[dict[str, Any]]:
        """Rows of the json format; an empty text stands for null there."""
        found = json.loads(await self.text(sql, options, dbms)).get("Query", [])
        return [{key: None if value == "" else value for key, value in row.items()} for row in found]

    async def failure(self, sql: str, options: str = "stat = false", dbms: str = "edge") -> EdgeLakeError:
        with pytest.raises(EdgeLakeError) as caught:
            await self.text(sql, options, dbms)
        return caught.value


async def fill(stores: Stores, interval: str | None, server: Server | None = None) -> None:
    """Table ``edge.t`` of the vectors, a row at a time: each has its time as that of its batch."""
    content = json.loads((VECTORS / "increments.json").read_text())
    if server is not None:
        store = await stores.connect("edge", kind="psql", server=server)
    else:
        store = await stores.connect("edge", memory=True)
    columns = [ColumnInfo(name, kind) for name, kind in content["table"]["columns"]]
    await store.change(lambda tx: tx.create_table("t", columns))
    if interval is not None:
        await stores.declare(Partitioning("edge", "t", "timestamp", Interval.parse(interval)))
    names = [column.name for column in columns]
    for row in content["rows"]["cluster_a"] + content["rows"]["cluster_b"]:
        payload = json.dumps(dict(zip(names, row, strict=True))).encode()
        at = parse_time(row[0], "utc")
        assert at is not None
        await store.insert(Insertion("t", Rows.parse(payload, timezone="utc"), at, tsd_name="128", tsd_id=1))


def opened(folder: Path, interval: str | None, server: Server | None = None) -> Iterator[Asked]:
    stores = Stores(lambda: folder)
    queries = Queries(stores, timezone="utc")
    asyncio.run(fill(stores, interval, server))
    yield Asked(stores, queries)
    asyncio.run(queries.stop())
    asyncio.run(stores.close())


POSTGRES = ("psql-plain", "psql-months")


@pytest.fixture(scope="session", params=[*INTERVALS, *POSTGRES])
def cut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The table, whole and in partitions, in SQLite and in PostgreSQL: the answers are the same."""
    folder, server = tmp_path_factory.mktemp("dbms"), None
    if request.param in POSTGRES:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        postgres.sql("DROP DATABASE IF EXISTS edge")
        server = postgres.server()
    yield from opened(folder, INTERVALS[request.param.removeprefix("psql-")], server)


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The table, whole."""
    yield from opened(tmp_path_factory.mktemp("dbms"), None)
