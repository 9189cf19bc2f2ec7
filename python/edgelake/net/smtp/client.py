"""The SMTP client as a service: mails wait on disk, one connection sends them one after another.

A mail is acknowledged when the server has it or when it is on disk. While the server cannot be reached all mails wait,
with ever longer pauses between attempts; a mail that the server puts off waits alone. Should the process die between
the server's yes and the file's removal, the mail is sent twice, with one Message-ID.

Source: spec "Services and status", section 4.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from edgelake.errors import OverloadedError, ServiceError
from edgelake.model import Status
from edgelake.net.smtp.link import Link, Refused, SmtpConfig, Unreachable
from edgelake.net.smtp.mail import Mail
from edgelake.net.smtp.outbox import MAX_MAILS, Outbox
from edgelake.service import Streak

__all__ = ["SmtpClient", "SmtpConfig"]

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
LONGEST_AGE_S: Final = 24 * 3600.0
"""A mail that could not be sent for so long is given up; a restart begins to count anew."""
OUTCOME_S: Final = 10.0
"""How long a command waits to learn what became of its mail."""
IDLE_S: Final = 60.0
"""A connection without mails is closed."""
_GRACE_S: Final = 3.0

Tell = Callable[[str, bool], None]
"""A line for the log: the text, and whether something failed."""


class Outcome(Struct, frozen=True):
    """What became of a mail so far; ``reason`` why it waits, or was refused."""

    state: Literal["sent", "waiting", "refused"]
    reason: str = ""


@dataclass(eq=False)
class _Waiting:
    """A mail in the queue; ``since`` when it came there, and ``due``, on the monotonic clock."""

    mail: Mail
    since: float = field(default_factory=time.monotonic)
    due: float = 0.0
    attempts: int = 0
    reason: str = ""
    outcome: asyncio.Future[Outcome] | None = field(default=None, repr=False)

    def tell(self, outcome: Outcome) -> None:
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass
class Counts:
    """Mails since the start; times in microseconds UTC."""

    sent: int = 0
    refused: int = 0
    expired: int = 0
    failed_attempts: int = 0
    last_sent_us: int = 0
    last_error: str = ""
    last_error_us: int = 0


class SmtpClient:
    """Sends mails through one mail server."""

    name = "smtp client"

    def __init__(self, config: SmtpConfig, outbox: Outbox, tell: Tell) -> None:
        self.config = config
        self.counts = Counts()
        self.since_us = 0
        self._outbox = outbox
        self._tell = tell
        self._link = Link(config)
        self._queue: list[_Waiting] = []
        self._coming = 0
        self._wake = asyncio.Event()
        self._hold_until = 0.0
        self._streak = Streak()
        self._refusals = Streak()
        self._worker: asyncio.Task[None] | None = None
        self._sending = False
        self._stopping = False

    # ---- life

    async def start(self) -> None:
        """Log in once, and take what an earlier client left. Raises ServiceError."""
        host = self.config.host
        try:
            await self._link.open()
        except Unreachable as problem:
            raise ServiceError(
                f"Failed to initiate SMTP server using {host}: port {self.config.port}: {problem.reason}",
                hint=problem.hint,
            ) from None
        self._queue = [_Waiting(mail) for mail in await asyncio.to_thread(self._outbox.load)]
        if self._queue:
            self._tell(f"SMTP client: {len(self._queue)} mails of an earlier run are sent now", False)
        self.since_us = time.time_ns() // 1000
        self._worker = asyncio.create_task(self._work(), name=self.name)

    async def stop(self) -> None:
        """Let the mail that is under way end, and close. What waits stays on disk. Idempotent."""
        self._stopping = True
        worker, self._worker = self._worker, None
        if worker is not None:
            self._wake.set()
            if not self._sending:
                worker.cancel()
            await asyncio.wait([worker], timeout=_GRACE_S)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        for waiting in self._queue:
            waiting.tell(Outcome("waiting", "the client stops; it is sent when it runs again"))
        await self._link.close()

    def status(self) -> Status:
        counts = self.counts
        return Status(
            "SMTP",
            self._worker is not None,
            f"Using '{self.config.host}' with email: '{self.config.email}'",
            self.since_us,
            counts.last_error,
            {
                "sent": counts.sent,
                "refused": counts.refused,
                "expired": counts.expired,
                "failed_attempts": counts.failed_attempts,
                "waiting": self.waiting,
            },
        )

    @property
    def waiting(self) -> int:
        """Mails that the server does not have yet."""
        return len(self._queue)

    @property
    def is_connected(self) -> bool:
        return self._link.is_open

    @property
    def pause_s(self) -> float | None:
        """Seconds to the next attempt; None when nothing waits for it."""
        if not self._queue:
            return None
        now = time.monotonic()
        return max(0.0, self._hold_until - now, min(waiting.due for waiting in self._queue) - now)

    # ---- mails

    async def send(self, mail: Mail) -> Outcome:
        """Keep a mail and send it. Returns what is known of it after the first attempt, or after ``OUTCOME_S``.

        Raises OverloadedError, StorageFullError, 63: then nothing was kept.
        """
        if self._stopping or self._worker is None:
            raise ServiceError("SMTP client is not running", hint="start it: run smtp client where ...")
        if len(self._queue) + self._coming >= MAX_MAILS:
            raise OverloadedError(
                f"{MAX_MAILS} mails wait for {self.config.host}: {self.counts.last_error or 'it is slow'}",
                hint="see: get smtp client",
            )
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        # a caller that goes away must not leave a mail on disk that no queue knows
        await asyncio.shield(asyncio.ensure_future(self._keep(_Waiting(mail, outcome=outcome))))
        if self._streak.failures:  # who mails in a row must not wait for each attempt
            return Outcome("waiting", self.counts.last_error)
        try:
            async with asyncio.timeout(OUTCOME_S):
                return await outcome
        except TimeoutError:
            return Outcome("waiting", "the server takes its time")

    async def _keep(self, waiting: _Waiting) -> None:
        self._coming += 1
        try:
            await asyncio.to_thread(self._outbox.keep, waiting.mail)
        finally:
            self._coming -= 1
        self._queue.append(waiting)
        self._wake.set()

    async def _work(self) -> None:
        while not self._stopping:
            pause = self.pause_s
            if pause:
                await self._sleep(pause)
            elif pause is None:
                if not await self._sleep(IDLE_S):
                    await self._link.close()
                    await self._sleep(None)
            else:
                self._sending = True
                try:
                    await self._deliver(min(self._queue, key=lambda waiting: waiting.due))
                except Exception as fault:  # a fault of ours must not end the mails of the node
                    log.exception("SMTP client: fault while a mail was sent")
                    self._unreachable(Unreachable(f"{type(fault).__name__}: {fault}"))
                finally:
                    self._sending = False

    async def _sleep(self, limit_s: float | None) -> bool:
        """Until a mail comes (True) or a time has passed."""
        try:
            async with asyncio.timeout(limit_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _deliver(self, waiting: _Waiting) -> None:
        if (
            time.monotonic() - waiting.since > LONGEST_AGE_S
        ):  # a machine that learns the date late must not drop its mails
            self.counts.expired += 1
            reason = waiting.reason or self.counts.last_error
            await self._end(waiting, Outcome("refused", f"not sent within {LONGEST_AGE_S / 3600:g} hours: {reason}"))
            return
        try:
            await self._link.open()
            await self._link.send(waiting.mail)
        except Unreachable as problem:
            self._unreachable(problem)
        except Refused as problem:
            self._reachable()
            if problem.for_good:
                self.counts.refused += 1
                await self._end(waiting, Outcome("refused", str(problem)))
            else:
                self._put_off(waiting, str(problem))
        else:
            self._reachable()
            self._refusals.worked()
            self.counts.sent += 1
            self.counts.last_sent_us = time.time_ns() // 1000
            await self._end(waiting, Outcome("sent"))

    async def _end(self, waiting: _Waiting, outcome: Outcome) -> None:
        """The mail is done with, one way or the other."""
        try:
            await asyncio.to_thread(self._outbox.drop, waiting.mail)
        except OSError as problem:
            log.warning("mail %s stays on disk and may be sent twice: %s", waiting.mail.id, problem)
        self._queue.remove(waiting)
        if outcome.state == "refused":
            self._note_error(outcome.reason)
            if self._refusals.failed():
                self._tell(
                    f"SMTP client: a mail is given up{self._refusals.times}: {self.config.host}: {outcome.reason}", True
                )
        waiting.tell(outcome)

    def _put_off(self, waiting: _Waiting, reason: str) -> None:
        waiting.attempts += 1
        waiting.reason = reason
        waiting.due = time.monotonic() + _pause(waiting.attempts)
        self.counts.failed_attempts += 1
        self._note_error(reason)
        waiting.tell(Outcome("waiting", reason))

    def _unreachable(self, problem: Unreachable) -> None:
        self.counts.failed_attempts += 1
        self._note_error(str(problem))
        tell = self._streak.failed()
        self._hold_until = time.monotonic() + _pause(self._streak.failures)
        if tell:
            self._tell(
                f"SMTP client: {self.config.host}:{self.config.port}{self._streak.times}: {problem}; "
                f"{len(self._queue)} mails wait",
                True,
            )
        for waiting in self._queue:
            waiting.tell(Outcome("waiting", str(problem)))

    def _reachable(self) -> None:
        self._hold_until = 0.0
        if before := self._streak.worked():
            self._tell(f"SMTP client: {self.config.host} is reached again, after {before} failed attempts", False)

    def _note_error(self, reason: str) -> None:
        self.counts.last_error = reason
        self.counts.last_error_us = time.time_ns() // 1000


def _pause(attempts: int) -> float:
    pause_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempts - 1, 20))
    return pause_s * random.uniform(0.75, 1.25)
