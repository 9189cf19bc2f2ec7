"""Answers that are still being sent when their caller expires."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgelake.errors import CredentialsError
from edgelake.identity.gate import Gate
from edgelake.identity.identities import Identities
from edgelake.net.rest import callers
from edgelake.net.rest.callers import Callers
from tests.system.program import STANDALONE, Program
from tests.system.test_identities import call


def test_a_stream_ends_when_its_token_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "LOOK_S", 0.0)
    now = [1_000_000]
    identities = Identities(lambda: tmp_path / "users.json", lambda: now[0])
    token = identities.add_token("t", "user", 5)
    who = Callers(Gate(identities))
    closed: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for number in range(10):
                yield b"%d" % number
        finally:
            closed.append(True)

    async def scenario(authorization: str) -> list[bytes]:
        scope: Any = SimpleNamespace(headers={"authorization": authorization}, client="10.0.0.1:5")
        got = []
        try:
            async for piece in who.while_valid(scope, pieces()):
                got.append(piece)
                if piece == b"3":
                    now[0] += 6_000_000
        except CredentialsError:
            got.append(b"expired")
        return got

    assert asyncio.run(scenario(f"Bearer {token}")) == [b"0", b"1", b"2", b"3", b"expired"]
    assert closed == [True]


def test_events_end_with_one_that_says_so(tmp_path: Path) -> None:
    with Program(tmp_path, STANDALONE) as node:
        status, token = call(node, "id create token where name = tv and expiration = 2 seconds")
        assert status == 200
        link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
        link.request("GET", "/v1/events", headers={"Authorization": f"Bearer {token.split()[0]}"})
        reply = link.getresponse()
        assert reply.status == 200
        body = reply.read()
        assert b"event: end" in body
        assert b"expired" in body
        link.close()
