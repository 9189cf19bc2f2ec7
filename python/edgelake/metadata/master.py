"""The ledger of a master: its table, what it answers to nodes that ask for the policies, and what changed since.

Source: spec metadata, sections 9 to 11 and 15; network protocol, section 6.3.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.checks import check_unique
from edgelake.metadata.ids import Policy, body_of, complete, id_of, type_of, with_ledger
from edgelake.metadata.image import Image
from edgelake.metadata.ledger import md5
from edgelake.metadata.policy import check_structure, parse_policy, wire

log = logging.getLogger(__name__)

MASTER = "master"
"""Name of the node's part that holds its ``Master``."""

LOG_BYTES = 4 << 20
"""Changes that are kept for nodes that ask what is new; older ones get the whole ledger."""

ANSWER_BYTES = 1 << 20
"""Longest answer with changes: beyond it the whole ledger is the better answer."""

Row = tuple[str, str, str, str, str, str]


class Rows(Protocol):
    """The table as the ledger sees it (``store.ledger.LedgerTable``)."""

    @property
    def exists(self) -> bool: ...

    async def create(self) -> None: ...
    async def drop(self) -> None: ...
    async def change(self, removed: Sequence[str], added: Sequence[Row]) -> tuple[int, ...]: ...
    async def ids_of_host(self, host: str) -> list[str]: ...
    async def rows(self) -> list[tuple[int, str]]: ...
    async def stamp(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    """A policy of the ledger; in the order of its date, and in the order in which they came."""

    date: str
    number: int
    policy_id: str = field(compare=False)
    line: bytes = field(compare=False)


class _Step(Struct):
    """From one version to the next: lines that came, ids that went."""

    before: str
    added: dict[str, str]
    removed: dict[str, None]

    @property
    def size_bytes(self) -> int:
        return 100 + sum(map(len, self.added.values())) + 40 * len(self.removed)


class _Copy:
    """The ledger in memory, as it stands in the table, and its version."""

    def __init__(self, entries: Iterable[_Entry], image: Image) -> None:
        self.entries = sorted(entries)
        self.by_id = {entry.policy_id: entry for entry in self.entries}
        self.image = image
        self._hash = md5()
        self._hashed = 0
        self._stale = False

    def add(self, entry: _Entry, policy: Policy) -> None:
        at = bisect.bisect(self.entries, entry)
        self._stale = self._stale or at < self._hashed
        self.entries.insert(at, entry)
        self.by_id[entry.policy_id] = entry
        self.image = self.image.added(policy)

    def remove(self, policy_ids: Sequence[str]) -> None:
        for policy_id in policy_ids:
            entry = self.by_id.pop(policy_id)
            at = bisect.bisect_left(self.entries, entry)
            self._stale = self._stale or at < self._hashed
            del self.entries[at]
        self.image = self.image.removed(*policy_ids)

    @property
    def is_stale(self) -> bool:
        """Whether all lines have to be hashed again for the version: a policy came or went before the last ones."""
        return self._stale

    def version(self) -> str:
        """md5 of :meth:`content`; policies at the end cost no second pass over those before."""
        if self._stale:
            self._hash, self._hashed, self._stale = md5(), 0, False
        for entry in self.entries[self._hashed :]:
            self._hash.update(entry.line + b"\n")
        self._hashed = len(self.entries)
        return self._hash.hexdigest() if self.entries else md5(b"\n").hexdigest()

    def content(self) -> bytes:
        """As a file: one policy a line; an empty ledger is a single newline."""
        return b"".join(entry.line + b"\n" for entry in self.entries) or b"\n"


class Master:
    """The ledger of a network, on the node that keeps it. One change at a time; changes are durable on return.

    Args:
        rows: the table; a node without it is no master.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lock = asyncio.Lock()
        self._copy: _Copy | None = None
        self._stamp: tuple[int, int] = (0, 0)
        self._steps: deque[_Step] = deque()
        self._steps_bytes = 0
        self.on_change: Callable[[], None] = lambda: None

    @property
    def exists(self) -> bool:
        """Whether this node has the table."""
        return self._rows.exists

    async def create_table(self) -> None:
        """Raises DatabaseMissingError without the database ``blockchain``."""
        await self._rows.create()

    async def drop_table(self) -> None:
        """Raises DatabaseMissingError, TableMissingError."""
        async with self._lock:
            await self._rows.drop()
            self._copy = None

    # ---- changes

    async def push(self, policy: Policy, *, host: str = "", ignore: bool = False) -> str:
        """Add a policy that was made here or by a peer; returns its id.

        Args:
            host: of the node that sent it.
            ignore: a policy whose id is known is no error, it has arrived before.

        Raises EdgeLakeError: 30 known id, 180 and 149 not unique, 87 structure, DatabaseError.
        """
        ready = complete(check_structure(policy))
        if body_of(ready).get("ledger") != "global":
            ready = with_ledger(ready, "global")
        policy_id = id_of(ready)
        if not self.exists:
            await self.create_table()
        async with self._lock:
            copy = await self._fresh()
            if policy_id in copy.by_id:
                if ignore:
                    return policy_id
                raise error(30, f"UNIQUE constraint failed: ledger.policy_id, {policy_id}", policy=policy_id)
            check_unique(ready, copy.image)
            await self._change(copy, (), [ready], host)
        return policy_id

    async def drop(self, policy_ids: Sequence[str]) -> None:
        """Remove policies. Raises EdgeLakeError (101) when one is unknown; the others are removed all the same."""
        async with self._lock:
            copy = await self._fresh()
            known = [one for one in dict.fromkeys(policy_ids) if one in copy.by_id]
            if known:
                await self._change(copy, known, (), "")
        if missing := [one for one in dict.fromkeys(policy_ids) if one not in known]:
            raise error(101, f"no policy with id = {', '.join(missing)} in the ledger")

    async def drop_host(self, host: str) -> int:
        """Remove all that a node has sent; returns how many there were."""
        async with self._lock:
            copy = await self._fresh()
            known = [one for one in await self._rows.ids_of_host(host) if one in copy.by_id]
            if known:
                await self._change(copy, known, (), "")
        return len(known)

    async def replace(self, policy_id: str, policy: Policy, *, host: str = "") -> None:
        """Put another policy of the same type in the place of one; the id stays.

        Raises EdgeLakeError: 101 unknown id, 87 another type, 180 and 149 not unique.
        """
        async with self._lock:
            copy = await self._fresh()
            old = copy.image.get(policy_id)
            if old is None:
                raise error(101, f"no policy with id = {policy_id} in the ledger")
            if type_of(old) != type_of(policy):
                raise error(87, f"a '{type_of(old)}' policy can't become a '{type_of(policy)}' policy")
            new = with_ledger(complete({type_of(policy): {**body_of(policy), "id": policy_id}}), "global")
            check_unique(new, copy.image)
            await self._change(copy, [policy_id], [new], host)

    async def feed(self, policies: Sequence[Policy], *, exactly: bool = False) -> int:
        """Add those that are not there; returns how many. ``exactly``: all others are removed."""
        async with self._lock:
            copy = await self._fresh()
            given = {id_of(p): p for p in policies}
            new = [with_ledger(p, "global") for key, p in given.items() if key not in copy.by_id]
            gone = [key for key in copy.by_id if key not in given] if exactly else []
            if new or gone:
                await self._change(copy, gone, new, "")
        return len(new)

    async def _change(self, copy: _Copy, removed: Sequence[str], added: Sequence[Policy], host: str) -> None:
        version = await _version(copy)
        rows: list[Row] = []
        for policy in added:
            body = body_of(policy)
            company, date = str(body.get("company", "")), str(body.get("date", ""))
            rows.append((type_of(policy), id_of(policy), company, date, host, wire(policy)))
        numbers = await self._rows.change(removed, rows)
        self._stamp = await self._rows.stamp()
        copy.remove(removed)
        for number, policy, row in zip(numbers, added, rows, strict=True):
            copy.add(_Entry(row[3], number, row[1], row[5].encode()), policy)
        self._remember(version, {row[1]: row[5] for row in rows}, removed)
        self.on_change()

    # ---- reading

    async def version(self) -> str:
        """md5 of the ledger as a file."""
        async with self._lock:
            return await _version(await self._fresh())

    async def content(self) -> tuple[bytes, str]:
        """The ledger as a file, and its md5. Raises EdgeLakeError, DatabaseError."""
        async with self._lock:
            copy = await self._fresh()
            return copy.content(), await _version(copy)

    async def policies(self) -> tuple[Policy, ...]:
        """In the order of the file."""
        async with self._lock:
            return tuple(parse_policy(entry.line.decode()) for entry in (await self._fresh()).entries)

    async def changes(self, since: str) -> dict[str, Any]:
        """What a node of our kind is told that has the version ``since``.

        ``version``, and either ``added`` (lines) and ``removed`` (ids; they go first), or neither when it is up to
        date, or ``full``: it has to ask for the whole ledger.
        """
        async with self._lock:
            copy = await self._fresh()
            version = await _version(copy)
            if since == version:
                return {"version": version}
            steps = list(self._steps)
            first = next((at for at in reversed(range(len(steps))) if steps[at].before == since), None)
            if first is None:
                return {"version": version, "full": True}
            added: dict[str, str] = {}
            removed: dict[str, None] = {}
            for step in steps[first:]:
                for gone in step.removed:
                    if added.pop(gone, None) is None:
                        removed[gone] = None
                added.update(step.added)
            if sum(map(len, added.values())) + 40 * len(removed) > ANSWER_BYTES:
                return {"version": version, "full": True}
            return {"version": version, "added": list(added.values()), "removed": list(removed)}

    def _remember(self, before: str, added: dict[str, str], removed: Iterable[str]) -> None:
        step = _Step(before, added, dict.fromkeys(removed))
        self._steps.append(step)
        self._steps_bytes += step.size_bytes
        while self._steps_bytes > LOG_BYTES:
            self._steps_bytes -= self._steps.popleft().size_bytes

    async def _fresh(self) -> _Copy:
        """The copy in memory, read again when SQL has changed the table behind it."""
        stamp = await self._rows.stamp()
        if self._copy is None or stamp != self._stamp:
            rows = await self._rows.rows()
            new = await asyncio.to_thread(_read, rows)
            if self._copy is not None and (old := self._copy).version() != new.version():
                added = {k: e.line.decode() for k, e in new.by_id.items() if old.by_id.get(k) != e}
                self._remember(old.version(), added, (k for k, e in old.by_id.items() if new.by_id.get(k) != e))
                self.on_change()
            self._copy, self._stamp = new, stamp
        return self._copy


async def _version(copy: _Copy) -> str:
    return await asyncio.to_thread(copy.version) if copy.is_stale else copy.version()


def _read(rows: Sequence[tuple[int, str]]) -> _Copy:
    entries, policies = [], []
    for number, text in rows:
        try:
            policy = parse_policy(text)
            line = json.dumps(policy).encode() if "\n" in text else text.encode()
        except (EdgeLakeError, UnicodeEncodeError) as problem:
            log.error("row %d of the ledger is passed over: %s", number, problem)
            continue
        if policy_id := id_of(policy):
            entries.append(_Entry(str(body_of(policy).get("date", "")), number, policy_id, line))
            policies.append(policy)
    copy = _Copy(entries, Image.of(policies))
    copy.version()
    return copy
