"""Terminals at a running node."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.system.program import Program
from tests.system.test_prompt import Terminal


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node")) as running:
        yield running


def attach(home: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgelake", "attach", "--home", str(home), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


def socket_path(node: Program) -> Path:
    return node.home / "EdgeLake" / "attach.sock"


def test_commands_run_as_at_the_prompt_and_their_outcome_is_the_exit_code(node: Program) -> None:
    done = attach(node.home, "-c", "greeting = hello there", "-c", "get !greeting")
    assert (done.returncode, done.stdout.strip()) == (0, "hello there"), done.stderr
    done = attach(node.home, "-c", "get nonsense", "-c", "get !greeting")
    assert done.returncode == 1
    assert "Unrecognized Command" in done.stderr
    assert "hello there" in done.stdout
    done = attach(node.home, given="system echo $HOME\n")
    assert (done.returncode, done.stdout.strip()) == (0, os.environ["HOME"])


def test_only_the_owner_can_reach_the_socket(node: Program) -> None:
    assert socket_path(node).stat().st_mode & 0o777 == 0o600


def test_a_long_answer_arrives_whole_at_a_slow_reader(node: Program) -> None:
    rows = b"\n".join(b'{"timestamp": "2026-01-01T00:00:00Z", "value": %d}' % n for n in range(60_000))
    assert node.put(rows, table="long")[0] == 200
    node.post("flush buffers")
    assert node.count("long") == 60_000
    done = attach(node.home, "-c", 'sql plant format = json:list "select value from long"')
    assert done.returncode == 0
    assert done.stdout.count('{"value": ') == 60_000


def test_several_terminals_at_a_time(node: Program) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda n: attach(node.home, "-c", f"v{n} = {n}", "-c", f"get !v{n}").stdout.strip(), range(4))
        )
    assert found == ["0", "1", "2", "3"]


@pytest.mark.parametrize("sent", [b"nonsense\n", b"[]\n", b'{"run": 7}\n', b"\xff\xfe\n", b"x" * 5_000_000])
def test_what_is_no_message_ends_its_own_connection(node: Program, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(os.path.relpath(socket_path(node)))
        said = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # by what was sent and not read
            link.sendall(sent)
            while piece := link.recv(65536):
                said += piece
    assert b"no message of this protocol" in said or len(sent) > 1_000_000
    assert attach(node.home, "-c", "get status").returncode == 0


def test_where_no_node_runs_it_says_so(tmp_path: Path) -> None:
    done = attach(tmp_path, "-c", "get status")
    assert done.returncode == 1
    assert "no node runs in" in done.stderr


def test_the_socket_of_a_killed_node_is_taken_over_and_that_of_a_stopped_one_is_gone(tmp_path: Path) -> None:
    node = Program(tmp_path / ("a folder with a very long name " * 3))
    node.start()
    node.kill()
    assert socket_path(node).exists()
    assert attach(node.home, "-c", "get status").returncode == 1
    with node:
        assert attach(node.home, "-c", "get status").returncode == 0
    assert not socket_path(node).exists()


def test_a_terminal_interrupts_its_command_and_leaves_the_node_running(node: Program) -> None:
    script = node.home / "long.al"
    script.write_text("print it has begun\nwait 3600")
    terminal = Terminal(node.home, "attach")
    try:
        terminal.until("EL edge-1 >")
        terminal.type(f"process {script}\r")
        terminal.until("it has begun")
        terminal.type("\x03")
        terminal.until("Interrupted: process")
        terminal.until("EL edge-1 >")
        terminal.type("\x04")
        assert terminal.ends() == 0
    finally:
        terminal.close()
    assert attach(node.home, "-c", "get status").returncode == 0


def test_tab_completes_what_the_node_holds(node: Program) -> None:
    assert node.put(b'{"xylophone": 1.5}', table="zqtower")[0] == 200
    node.post("flush buffers")
    node.post("my_long_name = 41")
    terminal = Terminal(node.home, "attach", "--no-pager")
    try:
        terminal.until("EL edge-1 >")
        terminal.type('sql plant format = json:list "select xy\t')
        terminal.until("lophone")  # the terminal is told what is new in the line
        terminal.type("from zq\t")
        terminal.until("tower")
        terminal.type('"\r')
        terminal.until('"xylophone": 1.5')
        terminal.until("EL edge-1 >")
        terminal.type("incr !my_l\t")
        terminal.until("ong_name")
        terminal.type("\r")
        terminal.until("42")
        terminal.until("EL edge-1 >")
        terminal.type("\x04")
        assert terminal.ends() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b'{"complete": "get colu", "number": 7}', b'"words":[["columns"'),
        (b'{"complete": "", "after": 5}', b"no message of this protocol"),
        (b'{"look": "nonsense", "number": 8}', b"there is no view 'nonsense'"),
        (b'{"look": "queries", "number": 9}', b'"view":{"queries":[]}'),
    ],
)
def test_questions_beside_commands(node: Program, sent: bytes, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(os.path.relpath(socket_path(node)))
        link.sendall(sent + b"\n")
        seen = b""
        while said not in seen:
            piece = link.recv(65536)
            assert piece, seen
            seen += piece


def test_exit_node_ends_the_node_and_says_so(tmp_path: Path) -> None:
    node = Program(tmp_path)
    node.start()
    done = attach(node.home, "-c", "exit node", "-c", "get status")
    assert done.returncode in (0, 1)
    assert node.process is not None
    assert node.process.wait(20) == 0
