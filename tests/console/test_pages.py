"""The pages of the web console in a browser, with readings coming in."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.console.browser import DESKTOP, PHONE, Browser
from tests.system.program import Program

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


def test_a_query_that_takes_long_is_cancelled_at_the_node(browser: Browser, ui: str, node: Program) -> None:
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


@SIZES
def test_data_shows_what_a_table_holds(browser: Browser, ui: str, size: dict[str, Any]) -> None:
    opened(browser, ui, "data", size)
    browser.click(".shelf-list a:has-text('motor')")
    browser.wait(".shelf-shown .tile")
    assert browser.text(".shelf-shown h2") == "plant.motor"
    assert int(browser.text(".tile strong").replace(",", "")) >= 240
    assert {"timestamp", "device", "speed", "temperature"} <= set(browser.texts(".columns code"))
    assert browser.count(".grid tbody tr") >= 1  # partitions
    assert browser.run(FITS)


@SIZES
def test_a_payload_is_tried_and_its_fault_is_shown(browser: Browser, ui: str, size: dict[str, Any]) -> None:
    opened(browser, ui, "ingest", size)
    browser.wait(".client")
    browser.fill("textarea.code", '[{"value": 2.5}, {"valve": 1}]')
    browser.click("button:text-is('Try')")
    browser.wait(".tried .grid td")
    assert "1 row of plant.pump" in browser.text(".tried h3")
    assert "2.5" in browser.texts(".tried .grid td")
    assert "Element 2 cannot be mapped" in browser.text(".tried .is-bad")
    browser.fill("textarea.code", '{"value": ')
    browser.click("button:text-is('Try')")
    browser.wait(".failure")
    assert browser.run(FITS)
    browser.call("forget")


def test_rejected_rows_are_shown_with_their_reason_and_as_a_problem(browser: Browser, ui: str, node: Program) -> None:
    node.put(b'{"timestamp": "never", "device": "m1"}', table="motor")
    opened(browser, ui, "ingest", DESKTOP)
    browser.wait("details.topic:has-text('never') >> nth=0")
    browser.click("details.topic:has-text('never') >> nth=0 >> summary")
    assert "never" in browser.text("details.topic pre.block")
    browser.hash("#/problems")
    browser.wait(".problem:has-text('plant.motor')")
    browser.click(".problem:has-text('plant.motor') >> button:text-is('Open')")
    browser.wait(".prompt input")
    browser.until("document.querySelector('.prompt input').value.startsWith('get columns')")
    browser.press("Enter")
    browser.wait(".said pre")
    assert "speed" in browser.text(".said pre")


FOCUS_ON_ARRIVAL = """
new Promise((found) => {
  new MutationObserver(() => {
    const input = document.querySelector(".prompt input");
    if (input) found([document.activeElement === input, input.value]);
  }).observe(document.querySelector("#main"), { childList: true, subtree: true });
  location.hash = "#/console?line=get+status";
})
"""
"""Whether the prompt has the keyboard when it is put into the page, which is before anybody can see it."""


def test_the_prompt_has_the_keyboard_before_it_is_seen(browser: Browser, ui: str) -> None:
    opened(browser, ui, "problems", DESKTOP)
    assert browser.run(FOCUS_ON_ARRIVAL) == [True, "get status"]


def test_a_command_of_a_problem_is_copied(browser: Browser, ui: str, node: Program) -> None:
    node.request("POST", {"User-Agent": "anylog", "command": "data", "topic": "pumps"}, b"no message")
    opened(browser, ui, "problems", DESKTOP)
    browser.wait(".problem")
    line = browser.text(".problem .command code")
    browser.click(".problem .command button:text-is('Copy')")
    browser.wait(".problem .command button:text-is('Copied')")
    assert browser.run("navigator.clipboard.readText()") == line


@SIZES
def test_the_network_is_drawn_and_who_is_down_shows(browser: Browser, ui: str, size: dict[str, Any]) -> None:
    opened(browser, ui, "network", size)
    browser.wait(".graph .spot.cluster")
    assert {"edge-1", "edge-2"} <= set(browser.contents(".graph .spot text:not(.sub)"))
    assert browser.count(".earth .spot") == 2
    browser.click("button:text-is('Ask every node')")
    browser.wait(".nodes .dot.bad")
    assert "edge-2" in browser.text(".nodes li:has(.dot.bad)")
    assert browser.run(FITS)


def test_the_first_paint_takes_few_requests_and_all_of_them_are_the_nodes(browser: Browser, ui: str) -> None:
    browser.open(ui.removesuffix("/ui"))  # as a person types it
    browser.wait("h1")
    files = [url for url in browser.requests if not url.startswith("data:")]
    assert len([url for url in files if "/v1/" not in url]) <= 4  # /, /ui, script, style
    assert len(files) <= 10
    assert all(url.startswith(ui.removesuffix("/ui")) for url in files)


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Browser, ui: str) -> None:
    shade = "document.documentElement.dataset.theme"
    browser.open(ui, colorScheme="dark")
    browser.wait("h1")
    assert browser.run(shade) == "dark"
    browser.click("button[aria-label='Light colours']")
    assert browser.run(shade) == "light"
    browser.call("go", ui)
    browser.wait("h1")
    assert browser.run(shade) == "light"


def test_everything_is_reached_by_keyboard(browser: Browser, ui: str) -> None:
    browser.open(ui)
    browser.wait(".services .command")
    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    browser.press("Enter")
    assert browser.run("document.activeElement.id") == "main"
    browser.press("Tab")
    assert browser.run("document.activeElement.closest('main') !== null")
    browser.run("document.querySelector('.brand').focus()")
    seen = []
    for _ in range(7):
        browser.press("Tab")
        seen.append(browser.run("document.activeElement.innerText"))
    assert seen == ["Overview", "Data", "SQL", "Ingest", "Network", "Problems", "Console"]
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.press("Enter")
    browser.wait(".prompt input")
    assert browser.text("nav a[aria-current='page']") == "Console"


@pytest.mark.parametrize("page", ["overview", "data", "sql", "ingest", "network", "problems", "console"])
def test_controls_have_names_and_pages_have_landmarks(browser: Browser, ui: str, page: str) -> None:
    opened(browser, ui, page, DESKTOP)
    browser.wait("main h1")
    nameless = """[...document.querySelectorAll('button, input, select, textarea, a, [role=img], meter')]
        .filter((one) => !(one.innerText?.trim() || one.labels?.length || one.getAttribute('aria-label')
            || one.querySelector('title'))).map((one) => one.outerHTML)"""
    assert browser.run(nameless) == []
    assert browser.count("main") == browser.count("nav[aria-label]") == browser.count("h1") == 1
