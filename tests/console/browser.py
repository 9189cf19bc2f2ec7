"""A browser for tests: Chromium, driven through playwright-core by a small program (js/browser.mjs)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740, "phone": True}


class Browser:
    """Calls of js/browser.mjs; each raises AssertionError when it fails."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium")
        assert program, "chromium is missing: apt-get install chromium"
        self._process = subprocess.Popen(
            ["node", str(HERE / "js" / "browser.mjs"), program, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End it, as the end of its input does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def call(self, name: str, *given: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"call": name, "with": given}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the browser has ended"
        said = json.loads(line)
        assert "error" not in said, f"{name}{given}: {said['error']}"
        return said["value"]

    def open(self, url: str, **options: Any) -> Any:
        """A page without anything from before: ``{"status": ..., "url": ...}``."""
        return self.call("open", url, options)

    def hash(self, to: str) -> None:
        """Go to another page of the console."""
        self.call("hash", to)

    def click(self, selector: str) -> None:
        self.call("click", selector)

    def fill(self, selector: str, text: str) -> None:
        self.call("fill", selector, text)

    def type(self, text: str) -> None:
        self.call("type", text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.call("press", key)

    def wait(self, selector: str, state: str = "visible") -> None:
        self.call("wait", selector, state)

    def until(self, code: str) -> None:
        """Until an expression of the page is true."""
        self.call("until", code)

    def text(self, selector: str) -> str:
        return str(self.call("text", selector))

    def texts(self, selector: str) -> list[str]:
        return list(self.call("texts", selector))

    def contents(self, selector: str) -> list[str]:
        """As ``texts``, of drawings."""
        return list(self.call("contents", selector))

    def count(self, selector: str) -> int:
        return int(self.call("count", selector))

    def run(self, code: str) -> Any:
        """Value of an expression of the page."""
        return self.call("run", code)

    @property
    def requests(self) -> list[str]:
        """Addresses that the page has asked for."""
        return list(self.call("seen")["requests"])

    @property
    def errors(self) -> list[str]:
        """Errors in the browser's console, exceptions, dialogs, and what the content policy refused."""
        return list(self.call("seen")["errors"])
