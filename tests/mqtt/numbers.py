"""Numbered messages under load: a publisher that knows what was acknowledged, and what a table holds behind."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MessageState

IN_FLIGHT = 100
PACE_S = 0.0005  # a build for tests has to follow


class _Client(paho.Client):
    """Paho forgets with a second attempt to reconnect that a message was received (PUBREC), and publishes it again,
    although the broker may have released its id: here PUBREL is sent again, however many attempts it takes."""

    def _messages_reconnect_reset_out(self) -> None:
        received = [m for m in self._out_messages.values() if m.state == MessageState.MQTT_MS_RESEND_PUBREL]
        super()._messages_reconnect_reset_out()
        for message in received:
            message.state = MessageState.MQTT_MS_RESEND_PUBREL


class Publisher:
    """Publishes ``{"n": ..}`` without end from a thread of its own, over broken connections.

    Its session is persistent, and paho sends again what was not acknowledged: what ``finish`` returns was taken by
    the broker.
    """

    def __init__(self, port: int, topic: str, first: int, *, qos: int, client_id: str) -> None:
        self._topic = topic
        self._first = first
        self._qos = qos
        self._count = 0
        self._open: dict[int, int] = {}  # packet id -> number; touched by one thread at a time
        self._acknowledged: queue.Queue[int] = queue.Queue()
        self._ending = threading.Event()
        self._free = threading.Semaphore(IN_FLIGHT)
        self._client = _Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self._client.on_publish = self._published
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._free.acquire() and not self._ending.is_set():
            time.sleep(PACE_S)
            number = self._first + self._count
            # Without a connection paho says so, keeps the message and sends it later.
            packet_id = self._client.publish(self._topic, b'{"n": %d}' % number, self._qos).mid
            self._count += 1
            while self._open.get(packet_id) is not None:  # used again, so the acknowledgement before is there
                del self._open[self._acknowledged.get()]
            self._open[packet_id] = number
            while not self._acknowledged.empty():
                del self._open[self._acknowledged.get()]

    def _published(self, client: object, userdata: object, packet_id: int, reason: object, properties: object) -> None:
        self._acknowledged.put(packet_id)
        self._free.release()

    def finish(self) -> list[int]:
        """Publish no more, wait for the acknowledgements that are missing; returns all numbers."""
        self._ending.set()
        self._free.release()
        self._thread.join(20)
        try:
            while self._open:
                del self._open[self._acknowledged.get(timeout=30)]
        except queue.Empty:
            raise AssertionError(f"{len(self._open)} messages were never acknowledged") from None
        self._client.disconnect()
        self._client.loop_stop()
        return list(range(self._first, self._first + self._count))


def stored_numbers(home: Path, table: str = "t") -> list[int]:
    """What the table of a stopped node holds."""
    from edgelake.store.sqlite import SqliteStore

    store = SqliteStore("plant", home / "EdgeLake" / "data" / "dbms" / "plant.dbms")
    try:
        with store.reader() as connection:
            return [row[0] for row in connection.execute(f"SELECT n FROM {table}")]
    finally:
        store.close_blocking()
