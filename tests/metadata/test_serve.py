"""What a master sends, and what it takes from chains and other nodes (network protocol, section 6.3; metadata, 10)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edgelake import Node
from edgelake.errors import DatabaseError, EdgeLakeError, error
from edgelake.metadata.chain.options import Options
from edgelake.metadata.ids import Policy, body_of, id_of
from edgelake.metadata.platforms import PlatformInfo, Pulled
from edgelake.metadata.serve import LedgerService
from edgelake.peering import FileTarget, PeerAnswer
from tests.metadata.network import Member, settled
from tests.metadata.test_sync import CLUSTER, Net, names, node, play


class Sent:
    """``Peers`` that keeps what is sent."""

    def __init__(self, answer: str = "") -> None:
        self.files: list[tuple[str, str, bytes]] = []
        self.told: list[str] = []
        self.answer = answer

    def source_for(self, peer: str) -> str:
        return "10.0.0.1:32048"

    def is_own(self, address: str) -> bool:
        return address == "10.0.0.1:32048"

    def is_upgraded(self, peer: str) -> bool:
        return False

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        self.told.append(command)

    async def ask(self, peers: Any, command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        self.told.append(command)
        return [PeerAnswer(peers[0], self.answer)]

    async def send_file(self, peer: str, destination: str, content: Any, target: FileTarget) -> None:
        assert target is FileTarget.LEDGER
        self.files.append((peer, destination, content))


PEER = "10.0.0.2:32148"


def service(master: Member, sent: Sent, *, folder: bool = True) -> LedgerService:
    return LedgerService(master.master, lambda: sent, lambda: folder)


def test_the_ledger_is_sent_as_a_file_whose_name_tells_masters_apart(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        sent = Sent()
        serve = service(net.master, sent)
        await net.master.master.push(node(2))
        await net.master.master.push(node(1, text="gr\u00fcn"))
        for number in range(1, 11):
            await serve.get_blockchain(
                f"10.0.0.{number}:1", ["event", "get_blockchain", "/n/my dir/blockchain.new", "0", "0"]
            )
        content, version = await net.master.master.content()
        assert [name for _, name, _ in sent.files] == [
            f"/n/my dir/blockchain.master_id_{k}.new" for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)
        ]
        assert {data for _, _, data in sent.files} == {content}
        assert [line[:24] for line in content.splitlines()] == [
            b'{"config": {"name": "n1"',
            b'{"config": {"name": "n2"',
        ]
        assert b"gr\\u00fcn" in content
        sent.files.clear()
        await serve.get_blockchain(PEER, ["/n/blockchain.new", version, "0"])
        assert sent.files == [] == sent.told
        await serve.get_blockchain(PEER, ["/n/blockchain.new", version, "2"])
        assert len(sent.told) == 1
        assert sent.told[0].startswith("print The\tledger\tis")

    play(tmp_path, work)


def test_the_same_ledger_is_not_sent_to_the_same_node_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("edgelake.metadata.serve.SAME_S", 0.02)
    real = asyncio.sleep

    async def sleep(seconds: float, result: None = None) -> None:
        pauses.append(seconds)
        await real(seconds)

    async def work(net: Net) -> None:
        sent = Sent()
        serve = service(net.master, sent)
        monkeypatch.setattr("edgelake.metadata.serve.asyncio.sleep", sleep)
        await serve.get_blockchain(PEER, ["/n/blockchain.new", "0", "0"])
        await serve.get_blockchain("10.0.0.3:1", ["/n/blockchain.new", "0", "0"])
        assert 0.02 not in pauses
        await serve.get_blockchain(PEER, ["/n/blockchain.new", "0", "0"])
        assert 0.02 in pauses
        assert len(sent.files) == 3

    play(tmp_path, work)


def test_a_request_that_cannot_be_answered_has_the_number_of_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(net: Net) -> None:
        other = net.add("10.0.0.9:1")
        other.home.mkdir(parents=True)

        async def broken() -> Any:
            raise DatabaseError("disk I/O error")

        async def number(serve: LedgerService, *words: str) -> int:
            with pytest.raises(EdgeLakeError) as failed:
                await serve.get_blockchain(PEER, words)
            return failed.value.number

        assert await number(service(net.master, Sent()), "/n/blockchain.new") == 64
        assert await number(service(net.master, Sent(), folder=False), "/n/blockchain.new", "0", "0") == 58
        assert await number(service(other, Sent()), "/n/blockchain.new", "0", "0") == 69
        monkeypatch.setattr(net.master.master, "content", broken)
        assert await number(service(net.master, Sent()), "/n/blockchain.new", "0", "0") == 68

    play(tmp_path, work)


class Contract:
    """A platform that is a dictionary."""

    name = "ethereum"

    def __init__(self) -> None:
        self.held: dict[str, Policy] = {}
        self.steps: list[tuple[str, Policy | None]] = []
        self.pulls: list[str] = []

    async def counter(self) -> int:
        return len(self.steps)

    async def pull(self, cursor: str = "") -> Pulled:
        self.pulls.append(cursor)
        now = str(len(self.steps))
        if not cursor:
            return Pulled(now, len(self.steps), True, tuple(self.held.values()))
        later = dict(self.steps[int(cursor) :])
        added = tuple(p for p in later.values() if p is not None)
        return Pulled(now, len(self.steps), False, added, tuple(key for key, p in later.items() if p is None))

    async def insert(self, policy: Policy) -> None:
        if id_of(policy) in self.held:
            raise error(70, id_of(policy))
        self.held[id_of(policy)] = policy
        self.steps.append((id_of(policy), policy))

    async def update(self, policy_id: str, policy: Policy) -> None:
        self.held[policy_id] = policy
        self.steps.append((policy_id, policy))

    async def delete(self, policy_id: str) -> None:
        if self.held.pop(policy_id, None) is None:
            raise error(101, policy_id)
        self.steps.append((policy_id, None))

    async def deploy(self, public_key: str = "") -> str:
        return ""

    async def set_account(self, options: Options) -> None:
        pass

    async def info(self) -> PlatformInfo:
        return PlatformInfo("ethereum", True, 0, 1, "", "", "")

    async def close(self) -> None:
        pass


def test_a_network_without_a_master_follows_the_contract(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        contract = Contract()
        members = [net.add(f"10.0.0.{n}:32148") for n in (2, 3)]
        for member in members:
            member.home.mkdir(parents=True)
            await member.platforms.connected(contract)
            await member.policies.load()
            await member.run_sync(source="blockchain", platform="ethereum", connection="")
        one, two = members
        await settled(one, two)
        policy_id = await one.policies.insert(CLUSTER, chains=["ethereum"])
        await two.policies.insert(node(1), chains=["ethereum"])
        await settled(one, two, one)
        assert sorted(names(one)) == sorted(names(two)) == ["c1", "n1"]
        assert one.policies.version == two.policies.version
        assert not one.policies.unconfirmed
        await two.policies.delete(policy_id, chains=["ethereum"])
        await contract.update("id-1", {"config": {**body_of(node(1)), "name": "other", "ledger": "global"}})
        await settled(one, two)
        assert names(one) == names(two) == ["other"]
        assert contract.pulls.count("") == 2  # the rest were changes only
        again = Member(net.wire, "10.0.0.4:32148", one.home)
        assert await again.policies.load() == 1

    play(tmp_path, work)


ANSWERS = {
    "json": '[{"config": {"name": "a", "id": "1", "ledger": "local"}}, {"config": {"id": "2"}}]',
    "python": "[{'config': {'name': 'it\\'s', 'on': True, 'id': '1'}}, {'x': 1}, {'config': {'id': '2'}}]",
}


@pytest.mark.parametrize("form", ANSWERS)
def test_seed_takes_the_policies_of_a_peer(tmp_path: Path, form: str) -> None:
    async def work() -> None:
        async with Node(tmp_path) as made:
            made.ctx.parts["peers"] = Sent(ANSWERS[form])
            await made.execute("create work directories")
            await made.execute("blockchain seed from 10.0.0.1:32048")
            assert [id_of(p) for p in made.ctx.policies.image.policies] == ["1", "2"]
            assert made.ctx.policies.unconfirmed == []

    asyncio.run(work())


@pytest.mark.parametrize("answer", ["", "[]", "no list", "[{'a': __import__('os')}]", "9" * 5000])
def test_seed_from_a_peer_that_has_nothing_changes_nothing(tmp_path: Path, answer: str) -> None:
    async def work() -> None:
        async with Node(tmp_path) as made:
            made.ctx.parts["peers"] = Sent(answer)
            await made.execute("create work directories")
            await made.ctx.policies.insert(node(1))
            with pytest.raises(EdgeLakeError):
                await made.execute("blockchain seed from 10.0.0.1:32048")
            assert [id_of(p) for p in made.ctx.policies.image.policies] == ["id-1"]

    asyncio.run(work())
