"""One chain for the tests that don't stop it; each test puts a contract of its own on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from edgelake.metadata.chain.connect import library
from tests.chain.anvil import Anvil

asyncio.run(library())  # as a node loads it, ahead of the tests that name its parts


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with Anvil(tmp_path_factory.mktemp("chain")) as running:
        yield running
