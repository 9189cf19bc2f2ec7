"""The node's policies: one image for readers, one ledger file, one writer at a time (spec: metadata, sections 2-9)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgelake.errors import EdgeLakeError, NotAvailableError, error
from edgelake.metadata import ledger
from edgelake.metadata.address import Addresses
from edgelake.metadata.bring import Answer
from edgelake.metadata.checks import completed
from edgelake.metadata.ids import Policy, body_of, complete, id_of, type_of, with_ledger
from edgelake.metadata.image import Image
from edgelake.metadata.ledger import LedgerFile
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
    """

    def __init__(self, path: Path, addresses: Callable[[], Addresses] = Addresses) -> None:
        self._file = LedgerFile(path)
        self._addresses = addresses
        self._lock = asyncio.Lock()
        self._watchers: list[Callable[[Image], None]] = []
        self.image = Image.of(())
        self.problems: list[str] = []

    @property
    def path(self) -> Path:
        """The active ledger file."""
        return self._file.path

    @property
    def version(self) -> str:
        """md5 of the ledger file's bytes; "0" before a file exists."""
        return self._file.version

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
            self._took(contents)
            self._publish(Image.of(contents.policies))
        return len(self.image.policies)

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
        contents = await asyncio.to_thread(lambda: ledger.parse(_bytes_of(self._file.path)))
        index = Image.of(p for p in contents.policies if type_of(p) != "anmp")
        return Select.parse(command).run(index, self._addresses())

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
        """Check a policy and put it in the local file (section 9.1); returns its id.

        Raises EdgeLakeError: 70 known id, what the checks raise, 63 disk; NotAvailableError when only a master or a
        chain is named. Beside a local write they are passed over with a warning: the merge sends the policy later.
        """
        async with self._lock:
            ready = self.checked(policy)
            if not local:
                raise _no_network(masters, chains)
            for target in (*masters, *chains):
                log.warning("policy %s was stored locally; it is not sent to %s", id_of(ready), target)
            return await self._append(with_ledger(ready, "local"))

    async def add(self, policies: Sequence[Policy]) -> list[str]:
        """Put policies in the local file as they are (``blockchain add``), each after its checks; returns the ids.

        Raises EdgeLakeError; the policies before the one at fault stay added.
        """
        added = []
        async with self._lock:
            for policy in policies:
                added.append(await self._append(self.checked(policy)))
        return added

    async def delete(
        self, policy_id: str, *, local: bool = True, masters: Sequence[str] = (), chains: Sequence[str] = ()
    ) -> None:
        """Remove a policy here and leave a tombstone for the next merge (section 9.2).

        Raises EdgeLakeError (113 unknown id, 63 disk); NotAvailableError when only a master or a chain is named.
        """
        async with self._lock:
            if self.image.get(policy_id) is None:
                raise error(113, f"no policy with id = {policy_id}")
            if not local:
                raise _no_network(masters, chains)
            tombstone = {ledger.TOMBSTONE: {"id": policy_id, "ledger": "local"}}
            await asyncio.to_thread(self._file.append, tombstone)
            self._publish(self.image.removed(policy_id))

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
            contents = await asyncio.to_thread(lambda: ledger.parse(_bytes_of(self._file.path)))
            kept = [with_ledger(new, "local") if id_of(p) == policy_id else p for p in contents.policies]
            kept += [{ledger.TOMBSTONE: {"id": gone, "ledger": "local"}} for gone in contents.tombstones]
            changed = await asyncio.to_thread(self._file.replace, ledger.lines(kept))
            self._publish(Image.of(changed.policies))

    async def replace_file(self, data: bytes) -> int:
        """Make a copy of a ledger the active one (``blockchain update file``); returns the number of policies.

        Raises EdgeLakeError (59, 69, 63); the active copy then stays as it is.
        """
        async with self._lock:
            contents = await asyncio.to_thread(self._file.replace, data)
            self._took(contents)
            self._publish(Image.of(contents.policies))
        return len(self.image.policies)

    async def delete_file(self) -> None:
        """Remove the local file and all policies from memory (``blockchain delete local file``)."""
        async with self._lock:
            await asyncio.to_thread(self._file.delete)
            self.problems = []
            self._publish(Image.of(()))

    async def test(self) -> list[str]:
        """Check the file (``blockchain test``): unreadable lines, then policies that break the rules of their type."""
        contents = await asyncio.to_thread(lambda: ledger.parse(_bytes_of(self._file.path)))
        return [*contents.problems, *_broken(Image.of(contents.policies))]

    # ---- inside

    async def _append(self, ready: Policy) -> str:
        policy_id = id_of(ready)
        if self.image.get(policy_id) is not None:
            raise error(70, f"a policy with id = {policy_id} is in the local file", policy=policy_id)
        await asyncio.to_thread(self._file.append, ready)
        self._publish(self.image.added(ready))
        return policy_id

    def _took(self, contents: ledger.Contents) -> None:
        self.problems = contents.problems
        for problem in contents.problems:
            log.error("%s: %s", self._file.path, problem)

    def _publish(self, image: Image) -> None:
        self.image = image
        for changed in self._watchers:
            changed(image)


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


def _no_network(masters: Sequence[str], chains: Sequence[str]) -> Exception:
    if not masters and not chains:
        return error(2, "where shall the policy go?", hint="add local = true, master = ip:port or blockchain = name")
    return NotAvailableError(
        f"sending policies to {', '.join((*masters, *chains))}", hint="use local = true until then"
    )
