"""``edgelake demo --network`` as a user has it: four processes, one answer, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.docs.test_docs import ROOT
from tests.system.test_prompt import Terminal

ARGUMENTS = ("demo", "--network", "--rows", "4000")
LIMIT_S = 90.0
GONE_S = 15.0


class Demo:
    """The demo without a terminal; its files are below a folder of the test."""

    def __init__(self, folder: Path, *arguments: str, seconds: str = "0") -> None:
        self.folder = folder
        environment = {**os.environ, "DEMO_SECONDS": seconds, "TMPDIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgelake", *ARGUMENTS, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # the group of a terminal, for Ctrl-C
        )

    def until(self, text: str) -> None:
        """Read until a line has the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return
        raise AssertionError(f"'{text}' never came: {self.process.communicate()[1]}")

    def end(self) -> tuple[int, str, str]:
        """The exit code and what it said since."""
        out, err = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, out, err


@contextlib.contextmanager
def demo(folder: Path, *arguments: str, seconds: str = "0") -> Iterator[Demo]:
    made = Demo(folder, *arguments, seconds=seconds)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        for pid in left(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def left(folder: Path) -> list[int]:
    """Processes with this folder in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def nothing_left(folder: Path, besides: Sequence[str] = ()) -> None:
    ends = time.monotonic() + GONE_S
    while pids := left(folder):
        assert time.monotonic() < ends, f"processes {pids} are left"
        time.sleep(0.02)  # another process is told of no end
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(besides)


def test_four_nodes_answer_one_query_and_leave_nothing(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        code, said, problem = running.end()
        assert code == 0, problem
        nothing_left(tmp_path)
    assert "4,000 readings are stored" in said
    for kind, name in (("master", "master"), ("operator", "north"), ("operator", "south"), ("query", "query")):
        assert re.search(rf"^127\.0\.0\.1:\d+ *\|{kind} *\|{name} *\|  \+ ", said, re.MULTILINE), said
    groups = re.findall(r"^(machine-\d\d) +(\d+) ", said, re.MULTILINE)
    # Eight machines each: 01 to 08 send to the one operator, the others to the other.
    assert groups == [(f"machine-{n:02}", "250") for n in range(1, 17)]
    assert '"Nodes": 2' in said
    assert len({*re.findall(r", process (\d+)$", said, re.MULTILINE)}) == 3


def test_the_page_shows_what_the_demo_does(tmp_path: Path) -> None:
    section = (
        (ROOT / "docs" / "network.md").read_text().split("\n## The network in five minutes\n")[1].split("\n## ")[0]
    )
    assert "edgelake demo --network" in section
    (commands,) = re.findall(r"^```demo\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    with demo(tmp_path) as running:
        code, said, problem = running.end()
        assert code == 0, problem
    shown = [line.partition(" > ")[2] for line in said.splitlines()]
    for line in commands.splitlines():
        assert line in shown, line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["master >", "north >", "query >", "this process"])
def test_a_signal_ends_it_at_any_moment(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    with demo(tmp_path, seconds="60") as running:
        running.until(moment)
        running.process.send_signal(number)
        code, _, problem = running.end()
        assert (code, problem) == (0, "")
        nothing_left(tmp_path)


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    with demo(tmp_path, seconds="60") as running:
        running.until("this process")
        os.killpg(running.process.pid, signal.SIGINT)
        code, _, problem = running.end()
        assert (code, problem) == (0, "")
        nothing_left(tmp_path)


def test_its_nodes_end_with_it_even_when_it_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path, seconds="60") as running:
        running.until("this process")
        assert len(left(tmp_path)) >= 3
        running.process.kill()
        running.process.wait()
        nothing_left(tmp_path, [entry.name for entry in tmp_path.iterdir()])  # its files are


@pytest.mark.parametrize("name", ["master", "south"])
def test_a_node_that_does_not_start_is_named_with_its_cause(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    (home / name).mkdir(parents=True)
    (home / name / "EdgeLake").write_text("no folder")
    with demo(tmp_path, "--home", str(home)) as running:
        code, _, problem = running.end()
        assert code == 1
        assert f"The demo cannot go on: {name} " in problem
        assert "Not a directory" in problem
        assert "Traceback" not in problem
        nothing_left(tmp_path, ["home"])


def test_a_home_is_kept_and_taken_by_no_second_demo(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with demo(tmp_path, "--home", str(home)) as running:
        code, _, problem = running.end()
        assert code == 0, problem
        nothing_left(tmp_path, ["home"])
    assert sorted(entry.name for entry in home.iterdir()) == ["master", "north", "query", "south"]
    with demo(tmp_path, "--home", str(home)) as running:
        code, _, problem = running.end()
        assert (code, problem) == (1, f"{home} has the files of an earlier demo: name another folder, or remove it\n")


def test_two_demos_side_by_side_have_ports_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    with contextlib.ExitStack() as opened:
        for folder in folders:
            folder.mkdir()
        both = [opened.enter_context(demo(folder)) for folder in folders]
        for running in both:
            code, said, problem = running.end()
            assert code == 0, problem
            assert '"Nodes": 2' in said
            nothing_left(running.folder)


def test_the_prompt_is_that_of_the_query_node_and_data_flows(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, *ARGUMENTS)
    try:
        terminal.until("EL query >")
        terminal.type('run client () sql demo "select count(*) from readings"\r')
        first = _count(terminal)
        while True:  # readings come each second
            terminal.until("EL query >")
            terminal.type('run client () sql demo "select count(*) from readings"\r')
            if _count(terminal) > first:
                break
        terminal.until("EL query >")
        terminal.type("exit node\r")
        terminal.until("The demo ends.")
        assert terminal.ends() == 0
        nothing_left(tmp_path, ["state"])
    finally:
        terminal.close()


def _count(terminal: Terminal) -> int:
    terminal.until('"count(*)":')
    found = re.search(r"\d+", terminal.until("}"))
    assert found
    return int(found[0])
