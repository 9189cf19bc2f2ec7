"""Numbered messages under load: a publisher that knows what was acknowledged, and what a table holds behind."""

from __future__ import annotations

import threading
from pathlib import Path

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

IN_FLIGHT = 100


class Publisher:
    """Publishes ``{"n": ..}`` without end from a thread of its own, over broken connections.

    Its session is persistent, and paho sends again what was not acknowledged: what ``acknowledged`` holds when
    ``finish`` returned was taken by the broker.
    """

    def __init__(self, port: int, topic: str, first: int, *, qos: int, client_id: str) -> None:
        self._topic = topic
        self._next = first
        self._qos = qos
        self._sent: dict[int, int] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._settled = threading.Event()
        self._free = threading.Semaphore(IN_FLIGHT)
        self.acknowledged: list[int] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self._client.on_publish = self._published
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._free.acquire()
            if self._ending.is_set():
                return
            with self._lock:
                info = self._client.publish(self._topic, b'{"n": %d}' % self._next, self._qos)
                self._sent[info.mid] = self._next
            self._next += 1

    def _published(self, client: object, userdata: object, mid: int, reason: object, properties: object) -> None:
        with self._lock:
            number = self._sent.pop(mid)
            self.acknowledged.append(number)
            if self._ending.is_set() and not self._sent:
                self._settled.set()
        self._free.release()

    def finish(self) -> list[int]:
        """Publish no more, wait for the acknowledgements that are missing; returns all numbers."""
        self._ending.set()
        self._free.release()
        self._thread.join(20)
        with self._lock:
            open_ones = len(self._sent)
            if not open_ones:
                self._settled.set()
        assert self._settled.wait(30), f"{open_ones} messages were never acknowledged"
        self._client.disconnect()
        self._client.loop_stop()
        return self.acknowledged


def stored_numbers(home: Path, table: str = "t") -> list[int]:
    """What the table of a stopped node holds."""
    from edgelake.store.sqlite import SqliteStore

    store = SqliteStore("plant", home / "EdgeLake" / "data" / "dbms" / "plant.dbms")
    try:
        with store.reader() as connection:
            return [row[0] for row in connection.execute(f"SELECT n FROM {table}")]
    finally:
        store.close_blocking()
