"""Messages between the thread that reads a call and the loop that hands them over."""

from __future__ import annotations

import asyncio
import contextlib
import threading

LIMIT_MESSAGES = 10_000
LIMIT_BYTES = 4 << 20


class Inbox:
    """Full, it makes the reading thread wait; gRPC's flow control then makes the server wait.

    Made on the loop that takes. It holds a message above ``limit_bytes`` when it is the only one.

    Attributes:
        came: messages so far.
    """

    def __init__(self, limit_messages: int = LIMIT_MESSAGES, limit_bytes: int = LIMIT_BYTES) -> None:
        self._loop = asyncio.get_running_loop()
        self._filled = asyncio.Event()
        self._crowded = asyncio.Event()  # full or closed
        self._changed = threading.Condition()
        self._limits = limit_messages, limit_bytes
        self._messages: list[bytes] = []
        self._bytes = 0
        self._closed = False
        self.came = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: bytes) -> bool:
        """Waits for room; False: closed, the message was not taken. In the reading thread."""
        with self._changed:
            while self._is_full() and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._messages.append(message)
            self.came += 1
            self._bytes += len(message)
            is_first, is_full = len(self._messages) == 1, self._is_full()
        if is_first:
            self._loop.call_soon_threadsafe(self._filled.set)
        if is_full:
            self._loop.call_soon_threadsafe(self._crowded.set)
        return True

    def _is_full(self) -> bool:
        most_messages, most_bytes = self._limits
        return len(self._messages) >= most_messages or self._bytes >= most_bytes

    async def take(self) -> list[bytes] | None:
        """All that has come; waits for something. None: closed, and nothing is left."""
        while True:
            self._filled.clear()
            with self._changed:
                if self._messages:
                    self._crowded.clear()
                    taken, self._messages, self._bytes = self._messages, [], 0
                    self._changed.notify_all()
                    return taken
                if self._closed:
                    return None
            await self._filled.wait()

    async def gather(self, seconds: float) -> None:
        """Let more come, as long as there is room; nothing while nothing is here."""
        if self._messages and not self._crowded.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._crowded.wait(), seconds)

    def close(self) -> None:
        """Nothing more comes in; ``take`` gives what is here, then None. On the loop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._filled.set()
        self._crowded.set()
