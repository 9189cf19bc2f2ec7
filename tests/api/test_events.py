"""Server-sent events of a running node, over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import pytest

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.command.api import live
from edgelake.command.api.live import LISTENERS, Events
from edgelake.command.api.overview import COMMANDS
from edgelake.command.registry import Registry
from edgelake.command.tokenizer import tokenise
from edgelake.model import PROMPT
from tests.system.program import STANDALONE, Program


class Event(NamedTuple):
    name: str
    id: str
    data: Any


class Listener:
    """One connection that listens."""

    def __init__(self, port: int, path: str = "/v1/events", **headers: str) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.link.request("GET", path, headers=headers)
        self.reply = self.link.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.reply.close()
        self.link.close()

    def events(self) -> Iterator[Event]:
        """What comes, until the stream ends."""
        fields: dict[str, str] = {}
        for raw in iter(self.reply.readline, b""):
            line = raw.decode().rstrip("\n")
            if line:
                key, _, value = line.partition(": ")
                fields[key] = value
            elif "data" in fields:
                yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
                fields = {}

    def next(self, name: str) -> Event:
        """The next event of a name."""
        return next(event for event in self.events() if event.name == name)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node"), STANDALONE) as running:
        yield running


def test_the_first_event_comes_at_once_and_says_what_the_overview_says(node: Program) -> None:
    node.put(b'{"value": 1}', table="first")
    with Listener(node.port) as one:
        assert one.reply.status == 200
        assert one.reply.headers["Content-Type"] == "text/event-stream"
        events = one.events()
        history, state = next(events), next(events)
    assert (history.name, state.name) == ("history", "state")
    assert history.data["fields"][0] == "time"
    assert all(len(point) == len(history.data["fields"]) for point in history.data["points"])
    status, body = node.request("GET", {}, path="/v1/overview")
    assert status == 200
    told = json.loads(body)
    assert told.keys() == state.data.keys()
    assert told["numbers"].keys() == state.data["numbers"].keys()
    assert told["node"]["name"] == "edge-1"
    assert [one["name"] for one in told["services"] if one["running"]] == ["REST", "Scheduler", "Query Pool"]


def test_rows_and_log_entries_show_as_they_come(node: Program) -> None:
    with Listener(node.port) as one:
        one.next("state")
        node.put(b'{"value": 1}\n{"value": 2}', table="seen")
        tables = (table for event in one.events() if event.name == "state" for table in event.data["tables"])
        assert next(t for t in tables if t["table"] == "seen" and t["stored"] == 2)["dbms"] == "plant"
        node.request("POST", {"User-Agent": "AnyLog/1.23", "command": "exit <script>nothing</script>"})
        entries = one.next("log").data
    assert any("<script>nothing</script>" in entry["text"] for entry in entries)


def test_a_listener_goes_on_behind_the_last_event_it_knows(node: Program) -> None:
    with Listener(node.port) as stays:
        with Listener(node.port) as one:
            known = one.next("state")
        stays.next("state")
        stays.next("state")
        with Listener(node.port, **{"Last-Event-ID": known.id}) as one:
            event = next(one.events())
    assert event.name == "state"  # no history again
    boot, number = event.id.split("-")
    assert boot == known.id.split("-")[0]
    assert int(number) > int(known.id.split("-")[1])


@pytest.mark.parametrize("last", ["", "x", "1-1", "-", "9" * 400, "\u00e9", "1-\u0662"])
def test_an_id_that_says_nothing_starts_anew(node: Program, last: str) -> None:
    with Listener(node.port, **{"Last-Event-ID": last.encode().decode("latin-1")}) as one:
        assert next(one.events()).name == "history"


def test_a_stream_of_some_seconds_ends_and_its_connection_goes_on(node: Program) -> None:
    with Listener(node.port, "/v1/events?seconds=1") as one:
        assert [event.name for event in one.events()][:2] == ["history", "state"]
        one.link.request("GET", "/healthz")
        assert one.link.getresponse().status == 200


def test_head_says_what_would_come(node: Program) -> None:
    status, body = node.request("HEAD", {}, path="/v1/events")
    assert (status, body) == (200, b"")


def test_more_listeners_than_there_may_be_are_refused_and_others_are_served(tmp_path: Path) -> None:
    with Program(tmp_path) as node, contextlib.ExitStack() as all_of_them:
        listeners = [all_of_them.enter_context(Listener(node.port)) for _ in range(LISTENERS + 20)]
        statuses = [one.reply.status for one in listeners]
        assert statuses.count(200) == LISTENERS
        refused = [one for one in listeners if one.reply.status == 503]
        assert len(refused) == 20
        assert json.loads(refused[0].reply.read())["title"]
        assert refused[0].reply.headers["Retry-After"] == "30"
        assert node.request("GET", {}, path="/healthz")[0] == 200
        assert listeners[0].next("state").data["node"]["name"] == "edge-1"
        all_of_them.pop_all().close()

        def is_free() -> bool:
            with Listener(node.port) as one:
                return one.reply.status == 200

        node.until(is_free)


CROWD = 10_000


@pytest.mark.slow
async def test_ten_thousand_listeners_are_bounded_and_the_node_goes_on(tmp_path: Path) -> None:
    """They come at once; a hundred are served, the others told what to do, and readings are stored meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    crowd = min(CROWD, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, crowd + 500), hard))
    with Program(tmp_path) as node:
        assert node.process is not None
        before = psutil.Process(node.process.pid).memory_info().rss
        statuses: Counter[int] = Counter()
        heads: list[bytes] = []
        held: list[asyncio.StreamWriter] = []
        connecting = asyncio.Semaphore(200)

        async def listen() -> None:
            async with connecting:
                reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
                held.append(writer)  # none leaves by itself
                writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                statuses[int(head.split()[1])] += 1
                if b" 503 " in head:
                    size = int(re.findall(rb"content-length: (\d+)", head.lower())[0])
                    heads.append(head + await reader.readexactly(size))
                    assert await reader.read() == b""  # it makes room for others

        listening = asyncio.gather(*(listen() for _ in range(crowd)))
        stored = 0
        while not listening.done():
            assert (await asyncio.to_thread(node.put, b'{"value": 1}', table="beside"))[0] == 200
            stored += 1
        await listening
        assert statuses == {200: LISTENERS, 503: crowd - LISTENERS}
        assert all(b"retry-after: 30" in head.lower() and b"/v1/overview" in head for head in heads)
        status, body = await asyncio.to_thread(node.request, "GET", {}, None, path="/v1/overview")
        assert (status, json.loads(body)["ready"]) == (200, True)
        await asyncio.to_thread(node.post, "flush buffers")
        assert await asyncio.to_thread(node.count, "beside") == stored > 0
        grown = psutil.Process(node.process.pid).memory_info().rss - before
        assert grown < 200 << 20, f"{grown / 1e6:.0f} MB for {crowd} connections"
        for writer in held:
            writer.close()
        assert node.stop() == 0


def test_one_that_reads_nothing_holds_nobody_up(node: Program) -> None:
    with socket.create_connection(("127.0.0.1", node.port)) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        silent.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with Listener(node.port) as one:
            states = [event.data["time"] for event, _ in zip(one.events(), range(4), strict=False) if event.id]
            assert sorted(set(states)) == states
            assert len(states) == 3
        assert node.put(b'{"value": 1}', table="beside")[0] == 200


async def test_a_slow_listener_gets_the_newest_state_alone(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        events = Events(node.ctx)
        for _ in range(500):
            events._sample()
        text = events._since(0)
        assert text.count(b"event: state\n") == 1
        assert f"id: {node.ctx.node.started_us}-500\n".encode() in text
        assert len(events._ring) < 500


def test_the_stream_ends_with_the_node(tmp_path: Path) -> None:
    with Program(tmp_path) as node, Listener(node.port) as one:
        one.next("state")
        assert node.stop() == 0
        one.reply.read()  # raises IncompleteRead when it just breaks off


@pytest.mark.parametrize("seen", [1, 3])
def test_the_node_stops_when_a_listener_has_just_left(tmp_path: Path, seen: int) -> None:
    with Program(tmp_path) as node:
        with Listener(node.port) as one:
            for _ in range(seen):
                one.next("state")
        assert node.stop() == 0


async def test_a_listener_whose_token_is_taken_away_is_told_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_S", 0.0)
    port = free_port()
    async with Node(tmp_path, caller=PROMPT) as node:
        here = f"external_ip = 127.0.0.1 and external_port = {port} and bind = true"
        await node.execute(f"run rest server where {here}")
        token = str((await node.execute("id create token where name = screen")).text).split()[0]
        await node.execute("id add user where name = ops and password = of-the-ops and type = admin")
        await node.execute("set user authentication on")

        def nameless() -> int:
            with Listener(port) as one:
                return one.reply.status

        assert await asyncio.to_thread(nameless) == 401
        with await asyncio.to_thread(Listener, port, Authorization=f"Bearer {token}") as one:
            await asyncio.to_thread(one.next, "state")
            await node.execute("id remove token where name = screen")
            end = await asyncio.to_thread(one.next, "end")
            assert end.data == {"reason": "the login has expired"}
            assert await asyncio.to_thread(one.reply.read) == b""


def test_the_commands_beside_the_services_exist() -> None:
    registry = Registry.discover()
    for pair in COMMANDS.values():
        for line in pair:
            match = registry.match(tokenise(line).words)
            assert match is not None, line
            assert match.used == len(line.split()), line
