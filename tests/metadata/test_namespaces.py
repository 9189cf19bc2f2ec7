"""Topics of dynamic clients as policies, and as rows of their namespaces (spec: brokers and mapping, section 10)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgelake import Node, _rust
from edgelake.errors import EdgeLakeError, JournalError, error
from edgelake.inputs.namespaces import NamespaceStreamer, columns_of
from edgelake.metadata import namespaces
from edgelake.metadata.ids import Policy, body_of
from edgelake.metadata.namespaces import Namespaces, Topic
from edgelake.metadata.policies import Policies
from edgelake.model import Stored
from edgelake.peering import PeerAnswer

MASTER = "10.0.0.1:32048"
CLIENT = 'run msg client where broker = local{} and topic = (name = "site/#" and dbms = plant and dynamic = true)'


class SentTo:
    """``Peers`` of a node whose messages are kept; the first ``refusing`` of them fail."""

    def __init__(self, refusing: int = 0) -> None:
        self.told: list[tuple[str, Policy]] = []
        self.refusing = refusing

    def is_upgraded(self, peer: str) -> bool:
        return False

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        if self.refusing:
            self.refusing -= 1
            raise error(180, peer)
        self.told.append((peer, json.loads(command.removeprefix("blockchain push "))))

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        return []

    @property
    def spaces(self) -> list[str]:
        return [policy["uns"]["namespace"] for _, policy in self.told]


def play(home: Path, work: Callable[[Node, SentTo], Coroutine[Any, Any, None]], *, refusing: int = 0) -> None:
    async def whole() -> None:
        async with Node(home) as node:
            sent = SentTo(refusing)
            node.ctx.parts["peers"] = sent
            await node.execute("create work directories")
            await node.execute("connect dbms plant where type = sqlite and memory = true")
            await node.execute("set node name edge-7")
            await work(node, sent)

    asyncio.run(whole())


async def say(node: Node, topic: str, message: str) -> None:
    await node.execute(f"mqtt publish where broker = local and topic = {topic} and message = {message}")
    node.ctx.parts["message clients"].announce_topics()


async def uns(node: Node, namespace: str) -> dict[str, Any]:
    """The policy of a namespace, as soon as there is one."""
    policies = node.ctx.policies
    assert await policies.until(lambda: bool(policies.find("uns", namespace=namespace)), timeout_s=10), namespace
    return dict(body_of(policies.find("uns", namespace=namespace)[0]))


def test_each_level_of_a_topic_is_published_once_below_its_parent(tmp_path: Path) -> None:
    async def first(node: Node, sent: SentTo) -> None:
        await node.execute(CLIENT.format(f" and master_node = {MASTER}"))
        await say(node, "site/Hall 1/door", '{"open": true}')
        door = await uns(node, "site/Hall 1/door")
        hall, site = await uns(node, "site/Hall 1"), await uns(node, "site")
        assert "parent" not in site
        assert (hall["parent"], door["parent"]) == (site["id"], hall["id"])
        shown = {key: hall[key] for key in ("name", "dbms", "table", "source_node")}
        assert shown == {"name": "Hall 1", "dbms": "plant", "table": "hall_1", "source_node": "edge-7"}
        await say(node, "site/Hall 1/door", '{"open": false}')
        await say(node, "site/Hall 1/lamp", "1")
        assert (await uns(node, "site/Hall 1/lamp"))["parent"] == hall["id"]
        # A second table of that name would be the same one: its policy has another name.
        await say(node, "site/yard/door", '{"open": true}')
        assert (await uns(node, "site/yard/door"))["name"] == "site/yard/door"
        assert sent.spaces == [
            "site",
            "site/Hall 1",
            "site/Hall 1/door",
            "site/Hall 1/lamp",
            "site/yard",
            "site/yard/door",
        ]
        assert {peer for peer, _ in sent.told} == {MASTER}

    async def again(node: Node, sent: SentTo) -> None:
        await node.execute(CLIENT.format(f" and master_node = {MASTER}"))
        for topic in ("site/Hall 1/door", "site/Hall 1/lamp", "site/Hall 2/lamp"):
            await say(node, topic, "1")
        await uns(node, "site/Hall 2/lamp")
        assert sent.spaces == ["site/Hall 2", "site/Hall 2/lamp"]
        assert len(node.ctx.policies.of_type("uns")) == 8

    play(tmp_path, first)
    play(tmp_path, again)


def test_without_a_ledger_of_its_own_a_client_publishes_where_the_operator_does(tmp_path: Path) -> None:
    async def work(node: Node, sent: SentTo) -> None:
        await node.execute(CLIENT.format(""))
        await say(node, "site/door", "1")
        assert node.ctx.policies.of_type("uns") == []
        body = {"name": "op", "company": "acme", "ip": "10.0.0.5", "port": 32148, "cluster": "none", "id": "op-1"}
        await node.ctx.policies.add([{"cluster": {"company": "acme", "name": "c1", "id": "none"}}])
        policy = await node.ctx.policies.insert({"operator": body})
        await node.execute(f"run operator where policy = {policy} and create_table = false and master_node = {MASTER}")
        node.ctx.parts["message clients"].announce_topics()
        await uns(node, "site/door")
        assert sent.spaces == ["site", "site/door"]

    play(tmp_path, work)


def test_what_a_master_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(namespaces, "RETRY_S", 0.01)

    async def work(node: Node, sent: SentTo) -> None:
        await node.execute(CLIENT.format(f" and master_node = {MASTER}"))
        await say(node, "site/door", "1")
        await uns(node, "site/door")
        assert sent.spaces == ["site", "site/door"]

    play(tmp_path, work, refusing=3)
    told = [record.getMessage() for record in caplog.records if "has no uns policy yet" in record.getMessage()]
    assert len(told) == 1, "the same problem is told once"


def test_a_namespace_that_another_node_published_meanwhile_is_not_made_again(tmp_path: Path) -> None:
    async def whole() -> None:
        policies = Policies(tmp_path / "ledger")
        await policies.load()
        own = Namespaces(policies, lambda: "edge-1")
        own.seen(Topic("d", "a/b"))
        assert await policies.until(lambda: bool(policies.find("uns", namespace="a/b")), timeout_s=10)
        other = Policies(tmp_path / "other")
        await other.load()
        theirs = Namespaces(other, lambda: "edge-2")
        theirs.seen(Topic("d", "//a / b/"))  # levels without a name are none
        assert await other.until(lambda: bool(other.find("uns", namespace="a/b")), timeout_s=10)
        ids = [[body_of(policy)["id"] for policy in one.of_type("uns")] for one in (policies, other)]
        assert ids[0] == ids[1]
        await own.stop()
        await theirs.stop()

    asyncio.run(whole())


# ---- rows of namespaces


def test_the_topics_of_a_namespace_are_one_row(tmp_path: Path) -> None:
    async def work(node: Node, sent: SentTo) -> None:
        await node.execute(CLIENT.format(""))
        await node.execute("run uns streamer where frequency = 1 hour")
        with pytest.raises(EdgeLakeError):
            await node.execute("run uns streamer")
        for topic, message in (
            ("site/hall/speed", "1"),
            ("site/hall/speed", "12.5"),
            ("site/hall/door", '{"open": true, "count": 3}'),
            ("site/yard/lamp", "7"),
            ("site", "1"),  # in no namespace
        ):
            await say(node, topic, message)
        status = (await node.execute("get processes where format = json")).data["UNS Streamer"]
        assert (status["Status"], status["Details"]) == ("Running", "Frequency: 3600 seconds, Namespaces: 0, Rows: 0")
        await node.execute("exit uns streamer")  # it writes what was collected
        await node.execute("flush buffers")
        hall = "select namespace, speed, door_open, door_count from hall"
        row = {"namespace": "site/hall", "speed": 12.5, "door_open": True, "door_count": 3}
        assert [one async for one in node.query(hall, dbms="plant")] == [row]
        yard = [one async for one in node.query("select namespace, lamp from yard", dbms="plant")]
        assert yard == [{"namespace": "site/yard", "lamp": 7}]

    play(tmp_path, work)


@pytest.mark.parametrize(
    ("payload", "columns"),
    [
        (b"12", {"a": 12}),
        (b'" 1.5 "', {"a": 1.5}),
        (b"TRUE", {"a": True}),
        (b"null", {"a": None}),
        (b'"NaN"', {"a": "NaN"}),
        (b"NaN", {"a": "NaN"}),
        (b"open \xff", {"a": "open \ufffd"}),
        (b"[1, 2]", {"a": 2}),
        (b"[]", {"a": None}),
        (b'{"X y": {"z": 1}}', {"a_x_y": '{"z": 1}'}),
    ],
)
def test_columns_follow_the_message(payload: bytes, columns: dict[str, Any]) -> None:
    assert columns_of("A", payload) == columns


@pytest.mark.parametrize("payload", [b"[" * 4000, b'"' + b"[" * 4000 + b'"'], ids=["message", "text in it"])
def test_a_message_that_is_nested_too_deep_is_a_text(payload: bytes) -> None:
    (value,) = columns_of("a", payload).values()
    assert value == payload.decode().strip('"')


def test_columns_of_the_row_itself_are_not_taken() -> None:
    assert columns_of("Timestamp", b"1") == {"timestamp_value": 1}


def test_rows_that_find_no_room_come_the_next_time_and_those_without_news_do_not() -> None:
    taken: list[tuple[str, str, dict[str, Any]]] = []
    problems: list[EdgeLakeError] = [JournalError("full"), error(6, "no row")]

    class Native:
        def __init__(self) -> None:
            self.latest: list[tuple[int, str, str, bytes, int]] = []

        def take_latest(self) -> list[tuple[int, str, str, bytes, int]]:
            latest, self.latest = self.latest, []
            return latest

    async def submit(dbms: str, table: str, payload: bytes) -> Stored:
        if problems:
            raise problems.pop(0)
        taken.append((dbms, table, json.loads(payload)))
        return Stored(1, 0, "")

    async def whole() -> None:
        native: Any = Native()
        streamer = NamespaceStreamer(native, submit, 5)
        native.latest = [(1, "d", "s/Hall/x", b"1", 1_000_000)]
        await streamer.write()  # no room
        assert taken == []
        await streamer.write()  # no row
        await streamer.write()
        assert taken == []
        native.latest = [(1, "d", "s/Hall/y", b"2", 2_500_000), (1, "d", "s/Hall/x", b"3", 2_000_000)]
        await streamer.write()
        row = {"timestamp": "1970-01-01T00:00:02.500000Z", "namespace": "s/Hall", "x": 3, "y": 2}
        assert taken == [("d", "hall", row)]
        await streamer.write()
        assert len(taken) == 1

    asyncio.run(whole())


def test_levels_without_a_name_are_none() -> None:
    assert namespaces.levels_of("/a// b /") == ["a", "b"]
    assert _rust.sanitize_name("") == ""
