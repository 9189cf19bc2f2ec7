"""The broker at the limits of its process."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

from edgelake.bench.processes import free_port
from tests.system.program import STANDALONE, Program

PINGS = 300


def joined(port: int, client_id: str) -> socket.socket:
    """A client of version 3.1.1 that was accepted."""
    link = socket.create_connection(("127.0.0.1", port), timeout=20)
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(client_id).to_bytes(2, "big") + client_id.encode()
    link.sendall(bytes([0x10, len(body)]) + body)
    assert link.recv(4) == b"\x20\x02\x00\x00"
    return link


def ping(link: socket.socket) -> None:
    link.sendall(b"\xc0\x00")
    assert link.recv(2) == b"\xd0\x00"


def test_without_descriptors_new_connections_are_closed_and_others_go_on(tmp_path: Path) -> None:
    port = free_port()
    script = f"{STANDALONE}run message broker where external_ip = 127.0.0.1 and external_port = {port}\n"
    with Program(tmp_path, script) as node:
        node.until(lambda: "Running" in str(node.data("get processes")["MSG Broker"]))
        first = joined(port, "first")
        assert node.process is not None
        limits = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
        used = max(int(fd) for fd in os.listdir(f"/proc/{node.process.pid}/fd")) + 1
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        held = []
        while True:
            link = socket.create_connection(("127.0.0.1", port), timeout=20)
            held.append(link)
            link.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02" + bytes([97, 97 + len(held) % 26]))
            try:
                if not link.recv(4):
                    break
            except ConnectionResetError:
                break
        for _ in range(PINGS):
            ping(first)
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, limits)
        counted = node.data("get mqtt statistics")
        assert counted["connections_over_limit"] == 1
        # The refused connection is not offered again and again.
        assert counted["rounds"] < PINGS * 3 + len(held) * 10 + 500
        ping(joined(port, "later"))
