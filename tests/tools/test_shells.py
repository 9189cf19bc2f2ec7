"""What bash, zsh and fish complete, in these shells; the manual page, read by man and mandoc."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgelake.__main__ import TOOLS, parsers
from edgelake.command.registry import Registry
from edgelake.node import version
from edgelake.tools.man import install
from edgelake.tools.programs import parts
from tests.docs.test_docs import ROOT
from tests.tools.test_configuration import edgelake

KEPT = ROOT / "pack" / "install" / "data"
BASH, ZSH, FISH = (
    KEPT / "share/bash-completion/completions/edgelake",
    KEPT / "share/zsh/site-functions/_edgelake",
    KEPT / "share/fish/vendor_completions.d/edgelake.fish",
)
PAGE = KEPT / "share/man/man1/edgelake.1"

CASES = [
    ("bac", {"backup"}),
    ("completion z", {"zsh"}),
    ("attach --no-p", {"--no-pager"}),
    ("top --tok", {"--token-file"}),
    ("config sh", {"show"}),
    ("backup --home fol", {"folder/"}),
    ("process scr", {"script.al"}),
]


def run(*command: str, cwd: Path) -> str:
    environment = {**os.environ, "HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd), "TERM": "dumb"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "script.al").touch()
    return tmp_path


def test_what_is_kept_is_what_the_program_says(tmp_path: Path) -> None:
    install(tmp_path, parsers(), version())
    for made in (path for path in tmp_path.rglob("*") if path.is_file()):
        kept = KEPT / made.relative_to(tmp_path)
        assert made.read_text() == kept.read_text(), f"{kept}: make docs"


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_bash(here: Path, line: str, offered: set[str]) -> None:
    words = line.split()
    script = f"source {BASH}; COMP_WORDS=(edgelake {' '.join(words)}); COMP_CWORD={len(words)}; _edgelake; "
    script += "printf '%s\\n' \"${COMPREPLY[@]}\""
    found = run("bash", "--norc", "-c", script, cwd=here).split()
    assert {word.rstrip("/") for word in found} == {word.rstrip("/") for word in offered}


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_fish(here: Path, line: str, offered: set[str]) -> None:
    script = f"source {FISH}; complete -C 'edgelake {line}'"
    found = {row.split("\t")[0] for row in run("fish", "--no-config", "-c", script, cwd=here).splitlines()}
    assert found == offered


@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH)])
@pytest.mark.parametrize(("line", "offered"), CASES)
def test_tab_at_a_terminal(here: Path, shell: str, script: Path, line: str, offered: set[str]) -> None:
    """A line is typed, Tab pressed, and what the shell then runs is looked at: ``edgelake`` prints its arguments."""
    (here / "edgelake").write_text('#!/bin/sh\nprintf "ran[%s]" "$@"; echo\n')
    (here / "edgelake").chmod(0o755)
    environment = {
        "HOME": str(here),
        "TERM": "dumb",
        "PATH": f"{here}:{os.environ['PATH']}",
        "PS1": "ready> ",
        "LC_ALL": "C.UTF-8",
        "INPUTRC": "/dev/null",
    }
    begin = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
    ready = f"source {script}; " if shell == "bash" else f"autoload -U compinit; compinit -u -D; source {script}; "
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(here)
        os.execvpe(begin[0], begin, environment)
    try:
        os.write(terminal, f'{ready}echo is-""set\n'.encode())
        seen = until(terminal, b"is-set")
        os.write(terminal, f"edgelake {line}\t".encode())
        (word,) = offered
        typed = line.split()[-1]
        until(terminal, word[len(typed) :].rstrip("/").encode(), seen)
        os.write(terminal, b"\n")
        until(terminal, b"ran[" + word.rstrip("/").encode())  # zsh takes the slash away again
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def until(terminal: int, text: bytes, seen: bytes = b"") -> bytes:
    """Read until a text comes; what follows it."""
    ends, poll = time.monotonic() + 30, select.poll()
    poll.register(terminal, select.POLLIN)
    while text not in seen:
        assert poll.poll(max(0.0, ends - time.monotonic()) * 1000), f"{text!r} never came: {seen!r}"
        seen += os.read(terminal, 4096)
    return seen.partition(text)[2]


def test_every_part_of_the_program_is_known() -> None:
    known = {part.name: part for part in parts(parsers())}
    assert known.keys() == {*TOOLS, "start", "deploy", "process", "completion", "man", "demo", "bench"}
    for part in known.values():
        assert part.about, part.name
        assert all(option.about for option in part.flags), part.name


def test_the_manual_page_has_no_fault() -> None:
    checked = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(PAGE)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    linted = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(PAGE)], capture_output=True, text=True)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_manual_page_tells_of_every_part_and_command() -> None:
    shown = subprocess.run(["mandoc", "-T", "ascii", "-O", "width=1000", str(PAGE)], capture_output=True, timeout=60)
    text = re.sub(r".\x08", "", shown.stdout.decode())
    for name, parser in parsers().items():
        assert f"edgelake {name}" in text
        for action in parser._actions:
            assert all(flag in text for flag in action.option_strings), (name, action)
    for entry in Registry.discover():
        if not entry.later:
            assert entry.phrase in text, entry.phrase


def test_the_page_is_written_and_put_where_it_belongs(tmp_path: Path) -> None:
    assert edgelake("man", cwd=tmp_path).stdout == PAGE.read_text()  # no terminal: the source
    assert edgelake("man", "--install", str(tmp_path / "usr"), cwd=tmp_path).returncode == 0
    assert (tmp_path / "usr/share/man/man1/edgelake.1").read_text() == PAGE.read_text()
    (tmp_path / "file").touch()
    refused = edgelake("man", "--install", str(tmp_path / "file"), cwd=tmp_path)
    assert (refused.returncode, "file" in refused.stderr) == (1, True)
    wrong = edgelake("completion", "tcsh", cwd=tmp_path)
    assert (wrong.returncode, "zsh" in wrong.stderr) == (2, True)


def test_the_tools_of_these_tests_are_there() -> None:
    for tool in ("bash", "zsh", "fish", "man", "mandoc"):
        assert shutil.which(tool), f"{tool} is missing: make test-tools"
