"""Key pairs of nodes and users, and what is signed with them (security spec, sections 5 and 7).

A public key is known by its bare text: the PEM form without header and line ends. Private keys are kept and shown
encrypted with their password alone. New pairs are Ed25519; RSA ones that were made elsewhere sign and are read, too.
"""

from __future__ import annotations

import base64
import binascii
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

from edgelake.errors import CommandError, CredentialsError, NotAvailableError

NODE: Final = "node_id"
PUBLIC_KEY, SIGNATURE = "public_key", "signature"
_UNSIGNED: Final = frozenset({SIGNATURE, "ledger", "date", "id"})
"""Attributes that the ledger adds after the policy was signed."""
LONGEST_KEY: Final = 20_000
_PRIVATE, _PUBLIC = "ENCRYPTED PRIVATE KEY", "PUBLIC KEY"


@dataclass(frozen=True, slots=True)
class Pair:
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


def signed(policy: Mapping[str, Any], private: str, password: str) -> dict[str, Any]:
    """The policy with ``public_key`` and ``signature``. Raises CredentialsError for a wrong password, CommandError."""
    crypto = _crypto()
    key = _opened(crypto, private, password)
    forms = crypto.serialization
    public: bytes = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    ((kind, body),) = policy.items()
    body = {name: value for name, value in body.items() if name not in (PUBLIC_KEY, SIGNATURE)}
    body[PUBLIC_KEY] = bare(public.decode())
    data = _text(kind, body)
    if isinstance(key, crypto.ed25519.Ed25519PrivateKey):
        signature = key.sign(data)
    else:
        signature = key.sign(data, crypto.padding.PKCS1v15(), crypto.hashes.SHA256())
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


def is_authentic(policy: Mapping[str, Any]) -> bool:
    """Whether a policy has the signature of the public key that it names. Raises NotAvailableError."""
    crypto = _crypto()
    ((kind, body),) = policy.items()
    public, signature = body.get(PUBLIC_KEY), body.get(SIGNATURE)
    if not isinstance(public, str) or not isinstance(signature, str):
        return False
    try:
        key = crypto.serialization.load_pem_public_key(as_pem(public, _PUBLIC).encode())
        given = base64.b64decode(signature, validate=True)
        data = _text(kind, body)
        if isinstance(key, crypto.ed25519.Ed25519PublicKey):
            key.verify(given, data)
        elif isinstance(key, crypto.rsa.RSAPublicKey):
            key.verify(given, data, crypto.padding.PKCS1v15(), crypto.hashes.SHA256())
        else:
            return False
    except (CommandError, ValueError, binascii.Error, crypto.exceptions.InvalidSignature):
        return False
    except crypto.exceptions.UnsupportedAlgorithm:
        return False
    return True


def _text(kind: str, body: Mapping[str, Any]) -> bytes:
    """What is signed: the policy as text, its keys in their order, without what the ledger adds."""
    kept = {name: value for name, value in body.items() if name not in _UNSIGNED}
    return json.dumps({kind: kept}).encode()
