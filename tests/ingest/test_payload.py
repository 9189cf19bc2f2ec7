"""Rows of a Python program on their way into the journal: in pieces, in order, and what happens when one fails."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from edgelake.errors import OverloadedError, PayloadError, StorageFullError
from edgelake.ingest.payload import PIECE_ROWS, submit_rows
from edgelake.model import Stored

PIECES = 5
ROWS = {"n": np.arange(PIECES * PIECE_ROWS)}


class Journal:
    """Takes payloads; the outcome of each call is told by ``answers`` (an error, or rows rejected)."""

    def __init__(self, answers: dict[int, Exception | int] | None = None) -> None:
        self.answers = answers or {}
        self.payloads: list[bytes] = []
        self.calls = 0
        self.open = 0
        self.most_open = 0

    async def submit(
        self, dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0"
    ) -> Stored:
        call, self.calls = self.calls, self.calls + 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        answer = self.answers.get(call, 0)
        if isinstance(answer, Exception):
            raise answer
        self.payloads.append(payload)
        return Stored(payload.count(b"\n") - answer, answer, "does not fit" if answer else "")


def test_large_arrays_go_in_pieces_in_order_a_few_at_a_time() -> None:
    journal = Journal({1: 3})
    stored = asyncio.run(submit_rows(journal.submit, "d", "t", ROWS))
    assert stored == Stored(PIECES * PIECE_ROWS - 3, 3, "does not fit")
    assert [payload.split(b"\n", 1)[0] for payload in journal.payloads] == [
        b'{"n": %d}' % (n * PIECE_ROWS) for n in range(PIECES)
    ]
    assert 1 <= journal.most_open <= 3


def test_pieces_behind_the_first_wait_for_room() -> None:
    journal = Journal({1: OverloadedError("full"), 2: OverloadedError("full"), 3: OverloadedError("full")})
    assert asyncio.run(submit_rows(journal.submit, "d", "t", ROWS)).rows == PIECES * PIECE_ROWS
    assert journal.calls == PIECES + 3


def test_a_full_node_refuses_at_once() -> None:
    journal = Journal({0: OverloadedError("full")})
    with pytest.raises(OverloadedError):
        asyncio.run(submit_rows(journal.submit, "d", "t", [{"n": 1}]))
    assert journal.calls == 1


def test_an_error_on_the_way_says_how_many_rows_are_stored() -> None:
    journal = Journal({2: StorageFullError("no room")})
    with pytest.raises(StorageFullError) as raised:
        asyncio.run(submit_rows(journal.submit, "d", "t", ROWS))
    assert raised.value.where["stored_rows"] == sum(payload.count(b"\n") for payload in journal.payloads)


def test_rows_that_cannot_be_stored_are_refused_before_anything_is() -> None:
    journal = Journal()
    with pytest.raises(PayloadError):
        asyncio.run(submit_rows(journal.submit, "d", "t", {"n": np.arange(3), "m": np.arange(2)}))
    assert journal.calls == 0


def test_a_caller_that_gives_up_stops_the_pieces_that_wait() -> None:
    journal = Journal({call: OverloadedError("full") for call in range(1, 10_000)})

    async def scenario() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await submit_rows(journal.submit, "d", "t", ROWS)
        calls = journal.calls
        await asyncio.sleep(0.05)
        return journal.calls - calls

    assert asyncio.run(scenario()) == 0
