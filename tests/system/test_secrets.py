"""A secret that comes in by any door is shown by none, and stands in no file of the node.

Each line plants one of its own; then everything that the node shows, and all that it has written, is searched.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from edgelake.bench.processes import free_port
from tests.net.peer.raw import RawPeer
from tests.system.program import AGENT, STANDALONE, Program
from tests.system.test_prompt import Terminal
from tests.tools.test_attach import attach

PLANTED = (
    "id add user where name = ops and password = {} and type = admin",
    "id add user where name = eva and password = '{}'",
    'id add user where name = eve and password = "{}"',
    "id add user where name=eda and password={}",
    "id add user name = x and passwrd = {} and password = {}",
    "id update user password where name = eva and old = {} and new = {}",
    "id create keys where password = {} and keys_file = eva",
    "id create keys for node where password = {}",
    "set local password = {}",
    "set private password = {}",
    "set private password = {} in file",
    "set signatory where key = nothing and password = {} and name = n",
    "id decrypt text where password = {}",
    "id generate certificate authority where org = acme and password = {}",
    "id sign certificate request where ca_org = acme and server_org = none and password = {}",
    "connect dbms d where type = psql and user = u and ip = 127.0.0.1 and port = 1 and password = {}",
    "run msg client where broker = 127.0.0.1 and port = 1 and user = u and password = {} and topic = (name = t)",
    "run smtp client where email = a@b.example and password = {} and host = 127.0.0.1 and port = 1",
    "blockchain connect ethereum where provider = https://node.example/v3/{}",
    "blockchain create account ethereum where password = {}",
    "blockchain set account info where platform = ethereum and private_key = {} and public_key = 0x1",
    "bucket provider connect where group = g and provider = p and region = r and access_key = {} and secret_key = {}",
    "rest get where url = http://u:{}@127.0.0.1:1/x",
    'rest get where url = http://127.0.0.1:1/x and headers = {{"Authorization": "Bearer {}"}}',
    "my_password = {}",
    "set db_password = {}",
    "api_token = {}",
    "schedule name = s and time = 1 hour and task id add user where name = y and password = {}",
    "nonsense command where password = {}",
    "get status where password = {}",
    "echo the password = {}",
    "print password = {}",
    "if 1 == 1 then id add user where name = z and password = {}",
)
SHOWN = (
    *("get event log", "get error log", "get query log", "get file log", "get streaming log", "get audit log"),
    *("get echo queue", "get dictionary", "get dictionary where format = json", "get processes", "get rest calls"),
    *("get scheduler", "get scheduler 1", "get users", "get tokens", "get permissions", "get msg client"),
    *("get databases", "get platforms", "get variables", "get stack trace", "get connections", "get authentication"),
    *("get member permissions", "get rest server info", "explain flow t", "help", "blockchain get *"),
)
LINES = (
    "get !",
    "print !",
    "connect dbms d where ",
    "get dictionary ",
    "id update user password where name = ",
    "sql plant ",
)
"""What the console and the prompt complete."""


JSON = {"Content-Type": "application/json"}
QUERY = urlencode({"seconds": 1, "sql": "select 1 as one", "dbms": "plant", "type": "operator"})
"""Parameters that some route wants."""


class Secrets:
    """Secrets of one kind, each its own."""

    def __init__(self, door: str) -> None:
        self._door = door
        self.lines: dict[str, str] = {}

    def filled(self, line: str) -> str:
        """The line with a secret at each place."""

        def one(_: re.Match[str]) -> str:
            secret = f"zq{self._door}x{len(self.lines):03d}zq"
            self.lines[secret] = line
            return secret

        return re.sub(r"\{\}", one, line).replace("{{", "{").replace("}}", "}")

    def found_in(self, text: str | bytes) -> dict[str, str]:
        """Secrets that stand there, with the lines that brought them."""
        data = text.encode() if isinstance(text, str) else text
        return {secret: line for secret, line in self.lines.items() if secret.encode() in data}


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def node(tmp_path: Path, ports: tuple[int, int]) -> Iterator[Program]:
    at = "external_ip = 127.0.0.1 and external_port = {} and bind = true"
    servers = f"run tcp server where {at.format(ports[0])}\nrun message broker where {at.format(ports[1])}\n"
    with Program(tmp_path / "home", STANDALONE.replace("run rest", f"{servers}set echo queue on\nrun rest")) as made:
        yield made


def _part(found: re.Match[str]) -> str:
    """Of a path."""
    return {"dbms": "plant", "table": "t"}.get(found[1], "operator")


def outputs(node: Program) -> Iterator[tuple[str, bytes]]:
    """All that is shown, by name."""
    for command in SHOWN:
        method = "GET" if command.startswith(("get ", "test ", "blockchain get")) else "POST"
        yield command, node.request(method, {**AGENT, "command": command})[1]
        body = json.dumps({"command": command}).encode()
        yield (
            f"/v1/command {command}",
            node.request("POST", {"Content-Type": "application/json"}, body, path="/v1/command")[1],
        )
    for path, asked in json.loads(node.request("GET", {}, path="/openapi.json")[1])["paths"].items():
        if "get" in asked:  # among them all that the console asks for, and its events
            yield path, node.request("GET", {}, path=f"{re.sub(r'{(.*?)}', _part, path)}?{QUERY}")[1]
    for path, body in (
        *(("/v1/complete", {"line": line}) for line in LINES),
        ("/v1/preview", {"dbms": "plant", "table": "t", "payload": '{"v": 1}'}),
        ("/v1/explain", {"sql": "select v from t", "dbms": "plant"}),
    ):
        yield f"{path} {body}", node.request("POST", JSON, json.dumps(body).encode(), path=path)[1]
    for path in ("/console", "/metrics", "/readyz", "/health"):
        yield path, node.request("GET", {}, path=path)[1]


def files(node: Program) -> Iterator[tuple[str, bytes]]:
    for path in node.home.parent.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(node.home.parent)), path.read_bytes()


def check(node: Program, secrets: Secrets) -> None:
    leaks = [(where, found) for where, content in outputs(node) if (found := secrets.found_in(content))]
    node.stop()
    leaks += [(where, found) for where, content in files(node) if (found := secrets.found_in(content))]
    assert not leaks, "\n".join(f"{where}: {line}" for where, found in leaks for line in found.items())


def test_commands_by_rest(node: Program) -> None:
    secrets, errors = Secrets("rest"), []
    for line in PLANTED:
        status, said = node.request("POST", {**AGENT, "command": secrets.filled(line)})
        if status >= 400:
            errors.append((line, secrets.found_in(said)))
    assert not [one for one in errors if one[1]]
    check(node, secrets)


def test_commands_of_the_public_api(node: Program) -> None:
    secrets, errors = Secrets("api"), []
    for line in PLANTED:
        body: Any = json.dumps({"command": secrets.filled(line)}).encode()
        status, said = node.request("POST", {"Content-Type": "application/json"}, body, path="/v1/command")
        if status >= 400:
            errors.append((line, secrets.found_in(said)))
    assert not [one for one in errors if one[1]]
    check(node, secrets)


def test_commands_of_a_terminal(node: Program) -> None:
    secrets = Secrets("term")
    given = "\n".join(secrets.filled(line) for line in PLANTED if not line.startswith(("echo", "print")))
    done = attach(node.home, given=given)
    assert not secrets.found_in(done.stdout + done.stderr)
    check(node, secrets)


def test_lines_of_a_prompt_and_its_history(node: Program) -> None:
    secrets = Secrets("line")
    terminal = Terminal(node.home.parent, "attach", "--home", str(node.home))
    try:
        for line in PLANTED:
            if not line.startswith(("echo", "print")):
                terminal.until("EL edge-1 ")
                terminal.type(f"{secrets.filled(line)}\r")
        terminal.until("EL edge-1 ")
        terminal.type("incr 41\r")
        terminal.until("42")
        terminal.until("EL edge-1 ")
        terminal.type("\x04")
        assert terminal.ends() == 0
    finally:
        terminal.close()
    (history,) = node.home.parent.rglob("history")
    kept = history.read_text()
    assert "id add user where name = ops and password = ****" in kept
    assert not secrets.found_in(kept)
    check(node, secrets)


def test_the_console_is_told_nothing_while_it_listens(node: Program) -> None:
    """Log entries are sent as they come."""
    secrets = Secrets("live")
    with ThreadPoolExecutor(1) as listening:
        heard = listening.submit(node.request, "GET", {}, path="/v1/events?seconds=5")
        for line in PLANTED:
            node.request("POST", {**AGENT, "command": secrets.filled(line)})
        status, events = heard.result()
    assert status == 200
    assert b"event: log" in events
    assert not secrets.found_in(events)
    check(node, secrets)


def test_commands_of_other_nodes(node: Program, ports: tuple[int, int]) -> None:
    secrets = Secrets("peer")

    async def plant() -> list[dict[str, str]]:
        async with RawPeer() as peer:
            answers = []
            for number, line in enumerate(PLANTED):
                if line.startswith(("echo", "print")):
                    continue  # they are shown, and not answered
                said = await peer.request(f"127.0.0.1:{ports[0]}", secrets.filled(line), job=(1, number + 1, 1, 0))
                answers.append(secrets.found_in(said.command.encode() + said.data))
            return answers

    assert not [one for one in asyncio.run(plant()) if one]
    check(node, secrets)


def test_what_comes_as_a_header(node: Program) -> None:
    secrets = Secrets("head")
    node.request("POST", {**AGENT, "command": "id add user where name = ops and password = other and type = admin"})
    for line in ("Bearer {}", "Basic {}", "{}", "Digest {}"):
        header = secrets.filled(line)
        if line == "Basic {}":
            header = "Basic " + base64.b64encode(f"ops:{header[6:]}".encode()).decode()
        for command in ("get status", "get nonsense"):
            status, said = node.request("GET", {**AGENT, "command": command, "Authorization": header})
            assert status in (401, 429)
            assert not secrets.found_in(said)
        assert node.request("GET", {"Authorization": header, "Cookie": header}, path="/v1/status")[0] in (401, 429)
    check(node, secrets)


def test_passwords_of_mqtt_clients(node: Program, ports: tuple[int, int]) -> None:
    import paho.mqtt.client as paho

    node.request("POST", {**AGENT, "command": "id add user where name = ops and password = other and type = admin"})
    node.request("POST", {**AGENT, "command": "set mqtt debug on"})
    secrets = Secrets("mqtt")
    for _ in range(3):
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.username_pw_set("ops", secrets.filled("{}"))
        client.connect("127.0.0.1", ports[1])
        for _ in range(50):
            if client.loop(0.2) != paho.MQTT_ERR_SUCCESS:
                break
    check(node, secrets)
