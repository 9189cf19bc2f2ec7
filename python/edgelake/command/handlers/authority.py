"""Certificates of the network's own authority. Spec: security, section 4."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.identity import authority
from edgelake.identity.authority import Subject
from edgelake.model import CommandClass, Reply


@command(
    "id generate certificate authority",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=(
        "id generate certificate authority where country = US and state = CA and locality = Oakland and org = acme "
        "and hostname = ca.acme.example and password = !password",
    ),
)
async def generate_authority(
    ctx: Context,
    *,
    org: str,
    country: str = "",
    state: str = "",
    locality: str = "",
    hostname: str = "",
    password: str = "",
) -> Reply:
    """An authority that signs certificates of servers and clients: its key (encrypted with the password, if one is
    given) and its certificate, in pem_dir."""
    subject = Subject(country, state, locality, org, hostname)
    folder = ctx.directories.path("pem_dir")
    return _made(await asyncio.to_thread(authority.make_authority, folder, subject, password))


@command(
    "id generate certificate request",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=(
        "id generate certificate request where country = US and org = north and alt_name = 10.0.0.5 "
        "and alt_name = north.acme.example and hostname = north and ip = !ip",
    ),
)
async def generate_request(
    ctx: Context,
    *,
    org: str,
    country: str = "",
    state: str = "",
    locality: str = "",
    hostname: str = "",
    ip: str = "",
    alt_name: list[str] | None = None,
) -> Reply:
    """A key of a server or client, and the request that an authority signs; in pem_dir. alt_name, ip: names and
    addresses that the certificate is good for."""
    subject = Subject(country, state, locality, org, hostname)
    folder, names = ctx.directories.path("pem_dir"), [ip, *(alt_name or ())]
    return _made(await asyncio.to_thread(authority.make_request, folder, subject, names))


@command(
    "id sign certificate request",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=("id sign certificate request where ca_org = acme and server_org = north and password = !password",),
)
async def sign_request(ctx: Context, *, ca_org: str, server_org: str, password: str = "") -> Reply:
    """The certificate of a server or client, signed by the authority of this node, in pem_dir. It is good for 825 days;
    servers that run take a new one by themselves."""
    folder = ctx.directories.path("pem_dir")
    return _made([await asyncio.to_thread(authority.sign_request, folder, ca_org, server_org, password)])


def _made(files: Sequence[Path]) -> Reply:
    names = [str(path) for path in files]
    return Reply.of_data({"files": names}, text="\n".join(names))
