"""The synchroniser: keeps the local copy of the ledger as the master, the chain or the table has it.

Source: spec metadata, sections 9.3 and 10; network protocol, section 6.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from edgelake.errors import EdgeLakeError, NotPermittedError, error
from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.metadata.ledger import NO_VERSION, TOMBSTONE
from edgelake.metadata.master import Master
from edgelake.metadata.merge import Merged, describe
from edgelake.metadata.network import REFUSALS, Network, failure
from edgelake.metadata.platforms import Platforms
from edgelake.metadata.policies import Policies
from edgelake.metadata.policy import wire
from edgelake.model import Status
from edgelake.peering import Peers

log = logging.getLogger(__name__)

ROW = "Blockchain Sync"
FIRST_COPY_S = 5.0
"""Longest time that a round waits for the first copy of the ledger."""

ASK_S = 15.0
PENDING_S = 120.0
"""How long a master may take to send the copy that was asked for."""

MAX_PAUSE_S = 60.0
RESEND_S = 5.0
MAX_RESEND_S = 3600.0
SOON_S = 0.2
"""After a change was sent: time for it to arrive at the master."""


class SyncConfig(Struct, frozen=True):
    """Options of ``run blockchain sync``.

    Attributes:
        connection: ``ip:port`` of the master; "" = of the master's policy.
        to_table: the table ``ledger`` gets the policies too.
    """

    source: Literal["master", "blockchain", "dbms"]
    seconds: float
    connection: str = ""
    platform: str = ""
    to_table: bool = False


class _Resend(Struct):
    """When a change of this node that does not arrive is sent the next time."""

    at: float = 0.0
    pause_s: float = 0.0


class Synchronizer:
    """Asks for what is new, round by round, and merges it."""

    name = "synchronizer"

    def __init__(
        self, config: SyncConfig, policies: Policies, network: Network, master: Master, platforms: Platforms
    ) -> None:
        self.config = config
        self._policies = policies
        self._network = network
        self._master = master
        self._platforms = platforms
        self._connection = config.connection
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pending: dict[str, float] = {}
        self._resends: dict[str, _Resend] = {}
        self._cursor = self._cursor_version = ""
        self._failing = ""
        self._failures = 0
        self._since_us = 0
        self._updated: float | None = None
        self._arrived = asyncio.Event()
        self.calls = self.loads = self.merged = self.failed = 0
        self.rounds = asyncio.Condition()

    async def start(self) -> None:
        """Raises EdgeLakeError: 19 and 81 platform, 58 no table; the first round begins at once."""
        if self.config.source == "blockchain":
            self._platforms.get(self.config.platform)
        if (self.config.source == "dbms" or self.config.to_table) and not self._master.exists:
            raise error(58, "there is no table blockchain.ledger", hint="create table ledger where dbms = blockchain")
        self._since_us = time.time_ns() // 1000
        self._policies.on_sent = self._sent
        if self.config.source == "dbms":
            self._master.on_change = self.force
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """End after what is being merged. Idempotent."""
        task, self._task, self._since_us = self._task, None, 0
        if task is not None:
            self._policies.on_sent = lambda: None
            self._master.on_change = lambda: None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def force(self) -> None:
        """Begin a round now."""
        self._wake.set()

    async def round(self, *, timeout_s: float) -> bool:
        """Force a round and wait until one that began after this call has ended; False when the time is over."""
        wanted = self.calls + 1  # the one that may be under way counts already
        self.force()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.rounds:
                await self.rounds.wait_for(lambda: self.calls >= wanted and not self._in_round)
                return True
        return False

    def switch(self, connection: str) -> None:
        """Use another master from the next round on (``blockchain switch network``)."""
        self._connection = connection
        self._pending.clear()
        self._resends.clear()
        self.force()

    # ---- what is shown

    @property
    def connection(self) -> str:
        """As ``get synchronizer`` shows it."""
        if self.config.source == "dbms":
            return "table blockchain.ledger"
        return self.config.platform if self.config.source == "blockchain" else self._peer() or "Not declared"

    def status(self) -> Status:
        seconds = f"{self.config.seconds:g}"
        if self.config.source == "master":
            source = f"master using: {self.connection}"
        else:
            source = f"{self.config.source} using: {self.connection}"
        details = f"Sync every {seconds} seconds with {source}" + (f". {self._failing}" if self._failing else "")
        counters: dict[str, int | float] = {"calls": self.calls, "merged": self.merged, "failed": self.failed}
        return Status(ROW, self._task is not None, details, self._since_us, self._failing, counters)

    def columns(self) -> tuple[object, ...]:
        """The row of ``get synchronizer``."""
        elapsed = "Not updated"
        if self._updated is not None:
            minutes, seconds = divmod(int(asyncio.get_running_loop().time() - self._updated), 60)
            elapsed = f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
        seconds_shown = int(self.config.seconds) if self.config.seconds.is_integer() else self.config.seconds
        return (
            "Running",
            "DBMS" if self.config.source == "dbms" else self.config.source,
            self.connection,
            seconds_shown,
            self._policies.version,
            elapsed,
            self.calls,
            self.loads,
            len(self._policies.image),
            self.merged,
            self.failed,
        )

    # ---- rounds

    _in_round = False

    async def _run(self) -> None:
        while True:
            self._in_round = True
            self.calls += 1
            try:
                await self._round()
                self._recovered()
            except EdgeLakeError as problem:
                self._fails(problem)
            except Exception as fault:
                log.exception("fault in the synchroniser")
                self._fails(fault)
            finally:
                self._in_round = False
            async with self.rounds:
                self.rounds.notify_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            self._wake.clear()

    def _pause_s(self) -> float:
        """The time between rounds; longer while the source fails."""
        longest = max(self.config.seconds, MAX_PAUSE_S)
        return min(self.config.seconds * float(1 << min(self._failures, 16)), longest)

    async def _round(self) -> None:
        if self.config.source == "dbms":
            await self._from_table()
        elif self.config.source == "blockchain":
            await self._from_chain()
        else:
            await self._from_master()
        self.merged += 1
        await self._resend(self._policies.unconfirmed)

    async def _from_table(self) -> None:
        data, version = await self._master.content()
        if version != self._policies.shared_version or self._policies.version == NO_VERSION:
            await self._merge(data)

    async def _from_chain(self) -> None:
        fresh = self._cursor_version != self._policies.shared_version
        pulled = await self._platforms.get(self.config.platform).pull("" if fresh else self._cursor)
        if pulled.full:
            ordered = sorted(pulled.policies, key=lambda p: str(body_of(p).get("date", "")))
            await self._merge("".join(wire(p) + "\n" for p in ordered).encode() or b"\n")
        elif pulled.policies or pulled.removed:
            lines = [wire(p) for p in pulled.policies]
            await self._took(await self._policies.change(lines, pulled.removed, since=self._cursor_version))
        self._cursor, self._cursor_version = pulled.cursor, self._policies.shared_version

    async def _from_master(self) -> None:
        peer = self._peer()
        if not peer:
            raise error(81, "no master is known", hint="connection = ip:port, or a master policy")
        if self._network.is_here(peer):
            await self._from_table()
            return
        peers = self._network.peers
        if not peers.is_upgraded(peer) or not await self._ask_changes(peers, peer):
            await self._ask_copy(peers, peer)

    async def _ask_changes(self, peers: Peers, peer: str) -> bool:
        """What changed, from a master of our kind; False when the whole copy is needed."""
        since = self._policies.shared_version
        answer = (await peers.ask([peer], f"blockchain changes {since}", timeout_s=ASK_S))[0]
        if answer.error:
            raise failure(answer.error, answer.text or f"{peer} did not answer in {ASK_S:g} s")
        try:
            told = json.loads(answer.text)
            version, added, removed = str(told["version"]), told.get("added", []), told.get("removed", [])
            fits = all(isinstance(one, str) for one in (*added, *removed))
        except (ValueError, KeyError, TypeError, AttributeError):
            fits = False
        if not fits or told.get("full"):
            return False
        if version == since and self._policies.version != NO_VERSION:
            return True
        if since == NO_VERSION:
            return False
        try:
            await self._took(await self._policies.change(added, removed, since=since, version=version))
        except EdgeLakeError as problem:
            if problem.number != 69:
                raise
            log.warning("changes from %s were passed over, the whole copy is asked for: %s", peer, problem)
            return False
        return True

    async def _ask_copy(self, peers: Peers, peer: str) -> None:
        for address in await _addresses_of(peer):
            self._pending[address] = asyncio.get_running_loop().time() + PENDING_S
        wanted = str(self._policies.path.with_suffix(".new")).replace(" ", "\t")
        since = self._policies.shared_version
        self._arrived.clear()
        await peers.tell(peer, f"event get_blockchain {wanted} {since} 0")
        if since == NO_VERSION:
            # The first copy always comes, and nothing is known before it. Later ones come only when something changed.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_COPY_S):
                    await self._arrived.wait()

    async def on_ledger(self, peer: str, name: str, path: Path) -> None:
        """A copy of the ledger has arrived from ``peer`` as the file ``path``, named ``name`` by it.

        Raises EdgeLakeError: 212 it was not asked for, 59 empty, 69 not readable, 63 disk; the copy here stays then.
        """
        if not self.expects(peer, name):
            raise NotPermittedError(f"no copy of the ledger was asked of {peer}")
        try:
            await self._merge(await asyncio.to_thread(path.read_bytes))
        except (EdgeLakeError, OSError) as problem:
            self.failed += 1
            log.error("the copy of the ledger from %s is refused, the one here stays: %s", peer, problem)
            raise
        finally:
            self._arrived.set()
        await self._resend(self._policies.unconfirmed)

    def expects(self, peer: str, name: str) -> bool:
        """Whether a pull to that master is pending. It may name itself by its other address."""
        now = asyncio.get_running_loop().time()
        self._pending = {one: until for one, until in self._pending.items() if until > now}
        base = Path(name).name
        known = {*self._pending}
        for policy in self._policies.of_type("master"):
            body = body_of(policy)
            addresses = {f"{body.get(ip)}:{body.get('port')}" for ip in ("ip", "local_ip")}
            known |= addresses if addresses & known else set()
        return peer in known and base.startswith(self._policies.path.stem) and base.endswith(".new")

    async def _merge(self, data: bytes) -> None:
        await self._took(await self._policies.merge(data))

    async def _took(self, merged: Merged | None) -> None:
        if merged is None:
            return
        self.loads += 1
        self._updated = asyncio.get_running_loop().time()
        if self.config.to_table and self.config.source != "dbms":
            shared = [p for p in self._policies.image.policies if body_of(p).get("ledger") != "local"]
            await self._master.feed(shared, exactly=True)

    # ---- changes of this node that are not in the shared ledger yet

    async def _resend(self, changes: Sequence[Policy]) -> None:
        """Send again what is due: at once, then at longer and longer times."""
        now = asyncio.get_running_loop().time()
        known = self._resends
        # What was made since the start has just been sent; what was there before has waited long enough.
        begin = now if self.calls <= 1 else now + min(self.config.seconds, RESEND_S)
        self._resends = {id_of(p): known.get(id_of(p)) or _Resend(begin) for p in changes}
        for policy in changes:
            timer = self._resends[id_of(policy)]
            if timer.at > now:
                continue
            timer.pause_s = min(timer.pause_s * 2 or max(self.config.seconds, RESEND_S), MAX_RESEND_S)
            timer.at = now + timer.pause_s
            try:
                await self._send(policy)
            except EdgeLakeError as problem:
                if type_of(policy) != TOMBSTONE and problem.number in REFUSALS:
                    log.error("the %s is dropped, it was refused: %s", describe(policy), problem)
                    await self._policies.forget(id_of(policy))
                else:
                    log.warning("the %s is not in the shared ledger yet: %s", describe(policy), problem)

    async def _send(self, policy: Policy) -> None:
        policy_id, drops = id_of(policy), type_of(policy) == TOMBSTONE
        if self.config.source == "blockchain":
            chain = self.config.platform
            await (self._network.delete(chain, policy_id) if drops else self._network.insert(chain, policy))
        elif self.config.source == "dbms":
            await (self._master.drop([policy_id]) if drops else self._master.push(policy, ignore=True))
        elif peer := self._peer():
            if not drops:
                await self._network.push(peer, policy, again=True)
            elif not await self._network.drop(peer, policy_id):
                await self._policies.forget(policy_id)  # nothing is left to be deleted
        self._sent()

    def _sent(self) -> None:
        """A change was sent: it is asked for soon, unless the source fails."""
        if not self._failing and self._task is not None:
            asyncio.get_running_loop().call_later(min(SOON_S, self.config.seconds), self.force)

    def _peer(self) -> str:
        return self._connection or self._policies.select("blockchain get master bring.ip_port").text.partition(",")[0]

    # ---- how it goes

    def _fails(self, problem: Exception) -> None:
        self.failed += 1
        self._failures += 1
        text = f"{problem.detail or problem.text}" if isinstance(problem, EdgeLakeError) else repr(problem)
        kind = "Master" if self.config.source == "master" else self.config.source
        said = f"Synchronizer process failed to connect to {kind} using {self.connection} with error: '{text}'"
        if not self._failing:
            log.error("%s", said)
        self._failing = said

    def _recovered(self) -> None:
        if self._failing:
            log.info("the synchroniser reaches %s again", self.connection)
        self._failing, self._failures = "", 0


async def _addresses_of(peer: str) -> set[str]:
    """A peer as messages may name it: a host name stands for its addresses, too."""
    host, _, port = peer.rpartition(":")
    found = {peer}
    with contextlib.suppress(OSError, UnicodeError):
        listed = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found |= {f"{address[0]}:{port}" for *_, address in listed}
    return found
