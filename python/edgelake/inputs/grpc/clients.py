"""The gRPC clients of a node, as one service: a row of ``get processes``, stopped with the node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from edgelake.errors import NameInUseError
from edgelake.inputs.grpc.client import GrpcClient
from edgelake.model import Status


class GrpcClients:
    """Clients by name. One that ended stays to be looked at, until it is removed or its name is used again."""

    name = "grpc"

    def __init__(self) -> None:
        self._clients: dict[str, GrpcClient] = {}
        self._since_us = 0

    async def start(self) -> None:
        self._since_us = time.time_ns() // 1000

    async def stop(self) -> None:
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(client.stop() for client in clients.values()))

    async def add(self, client: GrpcClient) -> None:
        """Start a client. Raises NameInUseError (208), and what its start raises: nothing is left of it then."""
        known = self._clients.get(client.name)
        if known is not None and not known.ended:
            raise NameInUseError(f"a gRPC client '{client.name}' runs", hint=f"exit grpc {client.name}")
        self._clients[client.name] = client
        try:
            await client.start()
        except BaseException:
            if self._clients.get(client.name) is client:
                del self._clients[client.name]
            raise

    async def remove(self, name: str) -> bool:
        """End a client; False when there is none of this name."""
        client = self._clients.pop(name, None)
        if client is not None:
            await client.stop()
        return client is not None

    def get(self, name: str) -> GrpcClient | None:
        return self._clients.get(name)

    def __iter__(self) -> Iterator[GrpcClient]:
        return iter(self._clients.values())

    def __len__(self) -> int:
        return len(self._clients)

    def status(self) -> Status:
        running = [client for client in self if not client.ended]
        servers = {client.server.address for client in running if client.connected}
        counts = [client.counts for client in self]
        counters: dict[str, int | float] = {
            "messages": sum(one.messages for one in counts),
            "rows": sum(one.rows for one in counts),
            "errors": sum(one.errors for one in counts),
        }
        last_error = next((one.last_error for one in counts if one.last_error), "")
        shown = f"connected to {len(servers)} gRPC servers"
        return Status("gRPC", bool(running), shown, self._since_us, last_error, counters)
