"""Configurations: what they become, and what is said of wrong ones."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from edgelake.tools.configuration import ConfigurationError, commands, read
from edgelake.tools.systemd import notify
from tests.docs.test_docs import ROOT
from tests.tools.test_attach import attach

GOOD = """\
[node]
name = "edge 1"
home = "data"

[variables]
company = "Acme Works"

[databases.plant]
type = "sqlite"

[rest]
external_ip = "127.0.0.1"
external_port = 32049
bind = true

[scheduler]

[[message_clients]]
broker = "local"
topic = { name = "motor", dbms = "plant", table = "motor", "column.speed.float" = "bring [speed]" }

[commands]
after = ["schedule name = beat and time = 1 minute task print beat"]
"""


def edgelake(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgelake", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edgelake.toml"


def test_sections_are_commands_in_an_order_that_works(path: Path) -> None:
    path.write_text(GOOD)
    found = read(path, {})
    assert found.home == path.parent / "data"
    assert commands(found) == [
        "create work directories",
        'set node name "edge 1"',
        'company = "Acme Works"',
        'connect dbms plant where type = "sqlite"',
        "run scheduler 1",
        'run rest server where external_ip = "127.0.0.1" and external_port = 32049 and bind = true',
        'run msg client where broker = "local" and topic = (name = "motor" and dbms = "plant" and table = "motor"'
        ' and column.speed.float = "bring [speed]")',
        "schedule name = beat and time = 1 minute task print beat",
    ]


def test_the_environment_stands_above_the_file(path: Path) -> None:
    path.write_text(GOOD)
    found = read(path, {"EDGELAKE_REST_EXTERNAL_PORT": "40000", "EDGELAKE_HOME": "x", "EDGELAKE_LOG": "debug"})
    assert found.values["rest"]["external_port"] == 40000
    assert found.origins["rest", "external_port"].text == "environment EDGELAKE_REST_EXTERNAL_PORT"
    assert found.origins["rest", "external_ip"].text == "edgelake.toml:12"


def test_secrets_come_from_files_and_the_environment_and_are_not_shown(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_PASSWORD", "secret of pg")
    (path.parent / "mail").write_text("secret-of-mail\n")
    path.write_text(
        '[databases.plant]\ntype = "psql"\nuser = "edge"\npassword = { env = "PG_PASSWORD" }\n'
        '[smtp]\nemail = "a@b.c"\npassword = { file = "mail" }\n'
    )
    lines = commands(read(path, {}))
    assert 'password = "secret of pg"' in lines[1]
    assert 'password = "secret-of-mail"' in lines[2]
    shown = edgelake("config", "show", "--commands", cwd=path.parent)
    assert shown.returncode == 0, shown.stderr
    assert "secret" not in shown.stdout
    monkeypatch.delenv("PG_PASSWORD")
    with pytest.raises(ConfigurationError, match="PG_PASSWORD"):
        commands(read(path, {}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rst]\n", r"line 1: there is no section 'rst'.*did you mean 'rest'"),
        ("[rest]\nexternal_prt = 1\n", r"line 2: \[rest\] has no option 'external_prt'.*did you mean 'external_port'"),
        ("[rest]\nexternal_port = 'x'\n", r"\[rest\].*external_port.*edgelake.toml:2"),
        ("[rest]\nthreads = [1, 2]\n", r"\[rest\].*threads"),
        ("[databases]\nplant = 1\n", "databases.plant is a table"),
        ("rest = 1\n", "rest is a table"),
        ("[kafka]\nip = 'x'\n", r"kafka is a list.*\[\[kafka\]\]"),
        (
            "[[kafka]]\nip = 'x'\nport = 1\ntopic = {name = 't'}\n[[kafka]]\nprt = 1\n",
            r"line 6: \[kafka\[1\]\] has no option 'prt'",
        ),
        ("[node]\nnam = 'x'\n", r"line 2.*did you mean 'name'"),
        ("[rest\n", "line 1"),
        ("[variables]\nx = '''a\"b'c'''\n", "both kinds of quotes"),
        ("\xff", "edgelake.toml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path: Path, text: str, said: str) -> None:
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError) as refused:
        commands(read(path, {}))
    assert re.search(said, str(refused.value), re.DOTALL), str(refused.value)


def test_check_and_show(path: Path) -> None:
    path.write_text(GOOD)
    assert edgelake("config", "check", cwd=path.parent).stdout == "edgelake.toml is right: 8 commands\n"
    shown = edgelake("config", "show", "--origin", cwd=path.parent, EDGELAKE_REST_TIMEOUT="30").stdout
    assert 'external_ip = "127.0.0.1"  # edgelake.toml:12' in shown
    assert "timeout = 30  # environment EDGELAKE_REST_TIMEOUT" in shown
    assert "# threads = 5  # default" in shown
    path.write_text("[rst]\n")
    wrong = edgelake("config", "check", cwd=path.parent)
    assert (wrong.returncode, "did you mean 'rest'?" in wrong.stderr) == (1, True)
    assert edgelake("start", cwd=path.parent).returncode == 1


def test_init_start_and_ask(tmp_path: Path) -> None:
    """The first minute of a new user; the manager of services is told when it is over."""
    made = edgelake("init", "--yes", "--name", "edge-7", "--open", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    token = re.findall(r"elt_\S+", made.stdout)[0]
    assert (tmp_path / "EdgeLake/data/pem/server-self-signed-private-key.key").stat().st_mode & 0o077 == 0
    again = edgelake("init", "--yes", cwd=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    rest, broker = free_port(), free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(30)
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "n"),
            "WATCHDOG_USEC": "400000",
            "EDGELAKE_REST_EXTERNAL_PORT": str(rest),
            "EDGELAKE_BROKER_EXTERNAL_PORT": str(broker),
        }
        with subprocess.Popen(
            [sys.executable, "-m", "edgelake", "start"],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as node:
            told = {manager.recv(100)}
            while b"READY=1" not in told:
                told.add(manager.recv(100))
            assert b"WATCHDOG=1" in told
            asked = ["curl", "-sk", f"https://127.0.0.1:{rest}", "-H", "User-Agent: AnyLog/1.23"]
            asked += ["-H", "command: get status", "-w", "%{http_code}"]
            bearer = ["-H", f"Authorization: Bearer {token}"]
            assert subprocess.run(asked, capture_output=True, text=True, timeout=30).stdout.endswith("401")
            said = subprocess.run([*asked, *bearer], capture_output=True, text=True, timeout=30).stdout
            assert said.startswith("edge-7@"), said
            assert "plant" in attach(tmp_path, "-c", "get databases").stdout
            node.send_signal(signal.SIGTERM)
            ends = time.monotonic() + 30
            while b"STOPPING=1" not in told and time.monotonic() < ends:
                told.add(manager.recv(100))
            printed = node.communicate(timeout=30)[0]
        assert node.returncode == 0, printed


def test_a_manager_that_takes_nothing_does_not_hold_up_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        for _ in range(2000):  # more than any queue of a socket holds
            notify("WATCHDOG=1", wait_s=0)
        assert manager.recv(100) == b"WATCHDOG=1"


def test_the_unit_of_a_service_starts_this_configuration(path: Path, tmp_path: Path) -> None:
    path.write_text(GOOD)
    shown = edgelake("service", "show", "--user", "edge", cwd=path.parent).stdout
    assert f"ExecStart={sys.executable} -m edgelake start {path}" in shown
    assert f"ReadWritePaths={path.parent / 'data'}" in shown
    units = tmp_path / "units"
    units.mkdir()
    done = edgelake("service", "install", "--folder", str(units), "--user", "edge", cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert (units / "edgelake.service").read_text() == shown
    refused = edgelake("service", "install", "--folder", str(tmp_path / "nowhere"), cwd=path.parent)
    assert (refused.returncode, "cannot write" in refused.stderr) == (1, True)


def test_the_example_of_the_page_is_right(path: Path) -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    path.write_text(re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    assert len(commands(read(path, {}))) > 5
