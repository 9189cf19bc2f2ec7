"""Users, tokens and permissions of a node, in one file that only its owner reads.

Passwords and tokens are kept as hashes, so that the file gives neither away. (The documentation of the reference
encrypts the file with the local password instead; then nobody could log in between a start and that command.)

Source: security spec, section 3; REST API, section 13.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from edgelake.durable import make_folder, write_whole
from edgelake.errors import CommandError, CredentialsError, ServiceError
from edgelake.identity.passwords import Hash
from edgelake.model import CommandClass

Role = Literal["user", "admin"]
T = TypeVar("T")

ROLE_CLASSES: dict[Role, frozenset[CommandClass]] = {
    "user": frozenset({CommandClass.DATA, CommandClass.METADATA, CommandClass.FILES}),
    "admin": frozenset(CommandClass) - {CommandClass.EXEC},
}
ANONYMOUS = "anonymous"
FILE = "users.json"
"""In the node's ``id_dir``."""
ANONYMOUS_CLASSES = frozenset({CommandClass.DATA, CommandClass.METADATA})
"""What a client without a name may be given at most (design, section 4)."""
TOKEN_PREFIX = "elt_"
LONGEST_NAME = 128
MOST = 10_000
LONGEST_PASSWORD_BYTES = 1024


class User(msgspec.Struct, frozen=True):
    """``hash`` as ``passwords.Hash`` writes it; ``expires_us`` 0 = never."""

    hash: str
    role: Role = "user"
    expires_us: int = 0


class Token(msgspec.Struct, frozen=True):
    """``digest``: SHA-256 of the token, which is long and random, so a fast hash is enough."""

    digest: str
    role: Role = "user"
    expires_us: int = 0
    created_us: int = 0


class Content(msgspec.Struct, frozen=True):
    """The file.

    Attributes:
        enforced: ``set user authentication on``.
        nodes_enforced: ``set node authentication on``.
        root: the key of the network's root, since it was seen first.
        encrypted: ``set encryption on``.
        permissions: classes by name; of clients without a name by ``anonymous`` or ``anonymous@rest``, ...
    """

    enforced: bool = False
    nodes_enforced: bool = False
    root: str = ""
    encrypted: bool = False
    users: dict[str, User] = {}
    tokens: dict[str, Token] = {}
    permissions: dict[str, tuple[CommandClass, ...]] = {}


def now_us() -> int:
    return time.time_ns() // 1000


class Identities:
    """The content of the file, as a snapshot that is replaced whole: readers of any thread see one state.

    Args:
        path: of the file; asked when it is needed, since the node's folder may be moved.
    """

    def __init__(self, path: Callable[[], Path], clock_us: Callable[[], int] = now_us) -> None:
        self._path = path
        self.clock_us = clock_us
        self.content = Content()
        self._watchers: list[Callable[[], None]] = []
        self._by_digest: dict[str, tuple[str, Token]] = {}

    @property
    def has_any(self) -> bool:
        """Whether a user or a token is defined."""
        return bool(self.content.users or self.content.tokens)

    def load(self) -> None:
        """Read the file; a missing one has no identities. Raises ServiceError: a broken one must not open the node."""
        path = self._path()
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Content)
            for name, user in found.users.items():
                _parsed(name, user)
        except FileNotFoundError:
            found = Content()
        except OSError as problem:
            raise ServiceError(f"users: cannot read {path}: {problem.strerror}") from problem
        except (msgspec.DecodeError, ValueError) as problem:
            hint = (
                "restore the file from a backup; without it every user is gone and clients of this machine may do all"
            )
            raise ServiceError(f"users: {path} is damaged: {problem}", hint=hint) from problem
        self._set(found)

    def _set(self, content: Content) -> None:
        self._by_digest = {token.digest: (name, token) for name, token in content.tokens.items()}
        self.content = content
        for told in list(self._watchers):
            told()

    def watch(self, told: Callable[[], None]) -> None:
        """Have a change told, in the thread that made it."""
        self._watchers.append(told)

    def unwatch(self, told: Callable[[], None]) -> None:
        """Idempotent."""
        if told in self._watchers:
            self._watchers.remove(told)

    def _replace(self, **changes: object) -> None:
        """Write the changed content; it holds when it is on disk. Raises ServiceError."""
        content = msgspec.structs.replace(self.content, **changes)
        path = self._path()
        try:
            make_folder(path.parent)
            write_whole(path, msgspec.json.format(msgspec.json.encode(content)), mode=0o600)
        except OSError as problem:
            raise ServiceError(f"users: cannot write {path}: {problem.strerror}") from problem
        self._set(content)

    def is_valid(self, name: str) -> bool:
        """Whether there is a user or token of that name that has not expired."""
        token = self.content.tokens.get(name)
        return self.user(name) is not None or (token is not None and not self._is_expired(token.expires_us))

    # ---- users

    def user(self, name: str) -> User | None:
        """The user of that name, unless expired."""
        found = self.content.users.get(name)
        return None if found is None or self._is_expired(found.expires_us) else found

    def add_user(self, name: str, password: str, role: Role, lasts_s: float | None) -> None:
        """Raises CommandError for a name that is taken or cannot be one."""
        self._check_new(name)
        made = User(str(Hash.of(_checked(password))), role, self._until(lasts_s))
        self._replace(users={**self.content.users, name: made})

    def change_password(self, name: str, password: str) -> None:
        """Raises CommandError."""
        user = self._existing(name, self.content.users, "user")
        changed = msgspec.structs.replace(user, hash=str(Hash.of(_checked(password))))
        self._replace(users={**self.content.users, name: changed})

    def remove_user(self, name: str) -> None:
        """With what was permitted to it. Raises CommandError."""
        self._existing(name, self.content.users, "user")
        self._replace(users=_without(self.content.users, name), permissions=_without(self.content.permissions, name))

    # ---- tokens

    def token(self, text: str) -> tuple[str, Token] | None:
        """Name and token of a text. Raises CredentialsError when it has expired."""
        found = self._by_digest.get(hashlib.sha256(text.encode()).hexdigest())
        if found is not None and self._is_expired(found[1].expires_us):
            raise CredentialsError("the token has expired", hint="an admin makes a new one: id create token ...")
        return found

    def add_token(self, name: str, role: Role, lasts_s: float | None) -> str:
        """The token, which is not kept and not shown again. Raises CommandError."""
        self._check_new(name)
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(text.encode()).hexdigest()
        made = Token(digest, role, self._until(lasts_s), self.clock_us())
        self._replace(tokens={**self.content.tokens, name: made})
        return text

    def remove_token(self, name: str) -> None:
        """With what was permitted to it. Raises CommandError."""
        self._existing(name, self.content.tokens, "token")
        self._replace(tokens=_without(self.content.tokens, name), permissions=_without(self.content.permissions, name))

    # ---- permissions

    def enforce(self, on: bool) -> None:
        """Whether every call needs a name. Raises CommandError when nobody could call any more."""
        roles = {*(u.role for u in self.content.users.values()), *(t.role for t in self.content.tokens.values())}
        if on and "admin" not in roles:
            hint = "id add user where name = n and password = p and type = admin"
            raise CommandError("user authentication needs an admin: there is none", hint=hint)
        self._replace(enforced=on)

    def enforce_nodes(self, on: bool) -> None:
        """Whether messages of other nodes are to be signed. What follows trusts the root that is seen from now on."""
        self._replace(nodes_enforced=on, root=self.content.root if on else "")

    def pin_root(self, key: str) -> None:
        """Keep the key of the root while messages are to be signed."""
        if self.content.nodes_enforced:
            self._replace(root=key)

    def encrypt(self, on: bool) -> None:
        """Whether other nodes are spoken to by TLS alone."""
        self._replace(encrypted=on)

    def permit(self, name: str, classes: frozenset[CommandClass] | None) -> None:
        """What a name may do; None = as its role says. Raises CommandError."""
        base = name.partition("@")[0]
        if base == ANONYMOUS:
            if classes is not None and not classes <= ANONYMOUS_CLASSES:
                allowed = ", ".join(sorted(ANONYMOUS_CLASSES))
                raise CommandError(f"clients without a name can have: {allowed}")
        elif name not in self.content.users and name not in self.content.tokens:
            raise CommandError(f"there is no user or token '{name}'", hint="get users, get tokens; or anonymous")
        kept = _without(self.content.permissions, name)
        if classes is not None:
            kept[name] = tuple(c for c in CommandClass if c in classes)
        self._replace(permissions=kept)

    def classes_of(self, name: str, role: Role) -> frozenset[CommandClass]:
        """Of a user or token."""
        granted = self.content.permissions.get(name)
        return ROLE_CLASSES[role] if granted is None else frozenset(granted)

    def anonymous_classes(self, entry: str) -> frozenset[CommandClass]:
        """What was permitted to clients without a name, at one entry or at all."""
        permissions = self.content.permissions
        return frozenset(permissions.get(f"{ANONYMOUS}@{entry}", permissions.get(ANONYMOUS, ())))

    # ---- checks

    def _check_new(self, name: str) -> None:
        taken = {*self.content.users, *self.content.tokens, ANONYMOUS}
        if name in taken:
            raise CommandError(f"the name '{name}' is taken", hint="get users, get tokens")
        if not name or len(name) > LONGEST_NAME or any(c in ":@" or not c.isprintable() or c.isspace() for c in name):
            raise CommandError(
                f"'{name[:LONGEST_NAME]}' cannot be a name", hint=f"up to {LONGEST_NAME} characters, no blank, : or @"
            )
        if len(taken) > MOST:
            raise CommandError(f"there are {MOST} users and tokens already")

    def _existing(self, name: str, among: dict[str, T], kind: str) -> T:
        found = among.get(name)
        if found is None:
            raise CommandError(f"there is no {kind} '{name}'", hint=f"get {kind}s")
        return found

    def _until(self, lasts_s: float | None) -> int:
        return 0 if not lasts_s else self.clock_us() + round(lasts_s * 1_000_000)

    def _is_expired(self, expires_us: int) -> bool:
        return 0 < expires_us <= self.clock_us()


def _parsed(name: str, user: User) -> None:
    """Raises ValueError."""
    try:
        Hash.parse(user.hash)
    except ValueError as problem:
        raise ValueError(f"user {name}: {problem}") from problem


def _checked(password: str) -> bytes:
    data = password.encode()
    if not data or len(data) > LONGEST_PASSWORD_BYTES:
        raise CommandError(f"a password has 1 to {LONGEST_PASSWORD_BYTES} bytes")
    return data


def _without(among: dict[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in among.items() if key != name}
