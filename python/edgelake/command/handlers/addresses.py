"""Addresses of this node: the one on the local network, and the one to which other nodes reply.

Source: spec "Network protocol", section 4; "Command language", section 15.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Annotated, Final

from edgelake.command.context import Context
from edgelake.command.grammar import After
from edgelake.command.handlers.status import REPLY_ADDRESS
from edgelake.command.registry import command
from edgelake.errors import error
from edgelake.model import CommandClass, Reply

DYNAMIC: Final = "dynamic"
"""Replies go where the message is seen to come from."""


@command(
    "set reply ip",
    "set reply ip and port",
    cls=CommandClass.ADMIN,
    topics=("network", "configuration"),
    examples=("set reply ip = dynamic", "set reply ip = !external_ip", "set reply ip and port = 10.0.0.78:7848"),
)
async def set_reply_ip(ctx: Context, address: Annotated[str, After("=")]) -> Reply:
    """The address to which other nodes reply, for a node behind a router.

    dynamic: that from which they see the message come, and the port of the TCP server. Without a port that of the
    TCP server is taken.
    """
    ctx.node.settings[REPLY_ADDRESS] = _checked(address)
    return Reply.done()


def _checked(address: str) -> str:
    """``dynamic``, an IP address, or one with a port. Raises EdgeLakeError (20)."""
    if address.lower() == DYNAMIC:
        return DYNAMIC
    host, port = address, "1"
    if address.count(":") == 1 or address.startswith("["):
        host, _, port = address.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if port.isascii() and port.isdigit() and 0 < int(port) <= 65535:
            return address
    except ValueError:
        pass
    raise error(20, f"'{address}' is no address for replies", hint="dynamic, an IP address, or ip:port")


@command(
    "reset reply ip",
    cls=CommandClass.ADMIN,
    topics=("network", "configuration"),
    examples=("reset reply ip",),
)
async def reset_reply_ip(ctx: Context) -> Reply:
    """Other nodes reply to the addresses of the TCP server again."""
    ctx.node.settings.pop(REPLY_ADDRESS, None)
    return Reply.done()


@command("get reply ip", cls=CommandClass.DATA, topics=("network",), examples=("get reply ip",))
async def get_reply_ip(ctx: Context) -> Reply:
    """The address to which other nodes reply, when it was set."""
    found = reply_address(ctx)
    return Reply.of_data({"reply_ip": found}, text=found or "Not set: replies come to the address of the TCP server")


def reply_address(ctx: Context) -> str:
    """``dynamic``, an address, or empty: that of the TCP server."""
    return str(ctx.node.settings.get(REPLY_ADDRESS, ""))


@command(
    "set internal ip",
    cls=CommandClass.ADMIN,
    topics=("network", "configuration"),
    examples=("set internal ip with eth0",),
)
async def set_internal_ip(ctx: Context, nic: Annotated[str, After("with")]) -> Reply:
    """Take the address of a network card as the node's own on the local network (``!ip``)."""
    import psutil

    cards = {
        name: next((one.address for one in found if one.family == socket.AF_INET), "")
        for name, found in psutil.net_if_addrs().items()
    }
    if not cards.get(nic):
        usable = ", ".join(name for name, ip in cards.items() if ip)
        raise error(3, f"no network card '{nic}' with an IPv4 address", hint=f"one of: {usable}")
    ctx.variables.set("ip", cards[nic])
    return Reply.done()
