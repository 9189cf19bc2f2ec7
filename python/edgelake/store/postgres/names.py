"""Names as the server keeps them: 63 bytes at most, where the node's may be longer."""

from __future__ import annotations

import hashlib

NAME_BYTES = 63
_KEPT_BYTES = 46


def physical(name: str) -> str:
    """A name that the server does not cut; a long one ends with a hash of the whole, so that two never meet."""
    encoded = name.encode()
    if len(encoded) <= NAME_BYTES:
        return name
    head = encoded[:_KEPT_BYTES].decode(errors="ignore")
    return f"{head}_{hashlib.md5(encoded, usedforsecurity=False).hexdigest()[:16]}"


def quote(name: str) -> str:
    """An identifier as it stands in SQL, whatever is in it."""
    return '"' + physical(name).replace('"', '""') + '"'
