"""Who waits for what the pipeline tells."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from edgelake.model import Stored, Then

ONE_ROW = Stored(1)  # most outcomes of single readings

Told = tuple[int, int, int, str, BaseException | None]
"""(ticket, rows, rejected, reason of the first, failure), as ``Pipeline.completions`` has them."""


class Tickets:
    """Futures and callbacks by the ticket of their payload; belongs to the loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Stored]] = {}
        self._then: dict[int, Then] = {}
        self._early: dict[int, tuple[Stored, BaseException | None]] = {}
        self._aside = 0
        self.refusal = ""
        """Why the last payload was not kept; empty when it was."""

    def future(self, ticket: int) -> asyncio.Future[Stored]:
        """Is done when the ticket is told."""
        waiting: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        if (early := self._early.pop(ticket, None)) is None:
            self._waiting[ticket] = waiting
        else:
            _settle(waiting, *early)
        return waiting

    def then(self, ticket: int, then: Then) -> None:
        """Call ``then`` when the ticket is told."""
        self._then[ticket] = then

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While another thread gets tickets: what is told before they are known here is kept until the end."""
        self._aside += 1
        try:
            yield
        finally:
            self._aside -= 1
            if not self._aside:
                self._early.clear()

    def settle(self, told: Iterable[Told]) -> list[int]:
        """Tell whoever waits; returns the tickets that nobody here waits for."""
        others = []
        for ticket, rows, rejected, reason, failure in told:
            self.refusal = "" if failure is None else str(failure)
            if (then := self._then.pop(ticket, None)) is not None:
                if failure is not None:
                    then(None, failure)
                else:
                    then(ONE_ROW if rows == 1 and not rejected else Stored(rows, rejected, reason), None)
                continue
            waiting = self._waiting.pop(ticket, None)
            if waiting is not None:
                _settle(waiting, Stored(rows, rejected, reason), failure)
                continue
            if self._aside:
                self._early[ticket] = Stored(rows, rejected, reason), failure
            others.append(ticket)
        return others


def _settle(waiting: asyncio.Future[Stored], stored: Stored, failure: BaseException | None) -> None:
    if waiting.done():  # the submitter was cancelled; the rows are kept all the same
        return
    if failure is None:
        waiting.set_result(stored)
    else:
        waiting.set_exception(failure)
