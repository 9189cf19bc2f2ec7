"""Keys of nodes and users, and policies that they sign."""

from __future__ import annotations

import asyncio
import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from edgelake import Node
from edgelake.errors import CommandError, CredentialsError, EdgeLakeError, NotAvailableError

POLICY = {"permissions": {"name": "readers", "enable": ["get", "sql"], "tables": ["plant.motor"]}}


async def told(node: Node, line: str) -> str:
    reply = await node.ctx.execute(line)
    return reply.text if reply.text is not None else json.dumps(reply.data)


def test_a_node_has_one_pair_and_signs_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(tmp_path) as node:
            with pytest.raises(EdgeLakeError) as none:
                await told(node, "get node id")
            assert "id create keys for node" in none.value.hint
            made = await told(node, "id create keys for node where password = secret")
            assert await told(node, "get node id") == await told(node, "get public string") == made
            with pytest.raises(CommandError, match="already"):
                await told(node, "id create keys for node where password = other")
            (file,) = tmp_path.rglob("node_id.pem")
            assert file.stat().st_mode & 0o077 == 0
            assert "BEGIN ENCRYPTED PRIVATE KEY" in await told(node, "get private key")
            node.ctx.variables.set("p", json.dumps(POLICY))
            text = await told(node, "id sign !p where password = secret")
            body = json.loads(text)["permissions"]
            assert body["public_key"] == made
            assert {key: body[key] for key in POLICY["permissions"]} == POLICY["permissions"]
            with pytest.raises(CredentialsError):
                await told(node, "id sign !p where password = wrong")
            node.ctx.variables.set("s", text)
            assert await told(node, "id authenticate !s") == "true"

    asyncio.run(scenario())


def test_a_user_signs_with_the_key_of_a_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(tmp_path) as node:
            public = await told(node, "id create keys where password = secret and keys_file = eva")
            await node.ctx.execute("k = get private string where keys_file = eva")
            node.ctx.variables.set("p", json.dumps(POLICY))
            await node.ctx.execute("s = id sign !p where key = !k and password = secret")
            signed = json.loads(node.ctx.variables.get("s"))
            assert signed["permissions"]["public_key"] == public
            assert await told(node, "id authenticate !s") == "true"
            shown = await told(node, "id create keys where password = secret")
            assert shown.count("BEGIN") == 2
            for name in ("../eva", "/etc/passwd", "a/b", "node"):
                with pytest.raises(EdgeLakeError):
                    await told(node, f"id create keys where password = x and keys_file = {name}")

    asyncio.run(scenario())


def changed(policy: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"permissions": {**policy["permissions"], **values}}


def test_every_change_but_the_ledgers_breaks_a_signature(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(tmp_path) as node:
            await told(node, "id create keys for node where password = secret")
            node.ctx.variables.set("p", json.dumps(POLICY))
            policy = json.loads(await told(node, "id sign !p where password = secret"))

            async def is_authentic(one: Any) -> bool:
                node.ctx.variables.set("s", json.dumps(one))
                return await told(node, "id authenticate !s") == "true"

            assert await is_authentic(changed(policy, id="1", date="2026-01-01", ledger="global"))
            body = policy["permissions"]
            for wrong in (
                changed(policy, enable=["*"]),
                changed(policy, more=1),
                {"member": body},
                changed(policy, signature=body["signature"][:-8] + "AAAAAAA="),
                changed(policy, signature="no base64"),
                changed(policy, signature=None),
                changed(policy, public_key="AAAA"),
                changed(policy, public_key="x" * 30_000),
                changed(policy, public_key=7),
                POLICY,
            ):
                assert not await is_authentic(wrong), wrong

    asyncio.run(scenario())


def test_without_the_package_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def absent(name: str, *given: Any, **more: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(name)
        return found(name, *given, **more)

    async def scenario() -> None:
        async with Node(tmp_path) as node:
            monkeypatch.setattr(builtins, "__import__", absent)
            with pytest.raises(NotAvailableError) as said:
                await told(node, "id create keys for node where password = secret")
            assert "edgelake[security]" in said.value.hint

    asyncio.run(scenario())
