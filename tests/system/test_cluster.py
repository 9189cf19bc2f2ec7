"""Members of a cluster as processes that are killed while readings flow: each reading is on every member, once."""

from __future__ import annotations

import threading
from pathlib import Path

from edgelake.bench.processes import free_port
from tests.net.peer.clusters import member_script, write_members
from tests.system.program import Program
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
        expected = sorted(values(first))
        assert {value for value in expected if expected.count(value) > 1} <= sender.unsure
        for member in (second, third):
            member.until(lambda member=member: sorted(values(member)) == expected, limit_s=60)
        first.until(lambda: first.data("get distributor")["files_waiting"] == 0, limit_s=30)
        assert sorted(values(second)) == sorted(values(third)) == expected


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
