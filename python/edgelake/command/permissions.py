"""Which command classes a caller has.

Source: design, section 4, "Who may do what".
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Literal

from edgelake.model import (
    ALL_CLASSES,
    FOREIGN_ORIGIN_CLASSES,
    LOOPBACK_CLASSES,
    OUTSIDE_CLASSES,
    CommandClass,
)

Entry = Literal["prompt", "script", "schedule", "rest", "peer", "library"]


@lru_cache(4096)
def is_loopback(address: str) -> bool:
    """Whether an address (``ip`` or ``ip:port``) is this machine's loopback; a mapped IPv6 one counts."""
    host = address.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def classes_for(entry: Entry, address: str = "", origin_ok: bool = True) -> frozenset[CommandClass]:
    """Classes of a caller nobody has identified.

    Args:
        entry: the door. Prompt, scripts, the library and schedules have all classes (a task runs with those of who
            scheduled it).
        address: of the other side, for ``rest`` and ``peer``.
        origin_ok: False for a request that a browser sends for another site; it is never taken for loopback.
    """
    if entry in ("prompt", "script", "schedule", "library"):
        return ALL_CLASSES
    if not origin_ok:
        return FOREIGN_ORIGIN_CLASSES
    return LOOPBACK_CLASSES if is_loopback(address) else OUTSIDE_CLASSES
