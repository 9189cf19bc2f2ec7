"""What the owner's tools look at over the node's socket: the documents that ``/v1`` has for everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import asdict

from edgelake.command.api.overview import overview
from edgelake.command.api.problems import problems
from edgelake.command.api.queries import queries
from edgelake.command.context import Context

VIEWS: Final[dict[str, Callable[[Context], dict[str, Any]]]] = {
    "overview": overview,
    "problems": lambda ctx: {"problems": [asdict(one) for one in problems(ctx)]},
    "queries": lambda ctx: {"queries": queries(ctx)},
}
"""Each as ``/v1/<name>`` answers it."""
