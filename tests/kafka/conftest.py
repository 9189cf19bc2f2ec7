"""An Apache Kafka broker for the tests that leave it running, others for those that kill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kafka.brokers import Kafka
from tests.mqtt.brokers import Files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[Kafka]:
    with Kafka(tmp_path_factory.mktemp("kafka") / "shared", files) as kafka:
        yield kafka


@pytest.fixture
def broker(tmp_path: Path, files: Files) -> Iterator[Callable[[], Kafka]]:
    with ExitStack() as running:
        yield lambda: running.enter_context(Kafka(tmp_path / "kafka", files))
