"""Brokers that tests start; certificates are made once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt.brokers import Files, Mosquitto, Ours

Start = Callable[..., Mosquitto]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[Ours]:
    """The broker that real clients come to, with TLS and WebSocket; one for all tests."""
    with Ours(tmp_path_factory.mktemp("broker"), tls=files, websocket=True) as running:
        yield running


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Start]:
    """Starts a mosquitto with the options that are given, and stops it behind the test."""
    with ExitStack() as running:

        def started(**options: Any) -> Mosquitto:
            return running.enter_context(Mosquitto(tmp_path / "mosquitto", **options))

        yield started


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a state of the client, which tells nobody
            await asyncio.sleep(0.01)
