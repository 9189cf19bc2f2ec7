"""Certificates of servers that run: taken anew from their files."""

from __future__ import annotations

import asyncio

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.certificates import fingerprint
from edgelake.net.mqtt import MqttBroker
from edgelake.net.peer.service import PeerServer
from edgelake.net.rest import RestServer

_RENEWED = "renewed"


@command(
    "reload certificates",
    cls=CommandClass.ADMIN,
    topics=("security", "configuration"),
    examples=("reload certificates",),
)
async def reload_certificates(ctx: Context) -> Reply:
    """Have servers show the certificate that is in their files now, to connections from now on; open ones go on.

    The REST server, the TCP server and the message broker do so by themselves within seconds after their files have
    changed. Files that are no certificate with its key leave the old one in use.
    """
    rows: list[tuple[str, str, str]] = []
    rest, tcp, broker = (ctx.services.get(name) for name in (RestServer.name, PeerServer.name, MqttBroker.name))
    if isinstance(rest, RestServer) and rest.config.certificate is not None:
        await rest.renew_certificate()
        rows.append(("REST", await asyncio.to_thread(fingerprint, rest.config.certificate), _RENEWED))
    if isinstance(tcp, PeerServer) and (files := tcp.secure.files) is not None:
        await tcp.renew_certificate()
        rows.append(("TCP", await asyncio.to_thread(fingerprint, files.certificate), _RENEWED))
    if isinstance(broker, MqttBroker) and broker.config.has_tls and broker.config.certificate is not None:
        await broker.renew_certificate()
        rows.append(("Message Broker", await asyncio.to_thread(fingerprint, broker.config.certificate), _RENEWED))
    if not rows:
        raise CommandError("no server with TLS runs", hint="run rest server where ... and ssl = true")
    return Reply.of_table(Table(("Server", "SHA-256 fingerprint", "State"), rows))
