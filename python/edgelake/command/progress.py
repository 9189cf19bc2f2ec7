"""How far a long query is, for who waits for it at a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from edgelake.query.jobs import Job

QUIET_S: Final = 2.0
"""Queries that take less say nothing."""

EACH_S: Final = 0.5


async def followed(work: asyncio.Task[Any], jobs: Any, tell: Callable[[str], None]) -> None:
    """Wait for a command to be over, however it ends; tell how far its query is. "" = nothing any more.

    Args:
        jobs: ``query.jobs.Jobs``; None where the node has no queries.
    """
    await asyncio.wait({work}, timeout=QUIET_S)
    told = ""
    while not work.done():
        job = jobs.of_task(work) if jobs is not None else None
        text = progress_text(job) if job is not None else ""
        if text != told:
            tell(text)
            told = text
        await asyncio.wait({work}, timeout=EACH_S)
    if told:
        tell("")


def progress_text(job: Job) -> str:
    """``12 s, 3 of 4 nodes answered, 1,200 rows, about 4 s left``."""
    parts = [f"{job.seconds:.0f} s"]
    done, every = (job.answered, len(job.operators)) if job.operators else job.parts()
    if every:
        parts.append(f"{done} of {every} {'nodes answered' if job.operators else 'scans done'}")
    if job.rows:
        parts.append(f"{job.rows:,} rows")
    if 0 < done < every:
        parts.append(f"about {job.seconds * (every - done) / done:.0f} s left")
    return ", ".join(parts)
