"""What a message client has taken from another broker and not acknowledged yet, over broken connections."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest

from edgelake.errors import OverloadedError
from edgelake.inputs.mqtt import Broker, RemoteClient, Subscription
from edgelake.inputs.mqtt.inbox import KNOWN_RETAINED, Batch, Inbox
from tests.mqtt.conftest import Start, until


def took(inbox: Inbox) -> Batch:
    batch = asyncio.run(inbox.take())
    assert batch is not None
    return batch


def numbers(inbox: Inbox, batch: Batch) -> list[int]:
    return [held.packet_id for held in inbox.kept(batch)]


@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledgements_come_behind_the_journal_in_the_order_of_their_messages(qos: int) -> None:
    inbox = Inbox()
    for number in (7, 3, 5):
        inbox.put_held("a", b"%d" % number, number, qos)
    inbox.put("a", b"nothing to acknowledge")
    batch = took(inbox)
    assert batch.messages == [("a", b"7"), ("a", b"3"), ("a", b"5"), ("a", b"nothing to acknowledge")]
    inbox.put_held("a", b"later", 9, qos)
    assert numbers(inbox, batch) == [7, 3, 5]
    assert numbers(inbox, took(inbox)) == [9]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("again", [True, False], ids=["marked", "not marked"])
def test_message_in_our_hands_is_not_taken_a_second_time(qos: int, again: bool) -> None:
    inbox = Inbox()
    inbox.put_held("a", b"1", 1, qos)
    batch = took(inbox)
    inbox.disconnected()
    inbox.connected(resumed=True)
    inbox.put_held("a", b"1", 1, qos, again=again)
    assert len(inbox) == 0
    assert numbers(inbox, batch) == [1]


@pytest.mark.parametrize("qos", [1, 2])
def test_message_kept_without_a_connection_is_acknowledged_when_it_comes_again(qos: int) -> None:
    inbox = Inbox()
    inbox.put_held("a", b"1", 1, qos)
    batch = took(inbox)
    inbox.disconnected()
    assert numbers(inbox, batch) == []
    inbox.connected(resumed=True)
    inbox.put_held("a", b"1", 1, qos, again=True)
    again = took(inbox)
    assert again.messages == []
    assert numbers(inbox, again) == [1]


def test_packet_id_of_qos_1_is_free_behind_its_acknowledgement_and_of_qos_2_behind_its_release() -> None:
    inbox = Inbox()
    for qos, released in ((1, False), (2, True)):
        inbox.put_held("a", b"first", qos, qos)
        assert numbers(inbox, took(inbox)) == [qos]
        if released:
            inbox.put_held("a", b"first", qos, qos, again=True)
            assert took(inbox).messages == []
            inbox.released(qos)
        inbox.put_held("a", b"second", qos, qos)
        assert took(inbox).messages == [("a", b"second")]


def test_packet_ids_of_a_forgotten_session_begin_anew() -> None:
    inbox = Inbox()
    inbox.put_held("a", b"old", 1, 1)
    old = took(inbox)
    inbox.disconnected()
    inbox.connected(resumed=False)
    inbox.put_held("a", b"new", 1, 1)
    assert numbers(inbox, old) == [], "the acknowledgement of the old message would be taken for the new one's"
    new = took(inbox)
    assert (new.messages, numbers(inbox, new)) == ([("a", b"new")], [1])


def test_retained_message_is_taken_once_as_long_as_it_is_the_same() -> None:
    inbox = Inbox()
    for payload in (b"1", b"1", b"2", b"2", b"1"):
        inbox.put("a", payload, retained=True)
    inbox.put("a", b"1")
    inbox.put_held("a", b"1", 5, 1, retained=True)
    batch = took(inbox)
    assert [payload for _, payload in batch.messages] == [b"1", b"2", b"1", b"1"]
    assert numbers(inbox, batch) == [5]
    for number in range(KNOWN_RETAINED + 1):
        inbox.put(f"b/{number}", b"", retained=True)
    assert len(inbox._retained) == KNOWN_RETAINED


def test_closed_inbox_gives_what_is_left() -> None:
    inbox = Inbox()
    inbox.put("a", b"1")
    inbox.close()
    assert took(inbox).messages == [("a", b"1")]
    assert asyncio.run(inbox.take()) is None


async def test_full_inbox_stops_the_reading_and_nothing_is_lost(mosquitto: Start) -> None:
    broker = mosquitto()
    taken: list[bytes] = []
    open_again = asyncio.Event()
    refused = 0

    async def deliver(messages: list[tuple[str, bytes]]) -> None:
        nonlocal refused
        if not open_again.is_set():
            refused += 1
            raise OverloadedError
        taken.extend(payload for _, payload in messages)

    inbox = Inbox(limit_messages=50)
    target = Broker("127.0.0.1", "full", broker.port, clean=False)
    client = RemoteClient("msg client 1", target, [Subscription("a", 1)], deliver, inbox=inbox)
    await client.start()
    async with asyncio.timeout(20):
        await client.connected()
        sent = [b"%d" % number for number in range(500)]
        async with aiomqtt.Client("127.0.0.1", broker.port) as source:
            for payload in sent:
                await source.publish("a", payload, 1)
        await until(lambda: len(inbox) >= 50)
        so_far = refused
        await until(lambda: refused > so_far)
        assert len(inbox) == 50
        open_again.set()
        await until(lambda: len(taken) >= len(sent))
    await client.stop()
    assert taken == sent
