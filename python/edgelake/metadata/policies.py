"""The node's policies: one image for readers, one ledger file, one writer at a time (spec: metadata, sections 2-9)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata import ledger
from edgelake.metadata.address import Addresses
from edgelake.metadata.bring import Answer
from edgelake.metadata.checks import completed
from edgelake.metadata.ids import Policy, body_of, complete, id_of, type_of, with_ledger
from edgelake.metadata.image import Image
from edgelake.metadata.ledger import LedgerFile
from edgelake.metadata.merge import Merged, describe, merge, tombstone, with_changes
from edgelake.metadata.network import REFUSALS, Network
from edgelake.metadata.policy import check_structure
from edgelake.metadata.select import Select

log = logging.getLogger(__name__)


class Policies:
    """Policies of a node.

    Reads (`get`, `find`, `select`) use the image that stands and need no lock. Changes are durable when the method
    returns; `watch` callbacks then see the new image.

    Args:
        path: the ledger file (``blockchain_file``).
        addresses: this node's own addresses, for ``bring.ip_port``.

    Attributes:
        network: sends changes to masters and platforms; set by the node.
        on_sent: called when a change was sent: it is soon in the shared ledger.
        shared_version: md5 of the shared ledger as it came last, "0" before.
    """

    def __init__(self, path: Path, addresses: Callable[[], Addresses] = Addresses) -> None:
        self._file = LedgerFile(path)
        self._addresses = addresses
        self._lock = asyncio.Lock()
        self._watchers: list[Callable[[Image], None]] = []
        self._own: dict[str, Policy] = {}  # policies and tombstones that only this node knows, by id
        self._last_date = ""  # of the shared policies; "~" = unknown, so that the next changes find it
        self.image = Image.of(())
        self.problems: list[str] = []
        self.network: Network | None = None
        self.on_sent: Callable[[], None] = lambda: None
        self.shared_version = ledger.NO_VERSION

    @property
    def path(self) -> Path:
        """The active ledger file."""
        return self._file.path

    @property
    def version(self) -> str:
        """md5 of the ledger file's bytes; "0" before a file exists."""
        return self._file.version

    @property
    def unconfirmed(self) -> list[Policy]:
        """What was made or deleted here and is not in the shared ledger yet; a deletion as its tombstone."""
        return list(self._own.values())

    def watch(self, changed: Callable[[Image], None]) -> None:
        """Call ``changed`` on the loop after every change of the image."""
        self._watchers.append(changed)

    async def load(self, path: Path | None = None) -> int:
        """Read the ledger file (another one from now on when ``path`` is given); returns the number of policies.

        Lines that can't be used are logged and kept in ``problems``. Raises EdgeLakeError (35).
        """
        async with self._lock:
            if path is not None and path != self._file.path:
                self._file = LedgerFile(path)
            contents = await asyncio.to_thread(self._file.load)
            await self._take(contents)
        return len(self.image)

    # ---- reading

    def get(self, policy_id: str) -> Policy | None:
        """The policy with this id."""
        return self.image.get(policy_id)

    def of_type(self, *types: str) -> Sequence[Policy]:
        """Policies of some types, in ledger order."""
        return self.image.of_type(*types)

    def find(self, kind: str, **attributes: Any) -> list[Policy]:
        """Policies of a type whose attributes equal the given ones."""
        if not attributes:
            return list(self.image.of_type(kind))
        candidates = self.image.find(*attributes, values=list(attributes.values()))
        return [
            p for p in candidates if type_of(p) == kind and all(body_of(p).get(k) == v for k, v in attributes.items())
        ]

    def select(self, command: str) -> Answer:
        """Answer a ``blockchain get`` (the whole command, or what follows those two words).

        Raises EdgeLakeError (2, 6, 11). ``blockchain read`` needs the file: use :meth:`read`.
        """
        return Select.parse(command).run(self.image, self._addresses())

    async def read(self, command: str) -> Answer:
        """Answer a ``blockchain read``: over the file's policies, without changes by ``anmp`` policies."""
        own = self._addresses()

        def answer() -> Answer:
            policies = self._contents().policies
            return Select.parse(command).run(Image.of(p for p in policies if type_of(p) != "anmp"), own)

        return await asyncio.to_thread(answer)

    def one(self, command: str) -> Policy:
        """The only policy that a condition selects. Raises EdgeLakeError (113 none, 215 several)."""
        found = Select.parse(command).policies(self.image)
        if not found:
            raise error(113, f"no policy satisfies '{command}'")
        if len(found) > 1:
            raise error(215, f"{len(found)} policies satisfy '{command}'", hint="name the id")
        return found[0]

    async def until(self, holds: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until a change of the policies makes ``holds`` true; False when the time is over."""
        changed = asyncio.Event()

        def woken(_: Image) -> None:
            changed.set()

        self._watchers.append(woken)
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    await changed.wait()
                    changed.clear()
            return True
        except TimeoutError:
            return False
        finally:
            self._watchers.remove(woken)

    # ---- making

    def checked(self, policy: Policy, *, complete_first: bool = True) -> Policy:
        """The policy with id, date and the defaults of its type, as it would be inserted. Raises EdgeLakeError.

        ``complete_first = False``: checks and defaults only (``create policy``), so that the defaults will count
        for the id.
        """
        policy = check_structure(policy)
        return completed(complete(policy) if complete_first else policy, self.image)

    async def insert(
        self, policy: Policy, *, local: bool = True, masters: Sequence[str] = (), chains: Sequence[str] = ()
    ) -> str:
        """Check a policy, put it in the local file and send it (section 9.1); returns its id.

        Raises EdgeLakeError: 70 known id, what the checks raise, 63 disk, and what a master refuses it with (then it is
        not kept here either). Beside a local write other failures of sending are warnings: the merge sends it later.
        """
        if not local and not masters and not chains:
            raise _no_target()
        async with self._lock:
            ready = self.checked(policy)
            if local:
                await self._append([with_ledger(ready, "local")])
        if masters or chains:
            await self._send(ready, local, masters, chains)
        return id_of(ready)

    async def _send(self, ready: Policy, local: bool, masters: Sequence[str], chains: Sequence[str]) -> None:
        network = self.network
        failed = await network.send(ready, masters, chains) if network else [_no_network()]
        refused = next((problem for problem in failed if problem.number in REFUSALS), None)
        if refused is not None:
            if local:
                await self.forget(id_of(ready))
            raise refused
        if failed and not local:
            raise failed[0]
        for problem in failed:
            log.warning("%s; it is kept here and sent again later", problem)
        if len(failed) < len(masters) + len(chains):
            self.on_sent()

    async def add(self, policies: Sequence[Policy]) -> list[str]:
        """Put policies in the local file as they are (``blockchain add``), each after its checks; returns the ids.

        Raises EdgeLakeError; the policies before the one at fault stay added.
        """
        added = []
        async with self._lock:
            for policy in policies:
                ready = self.checked(policy)
                await self._append([ready])
                added.append(id_of(ready))
        return added

    async def delete(
        self, policy_id: str, *, local: bool = True, masters: Sequence[str] = (), chains: Sequence[str] = ()
    ) -> None:
        """Remove a policy here, leave a tombstone for the next merge, and send the removal (section 9.2).

        Raises EdgeLakeError: 113 unknown id, 63 disk; without a local removal also what sending raises.
        """
        if not local and not masters and not chains:
            raise _no_target()
        if local:
            async with self._lock:
                if self.image.get(policy_id) is None:
                    raise error(113, f"no policy with id = {policy_id}")
                mark = tombstone(policy_id)
                await asyncio.to_thread(self._file.append, mark)
                self._own[policy_id] = mark
                self._publish(await self._without(policy_id))
        if masters or chains:
            network = self.network
            failed = await network.send_drop(policy_id, masters, chains) if network else [_no_network()]
            if failed and not local:
                raise failed[0]
            for problem in failed:
                log.warning("%s; it is repeated later", problem)
            self.on_sent()

    async def forget(self, policy_id: str) -> None:
        """Remove what the local file says of a policy, also that it was deleted: the shared ledger does without it."""
        async with self._lock:
            contents = await asyncio.to_thread(self._contents)
            kept = b"".join(line + b"\n" for key, (_, line) in contents.entries.items() if key != policy_id)
            marks = [tombstone(one) for one in contents.tombstones if one != policy_id]
            kept += ledger.lines(marks) if marks else b""
            await asyncio.to_thread(self._file.put, kept or b"\n")
            self._own.pop(policy_id, None)
            self._publish(await self._without(policy_id))

    async def replace(self, policy_id: str, policy: Policy) -> None:
        """Put another policy of the same type in the place of one; the id stays (``blockchain replace policy``).

        Raises EdgeLakeError (113 unknown id, 87 another type, what the checks raise, 63).
        """
        async with self._lock:
            old = self.image.get(policy_id)
            if old is None:
                raise error(113, f"no policy with id = {policy_id}")
            if type_of(old) != type_of(policy):
                raise error(87, f"a '{type_of(old)}' policy can't become a '{type_of(policy)}' policy")
            new = self.checked({type_of(policy): {**body_of(policy), "id": policy_id}})
            contents = await asyncio.to_thread(self._contents)
            changed = with_ledger(new, "local")
            kept = [changed if id_of(p) == policy_id else p for p in contents.policies]
            kept += [tombstone(gone) for gone in contents.tombstones]
            await self._take(await asyncio.to_thread(self._file.replace, ledger.lines(kept)))

    async def replace_file(self, data: bytes) -> int:
        """Make a copy of a ledger the active one (``blockchain update file``); returns the number of policies.

        Raises EdgeLakeError (59, 69, 63); the active copy then stays as it is.
        """
        async with self._lock:
            await self._take(await asyncio.to_thread(self._file.replace, data))
        return len(self.image)

    # ---- the shared ledger (section 9.3)

    async def merge(self, data: bytes) -> Merged | None:
        """Take a new copy of the shared ledger; None when nothing is new.

        Raises EdgeLakeError (59, 69, 63); the active copy then stays as it is.
        """
        async with self._lock:
            received = ledger.md5(data).hexdigest()
            if received == self.shared_version and self.version != ledger.NO_VERSION:
                return None
            new = await asyncio.to_thread(self._file.readable, data)
            self._report(new)
            merged = await asyncio.to_thread(lambda: merge(self._contents(), new))
            await self._put(merged, received)
            if merged.gone:
                log.log(
                    logging.WARNING if merged.gone > len(new.entries) else logging.INFO,
                    "%d policies are gone from the shared ledger: they were dropped, or its master was restored from "
                    "an older copy; the copy before is %s",
                    merged.gone,
                    self.path.with_suffix(".old"),
                )
            return merged

    async def change(
        self, added: Sequence[str], removed: Sequence[str], *, since: str, version: str = ""
    ) -> Merged | None:
        """Take what changed in the shared ledger since a version of it; ``version`` is what it has now, "" unknown.

        Raises EdgeLakeError: 69 the result is another one than the master has, so that the whole copy is needed; 63.
        """
        async with self._lock:
            if since != self.shared_version:
                raise error(69, "the changes begin at another version than the one here")
            merged = await self._changed_at_end(added, version) if not removed and not self._own else None
            if merged is None:
                contents = await asyncio.to_thread(self._contents)
                exact = not self.problems and not contents.tombstones
                new = await asyncio.to_thread(with_changes, contents, added, removed)
                result = ledger.md5(new.shared).hexdigest()
                if exact and version not in ("", result):
                    raise error(69, "the changes lead to another version than the master has")
                merged = await asyncio.to_thread(merge, contents, new, set(removed))
                await self._put(merged, version or result)
            return merged

    async def _changed_at_end(self, added: Sequence[str], version: str) -> Merged | None:
        """The short way: new lines at the end of a file that is as the master's. None when it can't be taken."""
        new = ledger.parse("".join(line + "\n" for line in added).encode())
        dates = [_date(p) for p in new.policies]
        data = b"".join(line + b"\n" for _, line in new.entries.values())
        fits = (
            not new.problems
            and not new.tombstones
            and dates == sorted(dates)
            and (not dates or dates[0] >= self._last_date)
            and not any(self.image.get(key) for key in new.entries)
            and version in ("", self._file.version_with(data))
        )
        if not fits or not data:
            return None
        await asyncio.to_thread(self._file.append_lines, data)
        self.shared_version, self._last_date = self.version, dates[-1]
        self._publish(await self._with(new.policies))
        return Merged(b"", self.image)

    async def _put(self, merged: Merged, received: str = "") -> None:
        """Make the outcome of a merge the active copy."""
        await asyncio.to_thread(self._file.put, merged.data)
        for policy, reason in merged.refused:
            log.error("the %s is dropped: %s", describe(policy), reason)
        self._own = {id_of(p): p for p in (*map(tombstone, merged.undeleted), *merged.missing)}
        if received:
            self.shared_version = received
        self._last_date = "~"
        self._publish(merged.image)
        await self._note_last_date()

    async def delete_file(self) -> None:
        """Remove the local file and all policies from memory (``blockchain delete local file``)."""
        async with self._lock:
            await asyncio.to_thread(self._file.delete)
            await self._take(ledger.Contents())

    async def test(self) -> list[str]:
        """Check the file (``blockchain test``): unreadable lines, then policies that break the rules of their type."""

        def problems() -> list[str]:
            contents = self._contents()
            return [*contents.problems, *_broken(Image.of(contents.policies))]

        return await asyncio.to_thread(problems)

    # ---- inside

    def _contents(self) -> ledger.Contents:
        return ledger.parse(_bytes_of(self._file.path))

    async def _append(self, ready: Sequence[Policy]) -> None:
        for policy in ready:
            if self.image.get(id_of(policy)) is not None:
                raise error(70, f"a policy with id = {id_of(policy)} is in the local file", policy=id_of(policy))
        await asyncio.to_thread(self._file.append_lines, ledger.lines(ready))
        self._own |= {id_of(p): p for p in ready if ledger.is_local(p)}
        self._publish(await self._with(ready))

    async def _with(self, policies: Sequence[Policy]) -> Image:
        """The image with more policies; where that takes a new one, it is made in a thread."""
        if self.image.is_wasteful or any(map(self.image.rebuilds_for, policies)):
            return await asyncio.to_thread(lambda: Image.of([*self.image.policies, *policies]))
        return self.image.added(*policies)

    async def _without(self, policy_id: str) -> Image:
        if self.image.of_type("anmp"):
            return await asyncio.to_thread(self.image.removed, policy_id)
        return self.image.removed(policy_id)

    async def _take(self, contents: ledger.Contents) -> None:
        """What the active file holds now."""
        self._report(contents)
        # What was deleted goes first: a policy made in its place may need what must be unique.
        self._own = {one: tombstone(one) for one in contents.tombstones}
        self._own |= {id_of(p): p for p, _ in contents.entries.values() if ledger.is_local(p)}
        if self.version == ledger.NO_VERSION:
            self.shared_version = ledger.NO_VERSION
        elif self._own or contents.problems:
            self.shared_version = await asyncio.to_thread(lambda: ledger.md5(contents.shared).hexdigest())
        else:
            self.shared_version = self.version
        self._publish(await asyncio.to_thread(_image_of, contents))
        await self._note_last_date()

    async def _note_last_date(self) -> None:
        image = self.image
        self._last_date = await asyncio.to_thread(lambda: max(map(_date, image.policies), default=""))

    def _report(self, contents: ledger.Contents) -> None:
        self.problems = contents.problems
        for problem in contents.problems:
            log.error("%s: %s", self._file.path, problem)

    def _publish(self, image: Image) -> None:
        self.image = image
        for changed in self._watchers:
            changed(image)


def _image_of(contents: ledger.Contents) -> Image:
    with ledger.uncollected():
        return Image.of(contents.policies)


def _date(policy: Policy) -> str:
    return str(body_of(policy).get("date", ""))


def _broken(image: Image) -> list[str]:
    found = []
    for policy in image.policies:
        try:
            completed(policy, image)
        except EdgeLakeError as problem:
            found.append(f"{type_of(policy)} {id_of(policy)}: {problem}")
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as problem:
        raise error(35, f"{path}: {problem.strerror}") from problem


def _no_target() -> EdgeLakeError:
    return error(2, "where shall the policy go?", hint="add local = true, master = ip:port or blockchain = name")


def _no_network() -> EdgeLakeError:
    return error(21, "this node sends no messages", hint="run tcp server where ...")
