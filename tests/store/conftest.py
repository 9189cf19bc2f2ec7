"""Databases in real files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelake.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dbms" / "plant.dbms"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore("plant", path)
    yield opened
    opened.close_blocking()
