"""Files between nodes, and what others may not do with them, over sockets."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgelake._rust import peer_blocks
from edgelake.command import peerfiles
from edgelake.errors import EdgeLakeError
from edgelake.model import Caller, CommandClass
from edgelake.net.peer.files import AT_ONCE, BLOCK_BYTES, HEADER_BYTES, file_blocks
from edgelake.net.peer.upgrade import mark_of
from edgelake.node import Node
from tests.net.peer.nodes import node, server, until
from tests.net.peer.raw import RawPeer, block, send

COMMAND, SOURCE = "file write /n/x", ("127.0.0.1", 32048)
ROOM = BLOCK_BYTES - HEADER_BYTES - len(COMMAND)
DATA_FILE = "d.t.0.7de5cf6339b1f3a3e6442903a64fed80.0.json"


def folder(made: Node, name: str) -> Path:
    return Path(made.ctx.directories.path(name))


def everything(folder: Path) -> list[Path]:
    """In a folder, but for the log of what the test itself does at the prompt."""
    return sorted(path for path in folder.rglob("*") if path.name != "audit.jsonl")


async def in_pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


@pytest.mark.parametrize(
    "size", [0, 1, ROOM - 1, ROOM, ROOM + 1, ROOM * AT_ONCE, ROOM * AT_ONCE + 1, ROOM * AT_ONCE * 3 - 1]
)
@pytest.mark.parametrize("piece", [1000, 1 << 20])
async def test_blocks_of_a_file_in_pieces_are_those_of_the_whole(size: int, piece: int) -> None:
    content = bytes(at % 251 for at in range(size))
    whole = peer_blocks(COMMAND, content, SOURCE, generic_flag=1, is_file=True, mark=mark_of(SOURCE))
    assert b"".join([b async for b in file_blocks(COMMAND, in_pieces(content, piece), SOURCE, 1)]) == whole
    assert b"".join([b async for b in file_blocks(COMMAND, content, SOURCE, 1)]) == whole


async def test_a_file_is_never_in_memory_as_a_whole() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 100_000

    blocks = file_blocks(COMMAND, endless(), SOURCE, 0)
    for _ in range(20):
        assert len(await anext(blocks)) == AT_ONCE * BLOCK_BYTES
    assert taken <= 20 * AT_ONCE * ROOM // 100_000 + 1


async def test_a_file_is_copied_where_the_other_node_allows(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        content = bytes(range(256)) * 20_000  # many blocks
        source = folder(a, "tmp_dir") / "f 1.bin"
        source.write_bytes(content)
        await b.execute("set peer files where write = !tmp_dir")
        await a.execute(f'run client {at_b} file copy "{source}" !!tmp_dir/f2.bin')
        assert (folder(b, "tmp_dir") / "f2.bin").read_bytes() == content
        source.write_bytes(b"new")
        await a.execute(f'run client ({at_b}) file copy "{source}" "{folder(b, "tmp_dir")}/f2.bin"')
        assert (folder(b, "tmp_dir") / "f2.bin").read_bytes() == b"new"
        (folder(a, "tmp_dir") / "f3.txt").write_bytes(b"3")
        said = await a.execute(f"run client ({at_b}) file copy !tmp_dir/f* !!tmp_dir")
        assert said.text == "2 files"
        assert sorted(p.name for p in folder(b, "tmp_dir").iterdir()) == ["f 1.bin", "f2.bin", "f3.txt"]
        (folder(a, "tmp_dir") / "z.gz").write_bytes(gzip.compress(b"packed" * 1000))
        await a.execute(f"run client ({at_b}) file copy !tmp_dir/z.gz !!tmp_dir/z.gz")
        assert (folder(b, "tmp_dir") / "z").read_bytes() == b"packed" * 1000


async def test_a_data_file_goes_to_the_watch_directory(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        (folder(a, "tmp_dir") / "r.json").write_bytes(b'{"value": 1}\n')
        (folder(a, "tmp_dir") / "r.gz").write_bytes(gzip.compress(b'{"value": 2}\n'))
        await b.execute("set peer files where watch_dir = true")
        for _ in range(2):
            await a.execute(f"run client ({at_b}) file copy !tmp_dir/r.json {DATA_FILE} watch_dir")
        await a.execute(f"run client ({at_b}) file copy !tmp_dir/r.gz {DATA_FILE.replace('7d', '8e')}.gz watch_dir")
        found = {p.name: p.read_bytes() for p in folder(b, "watch_dir").iterdir()}
        # A second one of the same name takes the place of none.
        assert found == {
            DATA_FILE: b'{"value": 1}\n',
            DATA_FILE.replace("80.0.json", "80_1.0.json"): b'{"value": 1}\n',
            DATA_FILE.replace("7d", "8e"): b'{"value": 2}\n',
        }
        assert not list(folder(b, "prep_dir").iterdir())


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("/etc/edgelake_test", 0),
        ("{tmp}/../x", 0),
        ("{tmp}", 0),
        ("{tmp}/out/x", 0),  # a link that leads out
        ("{tmp}/../pem/key.pem", 0),
        ("x", 0),
        ("!nothing", 0),
        ("{root}/data/dbms/d.dbms", 0),
        ("../" + DATA_FILE, 1),
        ("/tmp/" + DATA_FILE, 1),
        ("x.json", 1),
        (".hidden.t.0.0.0.json", 1),
        (DATA_FILE.replace(".json", ".sql"), 1),
        ("d.t.0.7de5cf6339b1f3a3e6442903a64fed80.0.@.1.261123170340.json", 1),
        ("x", 4),
        ("x", 9),
    ],
)
@pytest.mark.parametrize("is_open", [False, True])
async def test_a_file_that_may_not_come_leaves_nothing(tmp_path: Path, name: str, flag: int, is_open: bool) -> None:
    async with node(tmp_path / "a", "a") as (a, address), RawPeer() as peer:
        (folder(a, "tmp_dir") / "out").symlink_to(tmp_path)
        if is_open:
            await a.execute("set peer files where write = !tmp_dir and watch_dir = true")
        before = everything(tmp_path)
        name = name.format(tmp=folder(a, "tmp_dir"), root=a.ctx.directories.root)
        await send(address, block(f"file write {name}", peer.address, data=b"x", info=0, generic=flag))
        said = await peer.next()
        assert (said.command, said.error) == ("echo", 212)
        assert said.data.startswith(b"'File write' operation failed: <")
        assert everything(tmp_path) == before
        assert server(a).refused == 1
        assert not Path("/etc/edgelake_test").exists()


async def test_a_blob_is_got_by_its_id(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        content = bytes(range(256)) * 20_000
        (folder(b, "tmp_dir") / "x.png").write_bytes(content)
        stored = await b.execute("file store where dbms = plant and table = photo and source = !tmp_dir/x.png")
        blob = f"(dbms = plant and table = photo and id = {stored.text})"
        await b.execute("set peer files where read = !archive_dir")
        with pytest.raises(EdgeLakeError) as closed:
            await a.execute(f"run client ({at_b}) file get {blob} !tmp_dir")
        assert closed.value.number == 212
        await b.execute("set peer files where read = !blobs_dir")
        await a.execute(f"run client ({at_b}) file get {blob} !tmp_dir")
        await a.execute(f"run client ({at_b}) file get {blob} !tmp_dir/one.png")
        names = sorted(path.name for path in folder(a, "tmp_dir").iterdir())
        assert names == ["one.png", f"plant.photo.{stored.text}"]
        assert {(folder(a, "tmp_dir") / name).read_bytes() for name in names} == {content}
        for wrong, number in (("0a.png", 12), ("../x", 2), ("0a.png and x = y", 2)):
            with pytest.raises(EdgeLakeError) as refused:
                await a.execute(
                    f"run client ({at_b}) file get (dbms = plant and table = photo and id = {wrong}) !tmp_dir/y"
                )
            assert refused.value.number == number, wrong
        with pytest.raises(EdgeLakeError, match="where to put it"):
            await a.execute(f"run client ({at_b}) file get {blob}")


async def test_a_file_is_got_where_the_other_node_allows(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        content = bytes(range(256)) * 20_000
        (folder(b, "archive_dir") / "one.json").write_bytes(content)
        (folder(b, "archive_dir") / "two 2.json").write_bytes(b"2")
        with pytest.raises(EdgeLakeError, match="not given") as closed:
            await a.execute(f"run client {at_b} file get !!archive_dir/one.json !tmp_dir/one.json")
        assert closed.value.number == 212
        await b.execute("set peer files where read = !archive_dir")
        await a.execute(f"run client {at_b} file get !!archive_dir/one.json !tmp_dir/got")
        assert (folder(a, "tmp_dir") / "got").read_bytes() == content
        said = await a.execute(f"run client ({at_b}) file get !!archive_dir/* !tmp_dir")
        assert said.text == "2 files"
        assert sorted(p.name for p in folder(a, "tmp_dir").iterdir()) == ["got", "one.json", "two 2.json"]
        for source, number in (
            ("!!archive_dir/none", 12),
            ("!!archive_dir/none*", 12),
            ("!!tmp_dir/x", 212),
            ("/etc/hostname", 212),
            ("!!archive_dir/../pem/x", 212),
            ("!!pem_dir/*", 212),
        ):
            with pytest.raises(EdgeLakeError) as refused:
                await a.execute(f"run client {at_b} file get {source} !tmp_dir{'' if source[-1] == '*' else '/x'}")
            assert refused.value.number == number, source
        assert not a.ctx.parts["peer files"]._wanted


async def test_only_the_file_that_was_asked_for_comes(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, address), RawPeer() as peer:
        target = folder(a, "tmp_dir") / "got"
        asked = asyncio.ensure_future(a.execute(f"run client ({peer.address}, timeout = 5) file get /x/y {target}"))
        request = await peer.next()
        assert request.command == f"file get /x/y {target}"
        assert (await peer.request(address, f"file write {target}2", data=b"no", info=0)).error == 212
        # As nodes of the reference answer: the file, and nothing else.
        await send(address, block(f"file write {target}", peer.address, data=b"yes", info=0))
        await asked
        assert target.read_bytes() == b"yes"
        assert (await peer.request(address, f"file write {target}", data=b"again", info=0)).error == 212
        assert target.read_bytes() == b"yes"


async def test_a_silent_node_and_a_failing_one_are_said(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        with pytest.raises(EdgeLakeError) as late:
            await a.execute(f"run client ({peer.address}, timeout = 1) file get /x !tmp_dir/x")
        assert late.value.number == 26
        await peer.next()
        asked = asyncio.ensure_future(a.execute(f"run client ({peer.address}) file get /x !tmp_dir/x.gz"))
        await peer.next()
        packed = folder(a, "tmp_dir") / "x.gz"
        assert (await peer.request(address, f"file write {packed}", data=b"no gzip", info=0)).error == 100
        with pytest.raises(EdgeLakeError) as broken:
            await asked
        assert broken.value.number == 100
        assert not list(folder(a, "tmp_dir").iterdir())


async def test_who_copies_is_shown_that_the_file_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (_, at_b):
        (folder(a, "tmp_dir") / "x").write_bytes(b"x")
        await a.execute("set echo queue on")
        await a.execute(f"run client {at_b} file copy !tmp_dir/x !!tmp_dir/x")

        async def shown() -> bool:
            return "files of other nodes are not taken" in str((await a.execute("get echo queue")).tables)

        await until(shown)


async def test_callers_without_the_class_files_move_none(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        await b.execute("set peer files where read = !archive_dir and write = !tmp_dir")
        outside = a.ctx.for_caller(Caller("rest", frozenset({CommandClass.DATA})))
        for line in ("file get !!archive_dir/x !tmp_dir/x", "file copy !tmp_dir/x !!tmp_dir/x"):
            with pytest.raises(EdgeLakeError) as refused:
                await outside.execute(f"run client ({at_b}) {line}")
            assert refused.value.number == 212


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("run client () file copy a b", 155),
        ("run client ({at}) file copy a b elsewhere", 2),
        ("run client ({at}) file copy !tmp_dir/none b", 12),
        ("run client ({at}) file get a b c", 2),
        ("run client ({at}, 127.0.0.1:1) file get a b", 2),
        ("run client ({at}) file get a* !tmp_dir/none", 78),
        ("set peer files where watch_dir = false", 2),
        ("set peer files where read = !tmp_dir/none", 35),
        ("set peer files where read = !dbms_dir", 212),
    ],
)
async def test_what_is_wrong_is_said_at_once(tmp_path: Path, line: str, number: int) -> None:
    async with node(tmp_path, "a") as (a, address):
        with pytest.raises(EdgeLakeError) as fault:
            await a.execute(line.format(at=address))
        assert fault.value.number == number


async def test_what_is_open_is_shown_and_closed(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, _):
        await a.execute("set peer files where write = (!tmp_dir, !bkup_dir) and watch_dir = true")
        found = (await a.execute("get peer files where format = json")).data
        assert found == {
            "read": [],
            "write": [str(folder(a, "tmp_dir")), str(folder(a, "bkup_dir"))],
            "watch_dir": True,
        }
        await a.execute("reset peer files")
        assert (await a.execute("get peer files where format = json")).data["watch_dir"] is False


async def test_the_watch_directory_is_not_filled_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peerfiles, "MAX_FILES", 1)
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        await a.execute("set peer files where watch_dir = true")
        for number in range(2):
            await send(address, block(f"file write {DATA_FILE}", peer.address, data=b"{}", info=0, generic=1))

            async def there(least: int = number + 1) -> bool:
                return len(list(folder(a, "watch_dir").glob("*.json"))) >= least

            await until(there)
        said = await peer.request(address, f"file write {DATA_FILE}", data=b"{}", info=0, generic=1)
        assert said.error == 212
        assert b"wait in the watch directory" in said.data


async def test_what_a_killed_node_was_taking_in_is_removed(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, address):
        left = folder(a, "prep_dir") / "peer-x1.transfer"
        left.write_bytes(b"half")
        other = folder(a, "prep_dir") / "other.json"
        other.write_bytes(b"{}")
        await a.execute("exit tcp")
        port = address.rpartition(":")[2]
        await a.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port}")
        assert not left.exists()
        assert other.exists()
