"""Messages into the data path, mapped on their way.

Messages that come together are mapped natively in one call, and their rows go the durable way of any rows: one journal
record per table, in the table's own form, so that a replay after a crash needs no mapping. They are acknowledged when
all of the records are durable. (Design, section 3, keeps the payload as received: with several tables to a payload
that would need positions over all of them in one commit.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from edgelake import _rust
from edgelake._rust import Pipeline
from edgelake.errors import error
from edgelake.ingest.streaming import Take
from edgelake.model import Stored

LOCAL = "local"
WHOLE = 0  # the element that stands for a message as a whole


class SubmitNative(Protocol):
    """Entry of the data path for rows in their native form (``Ingest.submit_native``)."""

    def __call__(self, take: Take, payload_bytes: int, *, wait: bool = False) -> Awaitable[Sequence[Stored]]: ...


def imported_by(policies: Iterable[Any], policy: Callable[[str], Any]) -> dict[str, Any]:
    """Policies that mapping policies import, and those import in turn, by id; unknown ones are left out."""
    found: dict[str, Any] = {}
    waiting = [*policies]
    while waiting:
        body = waiting.pop().get("mapping") or {}
        for name in dict(body.get("import") or {}).values():
            if isinstance(name, str) and name not in found and (other := policy(name)) is not None:
                found[name] = other
                waiting.append(other)
    return found


class MappedSubmit:
    """The entry of mapped messages.

    Args:
        submit: entry of the data path.
        timezone: of times that name no zone; None = the machine's.

    Attributes:
        native: the message clients. The node's own broker hands its messages to them without Python.
    """

    def __init__(self, submit: SubmitNative, *, timezone: str | None = None) -> None:
        self._submit = submit
        self.native = _rust.MessageClients(timezone=timezone)

    async def submit_message(self, client: int, topic: str, payload: bytes) -> Stored:
        """One message of a client; returns when all of its rows are durable.

        Raises EdgeLakeError (299 not rows, 159 topic), OverloadedError, StorageFullError, JournalError: then nothing
        of it is stored.
        """
        stored, unmapped = await self._map([(topic, payload)], client)
        if unmapped and unmapped[0][1] == WHOLE:
            _, _, number, reason = unmapped[0]
            raise error(number, reason)
        reasons = [f"element {element}: {reason}" for _, element, _, reason in unmapped]
        reasons += [one.reason for one in stored if one.rejected]
        return Stored(
            sum(one.rows for one in stored),
            len(unmapped) + sum(one.rejected for one in stored),
            reasons[0] if reasons else "",
        )

    async def submit_messages(self, messages: Sequence[tuple[str, bytes]], client: int | None = None) -> Stored:
        """Topics and payloads of a client, or for all clients of the broker 'local'; durable on return.

        What cannot be mapped is counted and logged, and no failure.

        Raises OverloadedError, StorageFullError, JournalError: nothing of it is stored, all are to be offered again.
        """
        stored, unmapped = await self._map(messages, client)
        return Stored(sum(one.rows for one in stored), len(unmapped), unmapped[0][3] if unmapped else "")

    async def submit_read(self, read: _rust.ReadMessages, client: int) -> None:
        """Messages out of logs for a client, and how far the logs are read with them; durable on return.

        What cannot be mapped is counted and logged, and no failure.

        Raises OverloadedError, StorageFullError, JournalError: nothing of it is stored.
        """

        def take(pipeline: Pipeline) -> list[int]:
            return self.native.submit_read(pipeline, read, client)[0]

        await self._submit(take, read.bytes)

    async def _map(
        self, messages: Sequence[tuple[str, bytes]], client: int | None
    ) -> tuple[Sequence[Stored], list[tuple[int, int, int, str]]]:
        unmapped: list[tuple[int, int, int, str]] = []

        def take(pipeline: Pipeline) -> list[int]:
            tickets, failed = self.native.submit(pipeline, messages, client)
            unmapped.extend(failed)
            return tickets

        stored = await self._submit(take, sum(len(payload) for _, payload in messages))
        return stored, unmapped
