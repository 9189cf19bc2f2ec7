"""A master and the nodes that follow it (spec: metadata, sections 9 to 11 and 15)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.metadata import ledger
from edgelake.metadata.ids import body_of, id_of
from edgelake.metadata.merge import tombstone
from edgelake.metadata.policy import wire as wire_text
from tests.metadata.network import MASTER, Member, Wire, settled

CLUSTER = {"cluster": {"company": "acme", "name": "c1"}}


def node(number: int, **more: Any) -> dict[str, Any]:
    date = f"2026-01-01T00:00:{number:02d}.000000Z"
    return {"config": {"name": f"n{number}", "id": f"id-{number}", "date": date, **more}}


class Net:
    def __init__(self, home: Path, *, upgraded: bool) -> None:
        self.wire = Wire(upgraded=upgraded)
        self.home = home
        self.master = self.add(MASTER)

    def add(self, address: str) -> Member:
        return Member(self.wire, address, self.home / address.replace(":", "_"))


def play(home: Path, work: Callable[[Net], Coroutine[Any, Any, None]], *, upgraded: bool = True) -> None:
    async def whole() -> None:
        net = Net(home, upgraded=upgraded)
        net.master.home.mkdir(parents=True, exist_ok=True)
        await net.master.serve_ledger()
        try:
            await work(net)
        finally:
            for member in net.wire.nodes.values():
                await member.close()

    asyncio.run(whole())


async def follower(net: Net, number: int = 2) -> Member:
    made = net.add(f"10.0.0.{number}:32148")
    made.home.mkdir(parents=True, exist_ok=True)
    await made.policies.load()
    await made.run_sync()
    await settled(made)
    return made


def names(member: Member) -> list[str]:
    return [str(body_of(p)["name"]) for p in member.policies.image.policies]


both_kinds = pytest.mark.parametrize("upgraded", [True, False], ids=["upgraded", "old protocol"])


@both_kinds
def test_what_one_node_inserts_reaches_the_others_as_the_same_bytes(tmp_path: Path, upgraded: bool) -> None:
    async def work(net: Net) -> None:
        one, two = await follower(net, 2), await follower(net, 3)
        policy_id = await one.policies.insert(CLUSTER, masters=[MASTER])
        await settled(one, two)
        for member in (one, two):
            found = member.policies.get(policy_id)
            assert found is not None
            assert body_of(found)["ledger"] == "global"
        content, version = await net.master.master.content()
        assert one.policies.path.read_bytes() == two.policies.path.read_bytes() == content
        assert one.policies.version == version == hashlib.md5(content).hexdigest()
        assert not one.policies.unconfirmed

    play(tmp_path, work, upgraded=upgraded)


@both_kinds
def test_a_deleted_policy_goes_everywhere_and_its_tombstone_after_it(tmp_path: Path, upgraded: bool) -> None:
    async def work(net: Net) -> None:
        for number in (1, 2, 3):
            await net.master.master.push(node(number))
        one, two = await follower(net, 2), await follower(net, 3)
        await one.policies.delete("id-2", masters=[MASTER])
        assert names(one) == ["n1", "n3"]
        await settled(one, two)
        assert names(one) == names(two) == ["n1", "n3"]
        assert one.policies.path.read_bytes() == (await net.master.master.content())[0]

    play(tmp_path, work, upgraded=upgraded)


@both_kinds
def test_what_is_made_while_the_master_is_down_is_sent_when_it_is_back(tmp_path: Path, upgraded: bool) -> None:
    async def work(net: Net) -> None:
        await net.master.master.push(node(1))
        await net.master.master.push(node(2))
        one = await follower(net)
        net.wire.down.add(MASTER)
        assert await one.policies.insert(CLUSTER, masters=[MASTER])
        await one.policies.delete("id-1", masters=[MASTER])
        await settled(one)
        assert one.sync is not None
        assert "failed to connect to Master using 10.0.0.1:32048" in one.sync.status().details
        assert names(one) == ["n2", "c1"]
        net.wire.down.clear()
        one.sync._resends.clear()
        one.sync.calls = 0  # as after a restart: what waits is sent at once
        await settled(one, one, one)
        assert names(one) == ["n2", "c1"]
        assert [id_of(p) for p in await net.master.master.policies()] == [id_of(p) for p in one.policies.image.policies]
        assert not one.policies.unconfirmed
        assert "failed" not in one.sync.status().details

    play(tmp_path, work, upgraded=upgraded)


def test_a_changed_policy_to_fifty_nodes_moves_little(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        for number in range(40):
            await net.master.master.push(node(number, description="x" * 400))
        members = [await follower(net, 10 + number) for number in range(50)]
        net.wire.payload_bytes = 0
        await net.master.master.replace("id-7", node(7, description="y" * 420))
        await settled(*members)
        assert net.wire.payload_bytes < 50_000
        assert all(body_of(m.policies.get("id-7") or {"": {}})["description"] == "y" * 420 for m in members)
        assert len({m.policies.version for m in members} | {await net.master.master.version()}) == 1

    play(tmp_path, work)


def test_an_old_master_is_asked_in_its_words_and_is_silent_when_nothing_is_new(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        one = await follower(net)
        await net.master.master.push(node(1))
        await settled(one, one)
        asked = list(dict.fromkeys(c for c in net.wire.commands if c.startswith("event")))
        path = one.policies.path.with_suffix(".new")
        empty = hashlib.md5(b"\n").hexdigest()
        version = await net.master.master.version()
        assert asked == [f"event get_blockchain {path} {hash} 0" for hash in ("0", empty, version)]
        assert one.sync is not None
        assert one.sync.loads == 2
        net.wire.commands.clear()
        await one.policies.insert(CLUSTER, masters=[MASTER])
        assert net.wire.commands[0].startswith('blockchain push {"cluster": {"company": "acme", "name": "c1", ')
        assert net.wire.commands[0].endswith('"ledger": "global"}}')

    play(tmp_path, work, upgraded=False)


def test_master_restored_from_an_older_copy_is_followed_and_own_policies_return_to_it(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        one = await follower(net)
        await net.master.master.push(node(1))
        await settled(one)
        await net.master.master.push(node(2))
        await settled(one)
        await net.master.stores.get("blockchain").execute("DELETE FROM ledger WHERE policy_id = 'id-2'")
        await one.policies.insert(CLUSTER)
        await settled(one)
        assert one.sync is not None
        one.sync._resends.clear()
        one.sync.calls = 0
        await settled(one, one)
        assert names(one) == ["n1", "c1"]
        assert ledger.parse(one.policies.path.read_bytes()).problems == []
        assert one.policies.path.with_suffix(".old").exists()

    play(tmp_path, work)


def test_a_second_policy_with_the_same_unique_values_is_refused_by_the_master_and_not_kept(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        one, two = await follower(net, 2), await follower(net, 3)
        await one.policies.insert(CLUSTER, masters=[MASTER])
        rival = {"cluster": {"company": "other", "name": "c1"}}
        with pytest.raises(EdgeLakeError) as failed:
            await two.policies.insert(rival, masters=[MASTER])
        assert failed.value.number == 180
        assert names(two) == []
        await settled(two)
        assert [body_of(p)["company"] for p in two.policies.image.policies] == ["acme"]

    play(tmp_path, work)


def test_a_row_of_the_ledger_that_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        await net.master.master.push(node(1))
        await net.master.stores.get("blockchain").execute(
            "INSERT INTO ledger (policy_type, policy_id, policy) VALUES ('x', 'y', '{broken')"
        )
        one = await follower(net)
        assert names(one) == ["n1"]

    play(tmp_path, work)


@pytest.mark.parametrize(
    ("copy", "kept"),
    [
        (b"", ["n1"]),
        (b"not a policy\n", ["n1"]),
        (b'{"half": {"na', ["n1"]),
        (wire_text(node(2)).encode() + b"\nnot a policy\n" + wire_text(node(3)).encode()[:30], ["n2"]),
        (wire_text(node(2)).encode() + b"\n" + wire_text({"x": {"id": "id-2", "name": "b"}}).encode() + b"\n", ["n2"]),
    ],
)
def test_a_bad_copy_never_spoils_the_local_ledger(tmp_path: Path, copy: bytes, kept: list[str]) -> None:
    async def work(net: Net) -> None:
        await net.master.master.push(node(1))
        one = await follower(net)
        assert one.sync is not None
        arrived = tmp_path / "arrived"
        arrived.write_bytes(copy)
        one.sync._pending[MASTER] = asyncio.get_running_loop().time() + 5
        with contextlib.suppress(EdgeLakeError):
            await one.sync.on_ledger(MASTER, "/x/blockchain.master_id_1.new", arrived)
        assert names(one) == kept
        again = ledger.parse(one.policies.path.read_bytes())
        assert [str(body_of(p)["name"]) for p in again.policies] == kept
        assert again.problems == []

    play(tmp_path, work, upgraded=False)


def test_a_copy_that_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        one = await follower(net)
        arrived = tmp_path / "arrived"
        arrived.write_bytes(wire_text(node(9)).encode())
        assert one.sync is not None
        with pytest.raises(EdgeLakeError) as failed:
            await one.sync.on_ledger("10.9.9.9:1", "/x/blockchain.master_id_1.new", arrived)
        assert failed.value.number == 212
        assert names(one) == []

    play(tmp_path, work)


def test_changes_that_do_not_lead_to_the_masters_version_bring_the_whole_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(net: Net) -> None:
        for number in (1, 2):
            await net.master.master.push(node(number))
        one = await follower(net)
        true_changes = net.master.master.changes

        async def lying(since: str) -> dict[str, Any]:
            told = await true_changes(since)
            return {**told, "added": [], "removed": ["id-1"]} if "added" in told else told

        monkeypatch.setattr(net.master.master, "changes", lying)
        await net.master.master.push(node(3))
        await settled(one)
        assert names(one) == ["n1", "n2", "n3"]

    play(tmp_path, work)


def test_a_node_may_be_its_own_master(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        await net.master.policies.load()
        await net.master.run_sync()
        await net.master.policies.insert(CLUSTER)
        await settled(net.master)
        assert net.master.sync is not None
        net.master.sync._resends.clear()
        net.master.sync.calls = 0
        await settled(net.master, net.master)
        assert [id_of(p) for p in await net.master.master.policies()] == [
            id_of(p) for p in net.master.policies.image.policies
        ]
        assert net.master.policies.version == await net.master.master.version()

    play(tmp_path, work)


def test_the_table_can_follow_too(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        await net.master.master.push(node(1))
        one = net.add("10.0.0.2:32148")
        one.home.mkdir(parents=True)
        with pytest.raises(EdgeLakeError):
            await one.run_sync(to_table=True)
        await one.serve_ledger()
        await one.run_sync(to_table=True)
        await settled(one)
        assert (await one.master.content())[0] == (await net.master.master.content())[0]
        await net.master.master.drop(["id-1"])
        await settled(one)
        assert await one.master.policies() == ()

    play(tmp_path, work)


def test_the_change_log_is_bounded_and_older_versions_get_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelake.metadata.master.LOG_BYTES", 2000)

    async def work(net: Net) -> None:
        first = await net.master.master.version()
        for number in range(30):
            await net.master.master.push(node(number))
        late = await net.master.master.version()
        await net.master.master.push(node(31))
        await net.master.master.drop(["id-3", "id-4"])
        assert (await net.master.master.changes(first))["full"] is True
        told = await net.master.master.changes(late)
        assert len(told["added"]) == 1
        assert told["removed"] == ["id-3", "id-4"]
        assert len(net.master.master._steps) < 30

    play(tmp_path, work)


def test_master_refuses_what_it_must(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        master = net.master.master
        await master.push(node(1), host="10.0.0.7")
        for work_, number in (
            (lambda: master.push(node(1)), 30),
            (lambda: master.drop(["nosuch"]), 101),
            (lambda: master.replace("nosuch", node(1)), 101),
            (lambda: master.replace("id-1", {"other": {"name": "x"}}), 87),
            (lambda: master.push({"a": {}, "b": {}}), 87),
        ):
            with pytest.raises(EdgeLakeError) as failed:
                await work_()
            assert failed.value.number == number
        assert await master.push(node(1), ignore=True) == "id-1"
        assert await master.drop_host("10.0.0.7") == 1
        assert await master.content() == (b"\n", "68b329da9893e34099c7d8ad5cb9c940")

    play(tmp_path, work)


def test_a_tombstone_hides_a_policy_until_the_master_has_dropped_it(tmp_path: Path) -> None:
    async def work(net: Net) -> None:
        await net.master.master.push(node(1))
        one = await follower(net)
        await one.policies.delete("id-1")
        await net.master.master.push(node(2))
        await settled(one)
        assert names(one) == ["n2"]
        assert one.policies.unconfirmed == [tombstone("id-1")]
        again = ledger.parse(one.policies.path.read_bytes())
        assert again.tombstones == ["id-1"]

    play(tmp_path, work)
