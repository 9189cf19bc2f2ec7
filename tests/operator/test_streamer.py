"""Thresholds, durability, widening, and what `get streaming` shows of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelake.command.render import reply_text
from edgelake.errors import AlreadyRunningError, CommandError, EdgeLakeError
from edgelake.ingest.streaming import StreamCounts, StreamSettings, Threshold, in_force
from tests.operator.node import Node, running
from tests.operator.streams import Streams


def node_with(home: Path) -> tuple[Node, Streams]:
    node, streams = Node(home), Streams()
    node.ctx.ingest = streams
    return node, streams


async def test_streamer_shows_the_thresholds_in_force(tmp_path: Path) -> None:
    node, streams = node_with(tmp_path)
    await node.text("run streamer")
    details = (await node.data("get processes"))["Streamer"]
    assert details == {
        "Status": "Running",
        "Details": "Default streaming thresholds are 0.1 seconds and 1,048,576 bytes",
    }
    await node.text("set buffer threshold where time = 60 seconds and volume = 100KB and write_immediate = true")
    details = (await node.data("get processes"))["Streamer"]["Details"]
    assert details == "Default streaming thresholds are 60 seconds and 102,400 bytes"
    with pytest.raises(AlreadyRunningError):
        await node.text("run streamer")
    await node.text("exit streamer")
    assert streams.flushes == 1
    assert (await node.data("get processes"))["Streamer"] == {"Status": "Not declared"}
    await node.text("run streamer")
    await node.ctx.services.stop_all()


async def test_streamer_takes_directories(tmp_path: Path) -> None:
    node, streams = node_with(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    await node.text(f"run streamer where prep_dir = {other} and watch_dir = {other} and err_dir = {other}")
    assert [str(p).rstrip("/") for p in streams.directories] == [str(other)] * 3
    await node.text("exit streamer")
    with pytest.raises(EdgeLakeError):
        await node.text(f"run streamer where watch_dir = {tmp_path}/none")


SETTINGS = {
    "dbms = d and table = t and time = 1 second and volume = 10KB": ("d", "t", Threshold(1, 10240)),
    "dbms_name = d and table_name = t and time = 2 minutes": ("d", "t", Threshold(120, 1 << 20)),
    "dbms = d and volume = 2MB": ("d", "", Threshold(0.1, 2 << 20)),
    "volume = 5000": ("", "", Threshold(0.1, 5000)),
    "time = 0 seconds and volume = 1KB": ("", "", Threshold(0, 1024)),
    "dbms = D and table = T and write_immediate = true": ("d", "t", Threshold(0.1, 1 << 20, True)),
}


@pytest.mark.parametrize("pairs", SETTINGS)
async def test_buffer_thresholds_of_every_scope(tmp_path: Path, pairs: str) -> None:
    node, streams = node_with(tmp_path)
    await node.text(f"set buffer threshold where {pairs}")
    dbms, table, threshold = SETTINGS[pairs]
    assert streams.settings() == [StreamSettings(dbms, table, threshold)]


async def test_zero_and_zero_remove_an_entry_and_omitted_values_take_the_default(tmp_path: Path) -> None:
    node, streams = node_with(tmp_path)
    head = "set buffer threshold where dbms = d and table = t and"
    await node.text(f"{head} time = 5 seconds and volume = 1KB")
    await node.text(f"{head} volume = 2KB")
    assert streams.settings()[0].threshold == Threshold(0.1, 2048)
    await node.text("set durability where dbms = d and table = t and level = fast")
    await node.text(f"{head} time = 0 seconds and volume = 0KB")
    assert streams.settings() == [StreamSettings("d", "t", durability="fast")]


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("set buffer threshold where dbms = d", 33),
        ("set buffer threshold where table = t and time = 1 second", 2),
        ("set buffer threshold where time = soon", 2),
        ("set durability where level = maybe", 2),
        ("set schema widening where value = perhaps", 2),
    ],
)
async def test_wrong_settings(tmp_path: Path, line: str, number: int) -> None:
    node, streams = node_with(tmp_path)
    with pytest.raises(EdgeLakeError) as caught:
        await node.text(line)
    assert caught.value.number == number
    assert streams.settings() == []


def test_the_narrowest_scope_decides_each_value() -> None:
    settings = [
        StreamSettings(threshold=Threshold(60, 1), widening=False),
        StreamSettings("d", durability="fast"),
        StreamSettings("d", "t", threshold=Threshold(1, 2)),
    ]
    assert in_force(settings, "d", "t") == StreamSettings("d", "t", Threshold(1, 2), "fast", False)
    assert in_force(settings, "d", "u") == StreamSettings("d", "u", Threshold(60, 1), "fast", False)
    assert in_force([], "x", "y") == StreamSettings("x", "y", Threshold(), "durable", True)


async def test_config_in_the_references_form_and_ours_behind(tmp_path: Path) -> None:
    node, _ = node_with(tmp_path)
    await node.text("run streamer")
    await node.text("set buffer threshold where time = 60 seconds and volume = 100KB")
    assert (await node.text("get streaming config")) == (
        "\nFlush Thresholds\n"
        "Threshold        Value   Streamer \n"
        "----------------|-------|--------|\n"
        "Threshold Time  |     60|Running |\n"
        "Threshold Volume|102,400|        |\n"
        "Write Immediate |False  |        |\n"
        "Buffered Rows   |    236|        |\n"
        "Flushed Rows    |    701|        |\n"
        "Durability      |durable|        |\n"
        "Schema Widening |on     |        |\n"
    )
    await node.text("set schema widening where dbms = d and table = t and value = off")
    found = await node.data("get streaming config")
    assert list(found)[:6] == [
        "status",
        "Threshold_Time",
        "Threshold_Volume",
        "Write_Immediate",
        "Buffered_Rows",
        "Flushed_Rows",
    ]
    assert found["Tables"] == [
        {
            "DBMS": "d",
            "Table": "t",
            "Time": 60,
            "Volume": 102400,
            "Immediate": False,
            "Durability": "durable",
            "Widening": "off",
        }
    ]
    assert "\nTables\nDBMS Table Time " in await node.text("get streaming config")


async def test_statistics_in_the_references_form(tmp_path: Path) -> None:
    node, streams = node_with(tmp_path)
    text = reply_text(await node.ctx.execute("get streaming"))
    assert len(text) == 382  # Content-Length of the reference's reply on a node without data
    assert await node.data("get streaming") == []
    await node.text("set buffer threshold where time = 60 seconds and volume = 100KB")
    streams.found = [
        StreamCounts("new_company", "put_data", calls=4, rows=8, cached_rows=2, cached_bytes=51200, age_s=20),
        StreamCounts("new_company", "put_file", put_files=1, put_rows=2),
    ]
    assert (await node.text("get streaming")).splitlines()[3:] == [
        "                     Put    Put     Streaming Streaming Cached Counter    Threshold   Buffer   "
        "Threshold  Time Left Last Process ",
        "DBMS-Table           files  Rows    Calls     Rows      Rows   Immediate  Volume(KB)  Fill(%)  "
        "Time(sec)  (Sec)     HH:MM:SS     ",
        "--------------------|------|-----|-|---------|---------|------|----------|-----------|--------|"
        "----------|---------|------------|",
        "new_company.put_data|     0|    0| |        4|        8|     2|         0|        102|    50.0|"
        "        60|       40|00:00:00    |",
        "new_company.put_file|     1|    2| |        0|        0|     0|         0|          0|       0|"
        "         0|        0|00:00:00    |",
    ]
    found = await node.data("get streaming")
    assert found[1] == {
        "table": "new_company.put_file",
        "File Put": 1,
        "File Rows": 2,
        "Streaming Put": 0,
        "Streaming Rows": 0,
        "Streaming Cached": 0,
        "Immediate": 0,
        "Threshold Volume": 0,
        "% Buffer Fill": 0,
        "Threshold Time": 0,
        "Time Left": 0,
        "Last Process": "00:00:00",
    }


async def test_flush_buffers_needs_the_directories(tmp_path: Path) -> None:
    node, streams = node_with(tmp_path)
    await node.text("flush buffers")
    assert streams.flushes == 1
    node.ctx.variables.delete("watch_dir")
    with pytest.raises(EdgeLakeError) as caught:
        await node.text("flush buffers")
    assert caught.value.number == 33


async def test_stream_takes_objects_and_lists(tmp_path: Path) -> None:
    node, streams = node_with(tmp_path)
    await node.text('stream {"value": 1} where dbms = D and table = T')
    node.ctx.variables.set("reading", '[{"value": 1}, {"value": 2}]')
    await node.text("stream !reading where dbms = d and table = t and mode = streaming")
    assert [(one.dbms, one.table, one.rows) for one in streams.found] == [("d", "t", 1), ("d", "t", 2)]
    with pytest.raises(CommandError):
        await node.text("stream 7 where dbms = d and table = t")


async def test_node_info_is_streamed_as_a_row(tmp_path: Path) -> None:
    node, streams = node_with(tmp_path)
    await node.text("get node info swap_memory into dbms = monitoring and table = swap")
    assert [(one.dbms, one.table, one.rows) for one in streams.found] == [("monitoring", "swap", 1)]


async def test_the_operator_tells_who_books_flushes(tmp_path: Path) -> None:
    streams = Streams()
    async with running(tmp_path, ingest=streams) as node:
        assert streams.keeper is not None
        await node.text("exit operator")
        assert streams.keeper is None
