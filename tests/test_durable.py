"""Pieces on their way to a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from edgelake.durable import GULP_BYTES, feed


class Taker:
    """Takes in a thread; can be held there."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def take(self, gulp: list[bytes]) -> None:
        self.begun.set()
        self.may_go_on.wait(30)
        self.taken += gulp


async def gulps_of(number: int) -> AsyncIterator[bytes]:
    for one in range(number):
        yield bytes([one]) * GULP_BYTES


async def test_pieces_are_taken_in_their_order_and_all_of_them() -> None:
    taker = Taker()
    await feed(gulps_of(7), taker.take)
    assert [(piece[0], len(piece)) for piece in taker.taken] == [(number, GULP_BYTES) for number in range(7)]
    await feed(gulps_of(0), taker.take)
    assert len(taker.taken) == 7


async def test_the_next_pieces_come_while_some_are_taken() -> None:
    taker = Taker()
    taker.may_go_on.clear()

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in gulps_of(1):
            yield piece
        taker.may_go_on.set()  # otherwise nothing is taken to its end
        yield b"last"

    await feed(pieces(), taker.take)
    assert taker.taken[-1] == b"last"


async def test_nothing_is_taken_any_more_when_it_has_failed_or_was_cancelled() -> None:
    """Whoever closes the file then closes it under nobody."""
    taker = Taker()
    taker.may_go_on.clear()

    async def broken() -> AsyncIterator[bytes]:
        async for piece in gulps_of(1):
            yield piece
        asyncio.get_running_loop().call_soon(taker.may_go_on.set)
        raise ValueError("the client is gone")

    with pytest.raises(ValueError, match="gone"):
        await feed(broken(), taker.take)
    assert len(taker.taken) == 1

    taker.begun.clear()
    taker.may_go_on.clear()
    feeding = asyncio.ensure_future(feed(gulps_of(5), taker.take))
    await asyncio.to_thread(taker.begun.wait, 30)
    feeding.cancel()
    await asyncio.sleep(0)
    assert not feeding.done()
    taker.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    assert len(taker.taken) == 2


async def test_a_failure_of_the_taker_ends_it() -> None:
    def full(gulp: list[bytes]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await feed(gulps_of(3), full)
