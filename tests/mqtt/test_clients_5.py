"""What MQTT 5 added, as a paho client sees it."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.mqtt.clients import WAIT_S

_numbers = itertools.count(1)


def properties(packet: int, **values: Any) -> Properties:
    made = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Five:
    """A connection of version 5 with all that it is told.

    Args:
        name: client id.
        keeps: the session is gone on with, and kept for an hour.
    """

    def __init__(
        self, port: int, name: str, *, keeps: bool = False, will: tuple[str, int] | None = None, **connect: Any
    ) -> None:
        self.received: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.closed: queue.Queue[Any] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, reconnect_on_failure=False, manual_ack=True
        )
        self.client.on_connect = lambda client, data, flags, code, more: self._answers.put((flags, code, more))
        self.client.on_subscribe = lambda client, data, mid, codes, more: self._answers.put(codes)
        self.client.on_publish = lambda client, data, mid, code, more: self._answers.put(code)
        self.client.on_message = lambda client, data, message: self.received.put(message)
        self.client.on_disconnect = lambda client, data, flags, code, more: self.closed.put(code)
        if will is not None:
            topic, delay_s = will
            late = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay_s)
            self.client.will_set(topic, b"will", 1, properties=late)
        if keeps:
            connect.setdefault("SessionExpiryInterval", 3600)
        clean: Any = not keeps
        self.client.connect("127.0.0.1", port, clean_start=clean, properties=properties(PacketTypes.CONNECT, **connect))
        self.client.loop_start()
        self.flags, self.code, self.told = self._answers.get(timeout=WAIT_S)

    def subscribe(self, topic_filter: str, *, identifier: int = 0, **options: Any) -> int:
        more = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier) if identifier else None
        self.client.subscribe([(topic_filter, SubscribeOptions(**options))], properties=more)
        return int(self._answers.get(timeout=WAIT_S)[0].value)

    def publish(self, topic: str, payload: bytes = b"", *, qos: int = 1, retain: bool = False, **values: Any) -> int:
        """Returns the reason code of the acknowledgement."""
        self.client.publish(topic, payload, qos, retain, properties(PacketTypes.PUBLISH, **values))
        return int(self._answers.get(timeout=WAIT_S).value)

    def take(self) -> paho.MQTTMessage:
        """The next message, acknowledged."""
        message = self.received.get(timeout=WAIT_S)
        self.client.ack(message.mid, message.qos)
        return message

    def close(self, **values: Any) -> None:
        self.client.disconnect(properties=properties(PacketTypes.DISCONNECT, **values) if values else None)
        self.closed.get(timeout=WAIT_S)
        self.client.loop_stop()

    def kill(self) -> None:
        sock: Any = self.client.socket()
        sock.shutdown(2)
        self.client.loop_stop()


Connect = Callable[..., Five]


@pytest.fixture
def connect(broker: Any) -> Iterator[Connect]:
    with ExitStack() as opened:

        def open_one(name: str | None = None, **options: Any) -> Five:
            five = Five(broker.port, f"five{next(_numbers)}" if name is None else name, **options)
            opened.callback(_end, five)
            return five

        yield open_one


def _end(five: Five) -> None:
    with suppress(Exception):
        five.kill()


@pytest.fixture
def topic() -> str:
    return f"five/{next(_numbers)}"


def test_client_without_an_id_gets_one(connect: Connect) -> None:
    first, second = connect(""), connect("")
    assert first.told.AssignedClientIdentifier != second.told.AssignedClientIdentifier


def test_no_local_retain_as_published_and_identifiers(connect: Connect, topic: str) -> None:
    client, other = connect(), connect()
    client.subscribe(f"{topic}/#", qos=1, noLocal=True, retainAsPublished=True, identifier=7)
    other.subscribe(f"{topic}/#", qos=1, identifier=8)
    other.subscribe(f"{topic}/a", qos=0, identifier=9)
    client.publish(f"{topic}/a", b"1", retain=True)
    other.publish(f"{topic}/a", b"2", retain=True)
    own = client.take()
    assert (own.payload, own.retain, own.properties.SubscriptionIdentifier) == (b"2", True, [7])
    seen: dict[bytes, set[int]] = {}
    while sum(len(found) for found in seen.values()) < 4:  # one delivery with both ids, or one for each subscription
        message = other.take()
        assert not message.retain
        seen.setdefault(bytes(message.payload), set()).update(message.properties.SubscriptionIdentifier)
    assert seen == {b"1": {8, 9}, b"2": {8, 9}}


@pytest.mark.parametrize(("handling", "first", "again"), [(0, True, True), (1, True, False), (2, False, False)])
def test_retain_handling(connect: Connect, topic: str, handling: int, first: bool, again: bool) -> None:
    client = connect()
    client.publish(topic, b"kept", retain=True)
    for expected in (first, again):
        client.subscribe(topic, qos=1, retainHandling=handling)
        client.publish(topic, b"live")
        messages = [client.take() for _ in range(1 + expected)]
        assert [message.payload for message in messages] == ([b"kept"] if expected else []) + [b"live"]


def test_topic_alias_stands_for_its_topic(connect: Connect, topic: str) -> None:
    client = connect()
    assert client.told.TopicAliasMaximum > 0
    client.subscribe(f"{topic}/#", qos=1)
    client.publish(f"{topic}/a", b"1", TopicAlias=1)
    client.publish("", b"2", TopicAlias=1)
    client.publish(f"{topic}/b", b"3", TopicAlias=1)
    client.publish("", b"4", TopicAlias=1)
    assert [client.take().topic.removeprefix(f"{topic}/") for _ in range(4)] == ["a", "a", "b", "b"]


def test_properties_of_a_message_are_forwarded(connect: Connect, topic: str) -> None:
    client = connect()
    client.subscribe(topic, qos=1)
    given = {
        "PayloadFormatIndicator": 1,
        "ContentType": "text/plain",
        "ResponseTopic": "back",
        "CorrelationData": b"\x00\x01",
        "UserProperty": [("a", "1"), ("b", "2"), ("a", "3")],
    }
    client.publish(topic, b"text", **given)
    found = client.take().properties
    assert {name: getattr(found, name) for name in given} == given


def test_expired_message_does_not_come_and_others_tell_what_is_left(connect: Connect, topic: str) -> None:
    connect(f"keeper-{topic}", keeps=True).subscribe(topic, qos=1)
    source = connect()
    source.subscribe(f"{topic}/gone")
    connect(f"keeper-{topic}", keeps=True, will=(f"{topic}/gone", 0)).kill()
    source.take()  # now the broker knows that nobody reads, so that it begins to deliver neither
    source.publish(topic, b"short", MessageExpiryInterval=1)
    source.publish(topic, b"long", MessageExpiryInterval=600)
    time.sleep(2.1)  # it is time that is tested
    message = connect(f"keeper-{topic}", keeps=True).take()
    assert message.payload == b"long"
    assert 500 < message.properties.MessageExpiryInterval < 600


def test_late_will_is_not_published_when_its_client_comes_back(connect: Connect, topic: str) -> None:
    watcher = connect()
    watcher.subscribe(f"{topic}/#", qos=1)
    for name, delay_s in (("back", 600), ("gone", 0)):
        connect(f"{topic}-{name}", keeps=True, will=(f"{topic}/{name}", delay_s)).kill()
        assert connect(f"{topic}-{name}", keeps=True).flags.session_present
    assert watcher.take().topic == f"{topic}/gone"
    assert watcher.received.empty()


def test_large_message_passes_a_client_that_takes_small_ones(connect: Connect, topic: str) -> None:
    small, any_size = connect(MaximumPacketSize=200), connect()
    for client in (small, any_size):
        client.subscribe(topic, qos=1)
    for payload in (b"x" * 300, b"fits"):
        any_size.publish(topic, payload)
    assert small.take().payload == b"fits"
    assert [len(any_size.take().payload) for _ in range(2)] == [300, 4]


def test_receive_maximum_bounds_what_is_unacknowledged(connect: Connect, topic: str) -> None:
    slow, source = connect(ReceiveMaximum=2), connect()
    slow.subscribe(f"{topic}/#", qos=1)
    for number in range(6):
        source.publish(f"{topic}/one", b"%d" % number)
    source.publish(f"{topic}/zero", b"QoS 0 needs no acknowledgement", qos=0)
    held = [slow.received.get(timeout=WAIT_S) for _ in range(2)]
    marker = connect()
    marker.subscribe("marker", qos=1)
    marker.publish("marker")
    marker.take()  # the broker had time for more
    rest: list[bytes] = []
    while not slow.received.empty():
        message = slow.received.get()
        assert message.qos == 0
    for message in held:
        slow.client.ack(message.mid, 1)
    while len(rest) < 4:
        message = slow.take()
        if message.qos:
            rest.append(bytes(message.payload))
    assert [bytes(m.payload) for m in held] + rest == [b"%d" % number for number in range(6)]


def test_acknowledgement_says_when_nobody_listens(connect: Connect, topic: str) -> None:
    client = connect()
    assert client.publish(topic) == 0x10
    client.subscribe(topic, qos=1)
    assert client.publish(topic) == 0


def test_take_over_and_expiry_of_a_session(connect: Connect, topic: str) -> None:
    first = connect(f"one-{topic}", keeps=True)
    second = connect(f"one-{topic}", keeps=True)
    first.closed.get(timeout=WAIT_S)
    assert second.flags.session_present
    second.close(SessionExpiryInterval=0)
    assert not connect(f"one-{topic}", keeps=True).flags.session_present


def test_subscription_that_is_no_filter_and_one_that_is(connect: Connect, topic: str) -> None:
    client = connect()
    assert client.subscribe(f"{topic}/+", qos=2) == 2
    client.client.unsubscribe([f"{topic}/+"])
    client.publish(f"{topic}/a", b"nobody")
    client.subscribe(f"{topic}/a", qos=0)
    client.publish(f"{topic}/a", b"again")
    assert client.take().payload == b"again"
