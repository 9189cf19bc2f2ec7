"""What keys may do, by the policies ``member``, ``permissions`` and ``assignment`` (security spec, section 7).

Everything leads back to one root. A key has what an assignment links to it, if who signed the assignment, and who
signed the permissions, have the same right themselves and may hand it on (ours): nobody gives more than he has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from edgelake.errors import NotPermittedError
from edgelake.identity import keys

Policy = Mapping[str, Any]

MEMBER, PERMISSIONS, ASSIGNMENT = "member", "permissions", "assignment"
TYPES: Final = (MEMBER, PERMISSIONS, ASSIGNMENT)
LONGEST_CHAIN: Final = 16
"""Signatures between the root and a key that has a right."""
DECISIONS: Final = 4096
"""That are remembered for one state of the metadata."""

Asked = tuple[str, str, str]
"""Command, database and table; "" = none."""


class Permissions(Struct, frozen=True):
    """A policy of permissions, read.

    Attributes:
        tables: as ``dbms.table``; None = no list, as for databases.
    """

    author: str
    enable: tuple[str, ...]
    disable: tuple[str, ...]
    databases: tuple[str, ...] | None
    tables: tuple[str, ...] | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Permissions:
        databases, tables = (_texts(body[key]) if key in body else None for key in ("databases", "tables"))
        author = str(body.get(keys.PUBLIC_KEY, ""))
        return cls(author, _texts(body.get("enable")), _texts(body.get("disable")), databases, tables)

    def allow(self, asked: Asked) -> bool:
        """Whether they name the command, and the database and table."""
        command, dbms, table = asked
        enabled = _length_of(command, self.enable)
        if enabled is None or ((disabled := _length_of(command, self.disable)) is not None and disabled >= enabled):
            return False
        return not dbms or self._allow_data(dbms, table)

    def names(self, command: str) -> bool:
        """Whether the command is enabled by its own words, not with all others."""
        return bool(_length_of(command, self.enable))

    def _allow_data(self, dbms: str, table: str) -> bool:
        if self.tables is not None and table:
            listed = {text for text in self.tables if not text.startswith("-")}
            refused = {text[1:] for text in self.tables if text.startswith("-")}
            if not refused.isdisjoint({f"{dbms}.{table}", f"{dbms}.*"}):
                return False
            if not listed.isdisjoint({f"{dbms}.{table}", f"{dbms}.*", "*"}):
                return True
        if self.databases is None:
            return not any(text.lstrip("-").partition(".")[0] in (dbms, "*") for text in self.tables or ())
        if f"-{dbms}" in self.databases:
            return False
        is_but_some = bool(self.databases) and all(text[:1] == "-" for text in self.databases)
        return dbms in self.databases or "*" in self.databases or is_but_some


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    return tuple(str(text).strip().lower() for text in value) if isinstance(value, list) else ()


def _length_of(command: str, among: Sequence[str]) -> int | None:
    """Words of the longest entry that the command begins with; ``*`` has none. None: there is no such entry."""
    found = None
    for text in among:
        length = 0 if text == "*" else len(text.split())
        if text == "*" or f"{command} ".startswith(f"{' '.join(text.split())} "):
            found = max(found or 0, length)
    return found


class Link(Struct, frozen=True):
    """An assignment with its permissions: both have the signatures of their authors."""

    author: str
    members: frozenset[str]
    permissions: Permissions
    policy: Policy


class _State(Struct):
    """What follows from one state of the metadata."""

    version: object
    root: str
    links: list[Link]
    may: dict[Asked, frozenset[str]] = field(default_factory=dict)


class Trust:
    """Decides what keys may do.

    Args:
        policies: of a type, in the order of the ledger.
        version: an object that is another one when policies have changed.
        pinned: key of the root that was found first; "" = none yet.
        pin: keep it.
    """

    def __init__(
        self,
        policies: Callable[[str], Sequence[Policy]],
        version: Callable[[], object],
        pinned: Callable[[], str],
        pin: Callable[[str], None],
    ) -> None:
        self._policies, self._version, self._pinned, self._pin = policies, version, pinned, pin
        self._state: _State | None = None
        # Signatures that were looked at: policies are the same objects until they change.
        self._authentic: dict[int, tuple[Policy, bool]] = {}

    @property
    def root(self) -> str:
        """Key of the root; "" while no policy names one."""
        return self._now().root

    @property
    def links(self) -> Sequence[Link]:
        """The assignments that are signed, whoever signed them."""
        return self._now().links

    def allows(self, key: str, command: str, dbms: str = "", table: str = "") -> bool:
        """Whether a key may run a command on a database and table."""
        state = self._now()
        if not key or not state.root:
            return False
        if key == state.root:
            return True
        asked = (" ".join(command.lower().split()), dbms.lower(), table.lower())
        found = state.may.get(asked)
        if found is None:
            if len(state.may) >= DECISIONS:
                state.may.clear()
            found = state.may[asked] = _keys_with(asked, state)
        return key in found

    def names(self, key: str, command: str) -> bool:
        """Whether the root itself gave a command to a key by its own words: more than what ``*`` means."""
        command = " ".join(command.lower().split())
        state = self._now()
        return key == state.root or (
            self.allows(key, command)
            and any(
                key in link.members
                and link.author == link.permissions.author == state.root
                and link.permissions.names(command)
                for link in state.links
            )
        )

    def check_author(self, policy: Policy) -> None:
        """Whether who signed a policy of trust may make it. Raises NotPermittedError: it would have no effect."""
        ((kind, body),) = policy.items()
        key = str(body.get(keys.PUBLIC_KEY, ""))
        if kind == MEMBER and body.get("type") == "root" and self.root not in ("", key):
            raise NotPermittedError("the network has another root already", hint="get authentication")
        if kind not in (PERMISSIONS, ASSIGNMENT):
            return
        if not self._is_authentic(policy):
            raise NotPermittedError(f"the '{kind}' policy is not as its author signed it", hint="id sign")
        if not self.allows(key, kind):
            raise NotPermittedError(
                f"the policies do not permit ...{key[-12:]} to make '{kind}' policies",
                hint="the root, or a key whose permissions enable that, has to sign it",
            )

    def _now(self) -> _State:
        version = self._version()
        if self._state is None or self._state.version is not version or self._state.root != self._root():
            self._state = _State(version, self._root(), self._links())
        return self._state

    def _root(self) -> str:
        """The first one that was seen stays: a policy that comes later takes nothing over."""
        if pinned := self._pinned():
            return pinned
        for policy in self._policies(MEMBER):
            body = policy[MEMBER]
            if body.get("type") == "root" and (key := str(body.get(keys.PUBLIC_KEY, ""))):
                self._pin(key)
                return key
        return ""

    def _links(self) -> list[Link]:
        seen: dict[int, tuple[Policy, bool]] = {}
        permissions = {}
        for policy in self._policies(PERMISSIONS):
            if self._looked_at(policy, seen):
                permissions[str(policy[PERMISSIONS].get("id", ""))] = Permissions.of(policy[PERMISSIONS])
        found = []
        for policy in self._policies(ASSIGNMENT):
            body = policy[ASSIGNMENT]
            linked = permissions.get(str(body.get("permissions", "")))
            members = body.get("members")
            if linked is not None and isinstance(members, list) and self._looked_at(policy, seen):
                found.append(Link(str(body[keys.PUBLIC_KEY]), frozenset(map(str, members)), linked, policy))
        self._authentic = seen
        return found

    def _looked_at(self, policy: Policy, seen: dict[int, tuple[Policy, bool]]) -> bool:
        known = self._authentic.get(id(policy))
        is_so = known[1] if known is not None and known[0] is policy else self._is_authentic(policy)
        seen[id(policy)] = (policy, is_so)
        return is_so

    def _is_authentic(self, policy: Policy) -> bool:
        return keys.is_authentic(policy)


def _keys_with(asked: Asked, state: _State) -> frozenset[str]:
    """The keys that have a right, found from the root on: each round is one signature further from it."""
    # Who hands a right on needs it, and the right to sign assignments or permissions for the same data.
    _, dbms, table = asked
    wanted = (asked, (ASSIGNMENT, dbms, table), (PERMISSIONS, dbms, table))
    may: list[set[str]] = [{state.root} for _ in wanted]
    left = [set(range(len(state.links))) for _ in wanted]
    for _ in range(LONGEST_CHAIN):
        found: list[set[str]] = [set() for _ in wanted]
        for which, one in enumerate(wanted):
            for at in sorted(left[which]):
                link = state.links[at]
                signs = link.author in may[1] and link.permissions.author in may[2]
                if signs and {link.author, link.permissions.author} <= may[which] and link.permissions.allow(one):
                    found[which] |= link.members
                    left[which].discard(at)
        if all(new <= old for new, old in zip(found, may, strict=True)):
            break
        for which, new in enumerate(found):
            may[which] |= new
    return frozenset(may[0])


class KeyRights(Struct, frozen=True):
    """What a caller with a key may do, by the policies of the moment."""

    trust: Trust
    key: str
    who: str = "the key of the sender"

    def check(self, command: str, dbms: str = "", table: str = "") -> None:
        """Raises NotPermittedError."""
        if self.trust.allows(self.key, command, dbms, table):
            return
        if not self.trust.root:
            raise NotPermittedError(
                "no member policy of the type root is known here, so that nobody has permissions",
                hint="blockchain insert where policy = !root and local = true",
            )
        on = f" on {dbms}.{table}" if table else f" on {dbms}" if dbms else ""
        raise NotPermittedError(
            f"the policies do not permit '{command}'{on} to {self.who} ({self.key[-12:] or 'none'})",
            hint="id validate where key = ... and command = ... shows why; get member permissions",
        )
