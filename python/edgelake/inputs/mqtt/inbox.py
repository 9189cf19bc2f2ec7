"""What came from a broker and is not acknowledged yet. It outlives connections: the session goes on after each.

The rules of the receiver (MQTT 3.1.1 and 5, section 4.3), with the acknowledgement moved behind the journal:

| event                              | QoS 1                     | QoS 2                         |
| ---------------------------------- | ------------------------- | ----------------------------- |
| comes first                        | handed on                 | handed on                     |
| comes again, not in the journal    | nothing: it is in our hands                               |
| comes again, in the journal        | PUBACK                    | PUBREC                        |
| the journal has it                 | PUBACK, forgotten         | PUBREC                        |
| PUBREL                             |                           | PUBCOMP, forgotten            |
| the broker forgot the session      | forgotten: its ids begin anew                             |

What the journal has after its connection broke is acknowledged when the broker sends it again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

from msgspec import Struct

Message = tuple[str, bytes]
"""Topic and payload."""

LIMIT_MESSAGES = 10_000
LIMIT_BYTES = 8 << 20
KNOWN_RETAINED = 4096


class Held(Struct):
    """A message of QoS 1 or 2 from its first coming to its last acknowledgement."""

    packet_id: int
    qos: int
    kept: bool = False  # the journal has it
    here: bool = True  # it came over the connection that stands now


class Batch(Struct):
    """Messages that are handed on together, in the order in which they came, and what is to be acknowledged then."""

    messages: list[Message]
    held: list[Held]


class Inbox:
    """Bounded by its reader, who asks ``full`` after each message."""

    def __init__(self, *, limit_messages: int = LIMIT_MESSAGES, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limits = limit_messages, limit_bytes
        self._messages: list[Message] = []
        self._entries: list[Held] = []
        self._bytes = 0
        self._held: dict[int, Held] = {}
        self._retained: OrderedDict[str, bytes] = OrderedDict()
        self._filled = asyncio.Event()
        self._closed = False
        self.repeated = 0
        """Messages that came again and were not handed on again."""

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        return len(self._messages) >= self._limits[0] or self._bytes >= self._limits[1]

    # ---- the connection

    def connected(self, *, resumed: bool) -> None:
        """A connection stands. ``resumed``: the broker goes on with the session."""
        if not resumed:
            self._held.clear()

    def disconnected(self) -> None:
        """It ended: what it brought is acknowledged when it comes again."""
        for held in self._held.values():
            held.here = False

    def put(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """A message of QoS 0."""
        if retained and self._is_known(topic, payload):
            return
        self._add(topic, payload)

    def put_held(
        self, topic: str, payload: bytes, packet_id: int, qos: int, *, again: bool = False, retained: bool = False
    ) -> None:
        """A message of QoS 1 or 2. Acknowledgements keep the order of their messages, so all go the way of a batch."""
        held = self._held.get(packet_id)
        if held is not None and (again or not held.here):
            held.here = True
            self.repeated += 1
            if held.kept:
                self._entries.append(held)
                self._filled.set()
            return
        held = self._held[packet_id] = Held(packet_id, qos)
        self._entries.append(held)
        if retained and self._is_known(topic, payload):
            self._filled.set()
        else:
            self._add(topic, payload)

    def released(self, packet_id: int) -> None:
        """PUBREL of a message of QoS 2, known or (since we were restarted) not."""
        self._held.pop(packet_id, None)

    def _add(self, topic: str, payload: bytes) -> None:
        self._messages.append((topic, payload))
        self._bytes += len(payload) + len(topic)
        self._filled.set()

    def _is_known(self, topic: str, payload: bytes) -> bool:
        """Whether a retained message came before: brokers send it again with each subscription."""
        digest = hashlib.blake2b(payload, digest_size=16).digest()
        known = self._retained.get(topic) == digest
        self._retained[topic] = digest
        self._retained.move_to_end(topic)
        if len(self._retained) > KNOWN_RETAINED:
            self._retained.popitem(last=False)
        self.repeated += known
        return known

    # ---- the way to the journal

    async def take(self) -> Batch | None:
        """All that has come; waits for something. None: closed, and nothing is left."""
        while not self._messages and not self._entries:
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        batch = Batch(self._messages, self._entries)
        self._messages, self._entries, self._bytes = [], [], 0
        return batch

    def kept(self, batch: Batch) -> list[Held]:
        """The journal has a batch. Returns what is to be acknowledged over the connection that stands."""
        answers = []
        for held in batch.held:
            held.kept = True
            if held.here and self._held.get(held.packet_id) is held:
                answers.append(held)
                if held.qos == 1:
                    del self._held[held.packet_id]
        return answers

    def close(self) -> None:
        """``take`` gives what is here, then None."""
        self._closed = True
        self._filled.set()
