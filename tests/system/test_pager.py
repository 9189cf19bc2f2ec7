"""Long replies and long queries at a real terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.pager import Pager, pager_command
from edgelake.command.progress import followed, progress_text
from edgelake.query.jobs import Jobs
from tests.system.program import Program
from tests.system.test_prompt import Terminal


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pager that says so, reads three lines, and waits for a key."""
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho PAGER BEGINS\nhead -n 3\nread key < /dev/tty\necho PAGER ENDS\n")
    pager.chmod(0o755)
    monkeypatch.setenv("PAGER", str(pager))
    return pager


def test_what_does_not_fit_on_the_screen_goes_to_the_pager(pages: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        terminal.asks("get version", "EdgeLake Version")  # it fits
        terminal.asks("help", "PAGER BEGINS")
        terminal.type("\x03")  # is the pager's own, and ends neither the command nor the node
        terminal.until("EL >")
        terminal.type("set output paging off\r")
        terminal.until("EL >")
        terminal.type("help\r")
        assert "PAGER" not in terminal.until("help index lists the topics")
        terminal.until("EL >")
        terminal.type("set output format json\r")
        terminal.asks("get version", '"version"')
    finally:
        terminal.close()


def test_who_leaves_the_pager_ends_the_query(pages: Path, tmp_path: Path) -> None:
    with Program(tmp_path / "node") as node:
        rows = b"\n".join(b'{"timestamp": "2026-01-01T00:00:00Z", "value": %d}' % n for n in range(60_000))
        assert node.put(rows)[0] == 200
        node.post("flush buffers")
        terminal = Terminal(node.home, "attach")
        try:
            terminal.until("EL edge-1 >")
            terminal.type('sql plant "select value from t"\r')
            terminal.until("PAGER BEGINS")
            terminal.type("\r")
            terminal.until("EL edge-1 >")
            terminal.type("incr 41\r")
            terminal.until("42")
        finally:
            terminal.close()


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        ({"TERM": "xterm", "PAGER": "less -S"}, ["less", "-S"]),
        ({"TERM": "xterm", "PAGER": "less", "EDGELAKE_PAGER": "more"}, ["more"]),
        ({"TERM": "xterm", "PAGER": "cat"}, []),
        ({"TERM": "xterm", "PAGER": ""}, []),
        ({"TERM": "xterm", "PAGER": "'"}, []),
        ({"TERM": "dumb", "PAGER": "less"}, []),
        ({}, []),
    ],
)
def test_which_pager(environ: dict[str, str], command: list[str]) -> None:
    assert pager_command(environ) == command


async def test_a_pager_that_cannot_be_run_leaves_the_text_on_the_screen() -> None:
    shown: list[str] = []
    pager = Pager(["/nonexistent/pager"], lambda text, end: shown.append(text))
    pager.show("line\n" * 1000)
    await pager.drain()
    await pager.finish()
    assert "".join(shown) == "line\n" * 1000


async def test_the_terminal_is_the_pagers_from_the_moment_that_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pager = Pager(["true"], lambda text, end: None)
    start, seen = asyncio.create_subprocess_exec, list[bool]()

    async def started(*command: str, **options: Any) -> asyncio.subprocess.Process:
        seen.append(pager.is_open)  # the pager may write from here on: Ctrl-C is its own
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    pager.show("line\n" * 1000)
    await pager.finish()
    assert seen == [True]
    assert not pager.is_open


async def test_a_long_query_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelake.command.progress.QUIET_S", 0)
    monkeypatch.setattr("edgelake.command.progress.EACH_S", 0)
    jobs, told, seen = Jobs(), list[str](), asyncio.Event()

    async def query() -> None:
        job = jobs.begin("plant", "select 1", "json")
        job.operators = ("a:1", "b:1", "c:1", "d:1")
        job.answered, job.rows = 3, 1204
        job.started -= 12
        await seen.wait()
        jobs.end(job)

    def tell(text: str) -> None:
        told.append(text)
        if text:
            seen.set()

    await followed(asyncio.create_task(query()), jobs, tell)
    assert told == ["12 s, 3 of 4 nodes answered, 1,204 rows, about 4 s left", ""]


async def test_the_progress_is_that_of_the_own_query() -> None:
    jobs = Jobs()

    async def query() -> object:
        return jobs.begin("plant", "select 1", "json").task

    mine, other = asyncio.create_task(query()), asyncio.create_task(query())
    await asyncio.gather(mine, other)
    job = jobs.of_task(mine)
    assert job is not None
    assert job.task is mine
    assert progress_text(job) == "0 s"
    jobs.end(job)
    assert jobs.of_task(mine) is None
