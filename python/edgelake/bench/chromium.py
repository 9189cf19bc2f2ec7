"""A page in a fresh Chromium: when it is painted first, and what it asked for. By the browser's own protocol."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from edgelake.bench.processes import BenchError

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
LIMIT_S = 30.0
_PAINTED = """new Promise((tell) => new PerformanceObserver((list, me) => {
    const found = list.getEntriesByName('first-contentful-paint')[0];
    if (found) { me.disconnect(); setTimeout(() => tell({
        seconds: found.startTime / 1000,
        requests: 1 + performance.getEntriesByType('resource').filter((one) => one.startTime <= found.startTime).length,
    }), 0); }
}).observe({type: 'paint', buffered: true}))"""


async def first_paint(url: str) -> tuple[float, int]:
    """Seconds from the navigation to the first contents, with an empty cache, and the requests until then.

    Raises BenchError without a Chromium.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise BenchError("chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="edgelake-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                return await _painted(await _port(Path(profile)), url)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _port(profile: Path) -> int:
    file = profile / "DevToolsActivePort"
    while not (file.exists() and "\n" in file.read_text()):  # noqa: ASYNC110 - the browser tells it by this file alone
        await asyncio.sleep(0.02)
    return int(file.read_text().split()[0])


async def _painted(port: int, url: str) -> tuple[float, int]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as reply:
            pages = [one for one in await reply.json() if one["type"] == "page"]
        async with session.ws_connect(pages[0]["webSocketDebuggerUrl"]) as link:
            await _call(link, 1, "Page.enable")
            await _call(link, 2, "Page.navigate", url=url)
            async for message in link:
                if message.json().get("method") == "Page.loadEventFired":
                    break
            wanted: dict[str, Any] = {"expression": _PAINTED, "awaitPromise": True, "returnByValue": True}
            found = (await _call(link, 3, "Runtime.evaluate", **wanted))["result"]["value"]
    return float(found["seconds"]), int(found["requests"])


async def _call(link: aiohttp.ClientWebSocketResponse, number: int, method: str, **given: Any) -> Any:
    await link.send_json({"id": number, "method": method, "params": given})
    async for message in link:
        answer = message.json()
        if answer.get("id") == number:
            if "error" in answer:
                raise BenchError(f"{method}: {answer['error']['message']}")
            return answer["result"]
    raise BenchError("the browser has ended")
