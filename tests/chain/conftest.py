"""One chain for the tests that don't stop it; each test puts a contract of its own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chain.anvil import Anvil


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with Anvil(tmp_path_factory.mktemp("chain")) as running:
        yield running
