"""Databases in real files."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelake.store.sqlite import SqliteStore
from edgelake.store.stores import Stores


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


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
