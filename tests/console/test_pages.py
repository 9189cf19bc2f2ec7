"""The pages of the web console in a browser, with readings coming in."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.console.browser import DESKTOP, PHONE, Browser

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
FITS = "document.documentElement.scrollWidth <= innerWidth"
"""Nothing makes the page itself scroll sideways."""


def opened(browser: Browser, ui: str, page: str, size: dict[str, Any]) -> None:
    browser.open(f"{ui}#/{page}", **size)
    browser.wait("h1")


@SIZES
def test_overview_shows_what_comes_in(browser: Browser, ui: str, size: dict[str, Any]) -> None:
    opened(browser, ui, "overview", size)
    browser.wait(".number-card .u-wrap canvas")
    assert browser.text("h1") == "edge-1"
    assert browser.texts(".number-card h2") == ["Rows stored", "Messages", "Queue", "Journal", "Memory", "Disk free"]
    before = browser.text(".number-card >> nth=0 >> p.muted")
    browser.until(f"document.querySelector('.number-card p.muted').innerText !== {json.dumps(before)}")
    browser.until("Number(document.querySelector('.number-card .big').innerText.split('/')[0]) > 0")
    assert "REST" in browser.texts(".services strong")
    assert "plant.motor" in browser.texts(".grid a")
    assert browser.run(FITS)


@SIZES
def test_a_query_is_charted_and_saved(browser: Browser, ui: str, size: dict[str, Any]) -> None:
    sql = "select timestamp, device, speed, temperature from motor where $range order by timestamp limit 200"
    opened(browser, ui, f"sql?dbms=plant&range=6h&q={quote(sql)}", size)
    browser.wait(".chart canvas")
    assert browser.text(".card-head h2 >> text=/rows/") == "200 rows"
    assert browser.texts(".u-legend .u-label")[1:] == ["m1", "m2", "m3"]
    browser.click("button:text-is('Table')")
    assert browser.texts(".grid th")[:4] == ["timestamp", "device", "speed", "temperature"]
    saved = browser.call("download", "button:text-is('CSV')")
    assert saved["name"] == "answer.csv"
    assert len(saved["text"].splitlines()) == 201
    rows = json.loads(browser.call("download", "button:text-is('JSON')")["text"])
    assert len(rows) == 200
    assert rows[0].keys() == {"timestamp", "device", "speed", "temperature"}
    assert browser.run(FITS)


def test_a_statement_is_completed_run_explained_and_remembered_by_keyboard(browser: Browser, ui: str) -> None:
    opened(browser, ui, "sql", DESKTOP)
    browser.wait(".starters button")
    browser.click(".editor textarea")
    browser.type("select cou")
    browser.wait(".offers li")
    assert browser.texts(".offers li span")[0] == "count"
    browser.press("Tab")
    browser.type("(*) as n from mot")
    browser.wait(".offers li >> text=motor")
    browser.press("Enter")
    browser.type(" where spe")
    browser.wait(".offers li >> text=speed")
    browser.press("Enter")
    browser.type(" > 0")
    browser.press("Control+Enter")
    browser.wait(".grid td")
    statement = "select count(*) as n from motor where speed > 0"
    assert browser.run("document.querySelector('textarea').value") == statement
    assert int(browser.text(".grid td")) >= 240
    browser.click("button:text-is('Explain')")
    browser.wait(".plan code")
    assert "motor" in browser.text(".plan code")
    address = browser.run("location.href")
    browser.call("go", "about:blank")
    browser.call("go", address)
    browser.wait(".grid td")
    assert browser.run("document.querySelector('textarea').value") == statement
    browser.click("summary:text-is('History')")
    assert browser.texts(".popup button")[0] == statement


def test_a_wrong_statement_says_what_is_wrong(browser: Browser, ui: str) -> None:
    opened(browser, ui, f"sql?dbms=plant&q={quote('select nothing from nowhere')}", DESKTOP)
    browser.wait(".failure")
    assert "nowhere" in browser.text(".failure")
    browser.call("forget")  # the browser notes the 404 in its console


def test_a_time_range_puts_its_condition_into_the_statement(browser: Browser, ui: str) -> None:
    opened(browser, ui, "sql", DESKTOP)
    browser.wait(".starters button")
    browser.fill(".editor textarea", "select count(*) as n from motor")
    browser.call("select", ".tools select >> nth=1", "5m")
    assert browser.run("document.querySelector('textarea').value").endswith("where $range")
    browser.click("button:text-is('Run')")
    browser.wait(".grid td")
    few = int(browser.text(".grid td"))
    browser.call("select", ".tools select >> nth=1", "")
    browser.click("button:text-is('Run')")
    browser.until(f"Number(document.querySelector('.grid td').innerText) >= {few + 200}")


def test_a_query_that_takes_long_is_cancelled_at_the_node(browser: Browser, ui: str, node: Any) -> None:
    slow = "select count(*) as n from motor a, motor b, motor c where a.speed < b.speed and b.speed < c.speed"
    opened(browser, ui, f"sql?dbms=plant&q={quote(slow)}", DESKTOP)
    browser.wait("button:text-is('Cancel')")

    def jobs() -> list[Any]:
        return [one for one in node.data("job active") if "motor a" in json.dumps(one)]

    node.until(lambda: bool(jobs()))
    browser.click("button:text-is('Cancel')")
    browser.wait(".failure >> text=cancelled")
    node.until(lambda: not jobs())


@SIZES
def test_the_console_runs_commands_with_completion_and_history(browser: Browser, ui: str, size: dict[str, Any]) -> None:
    opened(browser, ui, "console", size)
    browser.type("get proc")
    browser.wait(".offers li >> text=processes")
    browser.press("Tab", "Enter")
    browser.wait(".said pre")
    assert "REST" in browser.text(".said pre")
    assert browser.text(".said-line").startswith("EL edge-1 > get processes")
    browser.press("Escape", "ArrowUp")
    assert browser.run("document.querySelector('.prompt input').value").strip() == "get processes"
    browser.fill(".prompt input", "get nonsense")
    browser.press("Enter")
    browser.wait(".said pre.is-bad")
    assert browser.run(FITS)
    browser.call("forget")  # the browser notes the 400 in its console
