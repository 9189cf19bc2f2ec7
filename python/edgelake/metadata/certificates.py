"""Certificates that the policies of nodes hold, by the addresses of those nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgelake.metadata.address import NODE_TYPES
from edgelake.metadata.ids import body_of
from edgelake.metadata.image import Image

ATTRIBUTE: Final = "certificate"

_ADDRESSES: Final = (("ip", "port"), ("local_ip", "local_port"), ("internal_ip", "internal_port"))


class Certificates:
    """``of`` an address, made anew when a policy of a node has changed."""

    def __init__(self) -> None:
        self._image: Image | None = None
        self._stamp: tuple[int, ...] = ()
        self._held: dict[str, str] = {}
        self._all: frozenset[str] = frozenset()

    def of(self, peer: str, image: Image) -> str:
        """The certificate (DER as base64) of the node with that ``ip:port``; "" = its policy has none."""
        if image is not self._image:
            self._follow(image)
        return self._held.get(peer, "")

    def all(self, image: Image) -> frozenset[str]:
        """Those of all nodes; the same object as long as no policy of a node has changed."""
        if image is not self._image:
            self._follow(image)
        return self._all

    def _follow(self, image: Image) -> None:
        self._image, stamp = image, image.stamp(*NODE_TYPES)
        if stamp != self._stamp:
            self._stamp, self._held = stamp, {}
            for policy in image.of_type(*NODE_TYPES):
                body = body_of(policy)
                if text := body.get(ATTRIBUTE):
                    self._held.update(dict.fromkeys(_addresses(body), str(text)))
            self._all = frozenset(self._held.values())


def _addresses(body: Mapping[str, Any]) -> list[str]:
    """Every ``ip:port`` of a policy; an address without a port of its own has the outer one."""
    port = body.get("port")
    pairs = ((body.get(ip), body.get(of) or port) for ip, of in _ADDRESSES)
    return [f"{ip}:{at}" for ip, at in pairs if ip and at]
