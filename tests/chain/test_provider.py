"""Providers that lie, stammer, or ask to come back later."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.metadata.chain.connect import connect
from edgelake.metadata.chain.options import Options

CONTRACT = "0x00000000000000000000000000000000000000aa"
Answer = Callable[[dict[str, Any], int], tuple[int, bytes]]


@contextmanager
def provider(answer: Answer) -> Iterator[str]:
    """A server that answers requests as it is told; the number counts them."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal count
            count += 1
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(request, count)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v3/accesskey"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def result(request: dict[str, Any], value: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()


NONSENSE = {
    "nothing": b"",
    "a page": b"<html>accesskey</html>",
    "a list": b"[]",
    "neither": b'{"jsonrpc": "2.0", "id": 1}',
    "no number": b'{"jsonrpc": "2.0", "id": 1, "result": "no"}',
    "no error": b'{"jsonrpc": "2.0", "id": 1, "error": "accesskey"}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_an_error_that_shows_no_key(body: bytes) -> None:
    with provider(lambda request, count: (200, body)) as url, pytest.raises(EdgeLakeError) as refused:
        await connect("ethereum", Options(url))
    assert refused.value.number in (81, 209)
    assert "v3" not in str(refused.value)


async def test_a_provider_that_is_busy_is_asked_again() -> None:
    with provider(lambda request, count: (429, b"later") if count < 3 else result(request, "0x7a69")) as url:
        made = await connect("ethereum", Options(url))
        assert (await made.info()).chain_id == 31337
        await made.close()


async def test_a_refusal_is_not_asked_again() -> None:
    seen: list[int] = []

    def refused(request: dict[str, Any], count: int) -> tuple[int, bytes]:
        seen.append(count)
        return 401, b"no such accesskey"

    with provider(refused) as url, pytest.raises(EdgeLakeError, match="HTTP status 401"):
        await connect("ethereum", Options(url))
    assert seen == [1]


async def test_a_contract_that_claims_to_be_endless_is_refused() -> None:
    block = {"number": "0x1", "hash": "0x" + "11" * 32}
    answers: dict[str, Any] = {
        "eth_chainId": "0x1",
        "eth_getCode": "0x60",
        "eth_getBlockByNumber": block,
        "eth_call": "0x" + "ff" * 32,
    }
    with provider(lambda request, count: result(request, answers[request["method"]])) as url:
        made = await connect("ethereum", Options(url))
        await made.set_account(Options(contract=CONTRACT))
        with pytest.raises(EdgeLakeError) as refused:
            await made.pull()
        assert refused.value.number == 209
        await made.close()
