"""Message clients of POST: declaration, counters, status texts (spec: brokers and mapping, sections 4, 12, 15)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import MappingProgram
from edgelake.command.handlers.messages import PART
from edgelake.command.local import language_context
from edgelake.command.render import reply_text
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError, OverloadedError
from edgelake.inputs.msg_client import MessageClients
from edgelake.model import Stored

DECLARE = (
    "run msg client where broker = rest and user-agent = anylog and user = unused and topic = (name = post1 "
    "and dbms = new_company and table = post_data "
    'and column.timestamp.timestamp = "bring [timestamp]" and column.device_name.str = "bring [device_name]" '
    'and column.value = (type = float and value = "bring [value]" and optional = false))'
)
GOOD = b'{"timestamp": "2026-01-01T00:00:00Z", "device_name": "d1", "value": 1}'


class MemoryIngest:
    """Maps at once and keeps the rows, without journal and database (they have tests of their own)."""

    def __init__(self) -> None:
        self.programs: list[MappingProgram] = []
        self.rows: list[tuple[str, str, dict[str, Any]]] = []
        self.full = False

    def add_program(self, definition: str) -> int:
        self.programs.append(MappingProgram(definition))
        return len(self.programs) - 1

    async def submit_mapped(self, program_id: int, topic: str, payload: bytes) -> Stored:
        if self.full:
            raise OverloadedError
        targets, rejected = self.programs[program_id].map(payload, topic, timezone="UTC")
        made = [(dbms, table, row) for dbms, table, _, _, _, rows in targets for row in rows.to_list()]
        self.rows += made
        return Stored(len(made), len(rejected), rejected[0][2] if rejected else "")


class Node:
    def __init__(self, home: Path) -> None:
        self.ingest = MemoryIngest()
        self.context = language_context(home=home, variables=Variables({}))
        self.clients = MessageClients(self.ingest)
        self.context.parts[PART] = self.clients

    def text(self, line: str) -> str:
        return reply_text(asyncio.run(self.context.execute(line)))

    def data(self, line: str) -> Any:
        return asyncio.run(self.context.execute(line)).data

    def post(self, payload: bytes, *, agent: str = "AnyLog/1.23", topic: str = "") -> Stored:
        return asyncio.run(self.clients.post(agent, topic, payload))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_posted_message_becomes_a_row_of_its_table(node: Node) -> None:
    assert node.text(DECLARE) == "1"
    assert node.post(GOOD) == Stored(1)
    dbms, table, row = node.ingest.rows[0]
    assert (dbms, table, row["device_name"], row["value"]) == ("new_company", "post_data", "d1", 1.0)


def test_bad_elements_of_a_list_are_counted_and_the_others_stored(node: Node) -> None:
    node.text(DECLARE)
    stored = node.post(b"[" + GOOD + b', {"value": 2},' + GOOD + b"]", topic="post1")
    assert (stored.rows, stored.rejected) == (2, 1)
    assert "timestamp" in stored.reason
    client = node.data("get msg client")[0]
    assert (client["Messages"], client["Success"], client["Errors"]) == (3, 2, 1)
    assert client["Topics"][0]["Errors"] == 1


@pytest.mark.parametrize(
    ("agent", "topic", "payload", "number", "text"),
    [
        ("", "", GOOD, 167, "HTTP server received POST message from unknown 'User-Agent'"),
        ("curl/8", "", GOOD, 163, "Missing USER ID (associated to the message broker)"),
        ("anylog", "nosuch", GOOD, 159, "Unrecognized MQTT topic"),
        ("anylog", "", b"not json", 299, "Failed to identify application data"),
        ("anylog", "", b"17", 299, "Failed to identify application data"),
    ],
)
def test_what_cannot_be_taken_names_its_reason(
    node: Node, agent: str, topic: str, payload: bytes, number: int, text: str
) -> None:
    node.text(DECLARE)
    with pytest.raises(EdgeLakeError) as failed:
        node.post(payload, agent=agent, topic=topic)
    assert (failed.value.number, failed.value.text) == (number, text)
    assert node.ingest.rows == []


def test_refused_payload_is_counted_and_the_client_goes_on(node: Node) -> None:
    node.text(DECLARE)
    node.ingest.full = True
    with pytest.raises(OverloadedError):
        node.post(GOOD)
    node.ingest.full = False
    node.post(GOOD)
    client = node.data("get msg client where id = 1")[0]
    assert (client["Success"], client["Errors"]) == (1, 1)


def test_most_specific_topic_takes_the_message(node: Node) -> None:
    node.text(
        "run msg client where broker = rest and user-agent = a "
        'and topic = (name = "p/#" and dbms = d and table = rest and column.v.int = "bring [v]") '
        'and topic = (name = p/x and dbms = d and table = exact and column.v.int = "bring [v]")'
    )
    for topic in ("p/x", "p/y", ""):
        node.post(b'{"v": 1}', agent="a", topic=topic)
    assert [table for _, table, _ in node.ingest.rows] == ["exact", "rest", "rest"]


def test_status_text_has_the_form_of_the_reference(node: Node) -> None:
    node.text(DECLARE)
    lines = node.text("get msg client").split("\r\n")
    assert lines[:8] == [
        "",
        "Subscription ID: 0001",
        "User:         unused",
        "Broker:       rest",
        "Connection:   Connected to local Message Server",
        "",
        "     Messages    Success     Errors      Last message time    Last error time      Last Error",
        "     ----------  ----------  ----------  -------------------  -------------------  "
        "----------------------------------",
    ]
    assert lines[9:] == [
        "     ",
        "     Subscribed Topics:",
        "     Topic Dynamic QOS DBMS        Table     Column name Column Type Mapping Function  Optional Policies ",
        "     -----|-------|---|-----------|---------|-----------|-----------|-----------------|--------|--------|",
        "     post1|False  |  0|new_company|post_data|timestamp  |timestamp  |['[timestamp]']  |False   |        |",
        "          |False  |   |           |         |device_name|str        |['[device_name]']|False   |        |",
        "          |False  |   |           |         |value      |float      |['[value]']      |False   |        |",
        "",
    ]
    assert node.text("get msg brokers").split("\r\n")[1:4] == [
        "     Broker Topic Client ID Messages Success Failure ",
        "     ------|-----|---------|--------|-------|-------|",
        "     rest  |post1|        1|       0|      0|      0|",
    ]


def test_status_with_details_and_statistics(node: Node) -> None:
    node.text(DECLARE)
    node.post(GOOD)
    text = node.text("get msg clients where detailed = true and statistics = true")
    assert "Directories Used" in text
    assert "post1|      1|      0|" in text


def test_no_client_and_no_match_have_their_texts(node: Node) -> None:
    assert node.text("get msg client").strip() == "No message client subscriptions"
    node.text(DECLARE)
    assert node.text("get msg client where id = 7") == "No such client subscription"
    assert json.loads(node.text("get msg client where id = 1 and format = json"))[0]["User-Agent"] == "anylog"


def test_exit_ends_the_subscription(node: Node) -> None:
    node.text(DECLARE)
    with pytest.raises(EdgeLakeError) as failed:
        node.text("exit msg client 9")
    assert failed.value.number == 128
    node.text("exit msg client 1")
    with pytest.raises(EdgeLakeError) as failed:
        node.post(GOOD)
    assert failed.value.number == 163


@pytest.mark.parametrize(
    ("topic", "number"),
    [
        ("name = x", 124),
        ("dbms = d and table = t and column.v.int = 1", 124),
        ("name = x and dbms = d and table = t and column.v.nosuch = 1", 188),
        ("name = x and dbms = d and table = t and column.v = (type = int)", 124),
        ("name = x and dbms = d and table = t and column.v.int = abc", 124),
        ("name = x and policy = nosuch", 113),
        ("name = x and colour = red", 124),
        ("name = post1 and dbms = d and table = t and column.v.int = 1", 124),
        ("name = a/#/b and dbms = d and table = t and column.v.int = 1", 124),
        ("name = x and qos = 3 and dbms = d and table = t and column.v.int = 1", 124),
    ],
)
def test_declaration_that_cannot_work_is_refused(node: Node, topic: str, number: int) -> None:
    node.text(DECLARE)
    with pytest.raises(EdgeLakeError) as failed:
        node.text(f"run msg client where broker = rest and user-agent = anylog and topic = ({topic})")
    assert failed.value.number == number
    assert len(node.data("get msg client")) == 1
