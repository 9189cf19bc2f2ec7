"""The local password of a node, and what it keeps encrypted: passwords of private keys (security spec, section 3).

(The documentation of the reference encrypts the file of users with it, too. Ours has hashes alone, and is read at each
start, so that nobody is locked out between a start and this command.)
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgelake.durable import make_folder, write_whole
from edgelake.errors import CommandError, CredentialsError, ServiceError
from edgelake.identity.passwords import Attempts, Hash, N, P, R, TooManyAttemptsError
from edgelake.identity.sealing import aead

FILE: Final = "local_password.json"
"""In the node's ``id_dir``."""
_MEMORY_BYTES: Final = 256 << 20
_NONCE_BYTES: Final = 12
_NAME: Final = "the local password"


class _Content(msgspec.Struct, frozen=True):
    """The file: a hash that knows the password, the salt of the key that it makes, and the encrypted texts."""

    hash: str
    salt: str
    kept: dict[str, str] = {}


class Vault:
    """Texts that the local password encrypts; open from ``unlock`` on.

    Args:
        path: of the file; asked when it is needed, since the node's folder may be moved.
    """

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self._attempts = Attempts()
        self._key = b""

    @property
    def is_open(self) -> bool:
        """Whether the local password was given."""
        return bool(self._key)

    def unlock(self, password: str) -> bool:
        """Open it, the first time: make it; whether it was made.

        Raises CredentialsError for a wrong password, CommandError for none, ServiceError for a file that is damaged.
        """
        if not password:
            raise CommandError("a password has at least one character")
        content, is_new = self._read(), False
        if content is None:
            is_new = True
            salt = base64.b64encode(secrets.token_bytes(16)).decode()
            content = _Content(str(Hash.of(password.encode())), salt)
            self._write(content)
        try:
            is_right = self._attempts.is_right("", _NAME, password.encode(), Hash.parse(content.hash))
        except TooManyAttemptsError as problem:
            raise CredentialsError("too many failed attempts", retry_s=problem.wait_s) from None
        if not is_right:
            raise CredentialsError("that is not the local password of this node")
        salt_bytes = base64.b64decode(content.salt)
        self._key = hashlib.scrypt(password.encode(), salt=salt_bytes, n=N, r=R, p=P, maxmem=_MEMORY_BYTES, dklen=32)
        return is_new

    def keep(self, name: str, text: str) -> None:
        """Keep a text under a name. Raises CredentialsError while it is closed, ServiceError."""
        content = self._opened()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + aead(self._key).encrypt(nonce, text.encode(), name.encode())
        kept = {**content.kept, name: base64.b64encode(sealed).decode()}
        self._write(msgspec.structs.replace(content, kept=kept))

    def get(self, name: str) -> str:
        """A text that was kept; "" = none. Raises CredentialsError while it is closed, ServiceError."""
        sealed = self._opened().kept.get(name)
        if sealed is None:
            return ""
        try:
            data = base64.b64decode(sealed, validate=True)
            found: bytes = aead(self._key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], name.encode())
            return found.decode()
        except Exception as problem:  # of the package: InvalidTag
            raise ServiceError(f"{self._path()}: what is kept as '{name}' is damaged") from problem

    def _opened(self) -> _Content:
        content = self._read()
        if not self._key or content is None:
            raise CredentialsError("the local password was not given", hint="set local password = ...")
        return content

    def _read(self) -> _Content | None:
        path = self._path()
        try:
            content = msgspec.json.decode(path.read_bytes(), type=_Content)
            Hash.parse(content.hash)
            base64.b64decode(content.salt, validate=True)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise ServiceError(f"local password: cannot read {path}: {problem.strerror}") from problem
        except (msgspec.DecodeError, ValueError) as problem:
            raise ServiceError(f"local password: {path} is damaged: {problem}") from problem
        return content

    def _write(self, content: _Content) -> None:
        path = self._path()
        try:
            make_folder(path.parent)
            write_whole(path, msgspec.json.format(msgspec.json.encode(content)), mode=0o600)
        except OSError as problem:
            raise ServiceError(f"local password: cannot write {path}: {problem.strerror}") from problem
