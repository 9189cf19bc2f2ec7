"""``/v1/events``: what happens at the node, as server-sent events.

One sampler serves all listeners: it looks once a second while anybody listens, and what it saw is encoded once. Every
listener reads the same ring of events at its own pace. One that is slow skips states that are outdated; one that
takes nothing for a minute is given up. So a thousand slow listeners hold no more memory than the ring.

| event | data |
| --- | --- |
| ``history`` | numbers of the last minutes, at the beginning: ``{"fields": [...], "points": [[...], ...]}`` |
| ``state`` | the document of ``/v1/overview``, each second |
| ``log`` | new entries of the event and error logs |
| ``end`` | why the node ends the stream |

``id`` is ``<start of the node>-<number>``; ``Last-Event-ID`` continues behind it while the ring has what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edgelake.command.api.overview import overview
from edgelake.command.api.routes import Call
from edgelake.command.context import Context
from edgelake.errors import CredentialsError, CrowdedError
from edgelake.model import CommandClass
from edgelake.net.rest.api import ApiReply

MEDIA_TYPE: Final = "text/event-stream"
PERIOD_S: Final = 1.0
HEARTBEAT_S: Final = 15.0
CHECK_S: Final = 10.0
RETRY_MS: Final = 2000
LISTENERS: Final = 100
"""Each holds a thread of the HTTP server's pool of 512, which files and long answers need, too."""
KEPT: Final = 120
POINTS: Final = 600
LOGS: Final = ("event", "error")
LOG_ENTRIES: Final = 50
FIELDS: Final = (
    "time",
    "rows_stored_total",
    "messages_total",
    "requests_total",
    "queue_bytes",
    "journal_bytes",
    "disk_free_bytes",
    "memory_bytes",
    "cpu_seconds_total",
)
"""Of the numbers, those that ``history`` has."""


@dataclass(frozen=True, slots=True)
class Event:
    number: int
    name: str
    encoded: bytes


class Events:
    """The events of a node."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._ring: deque[Event] = deque(maxlen=KEPT)
        self._points: deque[tuple[float, ...]] = deque(maxlen=POINTS)
        self._number = 0
        self._news = asyncio.Event()
        self._sampler: asyncio.Task[None] | None = None
        self._logged = dict.fromkeys(LOGS, (-1, 0))
        self._listeners = 0

    async def listen(self, call: Call) -> ApiReply:
        """A listener. Raises CrowdedError when there are too many."""
        if self._listeners >= LISTENERS:
            raise CrowdedError(
                f"{LISTENERS} clients listen to the events of this node already",
                hint="close consoles that nobody looks at, or read /v1/overview now and then; Retry-After",
            )
        self._listeners += 1
        place = [True]  # given back once: by the stream, or with it when it never began
        stream = self._stream(call, place)
        weakref.finalize(stream, self._leave, place)
        return ApiReply(media_type=MEDIA_TYPE, live=True, stream=stream, headers=[("x-accel-buffering", "no")])

    async def _stream(self, call: Call, place: list[bool]) -> AsyncIterator[bytes]:
        self._begin()
        try:
            at, first = self._start(call.request.headers.get("last-event-id") or "")
            yield first
            checked = time.monotonic()
            ends = checked + (call.values["seconds"] or math.inf)
            while (left := ends - time.monotonic()) > 0:
                if self._number == at:
                    try:
                        async with asyncio.timeout(min(HEARTBEAT_S, left)):
                            await self._news.wait()
                    except TimeoutError:
                        yield b":\n\n"
                        continue
                if time.monotonic() - checked > CHECK_S:
                    checked = time.monotonic()
                    if why := _refusal(call):
                        yield _encoded("end", {"reason": why})
                        return
                pieces = self._since(at)
                at = self._number
                yield pieces
        finally:
            self._leave(place)

    def _begin(self) -> None:
        if self._sampler is None:
            self._skip_logs()
            self._sample()
            self._sampler = asyncio.create_task(self._run(), name="events")

    def _leave(self, place: list[bool]) -> None:
        if not place:
            return
        place.clear()
        self._listeners -= 1
        if not self._listeners and self._sampler is not None:
            self._sampler.cancel()
            self._sampler = None

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + PERIOD_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            self._sample()

    # ---- events

    def _sample(self) -> None:
        state = overview(self._ctx)
        self._points.append((state["time"], *(state["numbers"][field] for field in FIELDS[1:])))
        if entries := self._new_entries():
            self._put("log", entries)
        self._put("state", state)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _put(self, name: str, data: Any) -> None:
        self._number += 1
        encoded = _encoded(name, data, f"{self._ctx.node.started_us}-{self._number}")
        self._ring.append(Event(self._number, name, encoded))

    def _start(self, last: str) -> tuple[int, bytes]:
        """Where a listener begins: behind what it knows, else at the newest state."""
        head = f"retry: {RETRY_MS}\n\n".encode()
        boot, _, number = last.partition("-")
        oldest = self._ring[0].number - 1 if self._ring else 0
        if boot == str(self._ctx.node.started_us) and number.isascii() and number.isdigit() and len(number) < 16:
            at = int(number)
            if oldest <= at <= self._number:
                return self._number, head + self._since(at)
        history = _encoded("history", {"fields": FIELDS, "points": list(self._points)})
        newest = next((event for event in reversed(self._ring) if event.name == "state"), None)
        return self._number, head + history + (newest.encoded if newest else b"")

    def _since(self, at: int) -> bytes:
        """What came behind an event; of several states the newest."""
        found = [event for event in self._ring if event.number > at]
        newest = max((event.number for event in found if event.name == "state"), default=0)
        return b"".join(e.encoded for e in found if e.name != "state" or e.number == newest)

    # ---- logs

    def _skip_logs(self) -> None:
        for name in LOGS:
            entries = self._ctx.logs.ring(name).select()
            self._logged[name] = (entries[-1].number, entries[-1].count) if entries else (-1, 0)

    def _new_entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for name in LOGS:
            entries = self._ctx.logs.ring(name).select()
            if not entries:
                continue
            known = self._logged[name]
            self._logged[name] = (entries[-1].number, entries[-1].count)
            if entries[-1].number < known[0]:  # the log was reset
                known = (-1, 0)
            for entry in entries[-LOG_ENTRIES:]:
                if (entry.number, entry.count) > known:
                    at = entry.time.astimezone().isoformat(timespec="milliseconds")
                    found.append(
                        {"log": name, "time": at, "kind": entry.kind, "text": entry.text, "count": entry.count}
                    )
        return found


def _refusal(call: Call) -> str:
    """Why who began to listen may not any more; empty = nothing changed."""
    with contextlib.suppress(CredentialsError):
        caller = call.request.find_caller()
        return "" if CommandClass.DATA in caller.classes else "the command class 'data' was taken away"
    return "the login has expired"


def _encoded(name: str, data: Any, number: str = "") -> bytes:
    """One event. JSON has no line breaks, so the data is one line."""
    head = f"event: {name}\n" + (f"id: {number}\n" if number else "")
    return head.encode() + b"data: " + msgspec.json.encode(data, enc_hook=str) + b"\n\n"
