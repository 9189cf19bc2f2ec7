"""Message clients of POST: declaration, counters, status texts (spec: brokers and mapping, sections 4, 12, 15)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.handlers.messages import PART
from edgelake.command.local import language_context
from edgelake.command.render import reply_text
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError
from edgelake.ingest.service import Ingest
from edgelake.inputs.mapped import MappedSubmit
from edgelake.inputs.msg_client import MessageClients
from edgelake.model import Status, Stored
from edgelake.net.rest import RestConfig

DECLARE = (
    "run msg client where broker = rest and user-agent = anylog and user = unused and topic = (name = post1 "
    "and dbms = new_company and table = post_data "
    'and column.timestamp.timestamp = "bring [timestamp]" and column.device_name.str = "bring [device_name]" '
    'and column.value = (type = float and value = "bring [value]" and optional = false))'
)
GOOD = b'{"timestamp": "2026-01-01T00:00:00Z", "device_name": "d1", "value": 1}'


class Node:
    """Message clients over a journal; what was mapped is read from the pipeline's counters."""

    def __init__(self, home: Path, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.ingest = Ingest(home / "journal", timezone="UTC")
        self.context = language_context(home=home, variables=Variables({}))
        self.reported: list[str] = []
        entry = MappedSubmit(self.ingest.submit_native, timezone="UTC")
        self.clients = MessageClients(entry, self.reported.append)
        self.context.parts[PART] = self.clients

    def text(self, line: str) -> str:
        return reply_text(self.runner.run(self.context.execute(line)))

    def data(self, line: str) -> Any:
        return self.runner.run(self.context.execute(line)).data

    def post(self, payload: bytes, *, agent: str = "AnyLog/1.23", topic: str = "") -> Stored:
        return self.runner.run(self.clients.post(agent, topic, payload))

    def rows(self) -> dict[str, int]:
        """Rows taken, by table."""
        return {f"{one.dbms}.{one.table}": one.rows for one in self.ingest.streams()}

    async def close(self) -> None:
        await self.clients.close()
        await self.ingest.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with asyncio.Runner() as runner:
        made = Node(tmp_path, runner)
        yield made
        runner.run(made.close())


def test_posted_message_becomes_a_row_of_its_table(node: Node) -> None:
    assert node.text(DECLARE) == "1"
    assert node.post(GOOD) == Stored(1)
    assert node.rows() == {"new_company.post_data": 1}


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
    assert node.rows() == {}


def test_most_specific_topic_takes_the_message(node: Node) -> None:
    node.text(
        "run msg client where broker = rest and user-agent = a "
        'and topic = (name = "p/#" and dbms = d and table = rest and column.v.int = "bring [v]") '
        'and topic = (name = p/x and dbms = d and table = exact and column.v.int = "bring [v]")'
    )
    for topic in ("p/x", "p/y", ""):
        node.post(b'{"v": 1}', agent="a", topic=topic)
    assert node.rows() == {"d.exact": 1, "d.rest": 2}


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


def test_a_table_that_the_message_names_is_shown_as_its_mapping(node: Node) -> None:
    node.text(
        "run msg client where broker = rest and user-agent = a and topic = (name = p and dbms = d "
        'and table = "bring [table]" and column.v.int = "bring [v]")'
    )
    assert "p    |False  |  0|d   |['[table]']|v          |int        |['[v]']" in node.text("get msg client")


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


LOCAL = (
    "run msg client where broker = local and {options}topic = (name = plant/+ and dbms = d and table = t "
    'and column.v.int = "bring [v]")'
)


def test_local_client_takes_what_is_published_here(node: Node) -> None:
    assert node.text(LOCAL.format(options="")) == "1"
    node.text("""mqtt publish where broker = local and topic = plant/a and message = '[{"v": 1}, {"v": 2}]'""")
    assert node.rows() == {"d.t": 2}
    assert "Broker:       local\r\nConnection:   Connected to local Message Server" in node.text("get msg client")
    with pytest.raises(EdgeLakeError, match="Non-subscribed topic"):
        node.text("""mqtt publish where broker = local and topic = other and message = '{"v": 1}'""")


def test_a_topic_has_one_holder_per_broker(node: Node) -> None:
    node.text(LOCAL.format(options=""))
    with pytest.raises(EdgeLakeError, match="belongs to client 1") as failed:
        node.text(LOCAL.format(options=""))
    assert failed.value.number == 124
    node.text("exit msg client 1")
    assert node.text(LOCAL.format(options="")) == "2"


def test_messages_that_fail_are_kept_where_the_client_says(node: Node, tmp_path: Path) -> None:
    node.text(LOCAL.format(options=f"log_error = true and err_dir = {tmp_path} and "))
    node.text("""mqtt publish where broker = local and topic = plant/a and message = '{"v": "x"}'""")
    node.runner.run(node.clients.close())
    kept = list(tmp_path.glob("err_local.plant*.json"))
    assert [path.read_text() for path in kept] == ['{"v": "x"}\n']
    assert node.reported == ["msg client 1, topic 'plant/a': error 194: v: 'x' is no int: " + '{"v": "x"}']


def test_only_log_writes_messages_as_they_come(node: Node, tmp_path: Path) -> None:
    node.text(
        f"run msg client where broker = local and only_log = true and prep_dir = {tmp_path} and topic = (name = '#')"
    )
    node.text("""mqtt publish where broker = local and topic = any/where and message = '{"v": "x"}'""")
    node.runner.run(node.clients.close())
    assert (tmp_path / "log_local.json").read_text() == '{"v": "x"}\n'
    assert node.rows() == {}
    assert node.data("get msg client")[0]["Success"] == 1


def test_rules_for_lines_are_declared_shown_and_removed(node: Node) -> None:
    assert node.text("get msg rules") == "No msg rules"
    node.text("set msg rule kiwi if ip = 10.0.0.78 and port = 514 then dbms = logs and table = s and syslog = true")
    node.text('set msg rule mac if header = "al.sl: " then dbms = Logs and table = m and structure = included')
    node.text("set msg rule kiwi if ip = 10.0.0.79 then dbms = logs and table = s and syslog = true and format = IETF")
    shown = node.data("get msg rules")
    assert [(one["name"], one["ip"], one["port"], one["format"]) for one in shown] == [
        ("kiwi", "10.0.0.79", None, "ietf"),
        ("mac", None, None, "plain"),
    ]
    assert (shown[1]["header"], shown[1]["dbms"], shown[1]["included"]) == ("al.sl: ", "logs", True)
    node.text("reset msg rule kiwi")
    assert [one["name"] for one in node.data("get msg rules")] == ["mac"]
    with pytest.raises(EdgeLakeError):
        node.text("reset msg rule kiwi")


@pytest.mark.parametrize(
    "rule",
    [
        "ip = 10.0.0.1",
        "then dbms = d and table = t",
        "ip = 10.0.0.1 then table = t",
        "port = 0 then dbms = d and table = t",
        "ip = 10.0.0.1 and colour = red then dbms = d and table = t",
        "ip = 10.0.0.1 then dbms = d and table = t and syslog = maybe",
        "ip = 10.0.0.1 then dbms = d and table = t and format = ietf",
    ],
)
def test_a_rule_that_cannot_work_is_refused(node: Node, rule: str) -> None:
    with pytest.raises(EdgeLakeError):
        node.text(f"set msg rule r if {rule}")
    assert node.text("get msg rules") == "No msg rules"


@dataclass
class Listening:
    """A service with an address, as the REST server and the message broker are."""

    name: str
    config: RestConfig

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def status(self) -> Status:
        return Status(self.name, running=True)


@pytest.mark.parametrize(("service", "broker"), [("message broker", "local"), ("rest", "rest")])
def test_the_address_of_an_own_service_is_its_broker(node: Node, service: str, broker: str) -> None:
    config = RestConfig("10.0.0.5", 7850, "192.168.0.5", 7851, False)
    node.runner.run(node.context.services.start(Listening(service, config)))
    for number, (ip, port) in enumerate((("10.0.0.5", 7850), ("192.168.0.5", 7851))):
        node.text(
            f"run msg client where broker = {ip} and port = {port} and user-agent = a{number} and "
            f"topic = (name = t{number} and dbms = d and table = t and column.v.int = 1)"
        )
        assert node.data("get msg client")[-1]["Broker"] == broker
