"""Message clients of another broker, a real mosquitto: whatever happens, what it had for us becomes rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from edgelake import Node
from edgelake.errors import CommandError, EdgeLakeError, ServiceError, TimeoutExpiredError
from tests.mqtt.brokers import PASSWORD, USER, Files, Mosquitto
from tests.mqtt.conftest import Start, until

TOPIC = 'topic = (name = "{name}" and qos = {qos} and dbms = plant and table = {table} and column.n.int = "bring [n]")'


def topic(name: str, *, qos: int = 1, table: str = "t") -> str:
    return TOPIC.format(name=name, qos=qos, table=table)


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Node]:
    async with Node(home, name="edge-1") as node:
        await node.execute("connect dbms plant where type = sqlite")
        yield node


async def subscribe(node: Node, broker: Mosquitto, topics: str, *, port: int = 0, more: str = "") -> int:
    """A message client that the broker has accepted; its id."""
    line = f"run msg client where broker = 127.0.0.1 and port = {port or broker.port} {more} and {topics}"
    number = int((await node.execute(line)).text or "")
    async with asyncio.timeout(10):
        await node.ctx.services.get(f"msg client {number}").connected()
    return number


async def publish(broker: Mosquitto, messages: list[tuple[str, Any]], *, qos: int = 1, **options: Any) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port, **options) as client:
        for name, value in messages:
            await client.publish(name, json.dumps(value), qos)


async def rows(node: Node, count: int, *, table: str = "t") -> list[int]:
    """The numbers in a table, sorted, once there are ``count`` of them."""
    async with asyncio.timeout(20):
        while True:
            await node.ctx.ingest.flush()
            found = []
            if table in node.ctx.stores.get("plant").tables:
                found = sorted([row["n"] async for row in node.query(f"select n from plant.{table}")])
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)  # rows of another process' messages: nothing tells that the last has come


async def shown(node: Node, number: int) -> dict[str, Any]:
    reply = await node.execute(f"get msg clients where id = {number}")
    client: dict[str, Any] = reply.data[0]
    return client


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_message_becomes_a_row(tmp_path: Path, mosquitto: Start, qos: int, version: int) -> None:
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        number = await subscribe(node, broker, topic("a/b", qos=qos), more=f"and version = {version}")
        await publish(broker, [("a/b", {"n": n}) for n in range(500)], qos=qos)
        assert await rows(node, 500) == list(range(500))
        client = await shown(node, number)
        assert (client["Broker"], client["Connection"]) == (f"127.0.0.1:{broker.port}", "Connected")
        assert (client["Messages"], client["Success"], client["Errors"]) == (500, 500, 0)


async def test_filters_with_wildcards_feed_their_tables(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        topics = [topic("site/+/temp", table="temp"), topic("site/#", qos=2, table="rest"), topic("other", qos=0)]
        await subscribe(node, broker, " and ".join(topics))
        await publish(broker, [("site/1/temp", {"n": 1}), ("site/2/temp", {"n": 2}), ("site/x", {"n": 3})])
        await publish(broker, [("other", {"n": 4}), ("elsewhere", {"n": 5})])
        assert await rows(node, 2, table="temp") == [1, 2]
        assert await rows(node, 1, table="rest") == [3]
        assert await rows(node, 1) == [4]


async def test_messages_that_cannot_be_mapped_stop_nothing(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        number = await subscribe(node, broker, topic("a"))
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            for payload in (b"", b"no json", b"\xff\xfe", b'{"m": 1}', b'[{"n": 1}, {"m": 2}, {"n": 3}]', b'{"n": 2}'):
                await client.publish("a", payload, 1)
        assert await rows(node, 3) == [1, 2, 3]
        client_data = await shown(node, number)
        assert (client_data["Success"], client_data["Errors"]) == (3, 5)


async def test_broker_that_restarts_is_found_again(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        number = await subscribe(node, broker, topic("a"))
        await publish(broker, [("a", {"n": 1})])
        assert await rows(node, 1) == [1]
        client = node.ctx.services.get(f"msg client {number}")
        broker.stop()
        await until(lambda: client.connection.startswith("Not connected: MQTT_ERR_"))
        broker.start()
        await client.connected()
        await publish(broker, [("a", {"n": 2})])
        assert await rows(node, 2) == [1, 2]


async def test_broker_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "mosquitto")
    async with running(tmp_path / "node") as node:
        line = f"run msg client where broker = 127.0.0.1 and port = {broker.port} and {topic('a')}"
        number = int((await node.execute(line)).text or "")
        client = node.ctx.services.get(f"msg client {number}")
        await until(lambda: "refused" in client.connection)
        with broker:
            await client.connected()
            await publish(broker, [("a", {"n": 1})])
            assert await rows(node, 1) == [1]


async def test_what_came_while_the_node_was_down_is_kept_by_the_broker(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto()
    for qos in (1, 2):
        table = f"t{qos}"
        async with running(tmp_path / "node") as node:
            await subscribe(node, broker, topic("a", qos=qos, table=table))
        await publish(broker, [("a", {"n": n}) for n in range(100)], qos=qos)
        async with running(tmp_path / "node") as node:
            await subscribe(node, broker, topic("a", qos=qos, table=table))
            assert await rows(node, 100, table=table) == list(range(100))
            await node.execute("exit msg client all")


async def test_ended_client_leaves_no_session(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        number = await subscribe(node, broker, topic("a"), more="and client_id = gone")
        await node.execute(f"exit msg client {number}")
        await publish(broker, [("a", {"n": 1})])
        assert (await node.execute("get msg clients")).data == []
        async with aiomqtt.Client("127.0.0.1", broker.port, identifier="gone", clean_session=False) as client:
            await client.subscribe("end")
            await client.publish("end", b"")
            async with asyncio.timeout(5):
                assert str((await anext(client.messages)).topic) == "end"


async def test_refused_login_is_shown_and_tried_again(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto(login=True)
    async with running(tmp_path / "node") as node:
        line = f"run msg client where broker = 127.0.0.1 and port = {broker.port} and {topic('a')}"
        number = int((await node.execute(f"{line} and user = {USER} and password = wrong")).text or "")
        client = node.ctx.services.get(f"msg client {number}")
        await until(lambda: "MQTT_ERR_CONN_REFUSED" in client.connection)
        text = (await node.execute("get msg clients")).text or ""
        assert "Connection:   Not connected: MQTT_ERR_CONN_REFUSED" in text
        assert "uthoriz" in text or "uthoris" in text
        await node.execute(f"exit msg client {number}")
        await subscribe(node, broker, topic("a"), more=f"and user = {USER} and password = {PASSWORD}")
        await publish(broker, [("a", {"n": 1})], username=USER, password=PASSWORD)
        assert await rows(node, 1) == [1]


async def test_tls_with_an_authority_of_ones_own(tmp_path: Path, mosquitto: Start, files: Files) -> None:
    broker = mosquitto(tls=files)
    async with running(tmp_path / "node") as node:
        await subscribe(node, broker, topic("a"), port=broker.tls_port, more=f"and ca = {files.ca}")
        await publish(broker, [("a", {"n": n}) for n in range(300)])
        assert await rows(node, 300) == list(range(300))
        line = f"run msg client where broker = 127.0.0.1 and port = {broker.tls_port} and tls = true and {topic('b')}"
        number = int((await node.execute(line)).text or "")
        client = node.ctx.services.get(f"msg client {number}")
        await until(lambda: "certificate verify failed" in client.connection)


async def test_client_certificate(tmp_path: Path, mosquitto: Start, files: Files) -> None:
    broker = mosquitto(tls=files, need_certificate=True)
    async with running(tmp_path / "node") as node:
        more = f"and ca = {files.ca} and cert = {files.client_cert} and key = {files.client_key}"
        await subscribe(node, broker, topic("a"), port=broker.tls_port, more=more)
        await publish(broker, [("a", {"n": 1})])
        assert await rows(node, 1) == [1]


async def test_retained_message_is_one_row_over_reconnects(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto()
    await publish(broker, [("other", 1)])
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.publish("a", b'{"n": 1}', 1, retain=True)
    async with running(tmp_path / "node") as node:
        number = await subscribe(node, broker, topic("a"), more="and clean = true")
        assert await rows(node, 1) == [1]
        broker.stop()
        service = node.ctx.services.get(f"msg client {number}")
        await until(lambda: service.connection != "Connected")
        broker.start()
        await service.connected()
        await publish(broker, [("a", {"n": 2})])
        assert await rows(node, 2) == [1, 2]


async def test_token_is_a_signed_password(tmp_path: Path, mosquitto: Start, files: Files) -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    from edgelake.inputs.mqtt.config import TOKEN_S, Token

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    file = tmp_path / "key.pem"
    file.write_bytes(pem)
    for given in (str(file), pem.decode()):
        signed = Token("acme", given).sign(1000)
        options = {"verify_exp": False, "verify_iat": False}
        claims = jwt.decode(signed, key.public_key(), ["RS256"], audience="acme", options=options)  # type: ignore[arg-type]
        assert claims == {"iat": 1000, "exp": 1000 + TOKEN_S, "aud": "acme"}
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        await subscribe(node, broker, topic("a"), more=f"and project_id = acme and private_key = {file}")
        with pytest.raises(CommandError, match="private_key"):
            await subscribe(node, broker, topic("b"), more=f"and project_id = acme and private_key = {files.ca}")
        assert len((await node.execute("get msg clients")).data) == 1


@pytest.mark.parametrize("qos", [1, 2])
async def test_token_is_renewed_without_a_message_lost(
    tmp_path: Path, mosquitto: Start, files: Files, monkeypatch: pytest.MonkeyPatch, qos: int
) -> None:
    from edgelake.inputs.mqtt.config import Token

    monkeypatch.setattr("edgelake.inputs.mqtt.client.RENEW_S", 0.05)
    tokens: list[str] = []
    monkeypatch.setattr(Token, "sign", lambda self, now_s: tokens.append(f"token{len(tokens)}") or tokens[-1])
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        await subscribe(node, broker, topic("a", qos=qos), more="and project_id = acme and private_key = any")
        sent = 0
        while len(tokens) < 6:
            await publish(broker, [("a", {"n": sent + n}) for n in range(50)], qos=qos)
            sent += 50
        async with asyncio.timeout(20):
            while sorted(set(found := await rows(node, sent))) != list(range(sent)):
                pass  # QoS 1 may come twice over a connection that ends, so that the number of rows says little
        assert qos == 1 or len(found) == sent


@pytest.mark.parametrize(
    "more",
    ["version = 3", "qos = 3", "keepalive = 70000", "ca = /no/such/file", "cert = /no/such/file", "project_id = p"],
)
async def test_client_that_cannot_work_is_refused_and_forgotten(tmp_path: Path, more: str) -> None:
    async with running(tmp_path / "node") as node:
        with pytest.raises(EdgeLakeError):
            await node.execute(f"run msg client where broker = 127.0.0.1 and {more} and {topic('a')}")
        assert (await node.execute("get msg clients")).data == []


# ---- mqtt publish


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_publish_sends_a_message_and_lists_element_by_element(tmp_path: Path, mosquitto: Start, qos: int) -> None:
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        async with aiomqtt.Client("127.0.0.1", broker.port) as subscriber:
            await subscriber.subscribe("a/b", 2)
            line = (
                f"mqtt publish where broker = 127.0.0.1 and port = {broker.port} and qos = {qos} and topic = a/b and "
            )
            await node.execute(line + 'message = {"n": 1}')
            await node.execute(line + 'message = [{"n": 2}, {"n": 3}]')
            async with asyncio.timeout(10):
                received = [await anext(subscriber.messages) for _ in range(3)]
        assert [json.loads(message.payload) for message in received] == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert {message.qos for message in received} == {qos}


async def test_publish_names_what_is_wrong(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto(login=True)
    async with running(tmp_path / "node") as node:
        line = f"mqtt publish where broker = 127.0.0.1 and port = {broker.port} and topic = a and message = "
        with pytest.raises(CommandError, match="not JSON"):
            await node.execute(line + "text")
        with pytest.raises(ServiceError, match=r"uthori[sz]ed"):
            await node.execute(line + '{"n": 1}')
        with pytest.raises(EdgeLakeError, match="Non-subscribed topic"):
            await node.execute('mqtt publish where broker = local and topic = nobody and message = {"n": 1}')


async def test_publish_waits_for_the_acknowledgement_no_longer_than_six_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelake.command.handlers.mqtt.ACKNOWLEDGED_S", 0.2)

    async def accept_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x20\x02\x00\x00")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept_only, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(tmp_path / "node") as node:
        to = f"broker = 127.0.0.1 and port = {port} and topic = a and qos = 1"
        with pytest.raises(TimeoutExpiredError):
            await node.execute(f'mqtt publish where {to} and message = {{"n": 1}}')


async def test_protocol_log_is_in_the_event_log(tmp_path: Path, mosquitto: Start) -> None:
    broker = mosquitto()
    async with running(tmp_path / "node") as node:
        await subscribe(node, broker, topic("a"), more="and log = true")
        text = str((await node.execute("get event log where format = json")).data)
        assert "MQTT Status: [16] Message: [Received CONNACK" in text
