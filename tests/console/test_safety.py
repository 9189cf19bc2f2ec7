"""Scripts in whatever a node shows, pages of other sites, logins."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.console.browser import DESKTOP, Browser
from tests.console.conftest import script
from tests.system.program import STANDALONE, Program

CORPUS = (
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    '"><svg onload=window.hit=1>',
    "javascript:window.hit=1",
    "{{constructor.constructor('window.hit=1')()}}",
    "</textarea><iframe srcdoc='<script>parent.hit=1</script>'>",
    "'-window.hit=1-'",
    "<a href=javascript:window.hit=1>x</a>",
)
PAGES = ("overview", "data", "sql", "ingest", "network", "problems", "console")
HARM = "window.hit !== undefined || document.querySelector('main :is(script, iframe, img, svg[onload])') !== null"


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A node whose names, values, topics, client ids and errors are markup."""
    commands = script()
    port = int(re.findall(r"run message broker .* external_port = (\d+)", commands)[0])
    folder = tmp_path_factory.mktemp("poisoned")
    with Program(folder, commands) as node, contextlib.ExitStack() as clients:
        node.put(json.dumps([{"device": text, "value": 1.5} for text in CORPUS]).encode(), table="readings")
        node.put(json.dumps([{text: 1.5} for text in CORPUS]).encode(), table="columns")
        for text in CORPUS:
            node.put(b'{"value": 1}', table=quote(text, safe=" <>=/\"'();{}:-").replace("/", ""))
            command(node, f'set node name "{text.replace(chr(34), "")}"')
            command(node, f"get {text}")
            headers = {"User-Agent": "anylog", "command": "data", "topic": text}
            node.request("POST", headers, json.dumps({"value": text}).encode())
            node.request("POST", {**headers, "topic": "pumps"}, json.dumps(text).encode())
            policy = {"master": {"name": text, "company": text, "ip": "127.0.0.1", "port": 9, "loc": text}}
            command(node, f"blockchain insert where policy = {json.dumps(policy)} and local = true")
            mapping = {"mapping": {"name": text, "dbms": text, "table": text, "schema": {text: {}}}}
            command(node, f"blockchain insert where policy = {json.dumps(mapping)} and local = true")
        command(node, "run msg client where broker = local and topic = (name = # and dbms = plant and table = mqtt)")
        for text in CORPUS:
            quoted = f"'{text}'" if "'" not in text else text
            topic = f'(name = {quoted} and dbms = plant and table = mqtt and column.value.float = "bring [value]")'
            command(node, f"run msg client where broker = local and topic = {topic}")
            clients.enter_context(publishing(port, text))
        node.post("flush buffers")
        yield node


@contextlib.contextmanager
def publishing(port: int, text: str) -> Iterator[None]:
    """A client that stays connected, with markup as its id, user, topics and payloads."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=text)
    client.username_pw_set(text, "x")
    done = threading.Event()
    client.on_subscribe = lambda *_: done.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe(text.replace("#", "").replace("+", ""), qos=1)
    assert done.wait(20)
    for payload in (text, json.dumps({"value": text}), json.dumps({text: text})):
        client.publish(text, payload, qos=1).wait_for_publish(20)
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def command(node: Program, line: str) -> None:
    """It may be refused: then the refusal is what is shown."""
    node.request(
        "POST", {"Content-Type": "application/json"}, json.dumps({"command": line}).encode(), path="/v1/command"
    )


@pytest.mark.parametrize("page", PAGES)
def test_markup_is_shown_as_the_text_that_it_is(one_browser: Browser, poisoned: Program, page: str) -> None:
    browser = one_browser
    browser.open(f"http://127.0.0.1:{poisoned.port}/ui#/{page}", **DESKTOP)
    browser.wait("main h1")
    if page == "sql":
        browser.hash(f"#/sql?dbms=plant&q={quote('select device, value from readings')}")
        browser.wait(".grid td")
        assert browser.texts(".grid td:first-child") == list(CORPUS)
        browser.fill("textarea", f"select {CORPUS[0]} from readings")
        browser.click("button:text-is('Run')")
        browser.wait(".failure")
    elif page == "console":
        for text in CORPUS[:3]:
            browser.fill(".prompt input", f"print {text}")
            browser.press("Enter")
            browser.until("!document.querySelector('.terminal-in button').disabled || true")
        browser.wait(".said pre")
    elif page == "ingest":
        browser.wait(".client")
        browser.fill("textarea.code", json.dumps([{"value": text} for text in CORPUS]))
        browser.click("button:text-is('Try')")
        browser.wait(".tried, .failure")
        browser.wait(f".grid td:text-is({json.dumps(CORPUS[0])})")
        shown = browser.texts(".grid td")
        assert set(CORPUS) <= set(shown)  # ids of clients
    elif page == "data":
        browser.click(".shelf-list a:has-text('columns') >> nth=0")
        browser.wait(".shelf-shown .tile")
    elif page == "network":
        browser.wait(".nodes strong")
        assert CORPUS[0] in browser.texts(".nodes strong")
    elif page == "overview":
        browser.wait(".services strong")
    elif page == "problems":
        browser.wait(".problem")
    assert not browser.run(HARM)
    browser.call("forget")
    assert browser.errors == []


# ---- pages of other sites


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    {"Host": "evil.example"},
    {"Host": "evil.example", "Origin": "http://evil.example"},
]
CHANGES: list[tuple[str, Any]] = [
    ("/v1/command", {"command": "set node name taken"}),
    ("/v1/data/plant/forged", {"value": 1}),
    ("/v1/sql", {"sql": "select 1 as n", "dbms": "plant"}),
    ("/v1/preview", {"payload": "{}", "dbms": "plant", "table": "t"}),
    ("/v1/complete", {"line": ""}),
    ("/v1/cancel", {"id": "x"}),
]


def sent(node: Program, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, Any]:
    link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    try:
        link.request(method, path, body, headers)
        reply = link.getresponse()
        return reply.status, reply.read()
    finally:
        link.close()


@pytest.mark.parametrize("headers", FOREIGN, ids=[" ".join(h) + str(n) for n, h in enumerate(FOREIGN)])
@pytest.mark.parametrize(("path", "body"), CHANGES, ids=[path for path, _ in CHANGES])
def test_a_page_of_another_site_gets_nothing(node: Program, headers: dict[str, str], path: str, body: Any) -> None:
    status, _ = sent(node, path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    assert status == 403
    status, _ = sent(node, "/v1/events", b"", headers, "GET")
    assert status == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
@pytest.mark.parametrize(("path", "body"), [one for one in CHANGES if "/data/" not in one[0]])
def test_what_a_form_can_send_is_refused_even_without_an_origin(node: Program, kind: str, path: str, body: Any) -> None:
    status, reply = sent(node, path, json.dumps(body).encode(), {"Content-Type": kind} if kind else {})
    assert (status, json.loads(reply)["code"]) == (415, "api.content_type")


def test_nothing_was_changed_and_no_answer_lets_others_read(node: Program) -> None:
    assert node.get("get node name") == "edge-1"
    assert "forged" not in sent(node, "/v1/databases/plant", b"", {}, "GET")[1].decode()
    link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    for path in ("/v1/overview", "/ui", "/v1/problems"):
        link.request("GET", path)
        reply = link.getresponse()
        reply.read()
        assert reply.headers["Access-Control-Allow-Origin"] is None
        assert reply.headers["Set-Cookie"] is None
    link.close()


# ---- logins


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    home: Path = tmp_path_factory.mktemp("guarded")
    users = (
        "id add user where name = ops and password = of-the-ops and type = admin\n"
        "id add user where name = eva and password = of-eva\n"
        "set permissions where user = eva and classes = (data)\n"
        "set user authentication on\n"
    )
    with Program(home, STANDALONE + users) as node:
        yield node


def test_who_is_not_known_is_asked_and_gets_in_with_the_right_password(one_browser: Browser, guarded: Program) -> None:
    browser = one_browser
    browser.open(f"http://127.0.0.1:{guarded.port}/ui", **DESKTOP)
    browser.wait("form.login")
    browser.fill("input[name=user]", "eva")
    browser.fill("input[name=password]", "wrong")
    browser.press("Enter")
    browser.wait(".failure")
    assert browser.run("sessionStorage.length") == 0
    browser.fill("input[name=password]", "of-eva")
    browser.press("Enter")
    browser.wait(".services strong")
    assert browser.run("document.cookie + JSON.stringify(localStorage)").find("of-eva") < 0
    browser.hash("#/console")
    browser.wait(".prompt input")
    browser.fill(".prompt input", "set node name mine")
    browser.press("Enter")
    browser.wait(".said pre.is-bad")
    assert "admin" in browser.text(".said pre.is-bad")
    browser.click("button[aria-label='Log out']")
    browser.wait("form.login")
    browser.call("forget")
    assert browser.errors == []


def test_a_token_opens_the_console_too(one_browser: Browser, guarded: Program) -> None:
    login = {"Authorization": "Basic b3BzOm9mLXRoZS1vcHM=", "Content-Type": "application/json"}
    body = json.dumps({"command": "id create token where name = screen"}).encode()
    status, reply = guarded.request("POST", login, body, path="/v1/command")
    assert status == 200
    browser = one_browser
    browser.open(f"http://127.0.0.1:{guarded.port}/ui#/problems", **DESKTOP)
    browser.wait("form.login")
    browser.click("button:text-is('Token')")
    browser.fill("input[name=token]", str(json.loads(reply)["result"]).split()[0])
    browser.press("Enter")
    browser.wait(".page-head h1")
    assert browser.text("h1") == "Problems"
