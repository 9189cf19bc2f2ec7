"""Mail: the SMTP client, ``email to`` and ``sms to`` (spec: services and status, section 4)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.errors import CommandError, ServiceError
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.smtp import Outbox, SmtpClient, SmtpConfig, mailbox
from edgelake.net.smtp.mail import Mail, new_mail
from edgelake.tls import Tls

_SUBJECT: Final = "AnyLog Alert"
_NUMBER: Final = re.compile(r"\+?[0-9().-]{3,30}")
_NOT_RUNNING: Final = "SMTP client is not running"


@command(
    "run smtp client",
    cls=CommandClass.ADMIN,
    topics=("mail", "configuration", "background processes"),
    examples=(
        "run smtp client where email = node@example.com and password = !mail_password",
        "run smtp client where host = mail.example.com and port = 465 and email = a@example.com and password = !pw "
        "and ssl = true",
        "run smtp client where host = 10.0.0.5 and port = 25 and email = node@example.com and starttls = false",
    ),
)
async def run_smtp_client(
    ctx: Context,
    *,
    email: str,
    password: str = "",
    host: str = "smtp.gmail.com",
    port: int | None = None,
    ssl: bool = False,
    starttls: bool = True,
    ca: str = "",
) -> Reply:
    """Log in to a mail server; ``email to`` and ``sms to`` send through it.

    ssl = true: TLS from the first byte, port 465; else STARTTLS, port 587, and nothing is sent without it. A relay of
    the own network may do with starttls = false, and without a password. ``ca``: the authority of the server's
    certificate, a file in PEM form. Mails that wait are on disk, and are sent when the client runs again.
    """
    running = ctx.services.get(SmtpClient.name)
    if isinstance(running, SmtpClient):
        used = running.config
        raise ServiceError(
            f"SMTP client is running using {used.host} with email {used.email}", hint="end it first: exit smtp"
        )
    mailbox(email, "email =")
    config = SmtpConfig(host, port or (465 if ssl else 587), email, password, ssl, starttls, Tls(ca))

    def tell(text: str, failed: bool) -> None:
        (ctx.logs.error if failed else ctx.logs.event)(text, kind="SMTP", thread=SmtpClient.name)

    await ctx.services.start(SmtpClient(config, Outbox(ctx.directories.root / "data" / "mail"), tell))
    return Reply.done()


@command(
    "email to",
    cls=CommandClass.ADMIN,
    topics=("mail", "script"),
    examples=(
        "email to a@example.com",
        'email to a@example.com where subject = "Motor 1" and message = "It is hot" and message = !temperature',
    ),
)
async def email_to(ctx: Context, to: str, *, subject: str = _SUBJECT, message: list[str] | None = None) -> Reply:
    """Send a mail; each message is a line of it.

    The command waits up to 10 seconds for the mail server. A mailbox that it refuses is an error; while the server
    cannot be reached the mail is kept on disk and sent again, for 24 hours at most, and the reply says so.
    """
    return await _send(ctx, new_mail(to, subject, message or _default(ctx)))


@command(
    "sms to",
    cls=CommandClass.ADMIN,
    topics=("mail", "script"),
    examples=('sms to 6505551234 where gateway = sms.example.com and message = "Motor 1 is hot"',),
)
async def sms_to(
    ctx: Context, to: str, *, gateway: str, subject: str = _SUBJECT, message: list[str] | None = None
) -> Reply:
    """Send a text message, as a mail to NUMBER@GATEWAY: phone companies name the gateway of their customers."""
    if not _NUMBER.fullmatch(to):
        raise CommandError(f"'{to[:40]}' is no phone number", hint="sms to 6505551234 where gateway = ...")
    return await _send(ctx, new_mail(f"{to}@{gateway}", subject, message or _default(ctx)))


def _default(ctx: Context) -> list[str]:
    return [f"AnyLog Network Alert from Node: {ctx.node.name}"]


async def _send(ctx: Context, mail: Mail) -> Reply:
    client = ctx.services.get(SmtpClient.name)
    if not isinstance(client, SmtpClient):
        raise ServiceError(_NOT_RUNNING, hint="start it: run smtp client where ...")
    outcome = await client.send(mail)
    if outcome.state == "refused":
        raise ServiceError(
            f"{client.config.host} does not take the mail: {outcome.reason}", hint="it is not sent again"
        )
    if outcome.state == "waiting":
        return Reply.of_text(f"The mail waits and is sent again: {client.config.host}: {outcome.reason}")
    return Reply.done()


@command(
    "get smtp client",
    cls=CommandClass.DATA,
    topics=("mail", "status"),
    examples=("get smtp client", "get smtp client where format = json"),
)
async def get_smtp_client(ctx: Context) -> Reply:
    """The mail server, mails that were sent, refused or wait, the last error, and when it is tried again."""
    client = ctx.services.get(SmtpClient.name)
    if not isinstance(client, SmtpClient):
        return Reply.of_data({}, text=_NOT_RUNNING)
    config, counts = client.config, client.counts
    pause_s = client.pause_s
    data = {
        "Host": config.host,
        "Port": config.port,
        "Email": config.email,
        "Security": config.security,
        "Login": bool(config.password),
        "Connected": client.is_connected,
        "Sent": counts.sent,
        "Waiting": client.waiting,
        "Refused": counts.refused,
        "Expired": counts.expired,
        "Failed Attempts": counts.failed_attempts,
        "Last Sent": _time(counts.last_sent_us),
        "Last Error": counts.last_error,
        "Last Error Time": _time(counts.last_error_us),
        "Next Attempt (seconds)": round(pause_s, 1) if pause_s else "",
    }
    rows = [(name, str(value) if name == "Port" else value) for name, value in data.items()]
    return Reply.of_table(Table(("Attribute", "Value"), rows), data=data)


def _time(at_us: int) -> str:
    return str(datetime.fromtimestamp(at_us / 1e6).replace(microsecond=0)) if at_us else ""
