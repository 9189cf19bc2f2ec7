"""Members of a cluster as processes that are killed while readings flow: each reading is on every member, once."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from tests.net.peer.clusters import member_script, write_members
from tests.system.partition import Cut, Space, missing, pair
from tests.system.program import AGENT, Program
from tests.system.test_publisher import READINGS, REST, Sender, values


def members_in(home: Path, count: int) -> list[Program]:
    ports = [free_port() for _ in range(count)]
    made = []
    for number, port in enumerate(ports, 1):
        write_members(home / f"m{number}", ports)
        made.append(Program(home / f"m{number}", "\n".join([*member_script(number, port), REST, ""])))
    return made


def test_kills_of_members_neither_lose_nor_double_a_reading(tmp_path: Path) -> None:
    first, second, third = members_in(tmp_path, 3)
    with first, second, third:
        sender, victims = Sender(first), (second, first, third, first)
        for turn, victim in enumerate(victims):
            putting = threading.Thread(target=sender.put, args=(turn * READINGS,), daemon=True)
            putting.start()
            first.until(lambda turn=turn: len(sender.acknowledged) >= turn * READINGS + READINGS // 3)
            victim.kill()
            victim.start()
            putting.join(60)
        total = len(victims) * READINGS
        assert sorted(sender.acknowledged) == [*range(total)]
        # What the client itself sent twice, since the member died before it answered, may be there twice.
        first.until(lambda: set(values(first)) == {*range(total)}, limit_s=30)
        first.until(lambda: sorted(values(second)) == sorted(values(third)) == sorted(values(first)), limit_s=60)
        first.until(lambda: first.data("get distributor")["files_waiting"] == 0, limit_s=30)
        held = sorted(values(first))
        assert sorted(values(second)) == sorted(values(third)) == held
        assert {value for value in held if held.count(value) > 1} <= sender.unsure


def test_a_member_that_was_killed_for_a_while_catches_up_by_itself(tmp_path: Path) -> None:
    first, second = members_in(tmp_path, 2)
    with first, second:
        sender = Sender(first)
        sender.put(0)
        second.until(lambda: sorted(values(second)) == [*range(READINGS)], limit_s=30)
        second.kill()
        sender.put(READINGS)
        second.start()
        second.until(lambda: sorted(values(second)) == [*range(2 * READINGS)], limit_s=60)
        second.until(lambda: second.data("get consumer")["is_complete"], limit_s=60)
        assert sorted(values(first)) == sorted(values(second))


def numbered(member: Program) -> list[tuple[int, str, int]]:
    """Rows of a member: value, who took it in, number of its file there."""
    reply = member.get('sql plant stat = false "select v, tsd_name, tsd_id from t order by v"')
    return [(row["v"], str(row["tsd_name"]).strip(), row["tsd_id"]) for row in json.loads(reply)["Query"]]


@pytest.mark.parametrize("how", ["empty", "backup"])
def test_a_member_that_lost_its_disk_gets_back_what_it_took_in_itself(tmp_path: Path, how: str) -> None:
    """Killed, set back or wiped, started again while readings flow: each is on both members once, under one number."""
    first, second = members_in(tmp_path, 2)
    data, backup = first.home / "EdgeLake" / "data", tmp_path / "backup"
    with first, second:
        sender = Sender(first)
        sender.put(0)
        if how == "backup":
            second.until(lambda: sorted(values(second)) == [*range(READINGS)], limit_s=30)
            first.kill()
            shutil.copytree(data, backup)
            first.start()
        sender.put(READINGS)
        second.until(lambda: sorted(values(second)) == [*range(2 * READINGS)], limit_s=30)
        first.kill()
        shutil.rmtree(data)
        if how == "backup":
            backup.rename(data)
        first.start()
        sender.put(2 * READINGS)
        for member in (first, second):
            member.until(lambda member=member: sorted(values(member)) == [*range(3 * READINGS)], limit_s=60)
        first.until(lambda: first.data("get consumer")["is_complete"], limit_s=60)
        assert numbered(first) == numbered(second)
        assert {member for _, member, _ in numbered(first)} == {"1"}


AGGREGATES = (
    "select min(timestamp), max(timestamp), count(*) from t",
    "select min(v), max(v), avg(v) from t",
    "select room, count(*), sum(v), avg(v) from t group by room order by room",
    "select increments(minute, 10, timestamp), min(timestamp), count(*), avg(v) from t",
    "select count(*), sum(v), max(v) from t where period(minute, 30, '2026-01-02 00:00:00', timestamp)",
)
"""What the notes of the official suite compare between the members of a cluster."""


def test_members_give_the_same_answers_also_when_the_main_one_is_killed(tmp_path: Path) -> None:
    first, second = members_in(tmp_path, 2)
    with first, second:
        rows = [
            {"timestamp": f"2026-01-01T{n // 60:02}:{n % 60:02}:30.5Z", "v": n / 3, "room": f"r{n % 4}"}
            for n in range(300)
        ]
        for member, part in ((first, rows[:200]), (second, rows[200:])):
            status, _ = member.put(json.dumps(part).encode())
            assert status == 200
        for member in (first, second):
            member.until(lambda member=member: len(values(member)) == len(rows), limit_s=30)
            member.until(lambda member=member: len(member.data("get data nodes where table = t")) == 2, limit_s=30)

        def answers(member: Program, **where: str) -> list[object]:
            found: list[object] = []
            for sql in AGGREGATES:
                command = f'sql plant timezone = utc and stat = false "{sql}"'
                status, text = member.request("GET", {**AGENT, "command": command, **where})
                assert status == 200, text
                found.append(json.loads(text)["Query"])
            return found

        expected = answers(first)
        assert expected[0] == [
            {
                "min(timestamp)": "2026-01-01T00:00:30.500000Z",
                "max(timestamp)": "2026-01-01T04:59:30.500000Z",
                "count(*)": len(rows),
            }
        ]
        assert answers(second) == expected
        assert answers(first, destination="network") == answers(second, destination="network") == expected
        first.kill()  # the main one, which is asked first
        assert answers(second, destination="network") == expected


class Placed(Program):
    """A node in a network namespace."""

    def __init__(self, home: Path, script: str, space: Space) -> None:
        super().__init__(home, script)
        self._space = space

    def start(self) -> None:
        with self._space():
            super().start()

    def request(
        self, method: str, headers: dict[str, str], body: bytes | None = None, *, path: str = "/"
    ) -> tuple[int, bytes]:
        with self._space():
            return super().request(method, headers, body, path=path)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.parametrize("how", ["down", "silent"])
def test_members_on_both_sides_of_a_cut_take_readings_in_and_meet_again(tmp_path: Path, how: Cut) -> None:
    with pair() as joined:
        spaces, ports = (joined.left, joined.right), [free_port(), free_port()]
        hosts = [space.address for space in spaces]
        members = []
        for number, (space, port) in enumerate(zip(spaces, ports, strict=True), 1):
            home = tmp_path / f"m{number}"
            write_members(home, ports, hosts)
            script = member_script(number, port, host=space.address)
            members.append(Placed(home, "\n".join([*script, REST, ""]), space))
        first, second = members
        with first, second:
            senders = [Sender(first), Sender(second)]
            senders[0].put(0)
            second.until(lambda: sorted(values(second)) == [*range(READINGS)], limit_s=30)
            joined.cut(how)
            for number, sender in enumerate(senders, 1):
                sender.put(number * READINGS)
            for member in members:
                member.until(lambda member=member: member.data("get distributor")["files_waiting"] > 0, limit_s=30)
            joined.heal(how)
            for member in members:
                member.until(lambda member=member: sorted(values(member)) == [*range(3 * READINGS)], limit_s=150)
                member.until(lambda member=member: member.data("get distributor")["files_waiting"] == 0, limit_s=60)
            assert sorted(values(first)) == sorted(values(second)) == [*range(3 * READINGS)]
