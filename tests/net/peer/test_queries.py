"""Selects over several nodes: the vectors, what ends them, and what other nodes may not ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import PeerMessage, PeerReader, PeerRowWriter, Rows
from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from edgelake.net.peer.jobs import QUEUED, RowEvent, RowJob
from edgelake.net.peer.links import Links
from edgelake.node import Node
from edgelake.store.insert import Insertion
from tests.net.peer import raw
from tests.net.peer.nodes import server, until
from tests.net.peer.two_clusters import COLUMNS, Net, network
from tests.query.test_vectors import INCREMENTS, QUERIES, ordered, plain, rows_of


async def _mismatch(net: Net, case: dict[str, Any]) -> str:
    """What is wrong with the answer to a case; "" for nothing."""
    sql, expect = case["sql"], case["expect"]
    options = case.get("options", "stat = false")
    try:
        text = await net.text(sql, options)
    except EdgeLakeError as failure:
        return "" if "error" in expect else f"failed: {failure}"
    if "error" in expect:
        return f"no error but {text}"
    if "text" in expect:
        return "" if text == expect["text"] else text
    if "json" in expect:
        return "" if plain(json.loads(text)) == plain(expect["json"]) else text
    if "jsonlines" in expect:
        return "" if [json.loads(line) for line in text.splitlines()] == expect["jsonlines"] else text
    found = plain(ordered(rows_of(text), sql))
    wanted = [{k: None if v == "" else v for k, v in row.items()} for row in expect["rows"]]
    return "" if found == plain(ordered(wanted, sql)) else f"{text}, wanted {expect['rows']}"


@pytest.mark.parametrize("upgraded", [True, False], ids=["links", "blocks"])
@pytest.mark.parametrize("cases", [QUERIES, INCREMENTS], ids=["queries", "increments"])
async def test_vectors_over_two_clusters(
    tmp_path: Path, cases: list[dict[str, Any]], upgraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = []
    if not upgraded:
        monkeypatch.setattr(Links, "is_known", lambda *_: False)
    async with network(tmp_path) as net:
        for case in cases:
            if said := await _mismatch(net, case):
                wrong.append(f"{case['id']} {case['sql']} [{case.get('options', '')}]: {said}")
        assert all(server(made).status().counters["links"] == upgraded for made, _ in net.operators)
    assert not wrong, f"{len(wrong)} of {len(cases)}\n" + "\n".join(wrong)


async def test_distinct_with_brackets_is_ordered_by_its_column(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        for to in ("()", f"({net.operators[0][1]})"):
            found = await net.rows("select distinct(name) from t order by name desc limit 2", to=to)
            assert found == [{"distinct(name)": "c"}, {"distinct(name)": "b"}]


async def test_only_selects_travel(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        failure = await net.failure("delete from t")
        assert "select" in str(failure)
        assert (await net.failure("select count(*) from missing")).number == 45


async def test_rows_stop_at_the_limit(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        assert len(await net.rows("select name, value from t limit 5")) == 5
        assert len(await net.rows("select name, value from t limit 50")) == 14


async def test_constants_of_the_leaves_stand_before_buckets(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        found = await net.rows(
            "select increments(year, 1, timestamp), count(*) from t", "extend = (@node_name) and stat = false"
        )
        counted = {(row["node_name"], row["count(*)"]) for row in found}
        assert counted == {("op-a", 1), ("op-a", 6), ("op-b", 6), ("op-b", 1)}
        found = await net.rows(
            "select increments(day, 1, timestamp), count(*) from t", "extend = (@table_name) and stat = false"
        )
        assert {row["table_name"] for row in found} == {"t"}


async def test_monitoring_shows_what_went_where(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        await net.rows("select avg(value) from t")
        explained = await net.asks.execute("query explain")
        assert "sum(value), count(value)" in str(explained.data)
        where = await net.asks.execute("query destination")
        for _, address in net.operators:
            assert address in str(where.data)


async def test_whoever_sends_rows_for_a_query_that_ends_is_let_go() -> None:
    job = RowJob(1, 1)
    waiting = [asyncio.ensure_future(job.put(RowEvent(0))) for _ in range(10 * QUEUED)]
    while len(job.events) < QUEUED:  # noqa: ASYNC110 - the tasks above do it
        await asyncio.sleep(0)
    job.end()
    assert (await asyncio.gather(*waiting)).count(True) == QUEUED


ASKING = """
import asyncio, sys
from edgelake.bench.processes import free_port
from edgelake.node import Node

async def main(home, policy, nodes):
    async with Node(home, name="q") as made:
        await made.execute("create work directories")
        await made.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {free_port()}")
        await made.execute(f"blockchain insert where policy = {policy} and local = true")
        reply = await made.execute(f"run client ({nodes}) sql edge stat = false select count(*), avg(value) from t")
        print(b"".join([piece async for piece in reply.stream]).decode())

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_node_without_any_database_asks_others(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        (policy,) = [json.dumps(one) for one in net.asks.ctx.policies.find("table", dbms="edge", name="t")]
        nodes = ", ".join(address for _, address in net.operators)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASKING, str(tmp_path / "alone"), policy, nodes, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert json.loads(said)["Query"][0]["count(*)"] == 14


async def test_a_table_is_dropped_at_all_operators_or_its_policy_stays(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        (a, at_a), (b, at_b) = net.operators
        line = "drop network table where name = t and dbms = edge"
        await a.execute("set peer commands where allow = (drop table)")
        rows = dict((await net.asks.execute(line)).tables[0].rows)
        assert rows[at_a] == "Dropped"
        assert "not taken from other nodes" in rows[at_b]
        assert rows["Ledger Policy"] == "Not Dropped"
        assert net.asks.ctx.policies.find("table", name="t")
        await b.execute("set peer commands where allow = (drop table)")
        await a.ctx.stores.get("edge").change(lambda tx: tx.create_table("t", COLUMNS))
        rows = dict((await net.asks.execute(line)).tables[0].rows)
        assert rows == {at_a: "Dropped", at_b: "Dropped", "Ledger Policy": "Dropped"}
        assert b.ctx.stores.table("edge", "t") is None
        assert not net.asks.ctx.policies.find("table", name="t")


async def test_grants_to_other_nodes_end_and_name_commands(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        a, at_a = net.operators[0]
        with pytest.raises(EdgeLakeError, match="no command begins with"):
            await a.execute("set peer commands where allow = (fly away)")
        await a.execute("set peer commands where allow = (set node name)")
        assert (await a.execute("get peer commands")).data == ["set node name"]
        await net.asks.execute(f"run client {at_a} set node name other")
        assert (await net.asks.execute(f"run client {at_a} get node name")).text == "other"
        with pytest.raises(EdgeLakeError, match="not taken from other nodes"):
            await net.asks.execute(f"run client {at_a} set node names other")
        await a.execute("reset peer commands")
        with pytest.raises(EdgeLakeError, match="not taken from other nodes"):
            await net.asks.execute(f"run client {at_a} set node name other")


async def many(made: Node, count: int) -> None:
    """More rows than what is sent ahead."""
    row = json.dumps({"name": "n" * 100, "value": 1.5}) + "\n"
    parsed = await asyncio.to_thread(Rows.parse, (row * count).encode(), timezone="utc")
    await made.ctx.stores.get("edge").insert(Insertion("t", parsed, 0, tsd_name="128", tsd_id=2))


async def executed(made: Node, which: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await made.execute(f"get operator execution{which}")).data
    return found


async def test_an_operator_shows_what_other_nodes_ask_and_where_the_time_goes(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        (a, _), _ = net.operators
        assert await executed(a) == []
        await net.rows("select name, avg(value) from t group by name limit 3")
        await net.rows("select name, value from t limit 3")
        grouped, passed = await executed(a)
        assert (grouped["Status"], grouped["DBMS"], grouped["Limit"]) == ("Completed", "edge", "")
        assert passed["Limit"] == "3"
        assert passed["Rows"] <= 3
        assert "sum(value), count(value)" in grouped["Command"]
        asked_by = server(net.asks).source_for("127.0.0.1:1")
        assert grouped["Node"] == asked_by
        assert await executed(a, f" where node = {asked_by} and job = {passed['ID']}") == [passed]
        assert await executed(a, " where node = 10.0.0.9:1") == []


async def test_queries_of_nodes_that_are_gone_are_not_kept(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        (a, at_a), _ = net.operators
        gone = f"127.0.0.1:{free_port()}"
        for number in range(1, 61):
            await raw.send(at_a, raw.block("sql edge select\tname\tfrom\tt", gone, job=(1, number, 1, 0)))

        async def are_over() -> bool:
            found = await executed(a)
            return len(found) == 50 and {one["Status"] for one in found} == {"Stopped"}

        await until(are_over)
        assert len(await executed(a)) == 50


@asynccontextmanager
async def endless(rows: bytes) -> AsyncIterator[tuple[str, asyncio.Queue[tuple[str, tuple[int, ...]]]]]:
    """An operator of the reference's kind that sends rows until nobody takes them; what it was told."""
    told: asyncio.Queue[tuple[str, tuple[int, ...]]] = asyncio.Queue()
    sending: set[asyncio.Task[None]] = set()

    async def send(source: tuple[str, int], job: tuple[int, int, int, int]) -> None:
        _, back = await asyncio.open_connection(*source)
        writer = PeerRowWriter(("127.0.0.1", port), job)
        with contextlib.suppress(ConnectionError):
            while True:
                back.write(writer.rows(rows))
                await back.drain()
                await asyncio.sleep(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (request,) = PeerReader(1 << 20).feed(await reader.readexactly(2048))
        writer.close()
        told.put_nowait((request.command, request.job))
        if request.command.startswith("sql"):
            sending.add(asyncio.create_task(send(request.source, request.job)))

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}", told
        for task in sending:
            task.cancel()


ROWS = b'{"Query":[{"0":"a","1":"1.5"}]}\n' * 200


async def test_who_has_enough_rows_tells_an_operator_of_the_reference_to_stop(tmp_path: Path) -> None:
    async with network(tmp_path) as net, endless(ROWS) as (operator, told):
        assert len(await net.rows("select name, value from t limit 250", to=f"({operator})")) == 250
        async with asyncio.timeout(20):
            (command, job), (stop, _) = await told.get(), await told.get()
        assert command.startswith("sql edge")
        assert stop == f"event job_stop {job[0]} {job[1]}"


async def test_a_query_that_is_stopped_stops_its_operators(tmp_path: Path) -> None:
    async with network(tmp_path) as net, endless(ROWS) as (operator, told):
        asking = asyncio.create_task(net.failure("select name, count(*) from t group by name", to=f"({operator})"))
        async with asyncio.timeout(20):
            _, job = await told.get()
            await net.asks.execute("job stop all")
            await asking
            assert (await told.get())[0] == f"event job_stop {job[0]} {job[1]}"


@pytest.mark.parametrize("upgraded", [True, False], ids=["links", "blocks"])
async def test_an_operator_stops_what_nobody_wants_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upgraded: bool
) -> None:
    if not upgraded:
        monkeypatch.setattr(Links, "is_known", lambda *_: False)
    async with network(tmp_path) as net:
        (a, at_a), _ = net.operators
        await many(a, 300_000)
        reply = await net.asks.execute(f"run client ({at_a}) sql edge stat = false select name, value from t")
        assert reply.stream is not None
        await anext(reply.stream)
        assert (await executed(a))[-1]["Status"] == "Processing"
        await reply.stream.aclose()  # type: ignore[attr-defined]

        async def stopped() -> bool:
            return bool((await executed(a))[-1]["Status"] == "Stopped")

        await until(stopped)
        assert (await executed(a))[-1]["Rows"] < 300_000


async def test_a_stopped_query_ends_with_the_code_of_the_reference(tmp_path: Path) -> None:
    """A query node of the reference that takes no more and stops its job: the stream ends with error 168."""
    goes_on, answered = asyncio.Event(), asyncio.Queue[PeerMessage]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        joined = PeerReader(1 << 20)
        await goes_on.wait()
        while data := await reader.read(2048 * 64):
            for message in joined.feed(data):
                answered.put_nowait(message)
        writer.close()

    async with network(tmp_path) as net, await asyncio.start_server(take, "127.0.0.1", 0, limit=2048) as listening:
        (a, at_a), _ = net.operators
        await many(a, 300_000)
        source = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        await raw.send(at_a, raw.block("sql edge select\tname,\tvalue\tfrom\tt", source, job=(3, 77, 1, 0)))

        async def begun() -> bool:
            return any(one["Blocks"] for one in await executed(a))

        await until(begun)
        for not_this in (
            f"event job_stop 3 78|{source}",
            "event job_stop 3 77|127.0.0.1:9",
            f"event job_stop 3|{source}",
        ):
            event, _, by = not_this.partition("|")
            await raw.send(at_a, raw.block(event, by))
        assert (await executed(a))[-1]["Status"] == "Processing"
        await raw.send(at_a, raw.block("event job_stop 3 77", source))

        async def stopped() -> bool:
            return bool((await executed(a))[-1]["Status"] == "Stopped")

        await until(stopped)
        goes_on.set()
        async with asyncio.timeout(20):
            while not (message := await answered.get()).is_complete:
                assert not message.error
        assert message.error == 168
