"""Mails that wait, on disk: a file for each, which goes when the server has taken it or refused it for good."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Final

import msgspec

from edgelake.durable import write_whole
from edgelake.errors import StorageFullError, error
from edgelake.net.smtp.mail import Mail

log = logging.getLogger(__name__)
MAX_MAILS: Final = 1000


class Outbox:
    """The folder of mails that wait. Its methods block: they belong in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> list[Mail]:
        """Mails that an earlier client left, the oldest first; a file that is none is set aside."""
        found: list[Mail] = []
        for path in self.folder.glob("*.json"):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Mail))
            except (msgspec.DecodeError, OSError) as problem:
                log.warning("mail %s cannot be read and is set aside: %s", path, problem)
                path.replace(path.with_suffix(".bad"))
        return sorted(found, key=lambda mail: mail.created_us)

    def keep(self, mail: Mail) -> None:
        """On return the mail is on disk. Raises StorageFullError, 63."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self.folder / f"{mail.id}.json", msgspec.json.encode(mail))
        except OSError as problem:
            if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFullError(f"'{self.folder}': no room for a mail", hint="make room") from None
            raise error(63, f"'{self.folder}': {problem.strerror or problem}") from None

    def drop(self, mail: Mail) -> None:
        """Forget a mail. Should this be lost in a crash, the mail is sent once more."""
        (self.folder / f"{mail.id}.json").unlink(missing_ok=True)
