"""Pictures of the console for the documentation: ``make pictures``."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.console.browser import DESKTOP, PHONE, Browser
from tests.console.conftest import Readings, script
from tests.system.program import Program

FOLDER = Path(__file__).parent.parent.parent / "docs" / "images"
WARM_S = 40  # of readings, so that the charts have something to show
SQL = "select timestamp, device, speed, temperature\nfrom motor\nwhere $range\norder by timestamp limit 2000"
PAYLOAD = '[\n  {"value": 2.5},\n  {"valve": 1}\n]'


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Program(Path(folder) / "node", script()) as node, Readings(node):
        browser = Browser(Path(folder) / "profile")
        try:
            _shoot(browser, node)
        finally:
            browser.close()


def _shoot(browser: Browser, node: Program) -> None:
    ui = f"http://127.0.0.1:{node.port}/ui"
    body = json.dumps({"command": "test network"}).encode()
    node.request("POST", {"Content-Type": "application/json"}, body, path="/v1/command")
    browser.open(ui, **DESKTOP)
    browser.wait(".number-card canvas")
    time.sleep(WARM_S)
    _save(browser, "console-overview")
    browser.open(f"{ui}#/sql?dbms=plant&range=6h&q={quote(SQL)}", **DESKTOP, colorScheme="dark")
    browser.wait(".chart canvas")
    _save(browser, "console-sql")
    browser.open(f"{ui}#/ingest", **DESKTOP)
    browser.wait(".client")
    browser.fill("textarea.code", PAYLOAD)
    browser.click("button:text-is('Try')")
    browser.wait(".tried .grid td")
    _save(browser, "console-ingest")
    browser.open(f"{ui}#/network", **DESKTOP)
    browser.wait(".graph .spot")
    _save(browser, "console-network")
    browser.open(f"{ui}#/problems", **PHONE, colorScheme="dark")
    browser.wait(".problem")
    _save(browser, "console-phone")


def _save(browser: Browser, name: str, **options: Any) -> None:
    browser.call("shot", str(FOLDER / f"{name}.png"), options)


if __name__ == "__main__":
    main()
