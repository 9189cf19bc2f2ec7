"""Key pairs of nodes and users, and what is signed with them (security spec, sections 5 and 7).

A public key is known by its bare text: the PEM form without header and line ends. Private keys are kept and shown
encrypted with their password alone. New pairs are Ed25519; RSA ones that were made elsewhere sign and are read, too.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import textwrap
from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final

from msgspec import Struct

from edgelake.errors import CommandError, CredentialsError, NotAvailableError

NODE: Final = "node_id"
OF_NODE: Final = frozenset({"", "node", NODE})
"""Names of the file with the keys of the node."""
FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][\w.\-]{0,99}")
_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n?", re.DOTALL)
PUBLIC_KEY, SIGNATURE = "public_key", "signature"
_UNSIGNED: Final = frozenset({SIGNATURE, "ledger", "date", "id"})
"""Attributes that the ledger adds after the policy was signed."""
LONGEST_KEY: Final = 20_000
_PRIVATE, _PUBLIC = "ENCRYPTED PRIVATE KEY", "PUBLIC KEY"


class Pair(Struct, frozen=True):
    """Both keys in PEM form, the private one encrypted."""

    private: str
    public: str


def _crypto() -> Any:
    """The package; it takes 60 ms, so that only commands of keys load it. Raises NotAvailableError."""
    try:
        from cryptography import exceptions
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    except ModuleNotFoundError:
        raise NotAvailableError("keys need the package cryptography", hint="pip install 'edgelake[security]'") from None
    return SimpleNamespace(
        exceptions=exceptions, hashes=hashes, serialization=serialization, ed25519=ed25519, padding=padding, rsa=rsa
    )


def create(password: str) -> Pair:
    """A new pair. Raises CommandError for an empty password, NotAvailableError."""
    crypto = _crypto()
    if not password:
        raise CommandError("a private key needs a password")
    forms = crypto.serialization
    key = crypto.ed25519.Ed25519PrivateKey.generate()
    sealed = forms.BestAvailableEncryption(password.encode())
    private: bytes = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, sealed)
    public: bytes = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    return Pair(private.decode(), public.decode())


def read_pair(text: str) -> Pair:
    """The pair in a file of keys. Raises ValueError."""
    found = {block[1]: block[0] for block in _BLOCK.finditer(text)}
    if _PRIVATE not in found or _PUBLIC not in found:
        raise ValueError("no pair of keys")
    return Pair(found[_PRIVATE], found[_PUBLIC])


def bare(pem: str) -> str:
    """A key without header and line ends."""
    return "".join(line for line in pem.split("\n") if line and not line.startswith("-----"))


def as_pem(text: str, kind: str) -> str:
    """PEM of a key that is PEM already, or bare. Raises CommandError."""
    text = text.strip().replace("\\n", "\n")
    if len(text) > LONGEST_KEY:
        raise CommandError("that is no key: it is too long")
    if text.startswith("-----BEGIN"):
        return text + "\n"
    try:
        base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise CommandError("that is no key", hint="PEM, or its text without header and line ends") from None
    return f"-----BEGIN {kind}-----\n" + "\n".join(textwrap.wrap(text, 64)) + f"\n-----END {kind}-----\n"


class Opened:
    """A private key that was opened with its password: it signs. Nothing shows it."""

    __slots__ = ("_crypto", "_key", "public")

    def __init__(self, private: str, password: str) -> None:
        """Raises CredentialsError for a wrong password, CommandError, NotAvailableError."""
        self._crypto = _crypto()
        self._key = _opened(self._crypto, private, password)
        forms = self._crypto.serialization
        public: bytes = self._key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
        self.public = bare(public.decode())

    def __repr__(self) -> str:
        return f"Opened({self.public[:20]}...)"

    @property
    def key(self) -> Any:
        """The key of the package."""
        return self._key

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes."""
        if isinstance(self._key, self._crypto.ed25519.Ed25519PrivateKey):
            made: bytes = self._key.sign(data)
        else:
            made = self._key.sign(data, self._crypto.padding.PKCS1v15(), self._crypto.hashes.SHA256())
        return made


def signed(policy: Mapping[str, Any], opened: Opened) -> dict[str, Any]:
    """The policy with ``public_key`` and ``signature``."""
    ((kind, body),) = policy.items()
    body = {name: value for name, value in body.items() if name not in (PUBLIC_KEY, SIGNATURE)}
    body[PUBLIC_KEY] = opened.public
    signature = opened.sign(_text(kind, body))
    return {kind: {**body, SIGNATURE: base64.b64encode(signature).decode()}}


def _opened(crypto: Any, private: str, password: str) -> Any:
    try:
        key = crypto.serialization.load_pem_private_key(as_pem(private, _PRIVATE).encode(), password.encode())
    except TypeError as problem:  # not encrypted, or no password
        raise CommandError(f"the private key: {problem}") from None
    except ValueError:
        raise CredentialsError("the password does not open the private key, or that is none") from None
    if not isinstance(key, (crypto.ed25519.Ed25519PrivateKey, crypto.rsa.RSAPrivateKey)):
        raise CommandError("the private key is neither Ed25519 nor RSA")
    return key


@lru_cache(1024)
def public_key(public: str) -> Any:
    """The key of the package. Raises CommandError for what is none, NotAvailableError."""
    crypto = _crypto()
    try:
        key = crypto.serialization.load_pem_public_key(as_pem(public, _PUBLIC).encode())
    except (ValueError, crypto.exceptions.UnsupportedAlgorithm):
        raise CommandError("that is no public key") from None
    if not isinstance(key, (crypto.ed25519.Ed25519PublicKey, crypto.rsa.RSAPublicKey)):
        raise CommandError("the public key is neither Ed25519 nor RSA")
    return key


def is_signed(public: str, data: bytes, signature: bytes) -> bool:
    """Whether the owner of that public key signed these bytes. Raises NotAvailableError."""
    crypto = _crypto()
    try:
        key = public_key(public)
        if isinstance(key, crypto.ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, crypto.padding.PKCS1v15(), crypto.hashes.SHA256())
    except (CommandError, crypto.exceptions.InvalidSignature):
        return False
    return True


def is_authentic(policy: Mapping[str, Any]) -> bool:
    """Whether a policy has the signature of the public key that it names. Raises NotAvailableError."""
    ((kind, body),) = policy.items()
    public, signature = body.get(PUBLIC_KEY), body.get(SIGNATURE)
    if not isinstance(public, str) or not isinstance(signature, str):
        return False
    try:
        given = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        return False
    return is_signed(public, _text(kind, body), given)


def _text(kind: str, body: Mapping[str, Any]) -> bytes:
    """What is signed: the policy as text, its keys in their order, without what the ledger adds."""
    kept = {name: value for name, value in body.items() if name not in _UNSIGNED}
    return json.dumps({kind: kept}).encode()
