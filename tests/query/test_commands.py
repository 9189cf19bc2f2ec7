"""``sql`` and what stands around it, through the node's command language."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake.command.render import reply_text
from edgelake.errors import CommandError, EdgeLakeError, NotPermittedError
from edgelake.model import LIBRARY, LOOPBACK_CLASSES, OUTSIDE_CLASSES, Caller
from edgelake.node import Node

ROWS = b'{"timestamp": "2025-01-01T00:00:00Z", "id": 1, "name": "a"}\n{"timestamp": "2025-01-01T00:00:01Z", "id": 2}'


@asynccontextmanager
async def filled(home: Path) -> AsyncIterator[Node]:
    async with Node(home, timezone="utc") as node:
        await node.execute("create work directories")
        await node.execute("connect dbms plant where type = sqlite")
        await node.execute('sql plant "create table t (timestamp timestamp, id int, name varchar)"')
        await node.execute("sql plant insert into t values ('2025-01-01 00:00:00', 1, 'a'), ('2025-01-02', 2, null)")
        yield node


async def said(node: Node, line: str, caller: Caller = LIBRARY) -> str:
    reply = await node.ctx.for_caller(caller).execute(line)
    if reply.stream is not None:
        return b"".join([piece async for piece in reply.stream]).decode()
    return reply_text(reply)


async def test_quoted_and_bare_statements(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        for line in (
            'sql plant stat = false "select id from t order by id"',
            "sql plant stat = false select id from t order by id;",
            "sql plant stat=false 'select id from t order by id'",
            'sql plant stat = false and format = json "SELECT id FROM t WHERE name = "a" or id = 2 ORDER BY id"',
        ):
            assert json.loads(await said(node, line)) == {"Query": [{"id": 1}, {"id": 2}]}, line


async def test_values_of_the_dictionary(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        await node.execute("set who = O'Brien")
        await node.execute("set wanted = 2")
        await node.execute("set base = plant")
        await node.execute("set question = select count(*) as c from t where id != !wanted")
        assert json.loads(await said(node, "sql !base stat = false select id from t where id = !wanted")) == {
            "Query": [{"id": 2}]
        }
        assert "Empty data set" in await said(node, "sql plant stat = false select id from t where name = !who")
        with pytest.raises(CommandError, match="!nobody"):
            await said(node, "sql plant select id from t where name = !nobody")


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("timestamp = {select max(timestamp) from t}", [2]),
        ("timestamp >= { SELECT min(timestamp) }", [1, 2]),
        ("timestamp < {select max(timestamp)} - 1 hour", [1]),
        ("id = {select max(id) where id < 2}", [1]),
        ("id > {select avg(id)} and timestamp <= {select max(timestamp) from plant.t}", [2]),
        ("id = {select max(id) from t where id < {select max(id)}}", [1]),
        ("name = {select min(name)}", [1]),
        ("name = {select max(name) where id = 2}", []),
        ("name != '{select x}'", [1]),
    ],
)
async def test_leading_queries(tmp_path: Path, condition: str, found: list[int]) -> None:
    async with filled(tmp_path) as node:
        line = f'sql plant format = json:list and stat = false "select id from t where {condition} order by id"'
        answer = json.loads(await said(node, line))
        assert [row["id"] for row in answer] == found if found else answer == {"reply": "Empty data set"}
        rows = [row async for row in node.query(f"select id from plant.t where {condition} order by id")]
        assert [row["id"] for row in rows] == found


@pytest.mark.parametrize(
    "condition", ["id = {select id}", "id = {select min(id), max(id)}", "id = {select max(id)", "{select 1}" * 17]
)
async def test_a_leading_query_has_one_value(tmp_path: Path, condition: str) -> None:
    async with filled(tmp_path) as node:
        with pytest.raises(EdgeLakeError) as caught:
            await said(node, f'sql plant "select id from t where {condition}"')
        assert caught.value.number == 166


async def test_statements_that_change_something_are_the_owners(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        outside = Caller("rest", OUTSIDE_CLASSES)
        assert '"c": 2' in await said(node, "sql plant select count(*) as c from t", outside)
        for statement in ("delete from t", "insert into t (id) values (5)", "drop table t", "update t set id = 1"):
            with pytest.raises(NotPermittedError):
                await said(node, f"sql plant {statement}", outside)
        assert "2 rows" in await said(node, "sql plant delete from t where timestamp < '2025-01-03'")


async def test_an_answer_in_a_file(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        target = node.ctx.directories.path("tmp_dir") / "answer"
        reply = await said(
            node, f"sql plant format = json:output and stat = false and file = {target} select id from t"
        )
        assert json.loads(reply)["Rows"] == 2
        assert target.with_suffix(".out").read_text() == '{"id": 1}\n{"id": 2}\n'
        rest = Caller("rest", LOOPBACK_CLASSES)
        with pytest.raises(EdgeLakeError) as caught:
            await said(node, "sql plant file = /tmp/elsewhere.json select id from t", rest)
        assert caught.value.number == 78
        with pytest.raises(NotPermittedError):
            await said(node, f"sql plant file = {target} select id from t", Caller("rest", OUTSIDE_CLASSES))


async def test_an_answer_kept_as_a_table(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        keep = "sql plant table = kept and drop = {} select timestamp, id from t"
        for drop, rows in (("true", 2), ("false", 4), ("true", 2)):
            assert json.loads(await said(node, keep.format(drop)))["Rows"] == 2
            assert f'"c": {rows}' in await said(node, "sql system_query select count(*) as c from kept")
        asked = "sql system_query stat = false select min(timestamp) as first from kept"
        assert "2025-01-01 00:00:00.000000" in await said(node, asked)


async def test_the_test_format_and_its_comparison(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        trusted = node.ctx.directories.path("test_dir") / "trusted.out"
        options = "test = true and title = rows and format = table and stat = false"
        asked = f"sql plant {options}"
        text = await said(node, f"{asked} select id, name from t order by id")
        assert re.sub(r"\d\d(:\d\d)+|\d{4}-\d\d-\d\d", "_", text).splitlines()[:9] == [
            "=" * 74,
            "Title:      rows",
            "Date:       _ _",
            f"Command:    {options} select id, name from t order by id",
            "DBMS:       plant",
            "Include:",
            "Extend:",
            "Format:     table",
            "=" * 74,
        ]
        assert "Rows:     2\n" in text
        trusted.write_text(text)
        compare = f"{asked} and source = {trusted}"
        assert '"result": "Passed"' in await said(node, f"{compare} select id, name from t order by id")
        assert '"result": "Failed"' in await said(node, f"{compare} select id, name from t order by id desc")


async def test_a_script_shows_answers_and_meets_their_errors(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        shown: list[str] = []

        def show(text: str, *, end: str = "\n") -> None:
            shown.append(text + end)

        node.ctx.console = show
        script = tmp_path / "ask.al"
        script.write_text(
            "on error goto failed\n"
            "sql plant stat = false select max(id) as m from t\n"
            "sql plant stat = false select name::int from t order by id\n"
            "end script\n"
            ":failed:\n"
            "print it failed\n"
        )
        await node.execute(f"process {script}")
        assert "".join(shown).split("\n", 1)[0] == '{"Query": [{"m": 2}]}'
        assert shown[-1].strip() == "it failed"


async def test_what_ran(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        await node.execute("set query log on")
        await said(node, "sql plant select id from t")
        await said(node, "sql plant select increments(day, 1, timestamp), count(*) as c from t")
        with pytest.raises(EdgeLakeError):
            await said(node, "sql plant select nosuch from t")
        status = json.loads(await said(node, "query status all where format = json"))
        assert [(s["Job"], s["Status"].split(":")[0]) for s in status] == [(0, "Error")]
        assert "select nosuch" in await said(node, "query destination")
        await said(node, "sql plant select increments(day, 1, timestamp), count(*) as c from t")
        explained = json.loads(await said(node, "query explain where format = json"))[0]
        assert explained["Increment Info"] == "day 1"
        assert explained["Local Query"].startswith("SELECT c1 FROM edgelake_batch")
        times = await said(node, "get queries time")
        assert times.startswith("Up to  1 sec.: 4\nUp to  2 sec.: 0\n")
        await node.execute("reset query timer")
        counted = json.loads(await said(node, "get queries time where format = json"))
        assert counted["Queries Statistics"]["Total queries"] == "0"
        assert "select id from t" in await said(node, "get query log")


async def test_time_of_the_command_line(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        assert await said(node, "get datetime et '2025-01-31T12:00:00Z' + 1 day") == "2025-02-01 07:00:00.000000"
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", await said(node, "get datetime local now() - 3 days")
        )
        params = "get increments params where dbms = plant and table = t and column = timestamp and data_points = 24"
        limits = "\"timestamp >= '2025-01-01' and timestamp < '2025-01-02'\""
        assert await said(node, f"{params} and where = {limits}") == "hour, 1"
        for wrong in ("get datetime utc lunch", "get datetime nowhere now()"):
            with pytest.raises(EdgeLakeError):
                await said(node, wrong)


async def test_the_mode_bounds_every_query(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        await node.execute("set query mode using timeout = 5 seconds and max_volume = 20 and order = reference")
        mode = json.loads(await said(node, "get query mode where format = json"))
        assert (mode["timeout"], mode["max_volume"], mode["order"]) == ("5 seconds", "20", "reference")
        with pytest.raises(EdgeLakeError, match="more than 20 bytes"):
            await said(node, "sql plant select id from t")


async def test_rows_come_in_and_are_found(tmp_path: Path) -> None:
    async with Node(tmp_path, timezone="utc") as node:
        await node.execute("connect dbms plant where type = sqlite")
        await node.ingest("plant", "motor", ROWS)
        await node.execute("flush buffers")
        found = [row async for row in node.query("select id, name from plant.motor order by id")]
        assert found == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
        columns = await node.columns("select id from motor order by id", dbms="plant")
        assert columns["id"].tolist() == [1, 2]


async def test_changes_compare_times_as_times(tmp_path: Path) -> None:
    async with Node(tmp_path, timezone="utc") as node:
        await node.execute("connect dbms plant where type = sqlite")
        await node.ingest("plant", "motor", ROWS)
        await node.execute("flush buffers")
        assert "0 rows" in await said(node, "sql plant delete from motor where timestamp < '2025-01-01'")
        with pytest.raises(EdgeLakeError, match="no time"):
            await said(node, "sql plant delete from motor where timestamp < 'tomorrow'")
        changed = "sql plant update motor set timestamp = '2025-02-01' + 1 day where timestamp > '2025-01-01 00:00:00'"
        assert "1 rows" in await said(node, changed)
        shown = await said(node, "sql plant stat = false select max(timestamp) as m from motor")
        assert json.loads(shown) == {"Query": [{"m": "2025-02-02 00:00:00.000000"}]}


async def test_a_view_gives_columns_other_names(tmp_path: Path) -> None:
    async with Node(tmp_path, timezone="utc") as node:
        await node.execute("connect dbms plant where type = sqlite")
        await node.execute("partition plant motor using timestamp by 1 day")
        await node.ingest("plant", "motor", ROWS)
        await node.execute("flush buffers")
        view = "(at timestamp using timestamp, number using id int, room not used)"
        await node.execute(f"create view plant.motor {view}")
        asked = "sql plant stat = false select at, number, room from motor where at > '2025-01-01' order by at desc"
        assert json.loads(await said(node, asked)) == {
            "Query": [{"at": "2025-01-01 00:00:01.000000", "number": 2, "room": ""}]
        }
        with pytest.raises(EdgeLakeError, match="'id' is not recognized"):
            await said(node, "sql plant select id from motor")
        joined = "sql plant stat = false select count(*) as c from motor a join motor b on a.number = b.number"
        assert json.loads(await said(node, joined)) == {"Query": [{"c": 2}]}
        assert "number using id int" in await said(node, "get views for dbms plant")
        assert await said(node, "info view plant motor exists") == "true"
        assert json.loads(await said(node, "info view plant motor columns where format = json"))["number"] == "int"
        with pytest.raises(CommandError):
            await node.execute("create view plant.motor (nothing int)")
    async with Node(tmp_path, timezone="utc") as node:
        await node.execute("connect dbms plant where type = sqlite")
        assert "plant" in await said(node, "get views")
        assert json.loads(await said(node, asked))["Query"][0]["number"] == 2
        await node.execute("drop view plant.motor")
        with pytest.raises(EdgeLakeError, match="no view"):
            await node.execute("drop view plant.motor")
    async with Node(tmp_path) as node:
        assert (await node.execute("get views")).data == []


async def test_damaged_views_are_put_aside(tmp_path: Path) -> None:
    kept = tmp_path / "EdgeLake" / "data" / "views.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('[{"dbms": 1')
    async with filled(tmp_path) as node:
        assert (await node.execute("get views")).data == []
        await node.execute("create view plant.t (number using id int)")
    assert kept.with_suffix(".damaged").read_text() == '[{"dbms": 1'
    assert json.loads(kept.read_text())[0]["table"] == "t"


async def test_a_view_that_cannot_be_kept_is_not_there(tmp_path: Path) -> None:
    async with filled(tmp_path) as node:
        (tmp_path / "EdgeLake" / "data" / "views.json.new").mkdir()
        with pytest.raises(EdgeLakeError, match="views"):
            await node.execute("create view plant.t (number using id int)")
        assert await said(node, "info view plant t exists") == "false"
