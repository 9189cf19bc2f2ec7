"""What the dictionary knows of the machine when a node starts (spec: command language, section 5)."""

from __future__ import annotations

import socket
from contextlib import suppress

from edgelake.command.variables import Variables

_PROBE = ("192.0.2.1", 9)  # an address of documentation (RFC 5737): routing is asked, nothing is sent


def announce(variables: Variables) -> None:
    """Set addresses and default ports.

    The reference asks a service on the internet for ``external_ip``; ours sends nothing: it is the local address until
    a script or the environment says otherwise.
    """
    ip = local_ip()
    external = variables.environ.get("EXTERNAL_IP") or ip
    values = {
        "ip": ip,
        "external_ip": external,
        "anylog_server_port": "2048",
        "anylog_rest_port": "2148",
        "io_buff_size": "2048",
        "db_port": "5432",
        "is_vm": "false",
    }
    for name, value in values.items():
        variables.set(name, value)


def local_ip() -> str:
    """Address of this machine on its network; loopback without a network."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_PROBE)
        return str(probe.getsockname()[0])
    return "127.0.0.1"
