"""One mail: what is kept of it, and its form on the wire."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec

from edgelake.errors import CommandError

if TYPE_CHECKING:
    from email.message import EmailMessage

LONGEST_BYTES: Final = 64 << 10
LONGEST_SUBJECT: Final = 500
_MAILBOX: Final = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x20\x7f]{1,64}@[^\s@<>()\[\],;:\\\"\x00-\x20\x7f]{1,255}")


class Mail(msgspec.Struct, frozen=True):
    """A text to one mailbox.

    Attributes:
        id: also of the Message-ID, so that a mail that arrives twice is known as one.
        created_us: microseconds UTC.
    """

    id: str
    to: str
    subject: str
    text: str
    created_us: int

    def message(self, sender: str) -> EmailMessage:
        """The mail as it is sent."""
        from email.message import EmailMessage  # loaded by nodes that send mail
        from email.utils import formatdate

        made = EmailMessage()
        made["From"] = sender
        made["To"] = self.to
        made["Subject"] = self.subject
        made["Date"] = formatdate(self.created_us / 1e6)
        made["Message-ID"] = f"<{self.id}@{sender.rpartition('@')[2]}>"
        made["Auto-Submitted"] = "auto-generated"
        made.set_content(self.text)
        return made


def mailbox(text: str, what: str) -> str:
    """A mailbox ``name@host``. Raises CommandError."""
    if not _MAILBOX.fullmatch(text):
        raise CommandError(f"{what} '{text[:100]}' is no mailbox", hint="write name@host")
    return text


def new_mail(to: str, subject: str, lines: list[str]) -> Mail:
    """A mail of now. Raises CommandError for a mailbox that is none, and for a text that is too long."""
    text = "\n".join(lines) + "\n"
    if len(text.encode()) > LONGEST_BYTES:
        raise CommandError(f"the mail is longer than {LONGEST_BYTES >> 10} KiB", hint="send a summary")
    subject = " ".join(subject.split())[:LONGEST_SUBJECT]  # a line break would begin another header
    return Mail(secrets.token_hex(12), mailbox(to, "the recipient"), subject, text, time.time_ns() // 1000)
