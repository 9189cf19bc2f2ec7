"""Real clients at the broker: what one publishes, every other gets, as MQTT 3.1.1 and 5 say."""

from __future__ import annotations

import itertools
import queue
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.mqtt.brokers import Files
from tests.mqtt.clients import KINDS, Client, Message, Options, end_quietly, take

ANY_BYTES = bytes(range(256))
OVER_WEBSOCKET = ["paho", "aiomqtt", "mqtt.js"]  # mosquitto's programs have it not

Connect = Callable[..., Client]


_numbers = itertools.count(1)


@pytest.fixture
def connect(broker: Any) -> Iterator[Connect]:
    """Connects a client of a kind; it is closed behind the test."""
    with ExitStack() as opened:

        def open_one(kind: str, *, port: int = 0, client_id: str = "", **options: Any) -> Client:
            name = client_id or f"client{next(_numbers)}"
            client = KINDS[kind](Options(port or broker.port, name, **options))
            opened.callback(end_quietly, client)
            return client

        yield open_one


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"test/{next(_numbers)}"


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_message_comes_as_it_was_sent(connect: Connect, topic: str, kind: str, version: int, qos: int) -> None:
    client = connect(kind, version=version)
    client.subscribe(f"{topic}/+/b", qos)
    sent = [Message(f"{topic}/ü/b", payload, qos) for payload in (ANY_BYTES, b"", b"x" * 70_000, b"last")]
    for message in sent:
        client.publish(message)
    assert take(client, 4) == sent


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("publisher", KINDS)
def test_every_client_hears_every_other(connect: Connect, topic: str, publisher: str, qos: int) -> None:
    kinds = list(KINDS)
    subscribers = [connect(kind, version=4 + number % 2) for number, kind in enumerate(kinds)]
    for subscriber in subscribers:
        subscriber.subscribe(f"{topic}/#", 2)
    source = connect(publisher, version=5 - kinds.index(publisher) % 2)
    sent = [Message(f"{topic}/{number}", b"%d" % number, qos) for number in range(3)]
    for message in sent:
        source.publish(message)
    assert [take(subscriber, 3) for subscriber in subscribers] == [sent] * len(kinds)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_tls(connect: Connect, broker: Any, files: Files, topic: str, kind: str, version: int) -> None:
    client = connect(kind, port=broker.tls_port, files=files, version=version)
    client.subscribe(topic, 1)
    sent = [Message(topic, b"%d" % number * 1000, 1) for number in range(20 if kind != "mosquitto" else 2)]
    for message in sent:
        client.publish(message)
    assert take(client, len(sent)) == sent


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", OVER_WEBSOCKET)
def test_websocket(connect: Connect, broker: Any, topic: str, kind: str, version: int) -> None:
    client = connect(kind, port=broker.websocket_port, websocket=True, version=version)
    client.subscribe(topic, 2)
    sent = [Message(topic, payload, 2) for payload in (ANY_BYTES, b"y" * 70_000, b"")]
    for message in sent:
        client.publish(message)
    assert take(client, 3) == sent


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_retained_message_waits_for_subscribers_until_it_is_cleared(
    connect: Connect, topic: str, kind: str, version: int
) -> None:
    source = connect(kind, version=version)
    source.publish(Message(f"{topic}/a", b"old", 1, retain=True))
    source.publish(Message(f"{topic}/a", b"kept", 1, retain=True))
    source.publish(Message(f"{topic}/b", b"cleared", 1, retain=True))
    source.publish(Message(f"{topic}/b", b"", 1, retain=True))
    late = connect(kind, version=version)
    late.subscribe(f"{topic}/+", 1)
    source.publish(Message(f"{topic}/end", b"live", 1))
    assert take(late, 2) == [Message(f"{topic}/a", b"kept", 1, retain=True), Message(f"{topic}/end", b"live", 1)]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_will_is_published_when_a_client_dies_and_not_when_it_leaves(
    connect: Connect, topic: str, kind: str, version: int
) -> None:
    watcher = connect("paho", version=version)
    watcher.subscribe(f"{topic}/#", 1)
    for name, end in (("left", "close"), ("died", "kill")):
        if (kind, version, name) == ("mosquitto", 5, "left"):
            continue  # it leaves with "disconnect with will message"
        client = connect(kind, version=version, will=Message(f"{topic}/{name}", b"will", 1, retain=True))
        client.subscribe("elsewhere", 0)
        getattr(client, end)()
    assert take(watcher, 1) == [Message(f"{topic}/died", b"will", 1)]
    late = connect("paho", version=version)
    late.subscribe(f"{topic}/#", 1)
    assert take(late, 1) == [Message(f"{topic}/died", b"will", 1, retain=True)]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_session_keeps_what_comes_while_its_client_is_away(
    connect: Connect, topic: str, kind: str, version: int, qos: int
) -> None:
    name = f"keeper-{topic}"
    client = connect(kind, client_id=name, version=version, keeps=True)
    assert not client.session_present
    client.subscribe(topic, qos)
    client.close()
    source = connect("paho", version=version)
    count = 50 if kind != "mosquitto" else 10  # Debian's mosquitto_sub stops after 20 of QoS 2
    sent = [Message(topic, b"%d" % number, qos) for number in range(count)]
    source.publish(Message(topic, b"not kept", 0))
    for message in sent:
        source.publish(message)
    client = connect(kind, client_id=name, version=version, keeps=True)
    if kind == "mosquitto":
        client.subscribe(topic, qos)  # its program has no other way to come
    else:
        assert client.session_present in (True, None)
    source.publish(Message(topic, b"end", qos))
    received = take(client, count + 1)
    if received[0].payload == b"not kept":  # a broker may keep QoS 0, too
        received = [*received[1:], *take(client, 1)]
    assert received == [*sent, Message(topic, b"end", qos)]
    client.close()
    fresh = connect("paho", client_id=name, version=version)
    assert not fresh.session_present


@pytest.mark.parametrize("version", [4, 5])
def test_take_over_ends_the_older_connection(connect: Connect, topic: str, version: int) -> None:
    older = connect("paho", client_id=f"same-{topic}", version=version, keeps=True)
    older.subscribe(topic, 1)
    newer = connect("mqtt.js", client_id=f"same-{topic}", version=version, keeps=True)
    assert newer.session_present
    connect("aiomqtt").publish(Message(topic, b"1", 1))
    assert take(newer, 1) == [Message(topic, b"1", 1)]
    assert older.received.empty()


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_members_of_a_group_share_the_messages(connect: Connect, topic: str, kind: str, version: int) -> None:
    members = [connect(kind, version=version) for _ in range(2)]
    for member in members:
        member.subscribe(f"$share/workers/{topic}/#", 1)
    alone = connect("paho", version=version)
    alone.subscribe(f"{topic}/#", 1)
    source = connect("paho", version=version)
    sent = [Message(f"{topic}/{number % 3}", b"%d" % number, 1) for number in range(40)]
    for message in sent:
        source.publish(message)
    assert take(alone, 40) == sent
    shared = [[], []]  # type: list[list[Message]]
    while sum(map(len, shared)) < 40:
        for member, got in zip(members, shared, strict=True):
            if not member.received.empty():
                got.append(member.received.get())
    assert sorted(m.payload for got in shared for m in got) == sorted(m.payload for m in sent)
    assert all(shared), "one member got everything"


def test_request_and_response_of_mqtt_5(broker: Any, topic: str) -> None:
    """mosquitto_rr asks, paho answers with what the request says of the way back."""
    answers: queue.Queue[Any] = queue.Queue()
    server = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"server-{topic}", protocol=paho.MQTTv5)
    server.on_subscribe = lambda *_: answers.put("subscribed")

    def answer(client: paho.Client, userdata: Any, message: Any) -> None:
        back = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        back.CorrelationData = message.properties.CorrelationData
        back.UserProperty = message.properties.UserProperty
        answers.put(message.properties)
        client.publish(message.properties.ResponseTopic, b"re: " + message.payload, 1, properties=back)

    server.on_message = answer
    server.connect("127.0.0.1", broker.port)
    server.loop_start()
    try:
        answers.get(timeout=5) if not server.subscribe(topic, 1)[0] else None
        asked = ["mosquitto_rr", "-h", "127.0.0.1", "-p", str(broker.port), "-V", "mqttv5", "-t", topic, "-q", "1"]
        asked += ["-e", f"{topic}/back", "-m", "how?", "-D", "publish", "user-property", "who", "ann", "-W", "10"]
        asked += ["-D", "publish", "correlation-data", "17", "-F", "%p %D %P"]
        reply = subprocess.run(asked, capture_output=True, check=True, timeout=15, text=True)
        properties = answers.get(timeout=5)
        assert (properties.ResponseTopic, properties.CorrelationData) == (f"{topic}/back", b"17")
        assert properties.UserProperty == [("who", "ann")]
        assert reply.stdout.strip() == "re: how? 17 who:ann"
    finally:
        server.disconnect()
        server.loop_stop()
