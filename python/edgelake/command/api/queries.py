"""``/v1/queries``: the queries that run."""

from __future__ import annotations

from typing import Any

from edgelake.command.api.routes import Call, json_reply
from edgelake.command.context import Context
from edgelake.command.logs import mask
from edgelake.net.rest.api import ApiReply


def queries(ctx: Context) -> list[dict[str, Any]]:
    """Those that run, the oldest first. ``identity`` is never given twice, ``job`` (its slot) is."""
    running = [job for job in ctx.queries.jobs if job.ended is None] if ctx.queries is not None else []
    shown = []
    for job in sorted(running, key=lambda one: one.identity):
        done, parts = job.parts()
        shown.append(
            {
                "job": job.number,
                "identity": job.identity,
                "dbms": job.dbms,
                "command": mask(f"sql {job.dbms} {job.command}"),
                "seconds": round(job.seconds, 3),
                "rows": job.rows,
                "nodes": len(job.operators),
                "answered": job.answered,
                "parts": parts,
                "parts_done": done,
            }
        )
    return shown


async def get_queries(call: Call) -> ApiReply:
    """The list. ``job stop <job> where identity = <identity>`` stops one."""
    return json_reply({"queries": queries(call.ctx)})
