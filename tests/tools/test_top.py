"""``edgelake top`` at nodes that run: by textual's pilot, and once on a real terminal."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from edgelake.tools.figures import Rates, bar, clean, rate, size, span
from edgelake.tools.sources import LookError, Source, source_of_home, source_of_url
from edgelake.tools.top_screen import TopScreen
from tests.query.test_jobs import ENDLESS
from tests.system.program import Program
from tests.system.test_prompt import Terminal
from tests.tools.test_configuration import edgelake

SIZE = (140, 44)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node")) as running:
        assert running.put(b'{"speed": 1}', table="motor")[0] == 200
        running.post("flush buffers")
        yield running


@asynccontextmanager
async def shown(source: Source, *, every: float = 0.05) -> AsyncIterator[tuple[TopScreen, Pilot[None]]]:
    """The screen after its first look."""
    screen = TopScreen(source, every)
    async with screen.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: screen.looks > 0)
        yield screen, pilot


async def until(pilot: Pilot[None], holds: object) -> None:
    """Until the node, which is another process, has come so far."""
    assert callable(holds)
    async with asyncio.timeout(30):
        while not holds():
            await pilot.pause(0.02)


def cells(screen: TopScreen, name: str) -> list[list[str]]:
    table = screen.screen_stack[0].query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row_at(at)] for at in range(table.row_count)]


def text(screen: TopScreen, name: str) -> str:
    return str(screen.screen_stack[0].query_one(f"#{name}", Static).content)


@pytest.mark.parametrize("by", ["socket", "url"])
async def test_the_screen_follows_the_node(node: Program, by: str) -> None:
    at = source_of_home(node.home) if by == "socket" else source_of_url(f"http://127.0.0.1:{node.port}", "")
    async with at as source, shown(source) as (screen, pilot):
        assert "edge-1" in text(screen, "head")
        assert "ready" in text(screen, "head")
        services = {row[0]: row for row in cells(screen, "services")}
        assert services["REST"][1] == "running"
        assert f"127.0.0.1:{node.port}" in services["REST"][4]
        assert services["Operator"][1] == "-"
        before = {row[0]: row for row in cells(screen, "tables")}["plant.motor"][2]
        await asyncio.to_thread(node.put, b'{"speed": 2}\n{"speed": 3}', table="motor")
        await asyncio.to_thread(node.post, "flush buffers")
        await until(pilot, lambda: cells(screen, "tables")[0][2] == str(int(before) + 2))
        for named in ("Rows", "Messages", "Queue", "Journal", "Disk", "Memory", "CPU"):
            assert named in text(screen, "numbers")
        await pilot.press("q")
    assert screen.return_code == 0


async def test_a_query_is_stopped_after_a_question_and_no_other(node: Program) -> None:
    answers: list[str] = []

    def ask() -> None:
        status, body = node.request("GET", {"User-Agent": "AnyLog/1.23", "command": f"sql plant {ENDLESS}"})
        answers.append(f"{status} {body.decode()[-300:]}")

    asking = threading.Thread(target=ask)
    asking.start()
    async with source_of_home(node.home) as source, shown(source) as (screen, pilot):
        await until(pilot, lambda: cells(screen, "queries"))
        assert ENDLESS[:30] in cells(screen, "queries")[0][4]
        await pilot.press("k")
        await until(pilot, lambda: len(screen.screen_stack) == 2)
        await pilot.press("n")  # no
        await until(pilot, lambda: len(screen.screen_stack) == 1)
        looks = screen.looks
        await until(pilot, lambda: screen.looks > looks + 1)
        assert cells(screen, "queries")
        await pilot.press("k", "y")
        await until(pilot, lambda: not cells(screen, "queries"))
    await asyncio.to_thread(asking.join, 30)
    assert "stopped" in answers[0].lower()


async def test_keys_are_listed_and_the_picture_can_be_held(node: Program) -> None:
    async with source_of_home(node.home) as source, shown(source) as (screen, pilot):
        await pilot.press("question_mark")
        assert "leave; the node goes on" in str(screen.screen.query_one("#note", Static).content)
        await pilot.press("escape")
        await pilot.press("p")
        assert "HELD" in text(screen, "head")
        held = screen.looks
        await pilot.pause(0.3)
        assert screen.looks <= held + 1  # one may have been under way
        await pilot.press("p")
        await until(pilot, lambda: screen.looks > held + 1)


async def test_problems_are_shown_with_the_command_that_helps(tmp_path: Path) -> None:
    with Program(tmp_path) as node:
        assert node.put(b'{"n": 1}', table="counts")[0] == 200
        node.post("flush buffers")
        node.post("set schema widening where dbms = plant and value = off")
        node.put(b'{"n": 2}\n{"n": "no number"}', table="counts")
        node.post("flush buffers")
        async with source_of_home(node.home) as source, shown(source) as (screen, pilot):
            await until(pilot, lambda: cells(screen, "problems"))
            (row,) = [row for row in cells(screen, "problems") if "counts" in row[1]]
            assert row[3].startswith("get columns where dbms = plant and table = counts")


async def test_a_node_that_goes_is_said_and_the_screen_stays(tmp_path: Path) -> None:
    node = Program(tmp_path)
    node.start()
    async with source_of_url(f"http://127.0.0.1:{node.port}", "") as source, shown(source) as (screen, pilot):
        node.kill()
        await until(pilot, lambda: "NO ANSWER" in text(screen, "head"))
        looks = screen.looks
        node.start()
        await until(pilot, lambda: screen.looks > looks and "NO ANSWER" not in text(screen, "head"))
        await pilot.press("q")
    node.stop()


async def test_a_token_is_asked_for_and_used(tmp_path: Path) -> None:
    with Program(tmp_path) as node:
        token = re.findall(r"elt_\S+", node.post("id create token where name = top and type = admin"))[0]
        node.post("set user authentication on")
        async with source_of_url(f"http://127.0.0.1:{node.port}", "") as source:
            with pytest.raises(LookError, match=r"401.*--token-file"):
                await source.look("overview")
        async with source_of_url(f"http://127.0.0.1:{node.port}", token) as source:
            assert (await source.look("overview"))["node"]["name"] == "edge-1"
            with pytest.raises(LookError, match="there is no job"):
                await source.run("job stop 7 where identity = 7")
        with pytest.raises(LookError, match="no token"):
            async with source_of_url(f"http://127.0.0.1:{node.port}", "two\nlines"):
                pass


def test_on_a_terminal_it_draws_without_colours_and_leaves_it_as_it_was(node: Program) -> None:
    terminal = Terminal(node.home, "top")  # with NO_COLOR
    raw = b""
    try:
        while b"plant.motor" not in raw or b"Leave" not in raw:
            raw += os.read(terminal.terminal, 65536)
        terminal.type("q")
        while True:
            try:
                piece = os.read(terminal.terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            raw += piece
        assert terminal.ends() == 0
    finally:
        terminal.close()
    assert b"\x1b[?1049h" in raw
    assert raw.rindex(b"\x1b[?1049l") > raw.rindex(b"\x1b[?1049h")  # the screen of before is there again
    assert b"\x1b[?25h" in raw[raw.rindex(b"q") :] or raw.rindex(b"\x1b[?25h") > raw.rindex(b"\x1b[?25l")
    for colour in (b"\x1b[38;", b"\x1b[48;", b";38;2", b";48;2", b"\x1b[31m", b"\x1b[32m"):
        assert colour not in raw


def test_without_a_terminal_or_a_node_it_says_so(tmp_path: Path) -> None:
    done = edgelake("top", cwd=tmp_path)
    assert (done.returncode, "needs a terminal" in done.stderr) == (1, True)
    terminal = Terminal(tmp_path, "top")
    try:
        terminal.until("no node runs in")
        assert terminal.ends() == 1
    finally:
        terminal.close()


def test_without_textual_it_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'textual' else find(name, *more)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = edgelake("top", cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, "edgelake[tui]" in done.stderr) == (1, True)


def test_rates_of_totals() -> None:
    rates = Rates()
    rates.take(10.0, {"rows": 100})
    assert rates.of("rows") is None
    rates.take(12.0, {"rows": 300, "new": 5})
    assert rates.of("rows") == 100.0
    assert rates.of("new") is None
    rates.take(13.0, {"rows": 0, "new": 10})  # the node began again
    assert (rates.of("rows"), rates.of("new")) == (0, 5.0)
    assert rates.curve("rows", 4) == "  █▁"


def test_figures() -> None:
    assert [size(n) for n in (0, 999, 1500, 2.5e9, 3e12)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "3.00 TB"]
    assert [span(s) for s in (0, 3661, 90_061)] == ["00:00:00", "01:01:01", "1d 01:01:01"]
    assert (bar(5, 10, 4), bar(1, 0, 2), bar(20, 10, 2)) == ("██░░", "░░", "██")
    assert (rate(None), rate(0), rate(1.25), rate(12345.6)) == ("", "0/s", "1.2/s", "12,346/s")
    assert clean("a\x1b[31m\x9b\n‮b") == "a·[31m···b"
