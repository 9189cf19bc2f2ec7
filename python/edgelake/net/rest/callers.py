"""Who a REST client is, and so what it may do. Source: design, section 4."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from edgelake.model import FOREIGN_ORIGIN_CLASSES, LOOPBACK_CLASSES, OUTSIDE_CLASSES, Caller
from edgelake.net.endpoints import is_loopback
from edgelake.net.rest.hooks import Peer


def caller_rule(own_names: Iterable[str] = ()) -> Callable[[Peer], Caller]:
    """The rule before any user, token or certificate is defined.

    A client on loopback has all classes but exec, one outside has data and metadata. What a browser sends for
    another site has data at most; so has a loopback request whose Host is a name that is not this machine's (a
    page that made its own name resolve to 127.0.0.1).

    Args:
        own_names: host names and addresses of the node, beside localhost and the machine's name.
    """
    own = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower(), *(n.lower() for n in own_names)}

    def caller(peer: Peer) -> Caller:
        host, _, _ = peer.address.rpartition(":")
        classes = LOOPBACK_CLASSES if is_loopback(host.strip("[]")) else OUTSIDE_CLASSES
        if _is_foreign(peer, own):
            classes = FOREIGN_ORIGIN_CLASSES
        return Caller("rest", classes, peer.address)

    return caller


def _is_foreign(peer: Peer, own: set[str]) -> bool:
    if peer.fetch_site in {"cross-site", "same-site"}:
        return True
    if peer.host and not _is_own(_host_of("//" + peer.host), own):
        return True
    if not peer.origin:
        return False
    origin = urlsplit(peer.origin)
    return origin.netloc.lower() != peer.host.lower() or not _is_own(_host_of(peer.origin), own)


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:  # e.g. an unclosed bracket
        return ""


def _is_own(name: str, own: set[str]) -> bool:
    """An address written as numbers can't be made to point here by somebody's name server."""
    if name in own:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
