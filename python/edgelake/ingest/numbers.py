"""Numbers of the own files go on behind those that the other members know.

A member that comes back empty, or from an old backup, does not know how far it had come; the others do. They are asked
when an operator starts, before the first file gets a number: a number that is given twice would stand for two files.
Members that do not answer in time are not waited for: what they know is taken note of when the consumer asks them.
Source: spec "Security and high availability", section 11.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from edgelake.errors import EdgeLakeError
from edgelake.ingest.delivery import GET_RANGE, time_text
from edgelake.ingest.members import MemberFiles
from edgelake.ingest.settings import OperatorConfig
from edgelake.metadata.routing import Operator as Member
from edgelake.peering import Peers
from edgelake.store.tsd import tsd_name

log = logging.getLogger(__name__)

ANSWER_S: Final = 3.0
"""Longest time that files wait for their numbers when an operator starts."""


class OwnNumbers:
    """Asks the members, and holds back new numbers until they have answered.

    Args:
        operator: what runs here; None = no operator.
        members: the other members of its cluster.
        hosts_of: addresses from which a member may answer.
    """

    def __init__(
        self,
        files: MemberFiles,
        peers: Callable[[], Peers],
        operator: Callable[[], OperatorConfig | None],
        members: Callable[[], Sequence[Member]],
        hosts_of: Callable[[Member], frozenset[str]],
    ) -> None:
        self._files, self._peers, self._operator = files, peers, operator
        self._members, self._hosts_of = members, hosts_of
        self._open: list[tuple[frozenset[str], asyncio.Future[int]]] = []
        self._settled = threading.Event()
        self._settled.set()
        self._asking: asyncio.Task[None] | None = None

    def hold(self) -> None:
        """An operator is about to start: no numbers until ``ask`` has ended, or ``release``."""
        self._settled.clear()

    def release(self) -> None:
        self._settled.set()

    def ask(self) -> None:
        """It runs: ask the members."""
        self._asking = asyncio.create_task(self._ask(), name="own numbers")

    async def stop(self) -> None:
        """Ask no more. Idempotent."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        self.release()

    async def _ask(self) -> None:
        try:
            config = self._operator()
            if config is not None and config.update_tsd_info and config.cluster:
                await asyncio.gather(*(self._last_at(one, config.member) for one in self._members()))
        except EdgeLakeError as failure:
            log.warning("members were not asked how far the own files had come: %s", failure)
        finally:  # files wait for it, whatever has happened
            self._settled.set()

    async def _last_at(self, member: Member, own: int) -> None:
        """Go on behind the last number that a member knows."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        question = (self._hosts_of(member), answer)
        self._open.append(question)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._peers().tell(member.address, f"event {GET_RANGE} {tsd_name(own)} {time_text(0)} 0")
                await self._files.reserve(await answer)
        except (EdgeLakeError, TimeoutError) as failure:
            log.info("member %d does not say which files of this node it has: %s", member.member, failure or "time out")
        finally:
            self._open.remove(question)

    def told(self, member: int, last: int, host: str) -> bool:
        """A member says which is the last file of this node that it has; whether somebody waits for that."""
        config = self._operator()
        if config is None or member != config.member:
            return False
        for hosts, answer in self._open:
            if host in hosts and not answer.done():
                answer.set_result(last)
                return True
        return False

    def wait(self) -> None:
        """Returns when numbers may be given. From a thread other than the loop's."""
        self._settled.wait(2 * ANSWER_S)

    async def settled(self) -> None:
        """As ``wait``, on the loop."""
        if not self._settled.is_set() and self._asking is not None:
            await asyncio.wait([self._asking])
