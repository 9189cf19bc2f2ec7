"""Blobs in a cluster: every member has the contents that its rows name, or gets them when they are asked for."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from edgelake.command.blobcopies import ClusterBlobs
from edgelake.errors import BlobDamagedError, EdgeLakeError, NotPermittedError
from edgelake.ingest.blobs import copies
from edgelake.ingest.blobs.copies import BlobCopies
from edgelake.ingest.blobs.names import BlobName
from tests.net.peer.clusters import Cluster, cluster
from tests.net.peer.nodes import node, until
from tests.net.peer.publishing import COMPANY, cluster_id


@pytest.fixture(autouse=True)
def _quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "ROUND_S", 0.1)


def blob_of(content: bytes) -> str:
    return hashlib.md5(b"plant.t" + content).hexdigest() + ".txt"


async def put(made: Cluster, number: int, value: int, content: bytes) -> str:
    """A blob, then the row that names it, at a member; its id."""
    source = made.folder(number, "tmp_dir") / f"{value}.txt"
    source.write_bytes(content)
    reply = await made.node(number).execute(f"file store where dbms = plant and table = t and source = {source}")
    (name,) = {str(reply.text)}
    assert name == blob_of(content)
    made.drop(number, json.dumps({"v": value, "file": name}).encode() + b"\n", f"plant.t.0.{value}.0.json")
    return name


async def restart(made: Cluster, number: int) -> None:
    """The policies of the tests' members are written anew at each start: that of the table is said again."""
    table = [{"dbms": "plant", "name": "t", "status": "active"}]
    policy = {"cluster": {"company": COMPANY, "name": "c1", "parent": cluster_id(1), "table": table}}
    member = await made.start(number)
    await member.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")


async def content_at(made: Cluster, number: int, name: str) -> bytes:
    place = made.folder(number, "tmp_dir") / f"got-{name}"
    await made.node(number).execute(
        f"file retrieve where dbms = plant and table = t and id = {name} and dest = {place}"
    )
    return place.read_bytes()


def kept(made: Cluster, number: int) -> set[str]:
    """Ids of the blobs that lie at a member."""
    root = made.folder(number, "blobs_dir")
    return {path.name.removeprefix("plant.t.") for path in root.rglob("plant.t.*.txt")}


async def all_have(made: Cluster, names: set[str]) -> None:
    running = [number for number, one in enumerate(made.nodes) if one is not None]

    async def have() -> bool:
        return all(kept(made, number) == names for number in running)

    await until(have)


async def test_blobs_follow_their_rows_and_outlive_the_member_that_took_them_in(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as made:
        contents = {value: f"picture {value} ".encode() * 50_000 for value in range(3)}
        names = {await put(made, value, value, content) for value, content in contents.items()}
        await made.hold([0, 1, 2])
        await all_have(made, names)
        await made.stop(0)
        assert await content_at(made, 1, blob_of(contents[0])) == contents[0]
        shown = await made.data(1, "get consumer")
        assert shown["blobs"] == {"copied": 2, "lost": 0, "last_error": shown["blobs"]["last_error"]}


async def test_a_blob_comes_when_it_is_asked_for(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        await made.node(1).execute("set consumer mode = suspend")
        name = await put(made, 0, 1, b"a picture")
        await made.hold([1])  # the distributor of the first brings the row
        assert kept(made, 1) == set()
        found = await asyncio.gather(*(content_at(made, 1, name) for _ in range(3)))
        assert found == [b"a picture"] * 3
        assert kept(made, 1) == {name}
        with pytest.raises(EdgeLakeError, match=r"no file of plant\.t fits"):
            await content_at(made, 1, blob_of(b"another"))
        with pytest.raises(EdgeLakeError, match=r"no file of plant\.t fits"):
            await made.node(1).execute(f"file remove where dbms = plant and table = t and id = {blob_of(b'no')}")
        await made.stop(0)
        with pytest.raises(EdgeLakeError) as away:
            await content_at(made, 1, blob_of(b"another"))
        assert away.value.number == 208
        assert str(made.ports[0]) in str(away.value)


async def test_a_member_that_ends_while_blobs_come_has_them_all_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()
    fetch = ClusterBlobs.fetch

    async def stuck(self: ClusterBlobs, name: BlobName) -> bool | None:
        begun.set()
        return await asyncio.Future()

    monkeypatch.setattr(ClusterBlobs, "fetch", stuck)
    async with cluster(tmp_path) as made:
        names = {await put(made, 0, value, f"content {value}".encode()) for value in range(5)}
        await made.hold([0, 1, 2, 3, 4])
        await begun.wait()
        await made.stop(1)
        monkeypatch.setattr(ClusterBlobs, "fetch", fetch)
        await restart(made, 1)
        await all_have(made, names)


async def test_a_member_that_is_away_is_waited_for_and_a_blob_that_is_nowhere_is_not(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        await made.node(1).execute("set consumer mode = suspend")
        first = await put(made, 0, 1, b"one")
        await made.hold([1])
        await made.stop(0)
        await made.node(1).execute("set consumer mode = active")
        running = made.node(1).ctx.services.get(BlobCopies.name)
        assert isinstance(running, BlobCopies)

        async def says_who_is_away() -> bool:
            return str(made.ports[0]) in running.last_error

        await until(says_who_is_away)
        await restart(made, 0)
        await all_have(made, {first})
        # A row whose blob was removed meanwhile holds up no other.
        await made.node(1).execute("set consumer mode = suspend")
        gone = await put(made, 0, 2, b"gone")
        await made.hold([1, 2])
        await made.node(0).execute(f"file remove where dbms = plant and table = t and id = {gone}")
        await made.node(1).execute("set consumer mode = active")
        last = await put(made, 0, 3, b"last")
        await made.hold([1, 2, 3])
        await all_have(made, {first, last})
        assert running.lost == 1


async def test_a_blob_that_is_damaged_where_it_is_holds_up_no_other(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        await made.node(1).execute("set consumer mode = suspend")
        damaged = await put(made, 0, 1, b"a picture")
        await made.hold([1])
        (path,) = made.folder(0, "blobs_dir").rglob(f"plant.t.{damaged}")
        path.write_bytes(b"a pic")
        with pytest.raises(BlobDamagedError, match=str(made.ports[0])):
            await content_at(made, 1, damaged)
        last = await put(made, 0, 2, b"last")
        await made.hold([1, 2])
        await made.node(1).execute("set consumer mode = active")

        async def has_come() -> bool:
            return kept(made, 1) == {last}

        await until(has_come)
        running = made.node(1).ctx.services.get(BlobCopies.name)
        assert isinstance(running, BlobCopies)
        assert (running.copied, running.lost, running.last_error) == (1, 1, "")


async def test_blobs_are_given_to_members_alone(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made, node(tmp_path / "stranger", "stranger") as (stranger, _):
        name = await put(made, 0, 1, b"secret")
        await made.hold([1])
        # It speaks from an address of no member.
        made.node(0).ctx.parts["cluster"].hosts_of = lambda member: frozenset({"10.1.1.1"})
        place = Path(stranger.ctx.directories.path("tmp_dir")) / "x"
        wanted = f"(dbms = plant and table = t and id = {name})"
        with pytest.raises(NotPermittedError, match="not given to others"):
            await stranger.execute(f"run client (127.0.0.1:{made.ports[0]}) file get {wanted} {place}")
        assert not place.exists()


async def test_a_damaged_note_of_what_came_makes_it_look_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        name = await put(made, 0, 1, b"content")
        await made.hold([1])
        await all_have(made, {name})
        state = made.node(1).ctx.directories.root / "data" / "blob_copies.json"

        async def is_written() -> bool:
            return state.exists()

        await until(is_written)
        await made.stop(1)
        state.write_bytes(b"{")
        for path in (tmp_path / "m1").rglob(f"plant.t.{name}"):
            path.unlink()
        await made.start(1)
        await all_have(made, {name})
