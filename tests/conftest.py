"""Coroutine tests run in a loop of their own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest

from edgelake.bench.postgres_server import PostgresServer


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for tests that leave it running."""
    server = PostgresServer()
    yield server
    server.stop()
