"""``delete rows``: by age, by size, by free room, first without doing it; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from edgelake import Node
from edgelake.bench.postgres_server import PostgresServer
from edgelake.command.render import reply_text
from edgelake.errors import CommandError, DatabaseError, TableMissingError
from edgelake.model import PROMPT
from edgelake.store import retention

ENGINES = ("sqlite", "psql")


@pytest.fixture(params=ENGINES)
def connect(request: pytest.FixtureRequest) -> str:
    """The command that connects an empty database."""
    if request.param == "sqlite":
        return "connect dbms plant where type = sqlite"
    server: PostgresServer = request.getfixturevalue("postgres")
    server.sql("DROP DATABASE IF EXISTS plant WITH (FORCE)")
    at = server.server()
    return (
        f"connect dbms plant where type = psql and ip = {at.ip} and port = {at.port} and user = {at.user}"
        f" and password = {at.password}"
    )


def day(ago: int) -> str:
    return (datetime.now(UTC) - timedelta(days=ago)).strftime("%Y-%m-%d")


def readings(*ago: int, rows: int = 50) -> list[dict[str, Any]]:
    return [
        {"timestamp": f"{day(days)}T00:{n % 60:02}:00Z", "device": "m" * 40, "value": n}
        for days in ago
        for n in range(rows)
    ]


@asynccontextmanager
async def plant(home: Path, connect: str, *ago: int, partitioned: bool, rows: int = 50) -> AsyncIterator[Node]:
    """A node with a table ``motor`` that has rows of some days."""
    async with Node(home, caller=PROMPT, timezone="utc") as node:
        await node.execute("create work directories")
        await node.execute(connect)
        if partitioned:
            await node.execute("partition plant * using timestamp by 1 day")
        await fill(node, "motor", *ago, rows=rows)
        yield node


async def fill(node: Node, table: str, *ago: int, rows: int = 50) -> None:
    await node.ingest("plant", table, readings(*ago, rows=rows))
    await node.execute("flush buffers")


async def days_left(node: Node, table: str = "motor") -> dict[str, int]:
    counted: dict[str, int] = {}
    async for row in node.query(f"select timestamp from {table}", dbms="plant"):
        key = row["timestamp"].strftime("%Y-%m-%d")
        counted[key] = counted.get(key, 0) + 1
    return counted


async def run(node: Node, line: str) -> list[dict[str, Any]]:
    reply = await node.execute(line)
    found: list[dict[str, Any]] = reply.data
    return found


@pytest.mark.parametrize("partitioned", [True, False], ids=["partitions", "days"])
async def test_rows_that_are_too_old_go(tmp_path: Path, connect: str, *, partitioned: bool) -> None:
    async with plant(tmp_path, connect, 40, 30, 20, 0, partitioned=partitioned) as node:
        await fill(node, "pump", 60, 50)
        planned = await run(node, "delete rows where dbms = plant and days = 25 and dry_run = true")
        assert [(p["table"], p["start_date"], p["rows"]) for p in planned] == [
            ("pump", day(60), 50),
            ("motor", day(40), 50),
            ("motor", day(30), 50),
        ]
        assert all(p["bytes"] > 0 and bool(p["partition"]) == partitioned for p in planned)
        assert len(await days_left(node)) == 4  # nothing has gone yet
        went = await run(node, "delete rows where dbms = plant and days = 25")
        assert [(p["start_date"], p["rows"]) for p in went] == [(p["start_date"], p["rows"]) for p in planned]
        assert await days_left(node) == {day(20): 50, day(0): 50}
        assert await days_left(node, "pump") == {day(50): 50}  # the last one stays, however old
        (shown,) = await run(node, "get retention")
        assert (shown["table"], shown["rule"], shown["rows"], shown["error"]) == ("*", "days = 25", 150, "")
        assert shown["partitions" if partitioned else "days"] == 3
        await fill(node, "motor", 40)  # what comes late makes its place again
        assert (await days_left(node))[day(40)] == 50
        if partitioned:
            dropped = await run(node, "get partitions dropped")
            assert len(dropped) == 3


@pytest.mark.parametrize("partitioned", [True, False], ids=["partitions", "days"])
async def test_the_oldest_of_all_tables_go_until_the_rest_fits(
    tmp_path: Path, connect: str, *, partitioned: bool
) -> None:
    async with plant(tmp_path, connect, 6, 4, 2, 0, partitioned=partitioned, rows=2000) as node:
        await fill(node, "pump", 5, 0, rows=2000)
        every = await run(node, "delete rows where dbms = plant and size = 0 and dry_run = true")
        assert [(p["table"], p["start_date"]) for p in every] == [
            ("motor", day(6)),
            ("pump", day(5)),
            ("motor", day(4)),
            ("motor", day(2)),
        ]
        two = sum(p["bytes"] for p in every) + 4096  # two go, two that stay are as large
        await run(node, f"delete rows where dbms = plant and size = {two}")
        assert sorted(await days_left(node)) == [day(4), day(2), day(0)]
        assert sorted(await days_left(node, "pump")) == [day(0)]


async def test_a_table_alone(tmp_path: Path) -> None:
    async with plant(tmp_path, "connect dbms plant where type = sqlite", 9, 0, partitioned=True) as node:
        await fill(node, "pump", 9, 0)
        await run(node, "delete rows where dbms = plant and table = pump and days = 3")
        assert (len(await days_left(node)), len(await days_left(node, "pump"))) == (2, 1)
        with pytest.raises(TableMissingError):
            await node.execute("delete rows where dbms = plant and table = none and days = 3")


async def test_the_free_room_of_the_disk_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plant(tmp_path, "connect dbms plant where type = sqlite", 3, 2, 1, 0, partitioned=True) as node:
        store = node.ctx.stores.get("plant")
        planned = await run(node, "delete rows where dbms = plant and free = 1000 TB and dry_run = true")
        assert [p["start_date"] for p in planned] == [day(3), day(2), day(1)]
        assert await run(node, "delete rows where dbms = plant and free = 1 and dry_run = true") == []

        async def nearly() -> int:
            return (1 << 30) - 1

        monkeypatch.setattr(store, "free_bytes", nearly)
        await run(node, "delete rows where dbms = plant and free = 1 GB")
        assert sorted(await days_left(node)) == [day(2), day(1), day(0)]  # one was enough


async def test_the_file_gets_shorter_while_rows_go_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 500)
    connect = "connect dbms plant where type = sqlite"
    async with plant(tmp_path, connect, 9, 8, 0, partitioned=False, rows=8000) as node:
        path = next(tmp_path.rglob("plant.dbms"))
        node.ctx.stores.get("plant").checkpoint()
        before = path.stat().st_size
        task = asyncio.ensure_future(node.execute("delete rows where dbms = plant and days = 3"))
        sent = 0
        while not task.done():
            await node.ingest("plant", "motor", readings(0, rows=10))
            sent += 10
        await task
        await node.execute("flush buffers")
        assert await days_left(node) == {day(0): 8000 + sent}
        (shown,) = await run(node, "get retention")
        assert shown["given_back"] > 0
        assert path.stat().st_size < before * 0.7


async def test_a_file_of_an_earlier_version_keeps_its_free_pages_for_new_rows(tmp_path: Path) -> None:
    (tmp_path / "data" / "dbms").mkdir(parents=True)
    old = apsw.Connection(str(tmp_path / "data" / "dbms" / "plant.dbms"))
    old.execute("CREATE TABLE other (a)")
    old.close()
    async with plant(tmp_path, "connect dbms plant where type = sqlite", 9, 0, partitioned=True, rows=3000) as node:
        free = await node.ctx.stores.get("plant").free_bytes()
        await run(node, "delete rows where dbms = plant and days = 3")
        (shown,) = await run(node, "get retention")
        assert shown["rows"] == 3000
        assert await days_left(node) == {day(0): 3000}
        assert await node.ctx.stores.get("plant").free_bytes() > free - (1 << 30)


async def test_what_no_rule_can_do_is_said(tmp_path: Path, connect: str) -> None:
    async with plant(tmp_path, connect, 3, 0, partitioned=True) as node:
        await node.execute("connect dbms almgm where type = sqlite")
        await node.execute("connect dbms ram where type = sqlite and memory = true")
        for line, said in [
            ("delete rows where dbms = plant", "nothing says what stays"),
            ("delete rows where dbms = plant and days = 0", "days = 0"),
            ("delete rows where dbms = almgm and days = 3", "belongs to the node"),
            ("delete rows where dbms = ram and free = 1 GB", "cannot be seen"),
        ]:
            with pytest.raises(CommandError, match=said):
                await node.execute(line)
        if "psql" in connect:
            with pytest.raises(CommandError, match="use size"):
                await node.execute("delete rows where dbms = plant and free = 1 GB")


async def test_a_run_that_fails_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plant(tmp_path, "connect dbms plant where type = sqlite", 5, 4, 0, partitioned=True) as node:
        stores = node.ctx.stores
        drop = stores.drop_partitions

        async def second_fails(dbms: str, table: str, *, name: str) -> Any:
            if day(4).replace("-", "_") in name:
                raise DatabaseError("the disk is gone")
            return await drop(dbms, table, name=name)

        monkeypatch.setattr(stores, "drop_partitions", second_fails)
        with pytest.raises(DatabaseError, match="the disk is gone"):
            await node.execute("delete rows where dbms = plant and days = 2")
        (shown,) = await run(node, "get retention")
        assert (shown["rows"], "the disk is gone" in shown["error"]) == (50, True)
        assert "the disk is gone" in reply_text(await node.execute("get retention"))


async def test_a_schedule_follows_a_rule(tmp_path: Path) -> None:
    async with plant(tmp_path, "connect dbms plant where type = sqlite", 40, 0, partitioned=True) as node:
        await node.execute("run scheduler 1")
        await node.execute(
            "schedule time = 1 day and name = rows and start = +1d task delete rows where dbms = plant and days = 30"
        )
        await node.execute("task run where name = rows")
        until = time.monotonic() + 30
        while not await run(node, "get retention"):
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        assert list(await days_left(node)) == [day(0)]
