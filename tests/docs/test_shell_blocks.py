"""What the pages tell to type in a shell: the program's own parts run, what another machine is needed for is right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgelake import bench
from edgelake.bench.processes import free_port
from edgelake.tools import top
from tests.blobs.servers import S3Server
from tests.docs.fences import block, put_edgelake
from tests.docs.test_docs import ROOT
from tests.mqtt.brokers import accepts
from tests.system.program import STANDALONE, Program
from tests.system.test_prompt import Terminal

LIMIT_S = 60.0


def shell(text: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run lines as they are written, with this source as ``edgelake``; fails the test when one fails."""
    given = {**os.environ, "PATH": put_edgelake(cwd / "bin"), "HOME": str(cwd), "TZ": "UTC", **environment}
    done = subprocess.run(
        ["bash", "-ec", text],
        cwd=cwd,
        env=given,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done


@contextmanager
def started(text: str, cwd: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A line that starts a node, in the background, until its port answers; the node ends with the block."""
    given = {**os.environ, "PATH": put_edgelake(cwd / "bin"), "HOME": str(cwd), **environment}
    with (cwd / "node.log").open("wb") as log:
        running = subprocess.Popen(["sh", "-c", f"exec env {text}"], cwd=cwd, env=given, stdout=log, stderr=log)
    try:
        ends = time.monotonic() + LIMIT_S
        while not accepts(port):
            assert time.monotonic() < ends, (cwd / "node.log").read_text()
            assert running.poll() is None, (cwd / "node.log").read_text()
            time.sleep(0.02)  # nothing tells another process that a port is open
        yield running
    finally:
        running.terminate()
        running.wait(20)


def test_a_first_node_as_the_page_of_the_site_has_it(tmp_path: Path) -> None:
    _, init, start = block("docs/index.md", "pip install edgelake").splitlines()
    port = free_port()
    shell(init, tmp_path)
    (file,) = tmp_path.glob("*.toml")
    file.write_text(file.read_text().replace("32049", str(port)))
    with started(start, tmp_path, port):
        said = shell(block("docs/index.md", "curl -X PUT").replace("32049", str(port)), tmp_path).stdout
    assert "1480.5" in said
    assert "REST" in said


def test_a_configuration_in_four_questions(tmp_path: Path) -> None:
    init, start = block("docs/configuration.md", "edgelake init").splitlines()
    port = free_port()
    shell(f"printf '\\n\\n\\n\\n' | {init}", tmp_path)
    (file,) = tmp_path.glob("*.toml")
    file.write_text(file.read_text().replace("32049", str(port)))
    with started(start, tmp_path, port):
        pass
    done = subprocess.run([tmp_path / "bin" / "edgelake", "doctor"], cwd=tmp_path, capture_output=True, text=True)
    assert block("docs/configuration.md", "edgelake doctor") == "edgelake doctor\n"
    assert done.stdout.strip()
    assert done.returncode in (0, 1), done.stderr  # 1: it found something


def test_the_manual_page_and_completion_are_put_where_the_page_says(tmp_path: Path) -> None:
    shell(block("docs/configuration.md", "edgelake man").replace("/usr/local", str(tmp_path / "local")), tmp_path)
    assert (tmp_path / "local/share/man/man1/edgelake.1").read_text()
    (tmp_path / ".local/share/bash-completion/completions").mkdir(parents=True)
    (tmp_path / ".config/fish/completions").mkdir(parents=True)
    shell(block("docs/configuration.md", "edgelake completion bash"), tmp_path)
    assert "edgelake" in (tmp_path / ".local/share/bash-completion/completions/edgelake").read_text()
    assert "edgelake" in (tmp_path / ".config/fish/completions/edgelake.fish").read_text()


@pytest.mark.parametrize(("page", "beginning"), [("docs/configuration.md", "sudo"), ("docs/install.md", "sudo")])
def test_a_service_is_installed(tmp_path: Path, page: str, beginning: str) -> None:
    """As root, and with systemd, it would run; here its unit is written."""
    (line,) = [one for one in block(page, beginning).splitlines() if "service install" in one]
    shell(f"{init_lines()}", tmp_path)
    line = line.replace("sudo ", "").replace("/etc/edgelake/edgelake.toml", "edgelake.toml")
    shell(f"{line.replace('--user edgelake', '--user root')} --folder {tmp_path}", tmp_path)
    assert "ExecStart=" in (tmp_path / "edgelake.service").read_text()


def init_lines() -> str:
    return block("docs/index.md", "pip install edgelake").splitlines()[1]


def test_the_script_of_the_readme_is_started_so(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "plant.al").write_text(block("README.md", "set node name").replace("32049", str(port)))
    line = block("README.md", "EDGELAKE_HOME").replace("/tmp/edge-1", str(tmp_path / "home"))
    with started(line.replace(".venv/bin/edgelake", "edgelake"), tmp_path, port):
        assert (tmp_path / "home" / "EdgeLake").is_dir()


def test_terminals_at_a_node(tmp_path: Path) -> None:
    screen, commands = block("docs/command-language.md", "edgelake attach").splitlines()
    with Program(tmp_path / "node") as node:
        said = shell(commands.replace("/var/lib/edgelake", str(node.home)), tmp_path).stdout
        assert "REST" in said
        assert "running" in said
        words = screen.replace("/var/lib/edgelake", str(node.home)).split()
        terminal = Terminal(tmp_path, *words[1:])
        try:
            terminal.until("EL edge-1 >")
            terminal.type("\x04")
            assert terminal.ends() == 0
        finally:
            terminal.close()


def test_an_error_at_the_prompt_has_a_mark_under_what_is_wrong(tmp_path: Path) -> None:
    typed, said, line, mark = block("docs/command-language.md", "EL > get schedulr").splitlines()
    done = subprocess.run(
        [sys.executable, "-m", "edgelake", "-c", typed.removeprefix("EL > ")],
        env={**os.environ, "EDGELAKE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    shown = done.stderr.splitlines()
    assert re.fullmatch(re.escape(said).replace(r",\ \.\.\.", ".*"), shown[0])
    assert [one.rstrip() for one in shown[1:3]] == [line, mark]


def test_a_backup_in_a_folder(tmp_path: Path) -> None:
    text = block("docs/backup.md", "edgelake backup /mnt")
    with Program(tmp_path / "node") as node:
        assert node.put(b'{"v": 1}')[0] == 200
        node.post("flush buffers")
        here = text.replace("/mnt/backup", str(tmp_path / "kept")).replace("/var/lib/edgelake-again", "again")
        shell(here.replace("/var/lib/edgelake", str(node.home)), tmp_path)
    assert (tmp_path / "again" / "EdgeLake" / "data" / "dbms" / "plant.dbms").exists()


def test_a_backup_in_object_storage(tmp_path: Path) -> None:
    text = block("docs/backup.md", "edgelake backup s3")
    server = S3Server(tmp_path)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    try:
        server.make_bucket()
        with Program(tmp_path / "node") as node:
            assert node.put(b'{"v": 1}')[0] == 200
            here = text.replace("s3://plant-backups", "s3://edge").replace("/var/lib/edgelake-again", "again")
            here = here.replace("/var/lib/edgelake", str(node.home))
            shell(here, tmp_path, AWS_ENDPOINT_URL=server.address, **keys)
    finally:
        server.kill()
    assert (tmp_path / "again" / "EdgeLake").is_dir()


def test_benchmarks_are_named_as_the_program_names_them(tmp_path: Path) -> None:
    lines = block("docs/benchmarks.md", "make release").splitlines()
    assert lines.pop(0).startswith("make release")
    shown = shell(lines.pop(0).replace(".venv/bin/", ""), tmp_path).stdout
    for line in lines:
        words = line.partition("#")[0].split()
        assert words[:2] == [".venv/bin/edgelake", "bench"]
        found = bench.parser().parse_args(words[2:])  # they take hours, on a release build
        assert words[2] == "all" or words[2] in shown
        assert found


def test_the_screen_of_services_takes_the_arguments_of_the_page() -> None:
    """tests/tools/test_top.py runs it."""
    for line in block("docs/services.md", "edgelake top").splitlines():
        assert top.parser().parse_args(line.split()[2:])


@pytest.mark.parametrize(
    ("page", "beginning"),
    [("README.md", "make demo"), ("README.md", "make test"), ("docs/benchmarks.md", "make release")],
)
def test_what_is_made_can_be_made(page: str, beginning: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in block(page, beginning).splitlines():
        if line.startswith("make "):
            assert line.split()[1] in targets


def test_containers_are_described_by_the_files_that_the_page_names() -> None:
    """tests/system/test_containers.py looks at them; images are made where there is Docker."""
    for line in block("docs/install.md", "docker compose").splitlines():
        named = re.findall(r"-f (\S+)", line) or ["compose.yaml"]
        assert (ROOT / named[0]).is_file()
        assert re.match(r"docker compose (-f \S+ )?up( --build)?\s+# ", line)


@pytest.mark.parametrize(
    ("page", "beginning"),
    [
        ("docs/install.md", "python3 -m venv"),
        ("docs/install.md", "pip download"),
        ("docs/install.md", "pip install --no-index"),
        ("docs/install.md", "pip install --no-binary"),
        ("docs/index.md", "pip install"),
        ("docs/ethereum.md", "pip install"),
        ("docs/postgresql.md", "pip install"),
    ],
)
def test_pip_takes_the_options_and_the_package_the_extras(page: str, beginning: str, tmp_path: Path) -> None:
    """pip reads the whole line, finds no package at an index that is not there, and has nothing else against it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = block(page, beginning).replace("\\\n", " ")
    for line in text.splitlines():
        assert set(re.findall(r"edgelake\[(\w+)\]", line)) <= extras.keys()
        words = re.findall(r"'[^']*'|\"[^\"]*\"|\S+", line)
        if "pip" not in Path(words[0]).name:
            continue
        given = [sys.executable, "-m", "pip", *(word.strip("'\"") for word in words[1:])]
        none = {**os.environ, "PIP_INDEX_URL": f"http://127.0.0.1:{free_port()}/simple", "PIP_RETRIES": "0"}
        (tmp_path / "wheels").mkdir(exist_ok=True)
        if words[1] == "install":
            given.insert(4, "--dry-run")
        done = subprocess.run(given, cwd=tmp_path, env=none, capture_output=True, text=True, timeout=LIMIT_S)
        assert "No matching distribution found for edgelake" in done.stderr or "already satisfied" in done.stdout, line


def test_syslog_as_its_own_program_sends_it(tmp_path: Path) -> None:
    log, configuration = block("docs/mqtt.md", "logger --server").splitlines()
    port = free_port()
    broker = (
        f"run message broker where external_ip = 127.0.0.1 and external_port = {port} and bind = true\n"
        "set msg rule syslog if ip = 127.0.0.1 then dbms = plant and table = syslog and syslog = true\n"
    )
    with Program(tmp_path / "node", STANDALONE + broker) as node:
        node.until(lambda: accepts(port))
        shell(log.replace("32450", str(port)), tmp_path)
        node.until(lambda: "syslog" in str(node.data("get tables where dbms = plant")))
    assert re.match(r"\*\.\* @@127\.0\.0\.1:32450\s+# /etc/rsyslog\.d/", configuration)


def test_mosquitto_clients_and_the_rights_of_topics(tmp_path: Path) -> None:
    subscribe, publish, encrypted = block("docs/mqtt.md", "mosquitto_sub").splitlines()
    plain, tls = free_port(), free_port()
    users, acl = tmp_path / "users", tmp_path / "acl"
    rights = block("docs/mqtt.md", "topic read public")
    acl.write_text(f"topic readwrite line/#\n{rights}")
    at = "external_ip = 127.0.0.1 and external_port = {} and bind = true"
    script = (
        f"{STANDALONE}mqtt password where user = sensor-7 and password = s3cret and file = {users}\n"
        f"run message broker where {at.format(plain)} and acl = {acl}\n"
        'run msg client where broker = local and topic = (name = "line/+/motor" and dbms = plant and table = motor and '
        'column.speed.float = "bring [speed]")\n'
    )
    with Program(tmp_path / "node", script) as node:
        node.until(lambda: accepts(plain))
        told = subscribe.replace("32450", str(plain)).replace("mosquitto_sub", "mosquitto_sub -C 1 -W 20")
        with subprocess.Popen(["bash", "-c", told], stdout=subprocess.PIPE, text=True) as listening:
            while listening.poll() is None:  # who subscribes says nothing: readings go until one has come
                shell(publish.replace("32450", str(plain)), tmp_path)
            assert listening.stdout is not None
            assert '"speed": 10' in listening.stdout.read()
        node.post("exit broker")
        node.post(f"run message broker where {at.format(tls)} and ssl = true and users = {users} and anonymous = false")
        node.until(lambda: accepts(tls))
        (certificate,) = (node.home / "EdgeLake").rglob("server-self-signed-public-key.crt")
        here = encrypted.replace("32451", str(tls)).replace("server-self-signed-public-key.crt", str(certificate))
        # The first message makes the table, and is a row of it, a moment after subscribers have it.
        node.until(lambda: "motor" in node.get("get tables where dbms = plant"))
        node.until(lambda: node.count("motor") > 0)
        before = node.count("motor")
        shell(here, tmp_path)
        node.post("flush buffers")
        node.until(lambda: node.count("motor") > before)
