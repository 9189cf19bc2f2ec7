"""How nodes of this kind know each other: marks in blocks, greetings of kept connections (network protocol, 14)."""

from __future__ import annotations

import enum
import hashlib
from functools import lru_cache
from typing import Final

_VERSION: Final = 1
_MARK: Final = b"EL"
GREETING: Final = b"EL-UPGRADE"
GREETING_BYTES: Final = 16


class Capability(enum.IntFlag):
    """What a node takes from another one of its kind."""

    KEPT_CONNECTION = 1
    LARGE_BLOCKS = 2
    LEDGER_CHANGES = 4
    TLS = 8
    CERTIFICATE = 16
    """Who opens a connection has to show a certificate, and is greeted again when it is taken."""
    SIGNED = 32
    """Who opens a connection is given a number to sign; until it has, nothing is taken from it."""


OURS: Final = Capability.KEPT_CONNECTION | Capability.LARGE_BLOCKS | Capability.LEDGER_CHANGES
_READ: Final = OURS | Capability.TLS | Capability.CERTIFICATE | Capability.SIGNED


@lru_cache(64)
def mark_of(source: tuple[str, int]) -> bytes:
    """Our mark in blocks that say they come from there."""
    return _MARK + bytes((_VERSION, OURS)) + _check(source)


@lru_cache(4096)
def marked(mark: bytes, source: tuple[str, int]) -> bool:
    """Whether a mark says that the sender keeps connections, if the source is not ourselves.

    Other nodes copy headers and use them again: a mark that is not that of its source, or is our own, says nothing.
    """
    if mark[:2] != _MARK or mark[2] != _VERSION or not mark[3] & Capability.KEPT_CONNECTION:
        return False
    return mark[4:] == _check(source)


def _check(source: tuple[str, int]) -> bytes:
    """It tells a copied mark from a true one; it keeps no secret."""
    return hashlib.md5(f"{source[0]}:{source[1]}".encode(), usedforsecurity=False).digest()[:4]


def greeting(capabilities: Capability = OURS) -> bytes:
    """The first bytes on a connection that is to be kept, and their answer."""
    return (GREETING + bytes((_VERSION, capabilities))).ljust(GREETING_BYTES, b"\0")


def greeted(first: bytes) -> Capability:
    """What whoever sent these 16 bytes takes; nothing: it is no greeting.

    Raises ValueError for a greeting that is not understood.
    """
    if not first.startswith(GREETING):
        return Capability(0)
    taken = Capability(first[11] & _READ)
    if first[10] != _VERSION or not taken & Capability.KEPT_CONNECTION:
        raise ValueError(f"a greeting of version {first[10]}, which is not known here")
    return taken
