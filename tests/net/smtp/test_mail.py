"""Mail through a real server: aiosmtpd with TLS, STARTTLS and logins (spec: services and status, section 4)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from edgelake.command.context import Context
from edgelake.command.local import language_context
from edgelake.command.render import reply_text
from edgelake.command.variables import Variables
from edgelake.errors import CommandError, EdgeLakeError, OverloadedError, ServiceError
from edgelake.model import Caller, CommandClass
from edgelake.net.smtp import client as smtp_client
from edgelake.net.smtp import link as smtp_link
from tests.net.smtp.servers import EMAIL, PASSWORD, MailServer


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    made = language_context(home=tmp_path, variables=Variables({}))
    made.node.name = "edge-1"
    return made


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_client, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(smtp_client, "LONGEST_PAUSE_S", 0.05)


def line(server: MailServer, *more: str) -> str:
    return " and ".join((f"run smtp client where host = 127.0.0.1 and port = {server.port}", f"email = {EMAIL}", *more))


PLAIN = "starttls = false"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the queue has no event of its own
            await asyncio.sleep(0.005)


async def state(ctx: Context) -> dict[str, object]:
    found: dict[str, object] = (await ctx.execute("get smtp client")).data
    return found


async def refusal(ctx: Context, text: str) -> EdgeLakeError:
    with pytest.raises(EdgeLakeError) as raised:
        await ctx.execute(text)
    return raised.value


@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
async def test_mail_arrives(ctx: Context, tmp_path: Path, security: str) -> None:
    with MailServer(tmp_path, security=security, auth=True) as server:
        options = {"tls": ("ssl = true", f"ca = {server.ca}"), "starttls": (f"ca = {server.ca}",), "none": (PLAIN,)}
        await ctx.execute(line(server, f"password = {PASSWORD}", *options[security]))
        reply = await ctx.execute(
            'email to boss@plant.example where subject = "Motor ä" and message = "It is hot" and message = "91.5 °C"'
        )
        assert reply_text(reply) == ""
        mail = server.post.next()
        assert mail["X-Envelope"] == f"{EMAIL} boss@plant.example"
        assert (mail["From"], mail["To"], mail["Subject"]) == (EMAIL, "boss@plant.example", "Motor ä")
        assert mail.get_content().splitlines() == ["It is hot", "91.5 °C"]
        assert mail.get_content_type() == "text/plain"
        shown = await state(ctx)
        assert (shown["Sent"], shown["Waiting"], shown["Connected"]) == (1, 0, True)
        assert shown["Security"] == {"tls": "TLS", "starttls": "STARTTLS", "none": "none"}[security]
        rows = (await ctx.execute("get processes")).data
        assert rows["SMTP"] == {"Status": "Running", "Details": f"Using '127.0.0.1' with email: '{EMAIL}'"}
        assert reply_text(await ctx.execute("test process smtp")) == "true"
        await ctx.execute("exit smtp")
        assert reply_text(await ctx.execute("get smtp client")) == "SMTP client is not running"
        assert server.post.logins == 1, "one login for all mails"


async def test_defaults_and_text_messages(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        await ctx.execute(line(server, PLAIN))
        await ctx.execute("email to boss@plant.example")
        mail = server.post.next()
        assert mail["Subject"] == "AnyLog Alert"
        assert mail.get_content().strip() == "AnyLog Network Alert from Node: edge-1"
        await ctx.execute('sms to 650-555-1234 where gateway = sms.example and message = "Motor 1 is hot"')
        mail = server.post.next()
        assert mail["To"] == "650-555-1234@sms.example"
        assert mail.get_content().strip() == "Motor 1 is hot"
        await ctx.execute("exit smtp client")


async def test_an_alert_of_a_task_is_mailed(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        await ctx.execute(line(server, PLAIN))
        await ctx.execute("run scheduler 1")
        await ctx.execute(
            "schedule name = hot and time = 1 hour task if !temperature.float > 90 then "
            'email to boss@plant.example where subject = "Motor 1" and message = !temperature'
        )
        ctx.variables.set("temperature", "91.5")
        await ctx.execute("task run where name = hot")
        assert server.post.next().get_content().strip() == "91.5"
        await ctx.execute("exit scheduler")
        await ctx.execute("exit smtp")


# ---- what is wrong is said


async def test_a_server_that_is_down_is_named_at_the_start(ctx: Context) -> None:
    found = await refusal(ctx, f"run smtp client where host = 127.0.0.1 and port = {free_port()} and email = {EMAIL}")
    assert found.number == 3
    assert "Failed to initiate SMTP server using 127.0.0.1" in str(found)
    assert "is the server up" in str(found)
    assert (await ctx.execute("get processes")).data["SMTP"]["Status"] == "Not declared"
    unknown = await refusal(ctx, f"run smtp client where host = no-such-host.invalid and email = {EMAIL}")
    assert "the host is unknown" in str(unknown)


async def test_a_wrong_password_is_said_and_shown_nowhere(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path, security="starttls", auth=True) as server:
        found = await refusal(ctx, line(server, "password = wrong-hush", f"ca = {server.ca}"))
        assert f"the login of {EMAIL} is refused: 535" in str(found)
        assert "check email and password" in str(found)
        assert "hush" not in str(found)
        await ctx.execute(line(server, f"password = {PASSWORD}", f"ca = {server.ca}"))
        seen = [
            reply_text(await ctx.execute(view))
            for view in ("get event log", "get error log", "get smtp client", "get processes", "get dictionary")
        ]
        assert not [text for text in seen if "hush" in text or PASSWORD in text]
        await ctx.execute("exit smtp")


async def test_a_server_that_says_nothing_is_not_waited_for(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_link, "WAIT_S", 0.2)
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", free_port())
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        found = await refusal(ctx, f"run smtp client where host = 127.0.0.1 and port = {port} and email = {EMAIL}")
        assert "no answer within 0.2 seconds" in str(found)


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_a_certificate_that_nobody_signed_is_refused(ctx: Context, tmp_path: Path, security: str) -> None:
    with MailServer(tmp_path, security=security) as server:
        found = await refusal(ctx, line(server, f"ssl = {'true' if security == 'tls' else 'false'}"))
        assert "its certificate is refused" in str(found)
        assert "ca = <file>" in str(found)


async def test_the_wrong_kind_of_security_is_said(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        assert "the server has no STARTTLS" in str(await refusal(ctx, line(server)))
        assert "ssl = true is for port 465" in str(await refusal(ctx, line(server, "ssl = true")))
        assert "takes no login" in str(await refusal(ctx, line(server, PLAIN, "password = x")))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("run smtp client where password = x", "Missing 'email'"),
        ("run smtp client where email = nobody", "is no mailbox"),
        ("run smtp client where email = a@b.example and port = 99999", "1 to 65535"),
        (
            "run smtp client where email = a@b.example and host = 192.0.2.1 and starttls = false and password = x",
            "unencry",
        ),
        ("run smtp client where email = a@b.example and ca = /no/such.pem and host = 127.0.0.1", "TLS files"),
        ("email to nobody", "is no mailbox"),
        ("sms to 12345 where message = x", "Missing 'gateway'"),
        ("sms to me where gateway = b.example", "is no phone number"),
    ],
)
async def test_a_command_that_cannot_work_says_why(ctx: Context, text: str, reason: str) -> None:
    found = await refusal(ctx, text)
    assert isinstance(found, CommandError | ServiceError)
    assert reason in str(found)


async def test_without_a_client_nothing_is_sent(ctx: Context) -> None:
    for text in ("email to a@b.example", "sms to 12345 where gateway = b.example"):
        found = await refusal(ctx, text)
        assert (found.number, found.detail) == (3, "SMTP client is not running")
    await ctx.execute("exit smtp")


async def test_a_second_client_is_refused(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        await ctx.execute(line(server, PLAIN))
        found = await refusal(ctx, line(server, PLAIN))
        assert (found.number, found.detail) == (3, f"SMTP client is running using 127.0.0.1 with email {EMAIL}")
        await ctx.execute("exit smtp")
        await ctx.execute(line(server, PLAIN))
        await ctx.execute("exit smtp")


async def test_a_mailbox_that_the_server_refuses_is_an_error_and_stops_no_other_mail(
    ctx: Context, tmp_path: Path
) -> None:
    with MailServer(tmp_path) as server:
        server.post.refused["gone@plant.example"] = "550 no such mailbox here"
        await ctx.execute(line(server, PLAIN))
        for _ in range(20):
            found = await refusal(ctx, "email to gone@plant.example")
            assert (found.number, "550 no such mailbox here" in str(found)) == (3, True)
        await ctx.execute("email to boss@plant.example")
        assert server.post.next()["To"] == "boss@plant.example"
        shown = await state(ctx)
        assert (shown["Refused"], shown["Sent"], shown["Waiting"]) == (20, 1, 0)
        told = [entry for entry in ctx.logs.ring("error").select() if entry.kind == "SMTP"]
        assert len(told) <= 5, "1, 2, 4, 8, 16"
        await ctx.execute("exit smtp")


# ---- the queue


async def test_a_connection_without_mails_is_closed_and_made_again(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_client, "IDLE_S", 0.02)
    with MailServer(tmp_path, security="starttls", auth=True) as server:
        await ctx.execute(line(server, f"password = {PASSWORD}", f"ca = {server.ca}"))
        client = ctx.services.get("smtp client")
        assert isinstance(client, smtp_client.SmtpClient)
        for login in (1, 2):
            assert server.post.logins == login
            await until(lambda: not client.is_connected)
            assert reply_text(await ctx.execute("email to boss@plant.example")) == ""
        assert client.counts.failed_attempts == 0
        await ctx.execute("exit smtp")


async def test_a_mail_that_is_put_off_waits_alone(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        server.post.refused["slow@plant.example"] = "451 try again later"
        await ctx.execute(line(server, PLAIN))
        reply = reply_text(await ctx.execute("email to slow@plant.example where message = later"))
        assert "waits and is sent again" in reply
        assert "451 try again later" in reply
        await ctx.execute("email to boss@plant.example where message = first")
        assert server.post.next().get_content().strip() == "first"
        assert (await state(ctx))["Waiting"] == 1
        server.post.refused.clear()
        assert (await asyncio.to_thread(server.post.next)).get_content().strip() == "later"
        await until(lambda: not _waiting(ctx))
        await ctx.execute("exit smtp")


def _waiting(ctx: Context) -> int:
    service = ctx.services.get("smtp client")
    assert isinstance(service, smtp_client.SmtpClient)
    return service.waiting


async def test_mails_wait_while_the_server_is_away_and_the_log_is_not_flooded(ctx: Context, tmp_path: Path) -> None:
    server = MailServer(tmp_path, security="starttls", auth=True)
    server.start()
    try:
        await ctx.execute(line(server, f"password = {PASSWORD}", f"ca = {server.ca}"))
        await asyncio.to_thread(server.stop)
        for number in range(3):
            reply = reply_text(await ctx.execute(f"email to boss@plant.example where message = n{number}"))
            assert "waits and is sent again" in reply
        client = ctx.services.get("smtp client")
        assert isinstance(client, smtp_client.SmtpClient)
        await until(lambda: client.counts.failed_attempts >= 10)
        shown = await state(ctx)
        assert shown["Waiting"] == 3
        assert "is the server up" in str(shown["Last Error"])
        told = [entry.text for entry in ctx.logs.ring("error").select() if entry.kind == "SMTP"]
        assert len(told) <= int(client.counts.failed_attempts).bit_length() + 1
        assert f"SMTP client: 127.0.0.1:{server.port}" in told[0]
        await asyncio.to_thread(server.start)
        came = [(await asyncio.to_thread(server.post.next)).get_content().strip() for _ in range(3)]
        assert came == ["n0", "n1", "n2"]
        await until(lambda: not client.waiting)
        back = [entry.text for entry in ctx.logs.ring("event").select(["reached again"])]
        assert len(back) == 1
        await ctx.execute("exit smtp")
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_password_that_is_changed_at_the_server_makes_mails_wait(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path, security="starttls", auth=True) as server:
        await ctx.execute(line(server, f"password = {PASSWORD}", f"ca = {server.ca}"))
        server.post.password = "another"
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        reply = reply_text(await ctx.execute("email to boss@plant.example"))
        assert f"the login of {EMAIL} is refused" in reply
        server.post.password = PASSWORD
        await asyncio.to_thread(server.post.next)
        await ctx.execute("exit smtp")


async def test_what_waits_is_sent_by_the_next_client(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        server.post.refused["boss@plant.example"] = "451 not now"
        await ctx.execute(line(server, PLAIN))
        await ctx.execute("email to boss@plant.example where message = kept")
        await ctx.execute("exit smtp")
        server.post.refused.clear()
        again = language_context(home=tmp_path, variables=Variables({}))
        (tmp_path / "EdgeLake" / "data" / "mail" / "broken.json").write_text("{")
        await again.execute(line(server, PLAIN))
        mail = await asyncio.to_thread(server.post.next)
        assert mail.get_content().strip() == "kept"
        assert re.fullmatch(r"<[0-9a-f]{24}@plant\.example>", mail["Message-ID"])
        await until(lambda: not _waiting(again))
        await again.execute("exit smtp")
        left = [path.name for path in (tmp_path / "EdgeLake" / "data" / "mail").iterdir()]
        assert left == ["broken.bad"]


async def test_a_mail_is_given_up_when_it_is_too_old(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MailServer(tmp_path) as server:
        server.post.refused["slow@plant.example"] = "451 not now"
        await ctx.execute(line(server, PLAIN))
        await ctx.execute("email to slow@plant.example")
        monkeypatch.setattr(smtp_client, "LONGEST_AGE_S", 0.0)
        await until(lambda: not _waiting(ctx))
        shown = await state(ctx)
        assert shown["Expired"] == 1
        assert "451 not now" in str(shown["Last Error"])
        assert not list((tmp_path / "EdgeLake" / "data" / "mail").iterdir())
        await ctx.execute("exit smtp")


async def test_the_queue_has_a_bound(ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_client, "MAX_MAILS", 2)
    with MailServer(tmp_path) as server:
        server.post.refused["slow@plant.example"] = "451 not now"
        await ctx.execute(line(server, PLAIN))
        for number in range(2):
            await ctx.execute(f"email to slow@plant.example where message = {number}")
        found = await refusal(ctx, "email to slow@plant.example")
        assert isinstance(found, OverloadedError)
        assert "2 mails wait for 127.0.0.1" in str(found)
        assert "longer than" in str(await refusal(ctx, f"email to a@b.example where message = {'x' * 70000}"))
        await ctx.execute("exit smtp")


async def test_a_subject_cannot_bring_headers(ctx: Context, tmp_path: Path) -> None:
    with MailServer(tmp_path) as server:
        await ctx.execute(line(server, PLAIN))
        ctx.variables.set("subject", "hot\r\nBcc: all@plant.example")
        await ctx.execute("email to boss@plant.example where subject = !subject")
        mail = server.post.next()
        assert (mail["Subject"], mail["Bcc"]) == ("hot Bcc: all@plant.example", None)
        await ctx.execute("exit smtp")


async def test_nobody_writes_mails_as_files(ctx: Context) -> None:
    await ctx.execute("create work directories")
    (ctx.directories.path("tmp_dir") / "mail.json").write_text("{}")
    path = ctx.directories.root / "data" / "mail" / "x.json"
    assert (await refusal(ctx, f"file to {path} where source = !tmp_dir/mail.json")).number == 212


async def test_only_the_owner_sends_mail(ctx: Context) -> None:
    stranger = ctx.for_caller(Caller("rest", frozenset({CommandClass.DATA})))
    assert (await refusal(stranger, "email to a@b.example")).number == 212
    assert reply_text(await stranger.execute("get smtp client")) == "SMTP client is not running"
