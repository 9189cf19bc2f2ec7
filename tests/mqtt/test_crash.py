"""SIGKILL of the broker: what it acknowledged and what it kept for others is there when it comes back."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mqtt.brokers import Ours
from tests.mqtt.clients import KINDS, Client, Message, Options, take
from tests.mqtt.numbers import Publisher, stored_numbers

KILLS = 20
LONGEST_S = 0.4

TABLES = "".join(
    f"run msg client where broker = local and topic = (name = load/{qos} and qos = {qos} and dbms = plant "
    f'and table = t{qos} and column.n.int = "bring [n]")\n'
    for qos in (1, 2)
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Ours]:
    """Ours, with topics load/1 and load/2 mapped to the tables t1 and t2."""
    with Ours(tmp_path / "node", before=TABLES) as running:
        yield running


def connect(broker: Ours, name: str, *, version: int = 4, keeps: bool = False) -> Client:
    return KINDS["paho"](Options(broker.port, name, version, keeps=keeps))


def restart(broker: Ours) -> None:
    broker.kill()
    broker.start()


@pytest.mark.parametrize("version", [4, 5])
def test_sessions_and_what_is_queued_for_them_survive(broker: Ours, version: int) -> None:
    for name, qos in (("one", 1), ("two", 2)):
        away = connect(broker, name, version=version, keeps=True)
        away.subscribe("queue/#", qos)
        away.close()
    source = connect(broker, "source")
    sent = [Message(f"queue/{number % 3}", b"%d" % number, 1 + number % 2) for number in range(100)]
    for message in sent:
        source.publish(message)
    restart(broker)
    new = [Message("queue/new", name, 2) for name in (b"to one", b"to two")]
    for count, (name, qos) in enumerate((("one", 1), ("two", 2)), 1):
        back = connect(broker, name, version=version, keeps=True)
        assert back.session_present
        expected = [Message(m.topic, m.payload, min(m.qos, qos)) for m in sent]
        assert sorted(take(back, 100), key=_qos) == sorted(expected, key=_qos)  # paho gives QoS 2 when it is released
        source = connect(broker, "source")
        source.publish(new[count - 1])  # the subscription stands; the second session has the first message as well
        assert take(back, count) == [Message(m.topic, m.payload, qos) for m in new[:count]]
        back.close()
    restart(broker)
    back = connect(broker, "two", version=version, keeps=True)
    source = connect(broker, "source")
    source.publish(Message("queue/end", b"", 1))
    assert take(back, 1) == [Message("queue/end", b"", 1)], "what was acknowledged came again"


def _qos(message: Message) -> int:
    return message.qos


def test_ended_sessions_and_subscriptions_stay_ended(broker: Ours) -> None:
    for name in ("ended", "stays"):
        client = connect(broker, name, keeps=True)
        client.subscribe("a/#", 1)
        client.close()
    connect(broker, "ended")  # with a clean session: CONNACK says that there is none, and comes when that is on disk
    restart(broker)
    assert connect(broker, "ended", keeps=True).session_present is False
    assert connect(broker, "stays", keeps=True).session_present is True


def test_a_session_is_there_when_connack_has_come(broker: Ours) -> None:
    for number in range(10):
        connect(broker, f"c{number}", keeps=True)
    restart(broker)
    for number in range(10):
        assert connect(broker, f"c{number}", keeps=True).session_present is True


def test_retained_messages_survive(broker: Ours) -> None:
    source = connect(broker, "source")
    for number in range(50):
        source.publish(Message(f"r/{number}", b"%d" % number, number % 3, retain=True))
    for number in range(0, 50, 2):
        source.publish(Message(f"r/{number}", b"" if number % 4 else b"new", 1, retain=True))
    source.publish(Message("other", b"", 1))  # behind it all is on disk
    restart(broker)
    late = connect(broker, "late")
    late.subscribe("r/#", 2)
    expected = {f"r/{n}": b"%d" % n if n % 2 else b"new" for n in range(50) if n % 4 != 2}
    assert {m.topic: m.payload for m in take(late, len(expected))} == expected
    source = connect(broker, "source")
    source.publish(Message("r/end", b"", 1))
    assert take(late, 1) == [Message("r/end", b"", 1)]


@pytest.mark.parametrize("topic", ["load/2", "kept"])
def test_qos_2_that_was_received_is_not_taken_twice(broker: Ours, topic: str, tmp_path: Path) -> None:
    """PUBLISH, PUBREC, SIGKILL; the client sends it again as it must: one row, one delivery."""
    keeper = connect(broker, "keeper", keeps=True)
    keeper.subscribe("kept", 2)
    keeper.close()
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + b"\x00\x07" + b'{"n": 42}'
    publish, again = (bytes([head, len(body)]) + body for head in (0x34, 0x3C))
    with _session(broker) as link:
        link.sendall(publish)
        assert _read(link, 4) == b"\x50\x02\x00\x07"
    restart(broker)
    with _session(broker) as link:
        link.sendall(again)
        assert _read(link, 4) == b"\x50\x02\x00\x07"
        link.sendall(b"\x62\x02\x00\x07")
        assert _read(link, 4) == b"\x70\x02\x00\x07"
        link.sendall(b"\x62\x02\x00\x07")  # after PUBCOMP the id is free, and PUBREL is answered all the same
        assert _read(link, 4) == b"\x70\x02\x00\x07"
    if topic == "kept":
        keeper = connect(broker, "keeper", keeps=True)
        connect(broker, "source").publish(Message("kept", b"end", 1))
        # A client hands out a QoS 2 message at its PUBREL, which may come behind a later PUBLISH of QoS 1.
        assert sorted(take(keeper, 2), key=lambda m: m.qos) == [
            Message("kept", b"end", 1),
            Message("kept", b'{"n": 42}', 2),
        ]
    else:
        assert broker.stop() == 0
        assert stored_numbers(broker.home, "t2") == [42]


def _session(broker: Ours) -> socket.socket:
    """A bare connection with the persistent session ``bare``."""
    link = socket.create_connection(("127.0.0.1", broker.port), timeout=10)
    link.sendall(b"\x10\x10\x00\x04MQTT\x04\x00\x00\x00\x00\x04bare")
    assert _read(link, 4)[3] == 0
    return link


def _read(link: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = link.recv(count - len(found))
        assert piece, f"closed after {found!r}"
        found += piece
    return found


@pytest.mark.timeout(300)
def test_no_acknowledged_message_is_lost_and_qos_2_is_exactly_once(broker: Ours) -> None:
    """20 kills while two publishers go on over them."""
    publishers = {qos: Publisher(broker.port, f"load/{qos}", 1, qos=qos, client_id=f"p{qos}") for qos in (1, 2)}
    for _ in range(KILLS):
        time.sleep(random.uniform(0.01, LONGEST_S))  # the moment of the kill is what varies
        restart(broker)
    published = {qos: publisher.finish() for qos, publisher in publishers.items()}
    assert broker.stop() == 0
    stored = {qos: stored_numbers(broker.home, f"t{qos}") for qos in (1, 2)}
    for qos, numbers in published.items():
        missing = set(numbers) - set(stored[qos])
        assert not missing, f"QoS {qos}: {len(missing)} of {len(numbers)} are lost, the first {min(missing)}"
    doubled = len(stored[2]) - len(set(stored[2]))
    assert not doubled, f"{doubled} messages of QoS 2 stand twice"


@pytest.mark.timeout(300)
def test_session_gets_every_acknowledged_message_and_qos_2_exactly_once(broker: Ours) -> None:
    """As above, with a subscriber that is away instead of tables."""
    away = connect(broker, "sink", keeps=True)
    away.subscribe("sink/#", 2)
    away.close()
    publishers = {qos: Publisher(broker.port, f"sink/{qos}", 1, qos=qos, client_id=f"s{qos}") for qos in (1, 2)}
    for _ in range(KILLS // 4):
        time.sleep(random.uniform(0.01, LONGEST_S))  # the moment of the kill is what varies
        restart(broker)
    published = {qos: publisher.finish() for qos, publisher in publishers.items()}
    sink = connect(broker, "sink", keeps=True)
    received: dict[int, list[int]] = {1: [], 2: []}
    while len(set(received[1])) < len(published[1]) or len(received[2]) < len(published[2]):
        message = take(sink, 1)[0]
        received[message.qos].append(json.loads(message.payload)["n"])
    connect(broker, "source").publish(Message("sink/end", b'{"n": 0}', 2))
    while (message := take(sink, 1)[0]).topic != "sink/end":
        received[message.qos].append(json.loads(message.payload)["n"])
    assert sorted(set(received[1])) == published[1]
    assert sorted(received[2]) == published[2]
