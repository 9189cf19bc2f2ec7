"""``explain flow``: where the readings of a topic or table are, and what keeps them."""

from __future__ import annotations

from typing import Any, Final

from edgelake.command.context import Context
from edgelake.command.handlers.status import statuses
from edgelake.command.registry import command
from edgelake.command.trail import Stage, Trail, trail
from edgelake.model import CommandClass, Reply, Table

_TITLES: Final = ("Stage", "Where", "State", "Counts", "Reason", "Command")


@command(
    "explain flow",
    cls=CommandClass.DATA,
    topics=("monitor", "ingest"),
    examples=(
        "explain flow sensors",
        "explain flow plant.motor",
        "explain flow motor where dbms = plant and format = json",
    ),
)
async def explain_flow(ctx: Context, name: str, *, dbms: str = "") -> Reply:
    """Follow a reading of a topic or table to its row: what came to each stage, where it stops and why.

    NAME is a topic of a message client, a table, or dbms.table; ``dbms`` asks for a table. The last column holds the
    command that mends it, or shows more.
    """
    found = trail(ctx, name, dbms, statuses(ctx))
    header = f"\r\n{found.kind.capitalize()} {name}: {_outcome(found)}"
    return Reply.of_table(Table(_TITLES, [_row(stage) for stage in found.stages], header=header), data=_data(found))


def _outcome(found: Trail) -> str:
    end = found.end
    if end is None:
        idle = next((stage for stage in found.stages if stage.state == "idle"), None)
        return "no stage stops it" if idle is None else f"no stage stops it; '{idle.name}' has seen nothing yet"
    return f"stopped at '{end.name}': {end.reason}" + (f"\r\nNext:  {end.advice}" if end.advice else "")


def _row(stage: Stage) -> tuple[str, ...]:
    counts = ", ".join(f"{value:,} {key}" for key, value in stage.counts.items())
    return (stage.name, stage.where, stage.state, counts, stage.reason, stage.advice)


def _data(found: Trail) -> dict[str, Any]:
    end = found.end
    return {
        "name": found.name,
        "kind": found.kind,
        "stopped_at": end.name if end else None,
        "reason": end.reason if end else None,
        "command": end.advice or None if end else None,
        "stages": [
            {
                "stage": stage.name,
                "where": stage.where,
                "state": stage.state,
                "counts": stage.counts,
                "reason": stage.reason or None,
                "command": stage.advice or None,
            }
            for stage in found.stages
        ],
    }
