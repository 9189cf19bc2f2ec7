"""Pages: ``into = html``, its charts and tables, and what a request adds to them. Spec: "REST API", section 11."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from edgelake.errors import DatabaseMissingError
from edgelake.model import Reply, Table
from edgelake.net.rest.shown import MAX_ANSWER_BYTES
from tests.net.helpers import FakeNode, Site

EVIL = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
SQL = 'sql d format = table "select * from t"'
AS_JSON = 'sql d format = table and format = json and stat = false "select * from t"'
KINDS = ["line", "bar", "multiscale", "area", "scatter", "bubble", "pie", "doughnut", "polararea", "radar"]
KINDS += ["gauge", "onoff"]


class Seen(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def answer(node: FakeNode, line: str, reply: Callable[[], Reply]) -> None:
    async def made() -> Reply:
        return reply()

    node.commands[line] = made


def rows(node: FakeNode, *records: dict[str, Any], line: str = AS_JSON) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        text = json.dumps({"Query": list(records)}).encode()
        yield text[:7]
        yield text[7:]

    answer(node, line, lambda: Reply(stream=pieces()))


READINGS = [
    {"timestamp": f"2025-01-01 0{n}:00:00.000000", "device": device, "speed": 10 + n, "load": 2.5 * n, "n": n % 2}
    for n in range(5)
    for device in (EVIL, "m-2")
]


@pytest.mark.parametrize("kind", [*KINDS, "table", "json", "text", "nothing-like-this"])
def test_data_never_becomes_markup(site: Site, node: FakeNode, kind: str) -> None:
    rows(node, *READINGS)
    rows(node, *READINGS, line=SQL)
    status, headers, page = site.command(SQL, into=f"html.{kind}")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    seen = Seen(page)
    assert not {"script", "img", "iframe", "link", "object"} & {tag for tag, _ in seen.elements}
    assert not [a for _, attributes in seen.elements for a in attributes if a.startswith("on") or a in {"href", "src"}]
    assert (seen.count("svg") > 0) == (kind in KINDS and kind != "onoff")
    assert len(page) == int(headers["content-length"])


def test_no_script_runs_and_nothing_is_fetched(site: Site) -> None:
    _, headers, _ = site.command("get status", into="html")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy.split("; ")
    assert "script-src" not in policy


def test_a_line_for_each_device(site: Site, node: FakeNode) -> None:
    rows(node, *({k: v for k, v in r.items() if k in {"timestamp", "device", "speed"}} for r in READINGS))
    _, _, page = site.command(SQL, into="html.line")
    seen = Seen(page)
    assert seen.count("path") == 2
    assert seen.count("circle") == 10
    assert "m-2, 2025-01-01 04:00:00.000000: 14" in seen.texts


def test_a_long_line_keeps_its_peak_and_stays_small(site: Site, node: FakeNode) -> None:
    values = [0.0] * 50_000
    values[31_234] = 99.0
    rows(node, *({"n": f"p{n}", "value": value} for n, value in enumerate(values)))
    _, _, page = site.command(SQL, into="html.line")
    assert len(page) < 100_000
    path = next(attributes["d"] for tag, attributes in Seen(page).elements if tag == "path")
    assert path is not None
    assert " 20.0L" in path  # the top of the drawing


def test_bars_slices_and_dials_have_their_values(site: Site, node: FakeNode) -> None:
    rows(node, {"device": "a", "speed": 30}, {"device": "b", "speed": 10})
    assert Seen(site.command(SQL, into="html.bar")[2]).count("rect") == 2
    slices = Seen(site.command(SQL, into="html.pie")[2])
    assert {"a: 30 (75.0 %)", "b: 10 (25.0 %)"} <= set(slices.texts)
    dial = Seen(site.command(SQL, into="html.gauge")[2])
    assert "10" in dial.texts
    assert dial.count("svg") == 1


def test_lamps_are_on_off_or_unknown(site: Site, node: FakeNode) -> None:
    rows(node, {"pump": 1, "valve": False, "fan": None, "state": "ON"})
    seen = Seen(site.command(SQL, into="html.on_off")[2])
    lamps = [
        attributes["class"] for tag, attributes in seen.elements if (attributes.get("class") or "").startswith("lamp")
    ]
    assert lamps == ["lamp on", "lamp out", "lamp on"]


def test_tables_of_commands_and_of_answers(site: Site, node: FakeNode) -> None:
    table = Table(("Name", "Two\nlines"), [("x", 1), (EVIL,)])
    answer(node, "get things", lambda: Reply.of_table(table, data=[{"other": 1}]))
    seen = Seen(site.command("get things", into="html.table")[2])
    assert (seen.count("th"), seen.count("td")) == (2, 4)
    assert "Two lines" in seen.texts
    rows(node, {"a": 1, "b": None}, {"b": "x"})
    seen = Seen(site.command(SQL, into="html.table")[2])
    assert (seen.count("th"), seen.count("td")) == (2, 4)


def test_the_plain_page_shows_the_reply_as_it_is(site: Site, node: FakeNode) -> None:
    answer(node, "get table", lambda: Reply.of_text("\r\nName|\r\n----|\r\n<b>  |\r\n"))
    assert "<b>  |" in Seen(site.command("get table", into="html")[2]).text
    answer(node, "get json", lambda: Reply.of_text('{"a": [1, 2]}\n{"Statistics": []}'))
    assert '"a": [\n    1,' in Seen(site.command("get json", into="html")[2]).text


def test_the_command_may_stand_in_the_url(site: Site) -> None:
    path = "/?User-Agent=AnyLog/1.23?into=html.text?command=get%20status"
    status, headers, page = site.request("GET", {"User-Agent": "Mozilla/5.0"}, path=path)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "node running" in Seen(page).texts


ADDED = {
    "head": {"include": ["<title>Plant</title>"], "style": {"h1 > b": {"color": "blue;"}}},
    "body": "<h2>Hall</h2>",
}


@pytest.mark.parametrize("text", [json.dumps(ADDED), json.dumps(ADDED).replace('"', "^")])
def test_a_request_adds_to_the_page(site: Site, text: str) -> None:
    path = f"/?into=html?html={quote(text)}?command=get%20status"
    _, headers, page = site.request("GET", {"User-Agent": "Mozilla/5.0"}, path=path)
    seen = Seen(page)
    assert (seen.count("title"), seen.count("h2")) == (1, 1)
    assert b"<style>h1 > b{color:blue}</style>" in page
    assert "sandbox" in headers["content-security-policy"]


def test_a_policy_adds_to_the_page(site: Site, node: FakeNode) -> None:
    answer(node, "blockchain get html where name = p", lambda: Reply.of_text(json.dumps([{"html": ADDED}])))
    _, _, page = site.command("get status", into="html", html="blockchain get html where name = p")
    assert b"<h2>Hall</h2>" in page
    answer(node, "blockchain get html", lambda: Reply.of_text(""))
    assert site.command("get status", into="html", html="blockchain get html")[0] == 400


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"other": 1}', '{"head": {"style": {"a": {"b": "c</style><script>"}}}}', "[" * 100_000]
)
def test_wrong_additions_are_an_error_page(site: Site, text: str) -> None:
    status, headers, page = site.request(
        "POST", {"User-Agent": "anylog"}, json.dumps({"command": "get status", "into": "html", "html": text}).encode()
    )
    assert (status, headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert Seen(page).count("script") == 0


@pytest.mark.parametrize(
    ("line", "headers", "status", "said"),
    [
        ("get tables where dbms = <d>", {"into": "html"}, 404, "Wrong DBMS Name"),
        ("set x = 1", {"into": "html"}, 400, "Wrong HTTP method"),
        ("get status", {"into": "pdf"}, 400, "into = pdf"),
        ("get status", {"into": "html", "pdf": "true"}, 400, "needs a renderer"),
        ("get status", {"into": "html.pie"}, 400, "no numbers to draw"),
    ],
)
def test_errors_are_pages(
    site: Site, node: FakeNode, line: str, headers: dict[str, str], status: int, said: str
) -> None:
    async def fail() -> Reply:
        raise DatabaseMissingError("<d>")

    node.commands["get tables where dbms = <d>"] = fail
    got, sent, page = site.command(line, **headers)
    assert (got, sent["content-type"]) == (status, "text/html; charset=utf-8")
    seen = Seen(page)
    assert said in seen.text
    assert '"err_code"' in seen.text
    assert seen.count("d") == 0
    assert [call.errors for call in site.server.calls] == [1]


def test_an_answer_too_large_for_a_page_is_refused_and_ended(site: Site, node: FakeNode) -> None:
    closed: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for _ in range(MAX_ANSWER_BYTES // (1 << 20) + 5):
                yield b"x" * (1 << 20)
        finally:
            closed.append(1)

    answer(node, SQL, lambda: Reply(stream=pieces()))
    status, _, page = site.command(SQL, into="html")
    assert (status, closed) == (400, [1])
    assert "larger than the 8 MiB" in Seen(page).text
