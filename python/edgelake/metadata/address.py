"""Which address of a node policy to use (spec: metadata, section 4, "Address choice")."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

NODE_TYPES: Final = ("master", "operator", "query", "publisher")
"""Types of the policies of nodes."""

_IPS: Final = ("ip", "local_ip", "internal_ip")


def ips_of(body: Mapping[str, Any]) -> frozenset[str]:
    """The addresses, without ports, that the policy of a node names."""
    return frozenset(str(ip) for key in _IPS if (ip := body.get(key)))


class Addresses(Struct, frozen=True):
    """This node's own addresses; empty when they are not known."""

    external_ip: str = ""
    local_ip: str = ""

    def of(self, body: Mapping[str, Any]) -> str:
        """``ip:port`` under which this node reaches the node of a policy; empty when the policy has none."""
        ip, port = body.get("ip"), body.get("port")
        local_ip, local_port = body.get("local_ip"), body.get("local_port")
        if ip and str(ip) == self.external_ip and not _is_private(str(ip)):
            ip, port = local_ip or self.local_ip or ip, local_port or port
        elif not ip:
            ip, port = local_ip, local_port or port
        return f"{ip}:{port}" if ip and port else ""


@functools.lru_cache(maxsize=4096)
def _is_private(ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip).is_private
    except ValueError:
        return False  # a host name
