"""Idempotency keys over the end of a node: the same answer again, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import apsw
import pytest

from edgelake.store.keys import KEPT, Keys, Known
from tests.system.program import STANDALONE, Program


def post(node: Program, rows: Any, key: str) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    status, reply = node.request("POST", headers, json.dumps(rows).encode(), path="/v1/data/plant/motor")
    return status, json.loads(reply)


def test_a_killed_node_still_knows_what_it_answered(tmp_path: Path) -> None:
    node = Program(tmp_path, STANDALONE)
    node.start()
    first = post(node, [{"v": 1}, {"v": 2}], "k-1")
    assert first == (200, {"stored": 2, "rejected": 0, "reason": None})
    node.kill()
    with node:
        assert post(node, [{"v": 1}, {"v": 2}], "k-1") == first
        assert post(node, [{"v": 3}], "k-1")[1]["code"] == "api.key_reused"
        node.post("flush buffers")
        assert node.count("motor") == 2


def test_rows_whose_fate_is_unknown_are_not_stored_again(tmp_path: Path) -> None:
    """As after a kill between the key and the answer: the file says begun, and nothing more."""
    node = Program(tmp_path, STANDALONE)
    with node:
        assert post(node, [{"v": 1}], "k-1")[0] == 200
    (file,) = tmp_path.rglob("idempotency.sqlite")
    with apsw.Connection(str(file)) as db:
        db.execute("UPDATE keys SET rows = NULL")
    db.close()
    with node:
        status, said = post(node, [{"v": 1}], "k-1")
        assert (status, said["code"]) == (409, "api.key_unknown")
        assert post(node, [{"v": 1}], "k-2")[0] == 200


def test_many_at_a_time_and_a_key_that_is_free_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        keys = Keys(lambda: tmp_path / "data" / "k.sqlite")
        found = await asyncio.gather(*(keys.begin(("u", str(n)), b"d") for n in range(200)))
        assert found == [None] * 200
        await asyncio.gather(*(keys.end(("u", str(n)), n, 0, "") for n in range(100)))
        assert await keys.begin(("u", "7"), b"other") == Known(b"d", 7, 0, "")
        assert await keys.begin(("u", "150"), b"d") == Known(b"d", None, 0, "")
        await keys.forget(("u", "150"))
        assert await keys.begin(("u", "150"), b"d") is None
        assert await keys.begin(("v", "7"), b"d") is None
        keys.close()
        keys.close()
        assert await keys.begin(("u", "7"), b"d") == Known(b"d", 7, 0, "")
        keys.close()

    asyncio.run(scenario())


def test_the_oldest_make_room(tmp_path: Path) -> None:
    async def scenario() -> int:
        keys = Keys(lambda: tmp_path / "k.sqlite")
        for begin in range(0, KEPT + 1000, 1000):
            names = [("u", str(n)) for n in range(begin, begin + 1000)]
            await asyncio.gather(*(keys.begin(name, b"d") for name in names))
            await asyncio.gather(*(keys.end(name, 1, 0, "") for name in names))
        await keys.begin(("u", "last"), b"d")
        keys.close()
        db = apsw.Connection(str(tmp_path / "k.sqlite"))
        ((count,),) = db.execute("SELECT count(*) FROM keys")
        db.close()
        return int(count)

    assert KEPT <= asyncio.run(scenario()) <= KEPT + 500


def test_a_disk_that_takes_no_key_stores_nothing(tmp_path: Path) -> None:
    from edgelake.errors import ServiceError

    async def scenario() -> None:
        (tmp_path / "file").write_text("")
        keys = Keys(lambda: tmp_path / "file" / "k.sqlite")
        with pytest.raises(ServiceError):
            await keys.begin(("u", "1"), b"d")
        keys.close()

    asyncio.run(scenario())
