"""Nodes that take connections of those alone who show a certificate: of the policies, or of an authority."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as form

from edgelake.errors import EdgeLakeError
from edgelake.node import Node
from tests.net.peer.nodes import node, server
from tests.net.peer.raw import RawLink
from tests.net.peer.test_links import is_secure, links, secured, with_policy

DEMANDING = "ssl_client = true"


class Pair:
    """b demands certificates; a has one, and a's policies have that of b."""

    def __init__(self, a: Node, at_a: str, b: Node, at_b: str) -> None:
        self.a, self.at_a, self.b, self.at_b = a, at_a, b, at_b

    async def asked(self) -> str | None:
        return (await self.a.execute(f"run client ({self.at_b}, timeout = 30) get status")).text

    async def refused(self, why: str) -> None:
        with pytest.raises(EdgeLakeError, match=why):
            await self.asked()


async def pair(opened: AsyncExitStack, home: Path, options: str = "ssl = true") -> Pair:
    a, at_a = await opened.enter_async_context(secured(home / "a", "a", options))
    b, at_b = await opened.enter_async_context(secured(home / "b", "b", DEMANDING))
    await with_policy(a, b, at_b)
    return Pair(a, at_a, b, at_b)


async def test_a_node_of_the_policies_is_taken_both_ways(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        two = await pair(opened, tmp_path, DEMANDING)
        await with_policy(two.b, two.a, two.at_a)
        for _ in range(3):
            assert await two.asked() == f"b@{two.at_b} running"
        assert is_secure(two.a, two.at_b)
        assert links(two.b) == 1
        processes = (await two.b.execute("get processes")).tables[0].rows
        assert any("TLS: with certificates of nodes" in row[2] for row in processes)
        assert (await two.b.execute(f"run client {two.at_a} get status")).text == f"a@{two.at_a} running"
        await two.b.execute("set echo queue on")
        for number in range(20):
            await two.b.execute(f"echo {number:02} {'é' * 30_000}")
        assert ((await two.a.execute(f"run client {two.at_b} get echo queue")).text or "").count("é") == 20 * 30_000


async def test_it_reaches_itself(tmp_path: Path) -> None:
    async with secured(tmp_path, "b", DEMANDING) as (b, at_b):
        await with_policy(b, b, at_b)
        assert (await b.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"


async def test_others_are_told_why_they_are_refused(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        two = await pair(opened, tmp_path)
        await two.refused("does not take the certificate of this node")
        assert links(two.b) == 0
        assert server(two.b).refused == 1
        await with_policy(two.b, two.a, two.at_a)  # from now on it is a node of the network
        assert await two.asked() == f"b@{two.at_b} running"

        bare, _ = await opened.enter_async_context(node(tmp_path / "bare", "bare"))
        await with_policy(bare, two.b, two.at_b)
        with pytest.raises(EdgeLakeError, match="it demands a certificate, and this node has none"):
            await bare.execute(f"run client {two.at_b} get status")


async def test_a_node_speaks_for_its_own_address_alone(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        two = await pair(opened, tmp_path)
        c, _ = await opened.enter_async_context(secured(tmp_path / "c", "c"))
        await with_policy(two.b, two.a, "127.0.0.9:32148")  # a is known, but as another node
        await with_policy(two.b, c, two.at_a)
        await two.refused(f"the certificate that it shows is not that of the policy of {two.at_a}")


async def test_a_policy_whose_certificate_is_none_keeps_nobody_else_out(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        two = await pair(opened, tmp_path)
        for number, text in enumerate(("no base64!", "bm9uZQ==")):
            await with_policy(two.b, two.a, f"127.0.0.8:{number + 1}", text)
        await with_policy(two.b, two.a, two.at_a)
        assert await two.asked() == f"b@{two.at_b} running"


async def test_who_has_no_certificate_gets_nothing_from_a_link(tmp_path: Path) -> None:
    async with secured(tmp_path, "b", DEMANDING) as (b, at_b):
        link = await RawLink.open(at_b)
        assert await link.ended()
        link.close()
        assert server(b).refused == 1
        assert links(b) == 0


async def test_certificates_of_the_authority_are_taken_before_there_is_a_policy(tmp_path: Path) -> None:
    authority = trustme.CA()
    options = "ca_org = plant and server_org = node"
    for name, of in (("a", authority), ("b", authority), ("c", trustme.CA())):
        _write_pem(tmp_path / name / "EdgeLake" / "data" / "pem", of)
    async with AsyncExitStack() as opened:
        b, at_b = await opened.enter_async_context(secured(tmp_path / "b", "b", f"{DEMANDING} and {options}"))
        a, _ = await opened.enter_async_context(secured(tmp_path / "a", "a", f"ssl = true and {options}"))
        c, _ = await opened.enter_async_context(secured(tmp_path / "c", "c", f"ssl = true and {options}"))
        for made in (a, c):
            await with_policy(made, b, at_b)
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"
        with pytest.raises(EdgeLakeError, match="does not take the certificate of this node"):
            await c.execute(f"run client {at_b} get status")


async def test_many_at_once_share_one_link(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        two = await pair(opened, tmp_path)
        await with_policy(two.b, two.a, two.at_a)
        said = await asyncio.gather(*(two.asked() for _ in range(20)))
        assert set(said) == {f"b@{two.at_b} running"}
        assert links(two.b) == 1


def _write_pem(pem_dir: Path, authority: trustme.CA) -> None:
    """The files of an authority and of a server of it, named as in the reference."""
    pem_dir.mkdir(parents=True)
    issued = authority.issue_cert("127.0.0.1")
    key = form.load_pem_private_key(issued.private_key_pem.bytes(), None)
    (pem_dir / "ca-plant-public-key.crt").write_bytes(authority.cert_pem.bytes())
    (pem_dir / "server-node-public-key.crt").write_bytes(issued.cert_chain_pems[0].bytes())
    (pem_dir / "server-node-private-key.key").write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    )


async def test_who_shows_a_certificate_needs_no_user(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        two = await pair(opened, tmp_path, DEMANDING)
        await with_policy(two.b, two.a, two.at_a)
        await two.b.execute("id add user where name = ops and password = x and type = admin")
        await two.b.execute("set user authentication on")
        assert await two.asked() == f"b@{two.at_b} running"
