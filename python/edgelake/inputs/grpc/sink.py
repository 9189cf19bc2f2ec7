"""Where the messages of a gRPC client go: to a table as they are, or through a mapping policy."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from edgelake.inputs.msg_client import Files, MessageClient, MessageClients
from edgelake.model import Stored


class Sink(Protocol):
    """Takes JSON lists of objects between ``open`` and ``close``.

    Attributes:
        policy: type, name and id of the mapping policy; empty texts without one.
    """

    @property
    def policy(self) -> tuple[str, str, str]: ...

    def open(self) -> None: ...

    async def store(self, payload: bytes) -> Stored:
        """Returns when the rows are durable.

        Raises OverloadedError, StorageFullError, JournalError: to be offered again; other EdgeLakeErrors: nothing of
        the payload can be taken.
        """

    def close(self) -> None:
        """Idempotent."""


class SubmitRows(Protocol):
    """Entry of the data path for rows of a table (``Ingest.submit``)."""

    def __call__(self, dbms: str, table: str, payload: bytes, *, wait: bool = False) -> Awaitable[Stored]: ...


class TableSink:
    """Each object is a row of one table."""

    policy = ("", "", "")

    def __init__(self, submit: SubmitRows, dbms: str, table: str) -> None:
        self._submit = submit
        self._dbms = dbms
        self._table = table

    def open(self) -> None:
        """Nothing: the entry is there."""

    async def store(self, payload: bytes) -> Stored:
        return await self._submit(self._dbms, self._table, payload, wait=True)

    def close(self) -> None:
        """Nothing: as ``open``."""


class PolicySink:
    """Each object is mapped by a policy, which follows changes of its text.

    Args:
        spec: of the only topic (``msg_client.topic_spec``).
    """

    def __init__(self, clients: MessageClients, address: str, spec: dict[str, Any], files: Files) -> None:
        self._clients = clients
        self._address = address
        self._spec = spec
        self._files = files
        self._client: MessageClient | None = None

    @property
    def policy(self) -> tuple[str, str, str]:
        (policy,) = self._spec["policies"]
        kind, body = next(iter(policy.items()))
        return kind, str(body.get("name", "")), str(body.get("id", ""))

    def open(self) -> None:
        """Raises EdgeLakeError (124, 188) for a policy that cannot be compiled."""
        self._client = self._clients.declare_remote(self._address, [self._spec], files=self._files)

    async def store(self, payload: bytes) -> Stored:
        assert self._client is not None
        return await self._clients.submit(self._client, payload)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._clients.stop(client.id)
