"""A network's own authority, and servers that take the certificates that it signs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.errors import CommandError, CredentialsError, ServiceError
from tests.net.peer.nodes import until

AUTHORITY = "id generate certificate authority where country = US and org = Acme Inc and hostname = ca and password = p"
REQUEST = "id generate certificate request where org = north and alt_name = 127.0.0.1 and alt_name = north.example"
SIGN = "id sign certificate request where ca_org = Acme Inc and server_org = north and password = "


async def made(node: Node) -> Path:
    """The folder of a node that has an authority, a server and a client."""
    for line in (AUTHORITY, REQUEST, f"{SIGN}p", REQUEST.replace("north", "eva"), f"{SIGN}p".replace("north", "eva")):
        await node.ctx.execute(line)
    return node.ctx.directories.path("pem_dir")


async def shown(port: int, context: ssl.SSLContext, name: str = "127.0.0.1") -> bytes:
    """The certificate (DER) that a server shows, once it answers with the client's one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        if not await reader.read(1):
            raise ConnectionError("no answer")
        return found
    finally:
        writer.close()


async def test_a_server_shows_the_certificate_and_takes_clients_of_the_authority(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        folder = await made(node)
        port = free_port()
        await node.ctx.execute(
            f"run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true and ssl = true "
            "and ca_org = Acme Inc and server_org = north and client_cert = required"
        )
        context = ssl.create_default_context(cafile=str(folder / "ca-acme-inc-public-key.crt"))
        with pytest.raises((OSError, ConnectionError)):
            await shown(port, context)
        context.load_cert_chain(folder / "server-eva-public-key.crt", folder / "server-eva-private-key.key")
        assert await shown(port, context)
        assert await shown(port, context, "north.example")
        with pytest.raises(ssl.SSLCertVerificationError):
            await shown(port, context, "south.example")
        for file in folder.glob("*.key"):
            assert file.stat().st_mode & 0o077 == 0
        checked = ["openssl", "verify", "-x509_strict", "-CAfile", folder / "ca-acme-inc-public-key.crt"]
        done = await asyncio.create_subprocess_exec(*checked, folder / "server-north-public-key.crt")
        assert await done.wait() == 0


async def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        execute = node.ctx.execute
        with pytest.raises(CommandError, match=r"ca-acme-inc-private-key\.key"):
            await execute(f"{SIGN}p")
        folder = await made(node)
        with pytest.raises(CommandError, match="already"):
            await execute(AUTHORITY)
        with pytest.raises(CredentialsError):
            await execute(f"{SIGN}wrong")
        with pytest.raises(CommandError, match="has a password"):
            await execute(SIGN.removesuffix(" and password = "))
        for wrong in ("org = ../x", "org = a/b", "org = x and country = USA", "org = x and alt_name = 'no host'"):
            with pytest.raises(CommandError):
                await execute(f"id generate certificate request where {wrong}")
        (folder / "server-north-csr.csr").write_text("nothing")
        with pytest.raises(CommandError, match="is none"):
            await execute(f"{SIGN}p")


async def test_the_broker_and_the_tcp_server_take_a_new_certificate(tmp_path: Path) -> None:
    """By the command, and by themselves; what cannot be used leaves the old one."""
    async with Node(tmp_path) as node:
        folder = await made(node)
        certificate, key = folder / "server-north-public-key.crt", folder / "server-north-private-key.key"
        mqtt, tls, tcp = free_port(), free_port(), free_port()
        at = "external_ip = 127.0.0.1 and external_port = {} and bind = true"
        await node.ctx.execute(
            f"run message broker where {at.format(mqtt)} and ssl_port = {tls} and cert = {certificate} and key = {key}"
        )
        await node.ctx.execute(
            f"run tcp server where {at.format(tcp)} and ssl = true and cert = {certificate} and key = {key}"
        )

        async def of_broker() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", tls))

        first, of_tcp = await of_broker(), node.ctx.variables.get("tcp_certificate")
        await node.ctx.execute(f"{SIGN}p")
        told = (await node.ctx.execute("reload certificates")).tables[0].rows
        assert [(row[0], row[2]) for row in told] == [("TCP", "renewed"), ("Message Broker", "renewed")]
        second = await of_broker()
        assert second != first
        assert node.ctx.variables.get("tcp_certificate") != of_tcp
        for path, new in ((certificate, "server-eva-public-key.crt"), (key, "server-eva-private-key.key")):
            path.write_bytes((folder / new).read_bytes())

        async def is_new() -> bool:
            return await of_broker() != second

        await until(is_new)
        assert ssl.PEM_cert_to_DER_cert(await of_broker()) == ssl.PEM_cert_to_DER_cert(certificate.read_text())
        third = await of_broker()
        key.write_bytes(b"no key")
        with pytest.raises(ServiceError, match="the old one stays"):
            await node.ctx.execute("reload certificates")
        assert await of_broker() == third
