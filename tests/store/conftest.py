"""Databases in real files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelake.store.sqlite import SqliteStore
from edgelake.store.stores import Stores


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dbms" / "plant.dbms"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore("plant", path)
    yield opened
    opened.close_blocking()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(lambda: tmp_path)
    yield made
    asyncio.run(made.close())
