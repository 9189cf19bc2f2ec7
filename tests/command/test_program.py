"""The program ``edgelake`` from outside: one-off commands, scripts, signals; and completion at the prompt."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from edgelake.__main__ import split_commands
from edgelake.command.completion import LanguageLexer
from edgelake.command.console import prompt_text, show_reply
from edgelake.command.context import Context
from edgelake.command.prompt import Prompt
from edgelake.command.registry import Registry
from edgelake.command.suggestions import Suggestions
from edgelake.model import Reply


def edgelake(*args: str, home: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "EDGELAKE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "edgelake", *args], input=stdin, env=env, capture_output=True, text=True, timeout=60
    )


def start(*args: str, home: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "EDGELAKE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "edgelake", *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"'{text}' never came:\n{seen}")


def test_version_and_help(tmp_path: Path) -> None:
    assert edgelake("--version", home=tmp_path).stdout.startswith("EdgeLake Version: ")
    assert "process SCRIPT.al" in edgelake("--help", home=tmp_path).stdout
    assert edgelake("--nonsense", home=tmp_path).returncode == 2


def test_commands_of_the_option_c(tmp_path: Path) -> None:
    done = edgelake("-c", "a = 5", "-c", "print hello !a", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "hello 5\n")
    failed = edgelake("-c", "get foo", home=tmp_path)
    assert failed.returncode == 1
    assert "Error 141: Unrecognized Command: 'get foo'" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_detached_node_stays_up_until_a_signal_and_leaves_with_0(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "start.al").write_text("print from the script\nset node name n1\nprint name !anylog_server_port")
    process = start("process", str(tmp_path / "start.al"), "and", "print second", home=tmp_path)
    seen = read_until(process, "runs detached")
    assert f"EL > process {tmp_path}/start.al\nfrom the script" in seen
    assert "EL > print second\nsecond" in seen
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(timeout=20) == 0
    process.communicate()


def test_a_signal_ends_a_script_that_waits(tmp_path: Path) -> None:
    (tmp_path / "start.al").write_text("print waiting\nwait 3600")
    process = start("process", str(tmp_path / "start.al"), home=tmp_path)
    read_until(process, "waiting")
    process.terminate()
    assert process.wait(timeout=20) == 0
    process.communicate()


def test_commands_come_from_a_pipe_and_exit_node_leaves(tmp_path: Path) -> None:
    done = edgelake(home=tmp_path, stdin="a = 1\nprint got !a\nexit node\n")
    assert done.returncode == 0
    assert "got 1\nTerminating node processes\n" in done.stdout


def test_a_failed_script_is_reported_and_the_node_stays(tmp_path: Path) -> None:
    (tmp_path / "bad.al").write_text("get foo")
    done = edgelake("process", str(tmp_path / "bad.al"), home=tmp_path, stdin="exit node\n")
    assert done.returncode == 0
    assert "Script terminated: Error: '[0001] get foo --> Unrecognized Command'" in done.stderr


@pytest.mark.parametrize(
    ("args", "commands"),
    [
        (["process", "a.al"], ["process a.al"]),
        (["process", "a.al", "and", "get", "status"], ["process a.al", "get status"]),
        (["print a and b", "get", "status", "#", "rest"], ["print a and b", "get status"]),
        (["process", "my scripts/a.al"], ['process "my scripts/a.al"']),
        ([], []),
    ],
)
def test_arguments_form_commands(args: list[str], commands: list[str]) -> None:
    assert split_commands(args) == commands


class Screen(DummyOutput):
    """A terminal that keeps what is written to it."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, data: str) -> None:
        self.text += data

    write_raw = write


def test_the_prompt_reads_blocks_keeps_history_and_leaves_at_the_second_ctrl_c(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")

    async def work() -> None:
        with create_pipe_input() as keys, create_app_session(input=keys, output=screen):
            keys.send_text("set node name n1\n<print one\ntwo>\nget foo\n\x03print three\n\x03\x03")
            prompt = Prompt(ctx)
            assert prompt_text(ctx) == "EL > "
            await prompt.run()
            assert prompt_text(ctx) == "EL n1 > "

    asyncio.run(asyncio.wait_for(work(), 30))
    assert "one two" in screen.text
    assert "Error 141" in screen.text
    assert "\x1b[31m" not in screen.text
    assert screen.text.count("Press Ctrl-C again") == 2
    assert "Terminating node processes" in screen.text
    assert ctx.node.stopping.is_set()
    history = tmp_path / "edgelake" / "history"
    assert "+set node name n1" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("before", "last", "holds"),
    [
        ("", "sched", ["schedule"]),
        ("get ", "sched", ["scheduler"]),
        ("x = get ", "sched", ["scheduler"]),
        ("help get ", "sched", ["scheduler"]),
        ("get event log ", "wh", ["where"]),
        ("reset echo queue where ", "", ["size ="]),
        ("task stop where name = x ", "", ["and"]),
        ("task stop where name = x and ", "", ["id =", "scheduler =", "start ="]),
        ("set debug ", "o", ["off", "on"]),
        ("if !my_name then get ", "sched", ["scheduler"]),
        ("do x = get ", "sched", ["scheduler"]),
        ("schedule name = x and time = 1 second task get ", "sched", ["scheduler"]),
        ("print ", "!my", ["!my_name"]),
        ("print ", "$HO", ["$HOME"]),
        ("nonsense ", "x", []),
    ],
)
def test_completion(ctx: Context, before: str, last: str, holds: list[str]) -> None:
    ctx.variables.set("my_name", "x")
    found = Suggestions(ctx).words(before, last)
    assert set(holds) <= set(found)
    if not holds:
        assert found == []


def test_a_line_is_coloured_and_stays_as_it_is(registry: Registry) -> None:
    text = 'x = get  scheduler !n where format = json "a b"  # why'
    coloured = LanguageLexer(registry).lex_document(Document(text))(0)
    assert "".join(part[1] for part in coloured) == text
    styles = {part[1]: part[0] for part in coloured if part[0]}
    assert styles["get"] == styles["scheduler"] == styles["where"]
    assert len({styles["get"], styles["!n"], styles['"a b"'], styles["  # why"]}) == 4


def test_a_streamed_reply_is_shown_as_it_comes(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    whole = "é\r\nsecond".encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(len(whole)):
            yield whole[at : at + 1]

    asyncio.run(show_reply(Reply(stream=pieces()), ctx))
    assert capsys.readouterr().out == "é\nsecond\n"
