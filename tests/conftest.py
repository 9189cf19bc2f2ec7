"""Coroutine tests run in a loop of their own; which tests do not run at the same time."""

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


TOGETHER = {
    "console": "console",
    "docs": "default ports",
    "status": "default ports",
    "system": "default ports",
    "tools": "default ports",
    "kafka": "kafka",
    "query": "query",
}
"""Folders of tests that share what there is once on a machine, or what takes long to set up."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file, or of folders that share something, run one after the other (``-n ... --dist loadgroup``)."""
    for item in items:
        path = item.path.relative_to(item.config.rootpath)
        group = TOGETHER.get(path.parts[1], str(path))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for tests that leave it running."""
    server = PostgresServer()
    yield server
    server.stop()
