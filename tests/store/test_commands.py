"""Commands on databases, tables, partitions and TSD tables, printed as the reference prints them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.context import Context
from edgelake.command.local import language_context
from edgelake.command.render import reply_text
from edgelake.errors import EdgeLakeError
from edgelake.store.stores import Stores
from tests.store.rowset import insertion

HASH = "3b2cf0a67c3e4c5e9a535b6f0a3d6c11"


class Published:
    """Table policies, as far as these commands ask for them."""

    def __init__(self, *tables: dict[str, Any]) -> None:
        self.tables = [{"table": table} for table in tables]

    def find(self, _kind: str, **wanted: Any) -> list[dict[str, Any]]:
        return [p for p in self.tables if wanted.items() <= p["table"].items()]

    def of_type(self, *_types: str) -> list[dict[str, Any]]:
        return self.tables


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    made = language_context(home=tmp_path)
    made.directories.create()
    made.stores = Stores(lambda: made.directories.path("dbms_dir"))
    made.policies = Published({"dbms": "new_company", "name": "rand_data"})
    yield made
    asyncio.run(made.stores.close())


async def shown(ctx: Context, line: str) -> str:
    return reply_text(await ctx.execute(line)).replace("\r\n", "\n")


async def data(ctx: Context, line: str) -> Any:
    return json.loads(reply_text(await ctx.execute(line)))


async def prepare(ctx: Context, *, partitioned: bool = True) -> None:
    """Database new_company with rand_data: three rows in two partitions."""
    await ctx.execute("connect dbms new_company where type = sqlite")
    if partitioned:
        await ctx.execute("partition new_company * using timestamp by 14 days")
    days = ["2026-11-20", "2026-11-21", "2026-11-01"]
    rows = [{"timestamp": f"{d}T10:00:00Z", "value": 1.5} for d in days]
    await ctx.stores.get("new_company").insert(insertion(*rows, table="rand_data"))


async def test_databases(ctx: Context) -> None:
    assert await shown(ctx, "get databases") == "No DBMS connections found"
    await ctx.execute("connect dbms almgm where type = sqlite")
    await ctx.execute("connect dbms system_query where type = sqlite and memory = true")
    path = str(ctx.directories.path("dbms_dir") / "almgm.dbms")
    wide, line = len(path), "-" * len(path)
    full = "Autocommit On, Fsync full (after each write)"
    assert await shown(ctx, "get databases") == (
        "\nActive DBMS Connections\n"
        f"Logical DBMS Database Type Owner  IP:Port {'Configuration':49} {'Storage':{wide}} \n"
        f"------------|-------------|------|-------|{'-' * 49}|{line}|\n"
        f"almgm       |sqlite       |system|Local  |{full:49}|{path}|\n"
        f"system_query|sqlite       |system|Local  |{full.replace('On, ', 'On, RAM, ')}|{'MEMORY':{wide}}|\n"
    )
    assert (await data(ctx, "get databases where format = json"))["almgm"] == {
        "dbms_type": "sqlite",
        "ip_port": "Local                         ",
        "storage": path,
    }
    assert int(await shown(ctx, "get database size almgm")) > 4096
    await ctx.execute("disconnect dbms system_query")
    await ctx.execute("disconnect dbms almgm")
    await ctx.execute("drop dbms almgm from sqlite")
    assert not Path(path).exists()


async def test_columns(ctx: Context) -> None:
    await prepare(ctx)
    line = "get columns where dbms = new_company and table = rand_data"
    assert await shown(ctx, line) == (
        "\nSchema for DBMS: 'new_company' and Table: 'rand_data'\n"
        "Column Name      Column Type                 \n"
        "----------------|---------------------------|\n"
        "row_id          |integer                    |\n"
        "insert_timestamp|timestamp without time zone|\n"
        "tsd_name        |char(3)                    |\n"
        "tsd_id          |int                        |\n"
        "timestamp       |timestamp without time zone|\n"
        "value           |decimal                    |\n"
    )
    user = {"timestamp": "timestamp without time zone", "value": "decimal"}
    assert await data(ctx, f"{line} and sys_col = false and format = json") == user
    assert await data(ctx, f"{line} and format = list and type = decimal") == ["value"]
    with pytest.raises(EdgeLakeError) as caught:
        await ctx.execute("get columns where dbms = new_company and table = nope")
    assert caught.value.number == 132


async def test_columns_of_a_table_that_is_only_published(ctx: Context) -> None:
    create = "CREATE TABLE IF NOT EXISTS far( row_id SERIAL PRIMARY KEY, |timestamp| TIMESTAMP, v DECIMAL );"
    ctx.policies = Published({"dbms": "d", "name": "far", "create": create})
    line = "get columns where dbms = d and table = far and sys_col = false and format = json"
    assert await data(ctx, line) == {"timestamp": "timestamp without time zone", "v": "decimal"}
    await ctx.execute("connect dbms d where type = sqlite")
    await ctx.execute("create table far where dbms = d")
    assert await shown(ctx, "info table d far exists") == "true"


async def test_tables_and_rows(ctx: Context) -> None:
    await prepare(ctx)
    first, second = "par_rand_data_2026_11_00_d14_timestamp", "par_rand_data_2026_11_01_d14_timestamp"
    assert await shown(ctx, "get tables where dbms = new_company") == (
        "\nDatabase    Table name                             Local DBMS Blockchain \n"
        "-----------|--------------------------------------|----------|----------|\n"
        f"new_company|{first}| V        | -        |\n"
        f"           |{second}| V        | -        |\n"
        "           |rand_data                             | V        | V        |\n"
    )
    assert (await data(ctx, "get tables where dbms = * and format = json"))["new_company"]["rand_data"] == {
        "local": True,
        "blockchain": True,
    }
    assert await shown(ctx, "get rows count") == (
        "\nDBMS Name   Table Name                             Rows Count \n"
        "-----------|--------------------------------------|----------|\n"
        f"new_company|{first}|         1|\n"
        f"           |{second}|         2|\n"
        "           |rand_data                             |         0|\n"
    )
    counted = "get rows count where dbms = new_company and table = rand_data"
    assert await data(ctx, f"{counted} and format = json") == {f"new_company.{first}": 1, f"new_company.{second}": 2}
    assert await data(ctx, f"{counted} and group = table and format = json") == {"new_company.rand_data": 3}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("local status", {"local": True}),
        ("blockchain status", {"blockchain": "True"}),
        ("exist status", {"local": True, "blockchain": "True"}),
        ("complete status", {"local": True, "blockchain": "True", "partitions": 0, "rows": 3}),
        ("rows count", {"rows": 3}),
        ("partitions names", {"partitions": []}),
    ],
)
async def test_status_of_a_table(ctx: Context, what: str, expected: dict[str, Any]) -> None:
    await prepare(ctx, partitioned=False)
    assert await data(ctx, f"get table {what} where dbms = new_company and name = rand_data") == expected


async def test_partitions(ctx: Context) -> None:
    await ctx.execute("connect dbms new_company where type = sqlite")
    assert await shown(ctx, "get partitions") == "No partitions declared"
    await prepare(ctx)
    assert await shown(ctx, "get partitions") == "\nnew_company.* : (14, 'days', 'timestamp')\n"
    assert await data(ctx, "get partitions where format = json") == {"new_company.*": [14, "days", "timestamp"]}
    of_table = "where dbms = new_company and table = rand_data"
    assert await shown(ctx, f"get partitions {of_table}") == (
        "\nPartition Name                         Start Date End Date   \n"
        "--------------------------------------|----------|----------|\n"
        "par_rand_data_2026_11_00_d14_timestamp|2026-11-01|2026-11-14|\n"
        "par_rand_data_2026_11_01_d14_timestamp|2026-11-15|2026-11-28|\n"
    )
    assert await shown(ctx, "info table new_company rand_data partitions count") == "2"
    assert await shown(ctx, "info table new_company rand_data partitions last") == (
        "par_rand_data_2026_11_01_d14_timestamp"
    )
    await ctx.execute(f"drop partition {of_table}")
    assert await shown(ctx, "info table new_company rand_data partitions count") == "1"
    with pytest.raises(EdgeLakeError):
        await ctx.execute(f"drop partition {of_table}")
    await ctx.execute("drop partition where dbms = new_company and table = *")
    assert await shown(ctx, "info table new_company rand_data partitions count") == "1"
    await ctx.execute("drop partition * where dbms = new_company and table = *")
    assert await shown(ctx, "info table new_company rand_data partitions count") == "0"
    assert len(await data(ctx, "get partitions dropped where format = json")) == 2


async def test_dropping_a_table(ctx: Context) -> None:
    await prepare(ctx)
    await ctx.execute("drop table rand_data where dbms = new_company")
    assert await data(ctx, "get rows count where format = json") == {}


async def test_a_backup_is_json_that_can_be_taken_again(ctx: Context) -> None:
    await prepare(ctx, partitioned=False)
    directory = ctx.directories.path("bkup_dir")
    await ctx.execute(f"backup table where dbms = new_company and table = rand_data and dest = {directory}")
    lines = (directory / "new_company.rand_data.json").read_text().splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 3
    assert (first["row_id"], first["timestamp"], first["value"]) == (1, "2026-11-01T10:00:00.000000Z", 1.5)
    with pytest.raises(EdgeLakeError):
        await ctx.execute("backup table where dbms = new_company and table = rand_data and dest = /tmp")


async def test_files(ctx: Context) -> None:
    await ctx.execute("connect dbms almgm where type = sqlite")
    await ctx.execute("create table tsd_info where dbms = almgm")
    await ctx.execute("create table tsd_95 where dbms = almgm")
    assert await data(ctx, "get tsd list where format = json") == ["tsd_95", "tsd_info"]
    assert await shown(ctx, f"time file new new_company.rand_data.7.{HASH}.0.json") == "1"
    assert await shown(ctx, f"time file new new_company.rand_data.7.{HASH}.0.json") == "1"
    await ctx.execute(f"time file update {HASH} 01")
    (row,) = (await data(ctx, "get tsd details where format = json"))["tsd_info"]
    assert (row["dbms_name"], row["source"], row["file_hash"], row["status1"]) == ("new_company", "7", HASH, "01")
    errors = await data(ctx, "get tsd errors where table = * and start_date = -1d and format = json")
    assert len(errors["tsd_info"]) == 1
    (summary,) = (await data(ctx, "get tsd summary where format = json"))["tsd_info"]
    assert (summary["Table"], summary["Files Count"], summary["Status 1"]) == ("rand_data", 1, 1)
    assert await data(ctx, "get tsd sync status where format = json") == {"tsd_info": 1, "tsd_95": 0}
    await ctx.execute("time file delete 1 from tsd_info")
    await ctx.execute("time file drop all")
    assert await data(ctx, "get tsd list where format = json") == []
    with pytest.raises(EdgeLakeError) as caught:
        await ctx.execute("time file new nonsense.json")
    assert caught.value.number in {16, 45, 119}


async def test_databases_that_are_not_supported_say_so(ctx: Context) -> None:
    line = "connect dbms d where type = mongo and user = u and password = p and ip = 127.0.0.1 and port = 27017"
    with pytest.raises(EdgeLakeError) as caught:
        await ctx.execute(line)
    assert caught.value.number == 150
