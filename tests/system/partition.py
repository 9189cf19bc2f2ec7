"""Two network namespaces joined by a veth pair, and ways to cut it. Needs root, and a kernel that allows it."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

_NEW_NET = 0x40000000  # CLONE_NEWNET
_NOBODY = "02:00:00:00:00:99"
_LIBC = ctypes.CDLL(None, use_errno=True)
_DEVICE = "wire"
_NUMBERS = itertools.count()

Cut = Literal["down", "silent"]


def ip(*words: str) -> None:
    """Run ``ip``. Raises OSError with what it said."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Space:
    """A network namespace with one address."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """This thread, and the processes that it starts, are in it."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _set(inside)
            yield
        finally:
            _set(outside)
            os.close(inside)
            os.close(outside)


def _set(space: int) -> None:
    if _LIBC.setns(space, _NEW_NET):
        raise OSError(ctypes.get_errno(), "setns")


class Pair:
    """Namespaces ``left`` and ``right``, in which all nodes of one side are."""

    def __init__(self, number: int) -> None:
        name = f"el{os.getpid()}-{number}"
        # Addresses for tests of networks, RFC 2544.
        self.left, self.right = Space(f"{name}l", "198.18.7.1"), Space(f"{name}r", "198.18.7.2")

    def make(self) -> None:
        """Raises OSError."""
        left, right = self.left, self.right
        for space in (left, right):
            ip("netns", "add", space.name)
            ip("-n", space.name, "link", "set", "lo", "up")
        ip("link", "add", _DEVICE, "netns", left.name, "type", "veth", "peer", "name", _DEVICE, "netns", right.name)
        for space in (left, right):
            ip("-n", space.name, "addr", "add", f"{space.address}/30", "dev", _DEVICE)
            ip("-n", space.name, "link", "set", _DEVICE, "up")

    def remove(self) -> None:
        for space in (self.left, self.right):
            if Path(f"/run/netns/{space.name}").exists():
                ip("netns", "del", space.name)

    def cut(self, how: Cut) -> None:
        """``down``: the far end goes down, the near one has no carrier. ``silent``: packets are lost."""
        if how == "down":
            ip("-n", self.right.name, "link", "set", _DEVICE, "down")
            return
        for space, other in ((self.left, self.right), (self.right, self.left)):
            ip(
                "-n",
                space.name,
                "neigh",
                "replace",
                other.address,
                "lladdr",
                _NOBODY,
                "dev",
                _DEVICE,
                "nud",
                "permanent",
            )

    def heal(self, how: Cut) -> None:
        if how == "down":
            ip("-n", self.right.name, "link", "set", _DEVICE, "up")
            return
        for space, other in ((self.left, self.right), (self.right, self.left)):
            ip("-n", space.name, "neigh", "del", other.address, "dev", _DEVICE)


def missing() -> str:
    """Why no namespaces are made here; "" as root, who can make them: then what is missing fails the tests."""
    return "" if os.geteuid() == 0 else "network namespaces need root"


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Joined namespaces, removed at the end."""
    made = Pair(next(_NUMBERS))
    try:
        made.make()
        yield made
    finally:
        made.remove()
