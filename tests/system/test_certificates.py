"""``reload certificates`` at a node whose REST and TCP servers have TLS."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.errors import CommandError, ServiceError
from edgelake.net.certificates import fingerprint, self_signed


def test_servers_take_their_certificates_anew(tmp_path: Path) -> None:
    files = self_signed(tmp_path / "pem", ("127.0.0.1",))
    used = f"ssl = true and cert = {files.certificate} and key = {files.key}"

    async def scenario() -> None:
        async with Node(tmp_path / "home") as node:
            run = node.ctx.execute
            with pytest.raises(CommandError):
                await run("reload certificates")
            for service in ("rest", "tcp"):
                await run(
                    f"run {service} server where internal_ip = 127.0.0.1 and internal_port = {free_port()} and {used}"
                )
            before = node.ctx.variables.get("tcp_certificate")
            new = self_signed(tmp_path / "new", ("127.0.0.1",))
            os.replace(new.key, files.key)
            with pytest.raises(ServiceError):
                await run("reload certificates")
            assert node.ctx.variables.get("tcp_certificate") == before
            os.replace(new.certificate, files.certificate)
            reply = await run("reload certificates")
            shown = fingerprint(files.certificate)
            assert [row[:2] for row in reply.tables[0].rows] == [("REST", shown), ("TCP", shown)]
            assert node.ctx.variables.get("tcp_certificate") != before

    asyncio.run(scenario())
