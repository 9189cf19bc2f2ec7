"""Coroutine tests run in a loop of their own; which tests do not run at the same time, and which begin."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from edgelake.bench.postgres_server import PostgresServer


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


TOGETHER = ("console", "kafka", "query")
"""Folders whose tests share a browser or servers that take long to start."""

APART = ("tests/kafka/test_process.py", "tests/system/test_partitions.py")
"""Files whose tests wait long and share nothing."""


class Scheduling(LoadScopeScheduling):
    """Hands out the tests of a file, or of a folder that shares something, to be run one after the other.

    It stands for ``--dist loadgroup``, which finds no groups: pytest-xdist 3.8 writes them into the names of tests, and
    pytest 9.2 does not show them there.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.split("/")[1]
        if file in APART:
            return nodeid
        return folder if folder in TOGETHER else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: tests wait for other processes a third of the time."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    config.option.loadscopereorder = False  # by number of tests; the order is that below
    return Scheduling(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several run at the same time: slow ones first, so that nobody waits for them at the end."""

    def rank(item: pytest.Item) -> tuple[bool, bool]:
        folder = item.path.relative_to(config.rootpath).parts[1]
        return item.get_closest_marker("slow") is None, folder not in TOGETHER

    if hasattr(config, "workerinput"):
        items.sort(key=rank)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for tests that leave it running."""
    server = PostgresServer()
    yield server
    server.stop()
