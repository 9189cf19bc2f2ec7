"""Commands that wait for the replies of peers (network protocol, section 7)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgelake._rust import PeerMessage
from edgelake.errors import error
from edgelake.peering import NO_ANSWER, PeerAnswer

LOCATIONS = 1 << 16
MAX_JOBS = 10_000
MAX_NOT_AN_ERROR = 1000
"""Codes above this are no errors."""


@dataclass(slots=True)
class Job:
    """One command to some peers.

    Attributes:
        location, number: how replies name it; a peer echoes both.
        sent_to: by receiver, the address that was connected to; a reply must come from there.
        answers: by receiver; None = not yet.
    """

    location: int
    number: int
    peers: tuple[str, ...]
    sent_to: list[str]
    answers: list[PeerAnswer | None]
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, receiver: int, answer: PeerAnswer) -> None:
        """The first answer of a receiver counts."""
        if self.answers[receiver] is None:
            self.answers[receiver] = answer
        if None not in self.answers:
            self.done.set()

    def result(self) -> list[PeerAnswer]:
        """What there is; peers that are silent are said to be."""
        silent = "no answer in time"
        return [
            answer or PeerAnswer(peer, silent, error=NO_ANSWER)
            for peer, answer in zip(self.peers, self.answers, strict=True)
        ]


class Jobs:
    """The jobs that run. Locations and numbers are random: nobody else can answer by counting on."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def begin(self, peers: Sequence[str]) -> Job:
        """A job that waits for these. Raises EdgeLakeError (108) when too many wait."""
        if len(self._jobs) >= MAX_JOBS:
            raise error(108, f"{MAX_JOBS} commands wait for peers already")
        location = secrets.randbelow(LOCATIONS)
        while location in self._jobs:
            location = secrets.randbelow(LOCATIONS)
        number = secrets.randbelow((1 << 32) - 1) + 1
        job = Job(location, number, tuple(peers), [""] * len(peers), [None] * len(peers))
        self._jobs[location] = job
        return job

    def end(self, job: Job) -> None:
        """Nobody waits any more; what comes later is dropped."""
        self._jobs.pop(job.location, None)

    def end_all(self, why: str) -> None:
        """Who waits gets what there is, and is told why nothing more comes."""
        for job in list(self._jobs.values()):
            for receiver, peer in enumerate(job.peers):
                job.put(receiver, PeerAnswer(peer, why, error=NO_ANSWER))

    def take(self, message: PeerMessage, ip: str) -> bool:
        """Hand a reply to its job. False, and counted, for one that nobody waits for or that another node sent."""
        location, number, _, receiver = message.job
        job = self._jobs.get(location)
        is_ours = job is not None and job.number == number and receiver < len(job.peers)
        if job is None or not is_ours or job.sent_to[receiver] != ip:
            self.dropped += 1
            return False
        code = message.error if message.error <= MAX_NOT_AN_ERROR else 0
        job.put(receiver, PeerAnswer(job.peers[receiver], _text(message), message.generic_flag == 2, code))
        return True


def _text(message: PeerMessage) -> str:
    """Text of a reply: its data, or what stands behind ``print`` or ``echo`` in the command."""
    if message.data:
        return message.data.decode(errors="replace")
    return message.command.partition(" ")[2].replace("\t", " ").strip()
