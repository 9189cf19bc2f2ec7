"""``run message broker`` as users see it: start, login, rights, TLS, WebSocket, status, end."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import AddressInUseError, AlreadyRunningError, CommandError, EdgeLakeError, ServiceError
from edgelake.net.mqtt.config import ANONYMOUS
from tests.mqtt.brokers import Files
from tests.net.mqtt.conftest import Body, Site

Run = Callable[[Body], None]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made_in(tmp_path_factory.mktemp("tls"))


async def echo(client: aiomqtt.Client, topic: str = "t") -> bytes:
    """Subscribe, publish with QoS 1, receive."""
    await client.subscribe(topic, qos=1)
    await client.publish(topic, b"hello", qos=1)
    message = await anext(client.messages)
    assert isinstance(message.payload, bytes)
    return message.payload


async def refused(site: Site, **options: object) -> str:
    with pytest.raises(aiomqtt.MqttError) as caught:
        async with site.client(**options):
            pass
    return str(caught.value)


async def denied(client: aiomqtt.Client, topic: str) -> bool:
    granted = await client.subscribe(topic)
    return all(getattr(code, "value", code) == 0x80 for code in granted)


@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
def test_messages_reach_subscribers(with_node: Run, version: aiomqtt.ProtocolVersion) -> None:
    async def body(site: Site) -> None:
        await site.run()
        async with site.client(protocol=version) as client:
            assert await echo(client) == b"hello"

    with_node(body)


def test_the_older_form_of_the_command_works(with_node: Run) -> None:
    async def body(site: Site) -> None:
        await site.text(f"run message broker 127.0.0.1 {site.port} 127.0.0.1 {site.port} 3")
        assert "Threads Pool: 3" in (await site.data("get processes"))["MSG Broker"]["Details"]
        async with site.client() as client:
            assert await echo(client) == b"hello"

    with_node(body)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Missing port"),
        ("127.0.0.1", "ip port"),
        ("127.0.0.1 high", "ip port"),
        ("where external_port = 70000", "not between"),
        ("where external_port = 7850 and threads = 0", "threads = 0"),
        ("where external_port = 7850 and client_cert = ca.pem", "client_cert needs ssl"),
        ("where external_port = 7850 and users = /nowhere/users", "/nowhere/users"),
        ("where external_port = 7850 and acl = /nowhere/acl", "/nowhere/acl"),
    ],
)
def test_options_that_make_no_sense_are_refused(with_node: Run, words: str, said: str) -> None:
    async def body(site: Site) -> None:
        with pytest.raises(EdgeLakeError) as caught:
            await site.text(f"run message broker {words}")
        assert said in str(caught.value)
        assert (await site.data("get processes"))["MSG Broker"]["Status"] == "Not declared"

    with_node(body)


def test_status_exit_and_start_again(with_node: Run) -> None:
    async def body(site: Site) -> None:
        await site.run(" and threads = 6")
        address = f"127.0.0.1:{site.port}"
        found = (await site.data("get processes"))["MSG Broker"]
        assert found == {"Status": "Running", "Details": f"Listening on: {address}, Threads Pool: 6"}
        connections = await site.data("get connections")
        assert connections["Messaging"] == {"external": address, "local": address, "bind": address}
        with pytest.raises(AlreadyRunningError, match=address):
            await site.run()
        await site.text("exit broker")
        assert (await site.data("get processes"))["MSG Broker"]["Status"] == "Not declared"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", site.port)
        await site.run()
        async with site.client() as client:
            assert await echo(client) == b"hello"

    with_node(body)


def test_an_address_in_use_is_told(with_node: Run) -> None:
    async def body(site: Site) -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", site.port)
        async with server:
            with pytest.raises(AddressInUseError, match=f"127.0.0.1:{site.port}"):
                await site.run()

    with_node(body)


def test_local_broker_counts_what_came(with_node: Run) -> None:
    async def body(site: Site) -> None:
        titles = "Protocol IP Event Success Last message time Error Last error time Error Code Details"
        assert (await site.text("get local broker")).splitlines()[1:3] == ["Message Broker Stat", f"{titles} "]
        await site.run()
        async with site.client(identifier="pump-1") as client:
            assert await echo(client) == b"hello"
            clients = await site.data("get mqtt clients")
            assert [(one["Client ID"], one["Subscriptions"]) for one in clients] == [("pump-1", 1)]
        counted = {row["Event"]: row for row in await site.data("get local broker")}
        assert {"CONNECT", "SUBSCRIBE", "PUBLISH"} <= counted.keys()
        assert counted["CONNECT"]["Protocol"] == "MQTT"
        assert (counted["CONNECT"]["IP"], counted["CONNECT"]["Success"]) == ("127.0.0.1", 1)
        statistics = await site.data("get mqtt statistics")
        assert statistics["messages_received"] == 1

    with_node(body)


# ---- who may come


def test_users_and_their_rights(with_node: Run, tmp_path: Path) -> None:
    users, acl = tmp_path / "users", tmp_path / "acl"
    acl.write_text("user alice\ntopic readwrite plant/#\ntopic deny plant/secret\npattern read own/%u/#\n")

    async def body(site: Site) -> None:
        for name in ("alice", "bob"):
            await site.text(f"mqtt password where user = {name} and password = pw-{name} and file = {users}")
        assert users.stat().st_mode & 0o777 == 0o600
        assert "pw-alice" not in users.read_text()
        await site.run(f" and users = {users} and acl = {acl} and anonymous = false")
        async with site.client(username="alice", password="pw-alice") as client:
            assert await echo(client, "plant/a") == b"hello"
            await client.subscribe("own/alice/#")
            assert await denied(client, "own/bob/#")
        assert "user" in (await refused(site, username="alice", password="pw-bob")).lower()
        assert "user" in (await refused(site, username="nobody", password="x")).lower()
        assert "auth" in (await refused(site)).lower()
        # A user that is added while it runs; bob has no rights but the pattern's.
        await site.text(f"mqtt password where user = eve and password = new and file = {users}")
        async with site.client(username="eve", password="new") as client:
            assert await denied(client, "plant/a")

    with_node(body)


def test_anonymous_clients_follow_the_option_and_the_environment(
    with_node: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(site: Site) -> None:
        await site.run(" and anonymous = false")
        await refused(site)
        await site.text("exit broker")
        monkeypatch.setenv(ANONYMOUS, "false")
        await site.run()
        await refused(site)
        await site.text("exit broker")
        await site.run(" and anonymous = true")
        async with site.client() as client:
            assert await echo(client) == b"hello"
        await site.text("exit broker")
        monkeypatch.setenv(ANONYMOUS, "perhaps")
        with pytest.raises(CommandError, match=ANONYMOUS):
            await site.run()

    with_node(body)


def test_an_open_address_without_users_is_warned_about(with_node: Run, tmp_path: Path) -> None:
    async def body(site: Site) -> None:
        await site.text(f"run message broker where external_ip = 10.0.0.1 and external_port = {site.port}")
        assert "Warning: anonymous clients" in (await site.data("get processes"))["MSG Broker"]["Details"]
        assert "anonymous clients" in await site.text("test node")
        await site.text("exit broker")
        users = tmp_path / "users"
        await site.text(f"mqtt password where user = u and password = p and file = {users}")
        await site.text(
            f"run message broker where external_ip = 10.0.0.1 and external_port = {site.port} and users = {users}"
        )
        assert "Warning" not in (await site.data("get processes"))["MSG Broker"]["Details"]
        assert "anonymous clients" not in await site.text("test node")
        async with site.client() as client:  # from this machine they still may
            assert await echo(client) == b"hello"

    with_node(body)


# ---- TLS and WebSocket


def test_tls_and_websocket_beside_the_plain_port(with_node: Run, files: Files) -> None:
    async def body(site: Site) -> None:
        tls, web = free_port(), free_port()
        await site.run(
            f" and ssl_port = {tls} and cert = {files.cert} and key = {files.key} and websocket_port = {web}"
        )
        async with site.client(tls, tls_context=files.context()) as client:
            assert await echo(client) == b"hello"
        async with site.client(web, transport="websockets") as client:
            assert await echo(client) == b"hello"
        async with site.client() as client:
            assert await echo(client) == b"hello"

    with_node(body)


def test_ssl_alone_makes_a_certificate_and_covers_websocket(with_node: Run) -> None:
    async def body(site: Site) -> None:
        web = free_port()
        await site.run(f" and ssl = true and websocket_port = {web}")
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        async with site.client(tls_context=blind) as client:
            assert await echo(client) == b"hello"
        async with site.client(web, transport="websockets", tls_context=blind) as client:
            assert await echo(client) == b"hello"
        assert "SSL: True" in (await site.data("get processes"))["MSG Broker"]["Details"]

    with_node(body)


def test_a_client_certificate_is_asked_for_and_names_the_user(with_node: Run, files: Files) -> None:
    async def body(site: Site) -> None:
        await site.run(f" and ssl = true and cert = {files.cert} and key = {files.key} and client_cert = {files.ca}")
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=files.context())
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await reader.read(1)
        writer.close()
        own = files.context(certificate=True)
        async with site.client(tls_context=own) as client:
            assert await echo(client) == b"hello"
            assert [one["User"] for one in await site.data("get mqtt clients")] == ["device-7"]

    with_node(body)


# ---- what survives


def test_sessions_and_retained_messages_survive_the_broker(with_node: Run) -> None:
    async def body(site: Site) -> None:
        await site.run()
        kept = {"identifier": "kept", "clean_session": False}
        async with site.client(**kept) as client:
            await client.subscribe("jobs", qos=1)
        async with site.client() as client:
            await client.publish("jobs", b"1", qos=1)
            await client.publish("state", b"on", qos=1, retain=True)
        await site.text("exit broker")
        await site.run()
        async with site.client(**kept) as client:
            assert (await anext(client.messages)).payload == b"1"
        async with site.client() as client:
            await client.subscribe("state")
            message = await anext(client.messages)
            assert (message.payload, message.retain) == (b"on", True)

    with_node(body)


def test_messages_of_a_message_client_become_rows(with_node: Run) -> None:
    async def body(site: Site) -> None:
        await site.text("create work directories")
        await site.text("connect dbms plant where type = sqlite")
        await site.run()
        await site.text(
            "run msg client where broker = local and topic = (name = motors and dbms = plant and table = motor "
            'and column.timestamp.timestamp = now and column.speed.float = "bring [speed]")'
        )
        async with site.client() as client:
            for speed in (1.5, 2.5):
                await client.publish("motors", f'{{"speed": {speed}}}', qos=1)
        await site.text("flush buffers")
        found = [row async for row in site.node.query("select speed from motor order by speed", dbms="plant")]
        assert found == [{"speed": 1.5}, {"speed": 2.5}]

    with_node(body)


def test_the_debug_log_says_who_comes(with_node: Run) -> None:
    async def body(site: Site) -> None:
        await site.run()
        await site.text("set mqtt debug on")
        async with site.client() as client:
            assert await echo(client) == b"hello"
            assert ": connected (Tcp)" in await site.text("get event log")

    with_node(body)


def test_unreadable_files_of_users_refuse_clients_and_not_the_broker(with_node: Run, tmp_path: Path) -> None:
    users = tmp_path / "users"

    async def body(site: Site) -> None:
        await site.text(f"mqtt password where user = u and password = p and file = {users}")
        await site.run(f" and users = {users}")
        users.write_text("u:scrypt$nonsense\n")
        os.utime(users, (1, 1))
        await refused(site, username="u", password="p")
        users.unlink()
        await site.text(f"mqtt password where user = u and password = p and file = {users}")
        async with site.client(username="u", password="p") as client:
            assert await echo(client) == b"hello"

    with_node(body)


def test_a_bad_line_in_a_file_is_named(with_node: Run, tmp_path: Path) -> None:
    users, acl = tmp_path / "users", tmp_path / "acl"
    users.write_text("# people\nu=plain\n")
    acl.write_text("user u\ntopics a/b\n")

    async def body(site: Site) -> None:
        with pytest.raises(ServiceError, match="line 2"):
            await site.run(f" and users = {users}")
        with pytest.raises(ServiceError, match="line 2"):
            await site.run(f" and acl = {acl}")

    with_node(body)
