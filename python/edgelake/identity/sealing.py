"""Texts that only the owner of a key can read: ``id encrypt`` and ``id decrypt`` (security spec, section 5).

The text is encrypted with ChaCha20-Poly1305 under a key that is used once. For an RSA key it is wrapped with OAEP; for
an Ed25519 key it is agreed on with its form on Curve25519 (RFC 7748, section 4.1), which has the same secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Any, Final

from edgelake.errors import CommandError, CredentialsError
from edgelake.identity.keys import Opened, public_key

_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16
_LABEL: Final = b"edgelake sealed text 1"
_PRIME: Final = 2**255 - 19
LONGEST_TEXT_BYTES: Final = 1 << 20


def seal(text: str, public: str) -> str:
    """The text for the owner of that key, in base64. Raises CommandError for what is no key, or a text too long."""
    data = text.encode()
    if len(data) > LONGEST_TEXT_BYTES:
        raise CommandError(f"a text of more than {LONGEST_TEXT_BYTES:,} bytes")
    head, key = _wrapped(public_key(public))
    return base64.b64encode(head + aead(key).encrypt(bytes(_NONCE_BYTES), data, _LABEL)).decode()


def unseal(sealed: str, opened: Opened) -> str:
    """The text. Raises CredentialsError when it is not for that key, or was changed."""
    from cryptography.exceptions import InvalidTag

    try:
        data = base64.b64decode(sealed.strip(), validate=True)
        head, rest = _split(data, opened.key)
        found: bytes = aead(_unwrapped(head, opened.key)).decrypt(bytes(_NONCE_BYTES), rest, _LABEL)
        return found.decode()
    except (ValueError, binascii.Error, InvalidTag):
        raise CredentialsError("the text is not encrypted for that key, or was changed on its way") from None


def aead(key: bytes) -> Any:
    """Encrypts with a key of 32 bytes, and notices changes."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key)


def _oaep() -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), _LABEL)


def _wrapped(public: Any) -> tuple[bytes, bytes]:
    """What stands before the text, and the key of the text."""
    from cryptography.hazmat.primitives.asymmetric import rsa, x25519

    if isinstance(public, rsa.RSAPublicKey):
        key = secrets.token_bytes(_KEY_BYTES)
        return public.encrypt(key, _oaep()), key
    once = x25519.X25519PrivateKey.generate()
    theirs = _on_curve(public.public_bytes_raw())
    shown = once.public_key().public_bytes_raw()
    try:
        agreed = once.exchange(x25519.X25519PublicKey.from_public_bytes(theirs))
    except ValueError:
        raise CommandError("that public key cannot be encrypted for") from None
    return shown, _derived(agreed, shown, theirs)


def _split(data: bytes, private: Any) -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.asymmetric import rsa

    at = private.key_size // 8 if isinstance(private, rsa.RSAPrivateKey) else _KEY_BYTES
    if len(data) < at + _TAG_BYTES:
        raise ValueError("too short")
    return data[:at], data[at:]


def _unwrapped(head: bytes, private: Any) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import rsa, x25519

    if isinstance(private, rsa.RSAPrivateKey):
        return private.decrypt(head, _oaep())
    secret = hashlib.sha512(private.private_bytes_raw()).digest()[:_KEY_BYTES]
    agreed = x25519.X25519PrivateKey.from_private_bytes(secret).exchange(x25519.X25519PublicKey.from_public_bytes(head))
    return _derived(agreed, head, _on_curve(private.public_key().public_bytes_raw()))


def _derived(agreed: bytes, shown: bytes, theirs: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(hashes.SHA256(), _KEY_BYTES, None, _LABEL + shown + theirs).derive(agreed)


def _on_curve(edwards: bytes) -> bytes:
    """A public Ed25519 key as one of Curve25519: ``u = (1 + y) / (1 - y)``. Raises CommandError for the point 1."""
    y = int.from_bytes(edwards, "little") & ((1 << 255) - 1)
    if y % _PRIME == 1:
        raise CommandError("that public key cannot be encrypted for")
    u = (1 + y) * pow(1 - y, -1, _PRIME) % _PRIME
    return u.to_bytes(_KEY_BYTES, "little")
