"""gRPC servers that tests start and kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from edgelake.bench.processes import free_port
from tests.mqtt.brokers import Files

HERE = Path(__file__).parent


class Server:
    """``server.py`` on a free port; after ``kill`` it may be started again, with other options."""

    def __init__(self, **options: Any) -> None:
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **options: Any) -> None:
        what = json.dumps({"port": self.port, **self._options, **options})
        self._process = subprocess.Popen([sys.executable, str(HERE / "server.py"), what], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def freeze(self) -> None:
        """Its connections stay, and bring nothing any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


Start = Callable[..., Server]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def shared() -> Iterator[Server]:
    """A server for all tests that leave it as it is."""
    with Server() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Start]:
    with ExitStack() as running:

        def started(**options: Any) -> Server:
            return running.enter_context(Server(**options))

        yield started
