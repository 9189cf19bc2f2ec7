"""Requests to other servers (spec: REST API, section 16), against servers of the standard library."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from edgelake.bench.processes import free_port
from edgelake.command.context import Context
from edgelake.command.local import language_context
from edgelake.command.logs import mask
from edgelake.command.render import reply_text
from edgelake.command.variables import Variables
from edgelake.errors import CommandError, EdgeLakeError
from edgelake.model import Caller, CommandClass
from edgelake.net.callout import LONGEST_ANSWER_BYTES


class Handler(BaseHTTPRequestHandler):
    """Answers by path; ``/echo`` tells what was asked."""

    server: Site

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        if self.path == "/echo":
            self._say(200, json.dumps({"method": self.command, "headers": dict(self.headers), "body": body}))
        elif self.path.startswith("/exact"):
            self._say(200, '{"n": 1.10, "big": 12345678901234567890, "items": [{"a": 1}, {"a": 2}], "t": "é"}')
        elif self.path == "/text":
            self._say(200, "all is well", "text/plain")
        elif self.path.startswith("/refused"):
            self._say(403, '{"reason": "not you"}')
        elif self.path == "/moved":
            self._say(302, "", location=self.server.moved_to)
        elif self.path == "/circle":
            self._say(302, "", location="/circle")
        elif self.path == "/pieces":
            self.wfile.write(
                b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=latin-1\r\n"
            )
            self.wfile.write(b"Transfer-Encoding: chunked\r\n\r\n4\r\nall \r\n5\r\nis \xe9t\r\n0\r\n\r\n")
        elif self.path == "/cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        elif self.path == "/noise":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        elif self.path == "/endless":
            self._endless()
        elif self.path == "/slow":
            self.server.closing.wait(20)
            self._say(200, "late")

    do_PUT = do_POST = do_DELETE = do_GET

    def _say(self, status: int, text: str, kind: str = "application/json", location: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.closing.is_set():
                self.wfile.write(b"x" * 65536)
        except OSError:
            self.server.hung_up.set()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal of the tests."""


class Site(ThreadingHTTPServer):
    """A server on loopback."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", free_port()), Handler)
        self.closing, self.hung_up = threading.Event(), threading.Event()
        self.moved_to = ""
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses our certificate hangs up: that is what is tested."""

    def __enter__(self) -> Site:
        self.thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.closing.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    made = language_context(home=tmp_path, variables=Variables({}))
    made.directories.create()
    return made


def run(ctx: Context, *lines: str) -> str:
    async def work() -> str:
        text = ""
        for line in lines:
            text = reply_text(await ctx.execute(line))
        return text

    return asyncio.run(work())


def refusal(ctx: Context, line: str) -> EdgeLakeError:
    with pytest.raises(EdgeLakeError) as raised:
        run(ctx, line)
    return raised.value


def test_a_json_answer_is_printed_and_assigned_as_the_server_wrote_it(ctx: Context, site: Site) -> None:
    assert json.loads(run(ctx, f"rest get where url = {site.url}/exact"))["items"] == [{"a": 1}, {"a": 2}]
    run(ctx, f"v = rest get where url = {site.url}/exact?a=1&b=2")
    assert ctx.variables.get("v").startswith('{"n": 1.10, "big": 12345678901234567890')
    assert run(ctx, "!v[items][1][a]") == "2"
    assert run(ctx, f"rest get where url = {site.url}/text") == "all is well"


def test_an_answer_in_pieces_is_put_together_in_its_own_characters(ctx: Context, site: Site) -> None:
    assert run(ctx, f"rest get where url = {site.url}/pieces") == "all is ét"


def test_user_and_password_of_an_address_are_sent_as_a_login(ctx: Context, site: Site) -> None:
    address = site.url.replace("//", "//me:s3c%72et@")
    assert (
        json.loads(run(ctx, f"rest get where url = {address}/echo"))["headers"]["Authorization"] == "Basic bWU6czNjcmV0"
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/cut", "is broken"), ("/noise", "is broken"), ("/circle", "more than 5 redirects")],
)
def test_an_answer_that_is_none_is_an_error_of_the_server(ctx: Context, site: Site, path: str, reason: str) -> None:
    found = refusal(ctx, f"v = rest get where url = {site.url}{path}")
    assert (found.number, reason in str(found)) == (51, True)


def test_keys_become_headers_and_references_in_bodies_are_filled(ctx: Context, site: Site) -> None:
    ctx.variables.set("pw", "s3cret")
    ctx.variables.set("temp", "91.5")
    asked = json.loads(
        run(
            ctx,
            f"rest get where url = {site.url}/echo and user = me and password = !pw and command = 'get status' "
            "and destination = network and X-Vault-Token = abc and accept = text/plain",
        )
    )
    headers = asked["headers"]
    assert headers["Authorization"] == "Basic bWU6czNjcmV0"
    assert (headers["command"], headers["destination"], headers["Accept"]) == ("get status", "network", "text/plain")
    assert (headers["User-Agent"], headers["X-Vault-Token"]) == ("AnyLog/1.23", "abc")
    sent = json.loads(
        run(
            ctx,
            f"rest put where url = {site.url}/echo and dbms = plant and table = motor and mode = streaming "
            'and headers = {"X-Source": "node 1", "user-agent": "mine"} and body = {"temp": !temp.float}',
        )
    )
    assert sent["method"] == "PUT"
    assert json.loads(sent["body"]) == {"temp": 91.5}
    assert (sent["headers"]["dbms"], sent["headers"]["mode"]) == ("plant", "streaming")
    assert (sent["headers"]["X-Source"], sent["headers"]["user-agent"]) == ("node 1", "mine")
    assert sent["headers"]["Content-Type"] == "application/json"
    posted = json.loads(run(ctx, f"rest post where url = {site.url}/echo and body = 'too hot'"))
    assert (posted["method"], posted["body"]) == ("POST", "too hot")
    assert json.loads(run(ctx, f"rest delete where url = {site.url}/echo"))["method"] == "DELETE"


def test_the_answer_or_a_key_of_it_goes_to_a_file(ctx: Context, site: Site) -> None:
    path = ctx.directories.path("tmp_dir") / "items.json"
    shown = run(ctx, f"[file = !tmp_dir/items.json, key = items, show = true] = rest get where url = {site.url}/exact")
    assert json.loads(path.read_text()) == [{"a": 1}, {"a": 2}]
    assert shown == f"{path.stat().st_size} bytes in {path}"
    assert run(ctx, f"[file=!tmp_dir/items.json] = rest get where url = {site.url}/exact") == ""
    assert path.read_text().startswith('{"n": 1.10')
    missing = refusal(ctx, f"[file = !tmp_dir/x, key = rows] = rest get where url = {site.url}/exact")
    assert "no key 'rows'" in str(missing)
    assert "items" in str(missing)
    outside = ctx.for_caller(Caller("rest", frozenset({CommandClass.ADMIN, CommandClass.FILES})))
    assert refusal(outside, f"[file = /etc/x] = rest get where url = {site.url}/exact").number == 78


def test_validate_says_whether_a_server_answers(ctx: Context, site: Site) -> None:
    assert run(ctx, f"rest get where url = {site.url}/text and validate = true") == "true"
    assert run(ctx, f"rest get where url = {site.url}/refused and validate = true") == "false"
    down = f"http://127.0.0.1:{free_port()}/"
    run(ctx, f"up = rest get where url = {down} and validate = true")
    assert ctx.variables.get("up") == "false"


def test_a_failure_says_what_failed_and_what_to_do(ctx: Context, site: Site) -> None:
    refused = refusal(ctx, f"rest get where url = {site.url}/refused?key=k3y")
    assert (refused.number, refused.where["status"]) == (51, 403)
    assert "HTTP status 403" in str(refused)
    assert "not you" in str(refused)
    assert "k3y" not in str(refused)
    down = refusal(ctx, f"rest get where url = http://127.0.0.1:{free_port()}/x")
    assert down.number == 51
    assert "refused" in str(down).lower()
    unknown = refusal(ctx, "rest get where url = http://no-such-host.invalid/")
    assert "the host is unknown" in str(unknown)
    slow = refusal(ctx, f"rest get where url = {site.url}/slow and timeout = 0.2 seconds")
    assert "no answer within 0.2 seconds" in str(slow)
    spoken = refusal(ctx, f"rest get where url = {site.url.replace('http', 'https')}/text")
    assert "does this port speak https?" in str(spoken)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("rest get where user = me", "Missing 'url'"),
        ("rest get where url = ftp://127.0.0.1/x", "is no address of HTTP"),
        ("rest get where url = http://", "is not valid"),
        ("rest get where url = http://127.0.0.1:99999/", ""),
        ("rest get where url = http://127.0.0.1/ and dbms = d", "Unknown key in EdgeLake command: dbms"),
        ("rest put where url = http://127.0.0.1/ and headers = [1]", "no JSON object"),
        ("rest get where url = http://127.0.0.1/ and timeout = 0", "timeout"),
        ("rest get where url = http://127.0.0.1/ and user = a and authorization = b", "exclude each other"),
        ("rest get where url = https://127.0.0.1/ and ca = /no/such.pem", "TLS files"),
        ('rest put where url = http://127.0.0.1/ and headers = {"a": "b\\r\\nc: d"}', "cannot be sent"),
    ],
)
def test_a_call_that_cannot_be_made_is_an_error_of_the_command(ctx: Context, line: str, reason: str) -> None:
    found = refusal(ctx, line)
    assert isinstance(found, CommandError)
    assert reason in str(found)


def test_certificates_are_verified(ctx: Context, tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with Site(tls) as site:
        refused = refusal(ctx, f"rest get where url = {site.url}/text")
        assert refused.number == 51
        assert "its certificate is refused" in str(refused)
        assert "ca = <file>" in str(refused)
        assert run(ctx, f"rest get where url = {site.url}/text and ca = {ca}") == "all is well"
        other = site.url.replace("127.0.0.1", "localhost")
        assert "its certificate is refused" in str(refusal(ctx, f"rest get where url = {other}/text and ca = {ca}"))


def test_an_answer_without_end_is_cut_off(ctx: Context, site: Site) -> None:
    found = refusal(ctx, f"v = rest get where url = {site.url}/endless")
    assert f"longer than {LONGEST_ANSWER_BYTES >> 20} MiB" in str(found)
    assert site.hung_up.wait(10)


def test_a_redirect_carries_no_password_to_another_server(ctx: Context, site: Site) -> None:
    with Site() as other:
        site.moved_to = f"{other.url}/echo"
        asked = json.loads(run(ctx, f"rest get where url = {site.url}/moved and user = me and password = x"))
        assert "Authorization" not in asked["headers"]
        kept = refusal(ctx, f"rest get where url = {site.url}/moved and X-Vault-Token = t")
        assert f"the resource is at {other.url}/echo" in str(kept)
        assert "HTTP status 302" in str(refusal(ctx, f"rest post where url = {site.url}/moved and body = x"))


def test_the_node_goes_on_while_a_server_lets_it_wait(ctx: Context, site: Site) -> None:
    async def work() -> None:
        call = asyncio.create_task(ctx.execute(f"rest get where url = {site.url}/slow"))
        await ctx.execute("x = 1")
        assert not call.done()
        site.closing.set()
        assert reply_text(await call) == "late"

    asyncio.run(work())


def test_only_the_owner_makes_the_node_call_out(ctx: Context, site: Site) -> None:
    stranger = ctx.for_caller(Caller("rest", frozenset({CommandClass.DATA, CommandClass.METADATA})))
    assert refusal(stranger, f"rest get where url = {site.url}/text").number == 212


def test_logs_hold_no_secrets_of_a_call(ctx: Context, site: Site) -> None:
    run(
        ctx,
        f"rest post where url = {site.url}/echo and password = hush1 and user = me and X-Vault-Token = hush2 "
        'and headers = {"Api-Key": "hush3"} and body = {"password": "hush4", "text": "shown"}',
    )
    text = run(ctx, "get event log")
    assert "rest post" in text
    assert "shown" in text
    assert "hush" not in text
    assert mask("rest get where url = http://me:pw@h/x?token=abc").count("****") == 2
