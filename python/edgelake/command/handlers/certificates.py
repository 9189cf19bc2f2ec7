"""Certificates of servers that run: taken anew from their files."""

from __future__ import annotations

import asyncio
import ssl

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.errors import CommandError, ServiceError
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.certificates import fingerprint
from edgelake.net.mqtt import MqttBroker
from edgelake.net.peer.secure import certificate_text
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

    The REST server does so by itself within seconds after its files have changed. Files that are no certificate with
    its key leave the old one in use. The message broker reads its files when it is started.
    """
    rows: list[tuple[str, str, str]] = []
    rest, tcp, broker = (ctx.services.get(name) for name in (RestServer.name, PeerServer.name, MqttBroker.name))
    if isinstance(rest, RestServer) and rest.config.certificate is not None:
        await rest.renew_certificate()
        rows.append(("REST", await asyncio.to_thread(fingerprint, rest.config.certificate), _RENEWED))
    if isinstance(tcp, PeerServer) and (files := tcp.secure.files) is not None:
        try:
            await asyncio.to_thread(tcp.secure.load)
        except (OSError, ssl.SSLError) as problem:
            raise ServiceError(f"TCP Server: the certificate cannot be renewed, the old one stays: {problem}") from None
        ctx.variables.set("tcp_certificate", certificate_text(files))
        rows.append(("TCP", await asyncio.to_thread(fingerprint, files.certificate), _RENEWED))
    if isinstance(broker, MqttBroker) and broker.config.has_tls and broker.config.certificate is not None:
        shown = await asyncio.to_thread(fingerprint, broker.config.certificate)
        rows.append(("Message Broker", shown, "with its next start"))
    if not rows:
        raise CommandError("no server with TLS runs", hint="run rest server where ... and ssl = true")
    return Reply.of_table(Table(("Server", "SHA-256 fingerprint", "State"), rows))
