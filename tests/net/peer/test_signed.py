"""Signed messages between nodes, and what policies permit to those who sign (security spec, sections 6 and 7)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import PeerReader, peer_blocks, peer_frames
from edgelake.command.handlers.identity import security_of
from edgelake.errors import EdgeLakeError
from edgelake.identity import keys
from edgelake.identity.keys import Opened
from edgelake.identity.messages import Signatures
from edgelake.metadata.master import MASTER
from edgelake.net.peer.files import file_blocks
from edgelake.node import Node
from edgelake.peering import FileTarget
from tests.net.peer.nodes import node, server, until
from tests.net.peer.raw import RawLink, RawPeer, Said, send
from tests.net.peer.test_links import is_secure, secured, with_policy

ROOT = keys.create("of the root")
READERS = {"permissions": {"name": "readers", "enable": ["get", "sql"], "databases": ["plant"]}}


def signed(policy: dict[str, Any]) -> dict[str, Any]:
    return keys.signed(policy, Opened(ROOT.private, "of the root"))


async def keep(made: Node, policy: dict[str, Any]) -> str:
    made.ctx.variables.set("one", json.dumps(policy))
    return (await made.execute("blockchain insert where policy = !one and local = true")).value or ""


async def named(made: Node, password: str) -> str:
    """The node gets keys, opens them, and wants messages to be signed; its public key."""
    public = (await made.execute(f"id create keys for node where password = {password}")).text or ""
    await made.execute(f"set private password = {password}")
    await keep(made, {"member": {"type": "root", "name": "boss", "public_key": keys.bare(ROOT.public)}})
    await made.execute("set node authentication on")
    return public


class Two:
    """b demands signatures; a signs."""

    def __init__(self, a: Node, at_a: str, b: Node, at_b: str, key: str) -> None:
        self.a, self.at_a, self.b, self.at_b, self.key = a, at_a, b, at_b, key

    async def ask(self, command: str) -> str:
        return (await self.a.execute(f"run client ({self.at_b}, timeout = 20) {command}")).text or ""

    async def refused(self, command: str, why: str) -> EdgeLakeError:
        with pytest.raises(EdgeLakeError, match=why) as raised:
            await self.ask(command)
        return raised.value

    async def rows(self, dbms: str, table: str) -> str:
        reply = await self.a.execute(f'run client ({self.at_b}) sql {dbms} format = json "select value from {table}"')
        assert reply.stream is not None
        return b"".join([piece async for piece in reply.stream]).decode()

    async def permit(self, body: dict[str, Any] | None = None) -> tuple[str, str]:
        """Permissions for a, signed by the root, at b; ids of the permissions and of the assignment."""
        policy = {"permissions": body or READERS["permissions"]}
        permissions = await keep(self.b, signed(policy))
        assignment = {"assignment": {"permissions": permissions, "members": [self.key]}}
        return permissions, await keep(self.b, signed(assignment))


@asynccontextmanager
async def two(home: Path) -> AsyncIterator[Two]:
    async with AsyncExitStack() as opened:
        a, at_a = await opened.enter_async_context(node(home / "a", "a"))
        b, at_b = await opened.enter_async_context(node(home / "b", "b"))
        key = await named(a, "of-a")
        await named(b, "of-b")
        yield Two(a, at_a, b, at_b, key)


async def test_what_policies_permit_is_answered_until_they_are_withdrawn(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        await pair.refused("get status", "do not permit 'get status'")
        _, assignment = await pair.permit()
        assert await pair.ask("get status") == f"b@{pair.at_b} running"
        await pair.refused("blockchain get *", "do not permit 'blockchain get'")
        await pair.refused("set peer commands get", "is not taken from other nodes")
        assert server(pair.a).is_upgraded(pair.at_b)  # the answers came on a kept connection from the second on
        await pair.b.execute(f"blockchain delete policy where id = {assignment}")
        await pair.refused("get status", "do not permit 'get status'")
        log = await pair.b.execute("get audit log where format = json")
        refused = [one for one in log.data if one["outcome"] == "refused" and one["entry"] == "peer"]
        assert len(refused) >= 3
        assert all(one["user"] for one in refused)


async def test_databases_and_tables_are_permitted_one_by_one(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        for dbms, table in (("plant", "motor"), ("plant", "pump"), ("office", "door")):
            for one in (pair.a, pair.b):  # a knows the columns, b is asked
                await one.execute(f"connect dbms {dbms} where type = sqlite and memory = true")
                await one.ingest(dbms, table, [{"timestamp": "2026-01-01T00:00:00Z", "value": 1.5}])
                await one.execute("flush buffers")
        await pair.permit({"name": "motors", "enable": ["sql", "get"], "databases": [], "tables": ["plant.motor"]})
        for _ in range(2):  # in a block, then on a kept connection
            assert "1.5" in await pair.rows("plant", "motor")
        for dbms, table in (("plant", "pump"), ("office", "door")):
            with pytest.raises(EdgeLakeError, match=f"do not permit 'sql' on {dbms}.{table}"):
                await pair.rows(dbms, table)
        await pair.refused("get tables where dbms = office", "on office")


async def test_a_command_that_the_root_names_is_taken_also_of_another_class(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        await pair.permit({"name": "all", "enable": ["*"]})
        assert await pair.ask("get status")
        await pair.refused("connect dbms more where type = sqlite", "is not taken from other nodes")
        await pair.permit({"name": "builders", "enable": ["connect dbms", "system"]})
        await pair.ask("connect dbms more where type = sqlite")
        assert "more" in ((await pair.b.execute("get databases where format = json")).data or {})
        await pair.refused("system ls", "needs the command class 'exec'")


async def test_what_is_not_signed_is_refused_and_may_be_let_in(tmp_path: Path) -> None:
    async with two(tmp_path) as pair, RawPeer() as stranger:
        await pair.permit()
        answer = await stranger.request(pair.at_b, "get status", job=(1, 5, 1, 0))
        assert (answer.error, b"is not signed" in answer.data) == (212, True)
        admin = "id add user where name = ops and password = x and type = admin"
        await pair.b.execute(admin)
        await pair.b.execute("set permissions where user = anonymous and entry = peer and classes = (data)")
        answer = await stranger.request(pair.at_b, "get status", job=(1, 6, 1, 0))
        assert (answer.error, answer.data) == (0, f"b@{pair.at_b} running".encode())
        link = await RawLink.open(pair.at_b)
        await link.greeted()
        assert (await link.read()).command == "event challenge"
        link.write("get status")
        assert (await link.read()).data == f"b@{pair.at_b} running".encode()
        link.close()


class Signer:
    """Makes messages of a by hand."""

    def __init__(self, pair: Two, source: str) -> None:
        self.signatures = Signatures(lambda: True)
        self.signatures.own = security_of(pair.a.ctx).signatures.own
        self.source, self.to = source, pair.at_b

    def block(self, command: str, *, to: str = "", covered: str = "", job: int = 7, data: bytes = b"") -> bytes:
        host, _, port = self.source.rpartition(":")
        where = (host, int(port))
        part = self.signatures.sign(where, to or self.to, covered or command, data)
        return peer_blocks(command, data, where, job=(1, job, 1, 0), info=6, authentication=part)


async def test_a_message_counts_once_for_its_receiver_and_as_it_was_signed(tmp_path: Path) -> None:
    async with two(tmp_path) as pair, RawPeer() as sender:
        await pair.permit()
        signer = Signer(pair, sender.address)

        async def answer(content: bytes) -> Said:
            await send(pair.at_b, content)
            return await sender.next()

        first = signer.block("get status")
        assert (await answer(first)).error == 0
        again = await answer(first)
        assert (again.error, b"came before" in again.data) == (145, True)
        for content, why in (
            (signer.block("get status", to="10.9.8.7:32048"), b"signed for 10.9.8.7:32048"),
            (signer.block("get status", covered="get processes"), b"signature of the message is wrong"),
            (signer.block("get status").replace(b"get status", b"get statuS"), b"signature of the message is wrong"),
        ):
            said = await answer(content)
            assert (said.error, why in said.data) == (145, True), said
        now = signer.signatures._clock_us
        for shift_us in (-61_000_000, 61_000_000):
            signer.signatures._clock_us = lambda by=shift_us: now() + by
            said = await answer(signer.block("get status"))
            assert (said.error, b"s ago; 60 are allowed" in said.data) == (145, True)
        assert server(pair.b).refused >= 6


async def test_a_large_command_is_covered_by_its_signature(tmp_path: Path) -> None:
    async with two(tmp_path) as pair, RawPeer() as sender:
        await pair.permit({"name": "all", "enable": ["*"]})
        signer = Signer(pair, sender.address)
        host, _, port = sender.address.rpartition(":")
        where, name = (host, int(port)), "file write cmd.127.0.0.1.1.lmsg"
        text = b"get status where format = json" + b" " * 4000

        def blocks(covered: bytes) -> bytes:
            part = signer.signatures.sign(where, pair.at_b, name, covered)
            return peer_blocks(name, text, where, generic_flag=3, is_file=True, authentication=part)

        await send(pair.at_b, blocks(text))
        assert (await sender.next()).error == 0
        await send(pair.at_b, blocks(b"get processes"))
        assert (await sender.next()).error == 145


async def test_a_connection_takes_nothing_until_its_number_is_signed(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        await pair.permit()
        signatures = security_of(pair.a.ctx).signatures
        seen = []
        for challenge, to in ((None, pair.at_b), (bytes(32), pair.at_b), (None, "10.9.8.7:1")):
            link = await RawLink.open(pair.at_b, b"EL-UPGRADE" + bytes((1, 7 | 32)) + bytes(4))
            assert (await link.greeted())[11] & 32
            asked = await link.read()
            assert asked.command == "event challenge"
            number = bytes.fromhex(asked.data.decode())
            seen.append(number)
            part = signatures.answer(challenge or number, ("127.0.0.1", 9), to, b"")
            link.writer.write(peer_frames("event identify", b"", ("127.0.0.1", 9), authentication=part))
            if challenge is None and to == pair.at_b:
                link.write("get status")
                assert (await link.read()).error == 0
                link.close()
            else:
                assert await link.ended()
        assert len(set(seen)) == 3


async def test_tls_connections_are_bound_to_the_certificate(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        a, _ = await opened.enter_async_context(secured(tmp_path / "a", "a", "ssl = true"))
        b, at_b = await opened.enter_async_context(secured(tmp_path / "b", "b", "ssl = true"))
        await with_policy(a, b, at_b)
        key = await named(a, "of-a")
        await named(b, "of-b")
        await Two(a, "", b, at_b, key).permit()
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"
        assert is_secure(a, at_b)
        (link,) = server(b)._accepted
        assert link.key == key
        own = security_of(a.ctx).signatures
        part = own.answer(link.challenge, ("127.0.0.1", 9), at_b, b"another certificate")
        with pytest.raises(EdgeLakeError, match="signature of the message is wrong"):
            security_of(b.ctx).signatures.check_answer(
                part, link.challenge, ("127.0.0.1", 9), lambda to: True, server(b).secure.certificate
            )


async def test_without_an_open_key_it_is_said_what_to_do(tmp_path: Path) -> None:
    async with two(tmp_path) as pair:
        await pair.permit()
        security_of(pair.a.ctx).signatures.own = None
        await pair.refused("get status", "set private password")
        await pair.a.execute("set private password = of-a")
        assert await pair.ask("get status")
        await pair.a.execute("id create keys where password = p and keys_file = eva")
        await pair.a.execute("k = get private string where keys_file = eva")
        await pair.a.execute("set signatory where key = !k and password = p and name = eva")
        await pair.refused("get status", "do not permit")  # it is eva who asks now
        assert (await pair.a.execute("get signatory name")).text == "eva"
        await pair.a.execute("reset signatory")
        assert await pair.ask("get status")
        await pair.b.execute("set node authentication off")
        assert await pair.ask("get status")


async def test_a_node_that_signs_follows_a_master(tmp_path: Path) -> None:
    """Ledger copies and pushes are signed messages, too; the first copy that was asked for brings the permissions."""
    async with two(tmp_path) as pair:
        await pair.b.execute("connect dbms blockchain where type = sqlite")
        await pair.b.execute("blockchain create table")
        await pair.permit({"name": "net", "enable": ["get", "blockchain", "event", "file", "echo", "print"]})
        pair.key = (await pair.b.execute("get node id")).text or ""
        await pair.permit({"name": "master", "enable": ["event", "file", "echo", "print"]})
        await pair.b.execute("blockchain update dbms")
        sync = "run blockchain sync where source = master and time = 1 second and dest = file and connection"
        await pair.a.execute(f"{sync} = {pair.at_b}")

        async def has_it() -> bool:
            return bool(pair.a.ctx.policies.find("permissions", name="net"))

        await until(has_it)
        reply = await pair.a.execute(
            f"blockchain insert where policy = {json.dumps({'company': {'name': 'acme'}})} and local = true "
            f"and master = {pair.at_b}"
        )
        assert reply is not None

        async def came() -> bool:
            return any("company" in one for one in await pair.b.ctx.parts[MASTER].policies())

        await until(came)
        forged = signed({"permissions": {"name": "mine", "enable": ["*"]}})
        forged["permissions"]["enable"] = ["set"]
        pair.a.ctx.variables.set("forged", json.dumps(forged))
        with pytest.raises(EdgeLakeError, match="not as its author signed it"):
            await pair.a.execute(f"blockchain insert where policy = !forged and local = false and master = {pair.at_b}")


ROOM = 2048 - 207 - len("file write /n/x")
SIGNED = 240


@pytest.mark.parametrize("size", [0, 1, ROOM - SIGNED, ROOM, 64 * ROOM - SIGNED, 64 * ROOM, 130 * ROOM + 7])
async def test_a_signed_file_arrives_as_it_is(size: int) -> None:
    """Its first block has less room; the others, and where it is cut, do not matter."""
    content, reader = bytes(range(256)) * (size // 256 + 1), PeerReader(1 << 20)
    made = [piece async for piece in file_blocks("file write /n/x", content[:size], ("127.0.0.1", 9), 0, b"s" * SIGNED)]
    found = reader.feed(b"".join(made))
    assert b"".join(message.data for message in found) == content[:size]
    assert found[-1].is_complete
    assert {message.authentication for message in found} == {b"s" * SIGNED}


async def test_who_signs_sends_files_in_blocks(tmp_path: Path) -> None:
    async with two(tmp_path) as pair, RawPeer() as old:
        sent = bytes(5000)
        await server(pair.a).send_file(old.address, "/n/x", sent, FileTarget.PATH)
        said = await old.next()
        part, data = said.data[:-5000], said.data[-5000:]
        assert data == sent
        key, _, source, _, _, to = part.decode().split(" ")
        assert (key, source, to) == (pair.key, pair.at_a, old.address)
