"""The local password, the node's open key, and texts that are encrypted for a key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import rsa

from edgelake import Node
from edgelake.errors import CommandError, CredentialsError, EdgeLakeError
from edgelake.identity import sealing
from edgelake.identity.keys import Opened


async def told(node: Node, line: str) -> str:
    return (await node.ctx.execute(line)).text or ""


def test_the_password_of_the_key_is_kept_for_the_next_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(tmp_path) as node:
            await told(node, "id create keys for node where password = of-the-key")
            with pytest.raises(EdgeLakeError, match="is not open"):
                await told(node, "set node authentication on")
            with pytest.raises(CredentialsError):
                await told(node, "set private password = wrong")
            with pytest.raises(CredentialsError, match="local password"):
                await told(node, "set private password = of-the-key in file")
            assert "local password" in await told(node, "set local password = of-the-node")
            await told(node, "set private password = of-the-key in file")
            await told(node, "set node authentication on")
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert not [one for one in kept if b"of-the-key" in one or b"of-the-node" in one]
        async with Node(tmp_path) as node:
            assert "Private Key" in str((await node.ctx.execute("get authentication")).tables)
            assert (await node.ctx.execute("get authentication")).data["private_key"] == "closed"
            with pytest.raises(CredentialsError, match="not the local password"):
                await told(node, "set local password = guessed")
            assert await told(node, "set local password = of-the-node") == "The private key of the node is open"
            assert (await node.ctx.execute("get authentication")).data["private_key"] == "open"
            assert await told(node, "get signatory name") == "node"

    asyncio.run(scenario())


def test_guessing_the_local_password_is_slowed_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(tmp_path) as node:
            await told(node, "set local password = right")
            said = []
            for _ in range(8):
                with pytest.raises(CredentialsError) as refused:
                    await told(node, "set local password = wrong")
                said.append(refused.value.http_status)
            assert 429 in said

    asyncio.run(scenario())


def test_a_text_is_for_the_owner_of_a_key_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(tmp_path) as node:
            await told(node, "id create keys for node where password = p")
            await told(node, "id create keys where password = q and keys_file = eva")
            await node.ctx.execute("k = get public string where keys_file = eva")
            await node.ctx.execute("mine = get public string where keys_file = eva")
            await node.ctx.execute("theirs = get private string where keys_file = eva")
            node.ctx.variables.set("text", "the text: ä")
            await node.ctx.execute("c = id encrypt !text !k")
            sealed = node.ctx.variables.get("c")
            assert "text" not in sealed
            assert await told(node, "id decrypt !c where key = !theirs and password = q") == "the text: ä"
            with pytest.raises(CredentialsError, match="not encrypted for that key"):
                await told(node, "id decrypt !c where password = p")
            node.ctx.variables.set("c", sealed[:-8] + "AAAAAAA=")
            with pytest.raises(CredentialsError):
                await told(node, "id decrypt !c where key = !theirs and password = q")
            with pytest.raises(CommandError, match="key"):
                await told(node, "id encrypt text nonsense")

    asyncio.run(scenario())


def test_keys_of_rsa_that_were_made_elsewhere_encrypt_too() -> None:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"p")
    ).decode()
    opened = Opened(private, "p")
    sealed = sealing.seal("hello", opened.public)
    assert sealing.unseal(sealed, opened) == "hello"
    assert sealed != sealing.seal("hello", opened.public)


def test_what_is_agreed_is_what_curve25519_says() -> None:
    """The form of an Ed25519 key on Curve25519: RFC 8032's first test vector, as libsodium converts it."""
    edwards = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    expected = "d85e07ec22b0ad881537c2f44d662d1a143cf830c57aca4305d85c7a90f6b62e"
    assert sealing._on_curve(edwards).hex() == expected
