"""The prompt on a real terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT_S = 30.0
_STYLE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """``edgelake`` as a person has it: its own terminal, keys in, screen out."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.seen = b""
        environment = {
            **os.environ,
            "EDGELAKE_HOME": str(home),
            "TMPDIR": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "TERM": "xterm",
            "NO_COLOR": "1",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "edgelake", *arguments], environment)

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def until(self, text: str) -> str:
        """Read the screen until it shows a text; what came before is forgotten then."""
        ends = time.monotonic() + LIMIT_S
        poll = select.poll()
        poll.register(self.terminal, select.POLLIN)
        while text.encode() not in self.seen:
            ready = poll.poll(max(0.0, ends - time.monotonic()) * 1000)
            assert ready, f"'{text}' never came: {self.seen.decode(errors='replace')}"
            self.seen += os.read(self.terminal, 4096)
            self.seen = _STYLE.sub(b"", self.seen)
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode(errors="replace")

    def asks(self, line: str, shown: str) -> None:
        """Type a line at the prompt, and read until its answer is there."""
        self.until("EL >")
        self.type(f"{line}\r")
        self.until(shown)

    def ends(self) -> int:
        """The exit code."""
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.close()


def test_ctrl_c_ends_the_command_and_not_the_node(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "long.al").write_text("print it has begun\nwait 3600")
    terminal.asks(f"process {tmp_path}/long.al", "it has begun")
    terminal.type("\x03")
    terminal.until("Interrupted: process")
    terminal.asks("incr 41", "42")
    terminal.type("exit node\r")
    terminal.until("Terminating node processes")
    assert terminal.ends() == 0


def test_enter_ends_what_is_repeated(terminal: Terminal) -> None:
    terminal.until("EL >")
    terminal.type("n = 0\r")
    terminal.until("EL >")
    terminal.type("continuous 0.01 n = incr !n, print round !n\r")
    terminal.until("round 3")
    terminal.type("\r")
    terminal.asks("incr 41", "42")


def test_a_node_without_its_prompt_stops_at_ctrl_c(terminal: Terminal) -> None:
    terminal.asks("set cli off", "CLI disabled")
    terminal.type("\x03")
    assert terminal.ends() == 0


def test_tab_completes(terminal: Terminal) -> None:
    terminal.until("EL >")
    terminal.type("my_long_name = 41\r")
    terminal.until("EL >")
    terminal.type("incr !my_l\t")
    terminal.until("!my_long_name")
    terminal.type("\r")
    terminal.until("42")


def test_earlier_lines_are_searched(terminal: Terminal) -> None:
    terminal.asks("incr 41", "42")
    terminal.asks("incr 11", "12")
    terminal.until("EL >")
    terminal.type("\x12cr 4")  # Ctrl-R
    terminal.until("reverse-i-search")
    terminal.type("\r\r")
    terminal.until("42")
