"""Servers that tests start, and stop at their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgelake.bench.processes import free_port
from edgelake.net.rest import BodyLimits, RestConfig
from tests.net.helpers import FakeNode, Loop, Site


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def make_site(loop: Loop, node: FakeNode) -> Iterator[Callable[..., Site]]:
    """Starts servers with given limits and options; stops them at the end."""
    sites: list[Site] = []

    def make(limits: BodyLimits | None = None, **options: Any) -> Site:
        config = RestConfig(
            internal_ip="127.0.0.1", internal_port=free_port(), limits=limits or BodyLimits(), **options
        )
        sites.append(Site(loop, node, config))
        return sites[-1]

    yield make
    for site in sites:
        loop.run(site.server.stop())


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
