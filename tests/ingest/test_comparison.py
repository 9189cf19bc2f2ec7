"""The comparison of a cluster: what is looked at, what is said of it, and who does it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgelake.errors import TableMissingError, UnknownCommandError
from edgelake.ingest import comparison
from edgelake.ingest.comparison import AGAIN_S, FILE, Comparison, ComparisonConfig, Place, read, time_word
from edgelake.ingest.settings import OperatorConfig
from edgelake.metadata.routing import Operator as Member
from edgelake.peering import NO_ANSWER, PeerAnswer

JANUARY = Place("d", "t", "january", "at", 1767225600000000, 1769904000000000)
FEBRUARY = Place("d", "t", "february", "at", 1769904000000000, 1772323200000000)

Checksums = dict[str, tuple[int, int, str]]
"""By the member that took rows in: rows, later ones, checksum."""


class Held:
    """What a member holds, and whether it answers."""

    def __init__(self) -> None:
        self.last: dict[Place, int] = {JANUARY: 5, FEBRUARY: 6}
        self.sums: dict[str, Checksums] = {"january": {"1": (5, 0, "a-a")}, "february": {"1": (1, 0, "b-b")}}
        self.is_silent = False
        self.lacks_table = False
        self.compares: dict[str, Any] | None = None


class Cluster:
    """Members by address, as ``Peers`` reaches them; ``asked``: which partitions were looked at."""

    def __init__(self, home: Path, count: int = 3) -> None:
        self.held = {f"10.0.0.{n}:1": Held() for n in range(1, count + 1)}
        self.members = [
            Member(f"p{n}", f"op{n}", "acme", "c1", n, address, address, address)
            for n, address in enumerate(self.held, 1)
        ]
        self.home = home
        self.safe: dict[int, int] = {1: 7, 2: 0}
        self.asked: list[str] = []

    def at(self, number: int) -> Held:
        return self.held[f"10.0.0.{number}:1"]

    def comparison(self, member: int = 1) -> Comparison:
        async def safe_ids() -> Mapping[int, int]:
            return self.safe

        folders = [self.home] * 5
        config = OperatorConfig("p", *folders, cluster="c1", member=member)
        return Comparison(
            ComparisonConfig(),
            lambda: self,  # type: ignore[arg-type, return-value]
            lambda: config,
            lambda: self.members,
            lambda: [("d", "t")],
            safe_ids,
            self.home / FILE,
        )

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float) -> list[PeerAnswer]:
        if command.startswith("get table checksum"):
            self.asked.append("january" if time_word(JANUARY.start_us) in command else "february")
        return [self._answer(peer, self.held[peer], command) for peer in peers]

    def _answer(self, peer: str, held: Held, command: str) -> PeerAnswer:
        if held.is_silent:
            return PeerAnswer(peer, "no answer in time", error=NO_ANSWER)
        if command.startswith("get cluster comparison"):
            known = held.compares
            return PeerAnswer(peer, "", error=UnknownCommandError.number) if known is None else _json(peer, known)
        if command.startswith("get table marks"):
            return _json(peer, [{**_fields(place), "last_row": last} for place, last in held.last.items()])
        if held.lacks_table:
            return PeerAnswer(peer, "no table", error=TableMissingError.number)
        assert "upto = (1 = 7 and 2 = 0)" in command
        sums = held.sums.get("january" if time_word(JANUARY.start_us) in command else "february", {})
        return _json(
            peer, {origin: dict(zip(("rows", "later", "checksum"), one, strict=True)) for origin, one in sums.items()}
        )


def _fields(place: Place) -> dict[str, Any]:
    return {name: getattr(place, name) for name in place.__struct_fields__}


def _json(peer: str, data: Any) -> PeerAnswer:
    return PeerAnswer(peer, json.dumps(data), is_json=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rest, and no minute between two looks at what differs."""
    monkeypatch.setattr(comparison, "REST", 0)
    monkeypatch.setattr(comparison, "SETTLE_S", 0)


async def test_only_partitions_that_have_changed_are_looked_at_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    compared = cluster.comparison()
    await compared.round()
    assert (cluster.asked, compared.last_error) == (["january", "february"], "")
    assert [look.rows for look in compared.report.looks] == [5, 1]
    await compared.round()
    assert len(cluster.asked) == 2
    cluster.at(3).last[FEBRUARY] = 7  # rows have come to one member
    await compared.round()
    assert cluster.asked[2:] == ["february"]
    compared.report.looks[0].at_s -= AGAIN_S  # a disk may have changed what nobody wrote
    await compared.round()
    assert len(cluster.asked) == 4


async def test_a_restart_begins_with_what_was_known(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    compared = cluster.comparison()
    await compared.start()
    await compared.round()
    await compared.stop()
    again = cluster.comparison()
    await again.start()
    await again.round()
    await again.stop()
    assert (len(cluster.asked), len(again.report.looks)) == (2, 2)


async def test_rows_that_are_still_on_their_way_are_compared_when_they_have_come(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.at(1).sums["february"] = {"1": (1, 3, "b-b")}
    compared = cluster.comparison()
    await compared.round()
    assert not list(compared.report.told())
    for number in (1, 2, 3):
        cluster.at(number).sums["february"] = {"1": (4, 0, "c-c")}
    await compared.round()
    assert cluster.asked == ["january", "february", "february"]
    await compared.round()
    assert len(cluster.asked) == 3


async def test_a_difference_counts_when_it_is_seen_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(tmp_path)
    cluster.at(2).sums["january"] = {"1": (4, 0, "z-z")}
    compared = cluster.comparison()
    await compared.round()
    (look,) = compared.report.told()
    assert (look.place.partition, look.odd) == ("january", ["op2 10.0.0.2:1"])
    assert str(look.differing[0]).startswith("of the rows that member 1 took in there are 5 on op1")
    assert cluster.asked.count("january") == 2
    assert sum("d.t, partition january: op2" in text for text in caplog.messages) == 1
    assert look.place.command == "test cluster rows where dbms = d and table = t and partition = january"
    cluster.at(2).sums["january"] = {"1": (5, 0, "a-a")}
    await compared.round()
    assert not list(compared.report.told())


async def test_what_has_gone_by_the_second_look_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Members are told one after the other to delete old rows."""
    cluster = Cluster(tmp_path, 2)
    del cluster.at(2).last[JANUARY]
    del cluster.at(2).sums["january"]
    compared = cluster.comparison()

    async def ask(peers: Sequence[str], command: str, *, timeout_s: float) -> list[PeerAnswer]:
        answers = await Cluster.ask(cluster, peers, command, timeout_s=timeout_s)
        if "january" in cluster.asked:
            cluster.at(1).sums.pop("january", None)
        return answers

    cluster.ask = ask  # type: ignore[method-assign]
    await compared.round()
    assert not list(compared.report.told())
    assert not caplog.messages


async def test_between_two_members_nobody_knows_which_one_is_right(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 2)
    cluster.at(2).sums["january"] = {"1": (5, 0, "z-z")}
    compared = cluster.comparison()
    await compared.round()
    (look,) = compared.report.told()
    assert look.odd == ["op1 10.0.0.1:1", "op2 10.0.0.2:1"]
    assert str(look.differing[0]) == "the 5 rows that member 1 took in have other values"


async def test_a_member_without_the_table_lacks_its_rows(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.at(3).last, cluster.at(3).lacks_table = {}, True
    compared = cluster.comparison()
    await compared.round()
    assert [look.odd for look in compared.report.told()] == [["op3 10.0.0.3:1"]] * 2


async def test_a_member_that_does_not_answer_differs_from_nobody(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.at(3).is_silent = True
    compared = cluster.comparison()
    await compared.round()
    assert not list(compared.report.told())
    await compared.round()
    assert len(cluster.asked) == 2
    cluster.at(3).is_silent = False
    await compared.round()
    assert len(cluster.asked) == 4
    cluster.at(2).is_silent = cluster.at(3).is_silent = True
    cluster.at(1).last[JANUARY] = 9
    await compared.round()
    assert compared.report.looks[0].marks["op3 10.0.0.3:1"] == 5


async def test_one_member_compares_for_all(tmp_path: Path) -> None:
    first = Cluster(tmp_path)
    first.at(2).sums["january"] = {}
    compared = first.comparison()
    await compared.round()
    second = Cluster(tmp_path / "second")
    second.at(1).compares = json.loads(msgspec.json.encode(compared.told))
    taken = second.comparison(member=2)
    await taken.round()
    assert (second.asked, taken.report) == ([], compared.report)
    assert read(tmp_path / "second" / FILE) == compared.report
    compared.config.mode = "suspend"
    second.at(1).compares = json.loads(msgspec.json.encode(compared.told))
    await taken.round()
    assert second.asked == ["january"]  # what is the same needs no second look
    assert taken.report.compared_by == "op2 10.0.0.2:1"


async def test_of_a_cluster_that_is_left_nothing_is_said_any_more(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 2)
    compared = cluster.comparison()
    await compared.round()
    del cluster.members[1]
    await compared.round()
    assert read(tmp_path / FILE).looks == compared.report.looks == []


def test_a_damaged_file_is_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b'{"looks": [')
    assert read(tmp_path / FILE).looks == []
    assert "all partitions are compared again" in caplog.text


@pytest.mark.parametrize(
    ("time_us", "word"),
    [
        (1767225600000000, "2026-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1 << 62, "9999-12-31T23:59:59.999999Z"),
        (-(1 << 62), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_every_border_of_a_partition_is_a_time(time_us: int, word: str) -> None:
    assert time_word(time_us) == word
