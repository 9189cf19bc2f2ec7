"""set encryption: other nodes are spoken to by TLS alone."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edgelake.errors import CommandError, EdgeLakeError
from edgelake.node import Node
from tests.net.peer.nodes import node, server
from tests.net.peer.raw import RawPeer, block, send
from tests.net.peer.test_links import is_secure, secured, with_policy


async def test_nothing_is_taken_or_sent_without_tls_until_it_is_off(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened, RawPeer() as old:
        a, _ = await opened.enter_async_context(secured(tmp_path / "a", "a", "ssl = true"))
        b, at_b = await opened.enter_async_context(secured(tmp_path / "b", "b", "ssl = true"))
        assert (await old.request(at_b, "get status", job=(1, 1, 1, 0))).error == 0
        assert (await b.execute("get encryption")).text == "off"
        await b.execute("set encryption on")
        assert (await b.execute("get encryption")).text == "on"
        before = server(b).refused
        await send(at_b, block("get status", old.address, job=(1, 2, 1, 0)))
        with pytest.raises(EdgeLakeError):
            await b.execute(f"run client ({old.address}, timeout = 5) get status")
        assert server(b).refused > before
        await with_policy(a, b, at_b)
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"
        assert is_secure(a, at_b)
        await b.execute("set encryption off")
        assert (await old.request(at_b, "get status", job=(1, 3, 1, 0))).job[1] == 3


async def test_it_needs_tls_also_after_a_start(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (plain, _):
        with pytest.raises(CommandError, match="TCP server with TLS"):
            await plain.execute("set encryption on")
    async with secured(tmp_path / "b", "b", "ssl = true") as (made, _):
        await made.execute("set encryption on")
    async with Node(tmp_path / "b") as again:
        with pytest.raises(CommandError, match="needs TLS"):
            await again.execute("run tcp server where external_ip = 127.0.0.1 and external_port = 1024 and bind = true")
