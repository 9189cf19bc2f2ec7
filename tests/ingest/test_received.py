"""Data files of other nodes are placed once, whatever a crash interrupts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.ingest import received
from edgelake.ingest.names import FileName
from edgelake.ingest.received import Received

NAME = FileName("d", "t", hash="7de5cf6339b1f3a3e6442903a64fed80")


class Killed(BaseException):
    """The node is killed here."""


class Place:
    """A node's folders. ``again`` is the node after a restart."""

    def __init__(self, root: Path) -> None:
        self.watch, self.prep = root / "watch", root / "prep"
        self.watch.mkdir()
        self.prep.mkdir()
        self.working = self.prep / f"{NAME.text()}.taken"
        self.log = root / "data" / "received.log"
        self.received = self.again()

    def again(self) -> Received:
        return Received(lambda: self.log)

    async def send(self, content: bytes = b'{"a":1}') -> None:
        async def arrive() -> None:
            self.working.write_bytes(content)

        await self.received.take(NAME, self.working, arrive, self.watch)

    def files(self) -> list[bytes]:
        return [path.read_bytes() for path in self.watch.glob("*.json")]


async def test_a_file_that_comes_again_is_not_taken_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.send()
    (loaded,) = place.watch.glob("*.json")
    loaded.unlink()
    for node in (place.received, place.again()):
        place.received = node
        with pytest.raises(EdgeLakeError, match="taken before") as refused:
            await place.send()
        assert refused.value.number == 86
    assert place.files() == []
    assert list(place.prep.iterdir()) == []


async def test_a_waiting_file_of_another_source_is_not_replaced(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.watch / NAME.text()).write_bytes(b"local")
    await place.send(b"other")
    assert sorted(place.files()) == [b"local", b"other"]


@pytest.mark.parametrize("cut", ["write_whole", "enter", "place", "link", "working", "rename"])
async def test_a_kill_at_any_step_neither_loses_nor_doubles_a_file(
    tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)

    def killed(*args: object) -> None:
        raise Killed

    def at(count: int, work: Callable[[Path], None]) -> Callable[[Path], None]:
        calls = iter(range(100))

        def step(folder: Path) -> None:
            if next(calls) == count:
                raise Killed
            work(folder)

        return step

    with monkeypatch.context() as patch:
        match cut:
            case "write_whole":
                patch.setattr(Received, "_enter", killed)
            case "enter":
                patch.setattr(received, "sync_directory", at(0, received.sync_directory))
            case "place":
                patch.setattr(received, "_place", killed)
            case "link":
                patch.setattr(received, "sync_directory", at(1, received.sync_directory))
            case "working":
                patch.setattr(received, "sync_directory", at(2, received.sync_directory))
            case "rename":
                patch.setattr(received, "sync_directory", at(3, received.sync_directory))
        with pytest.raises(Killed):
            await place.send()
    loaded = place.files()
    for path in place.watch.glob("*.json"):
        path.unlink()  # the operator loads what is there when the node starts
    place.received = place.again()
    if cut == "write_whole":
        await place.send()
    else:
        with pytest.raises(EdgeLakeError, match="taken before"):
            await place.send()
    assert loaded + place.files() == [b'{"a":1}']


async def test_the_list_of_names_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "KEPT_NAMES", 10)
    place = Place(tmp_path)
    for number in range(45):
        name = FileName("d", "t", hash=f"{number:032x}")
        working = place.prep / name.text()

        async def arrive(to: Path = working) -> None:
            to.write_bytes(b"{}")

        await place.received.take(name, working, arrive, place.watch)
    assert place.log.stat().st_size <= 20 * 33
    with place.log.open("ab") as log:
        log.write(b"cut")
    place.received = place.again()
    await place.send()
    assert place.log.read_bytes().count(b"\n") == 11
