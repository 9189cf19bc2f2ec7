"""The page around a reply, and which page a request asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring

from edgelake.errors import CommandError, EdgeLakeError
from edgelake.model import Table
from edgelake.net.rest.exchange import HeaderList
from edgelake.net.rest.pages import lines, rounds
from edgelake.net.rest.pages.additions import NO_ADDITIONS, Additions
from edgelake.net.rest.pages.grid import Grid, cell, documents, grid_of, number
from edgelake.net.rest.pages.svg import add

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; sandbox"
)
"""No script runs and nothing is fetched, whatever a request or a policy adds to the page."""

PAGE_HEADERS: Final[HeaderList] = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
]

MAX_ROWS: Final = 20_000
"""Rows of a table on a page; the page says how many more there are."""

CHARTS: Final[dict[str, Callable[[Element, Grid], None]]] = {
    "line": lines.line,
    "bar": lines.bar,
    "multiscale": lines.multiscale,
    "radar": rounds.radar,
    "doughnut": rounds.doughnut,
    "pie": rounds.pie,
    "polararea": rounds.polararea,
    "bubble": lines.bubble,
    "scatter": lines.scatter,
    "area": lines.area,
    "gauge": rounds.gauge,
    "onoff": rounds.onoff,
}
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;color:#0f172a}
h1{font-size:1.1rem;font-weight:600}code,pre{font:13px/1.45 ui-monospace,monospace}pre{overflow:auto}
table{border-collapse:collapse}th,td{padding:.25rem .6rem;border-bottom:1px solid #e2e8f0;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}thead th{position:sticky;top:0;background:#fff}
.chart{width:100%;max-height:75vh}.chart text{font-size:12px;fill:#334155}.grid{stroke:#e2e8f0}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}
.key,.lamp{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.4em}
.gauge{display:inline-block;width:260px;margin:.5rem}.lamp{width:1.1em;height:1.1em;vertical-align:middle}
.on{background:#16a34a}.out{background:#dc2626}.off{background:#94a3b8}.error{color:#b91c1c}.note{color:#64748b}
"""


def kind_of(values: Mapping[str, str]) -> str:
    """Type of the page that the headers ask for; "" = the reply as it is. Raises CommandError for what is no page."""
    name, _, kind = values["into"].strip().lower().partition(".")
    if name != "html":
        raise CommandError(f"into = {name[:40]}", hint="into = html, or html.<type> with table, line, bar, pie, ...")
    if values.get("pdf", "").strip().lower() == "true":
        raise CommandError(
            "pdf = true needs a renderer, which this node does not have",
            hint="leave pdf out, and print the page from the browser into a PDF file",
        )
    kind = kind.replace("_", "")
    if kind and kind not in {*CHARTS, "json", "table", "text"}:
        return "json"  # as the reference does
    return kind


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply as a page takes it: its text, and its data or tables where it has them."""

    command: str
    text: str
    data: Any = None
    tables: tuple[Table, ...] = ()


def page(kind: str, answered: Answered, additions: Additions = NO_ADDITIONS) -> bytes:
    """The page of a reply. Takes as long as the reply is large. Raises CommandError when there is nothing to draw."""
    main = Element("main")
    add(add(main, "h1"), "code", answered.command)
    if kind in CHARTS:
        CHARTS[kind](main, _grid(answered))
    elif kind == "table":
        _table(main, _grid(answered))
    else:
        add(main, "pre", _plain(answered, kind) or "Success")
    return _document(main, additions)


def error_page(problem: EdgeLakeError, command: str) -> bytes:
    """The page of a failed request."""
    main = Element("main")
    add(add(main, "h1"), "code", command)
    add(main, "p", problem.text, class_="error")
    if problem.detail and problem.detail != problem.text:
        add(main, "p", problem.detail)
    if problem.hint:
        add(main, "p", problem.hint, class_="note")
    body = json.dumps(problem.as_dict(), ensure_ascii=False, indent=2, default=str)
    add(add(add(main, "details"), "summary", "Error object"), "pre", body)
    return _document(main, NO_ADDITIONS)


def _document(main: Element, additions: Additions) -> bytes:
    title = "" if additions.has_title else "<title>EdgeLake</title>"
    parts = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"{title}<style>{_STYLE}</style>{additions.head}</head><body>{additions.body}",
        tostring(main, encoding="unicode", method="html"),
        "</body></html>\n",
    )
    return "".join(parts).encode("utf-8", "replace")


def _plain(answered: Answered, kind: str) -> str:
    if kind == "json" and answered.data is not None:
        return json.dumps(answered.data, ensure_ascii=False, indent=2, default=str)
    found = documents(answered.text) if kind != "text" else None
    if found is None:
        return answered.text.strip("\r\n")
    return "\n".join(json.dumps(value, ensure_ascii=False, indent=2) for value in found)


def _grid(answered: Answered) -> Grid:
    if answered.tables:
        table = answered.tables[0]
        titles = [" ".join(str(title).split()) for title in table.titles]
        width = len(titles)
        return Grid(titles, [[*list(row)[:width], *[None] * (width - len(row))] for row in table.rows])
    if answered.data is not None:
        return grid_of([answered.data])
    found = documents(answered.text)
    if found is None:
        return Grid(["text"], [[line] for line in answered.text.splitlines() if line])
    return grid_of(found)


def _table(parent: Element, grid: Grid) -> None:
    made = add(parent, "table")
    head = add(add(made, "thead"), "tr")
    for name in grid.columns:
        add(head, "th", name)
    body = add(made, "tbody")
    for row in grid.rows[:MAX_ROWS]:
        line = add(body, "tr")
        for value in row:
            right = {"class_": "n"} if number(value) is not None else {}
            add(line, "td", cell(value), **right)
    if len(grid.rows) > MAX_ROWS:
        add(parent, "p", f"{len(grid.rows) - MAX_ROWS:,} more rows are not shown: add a limit.", class_="note")
