"""``delete blobs``: by age, by size, by free room, first without doing it."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.render import reply_text
from edgelake.errors import CommandError
from tests.blobs.camera import Camera, camera, id_of

OLD = [os.urandom(size) for size in (1000, 2000, 3000)]
"""Stored 30, 20 and 10 days ago."""

TODAY = os.urandom(4000)
PLACES = {
    "folder": "run blobs archiver",
    "dbms": "connect dbms blobs_plant where type = sqlite\nrun blobs archiver where dbms = true",
    "bucket": "connect dbms blobs_plant where type = bucket and provider = file and endpoint = {far}\n"
    "run blobs archiver",
}


def days_ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


async def age(node: Camera, far: Path, place: str, blob_id: str, days: int) -> None:
    """As if the blob had been stored some days ago."""
    then = days_ago(days)
    if place == "folder":
        folder = node.folder("blobs_dir") / then.strftime("%y/%m/%d")
        folder.mkdir(parents=True, exist_ok=True)
        (node.day / f"plant.photo.{blob_id}").rename(folder / f"plant.photo.{blob_id}")
    elif place == "dbms":
        sql = "UPDATE _edgelake_blobs SET day = ? WHERE id = ?"
        await node.node.ctx.stores.get("blobs_plant").change(
            lambda tx: tx.execute(sql, (then.strftime("%y%m%d"), blob_id))
        )
    else:
        (kept,) = far.glob(f"plant/photo/{blob_id.partition('.')[0]}/*")
        os.utime(kept, (then.timestamp(),) * 2)


@pytest.mark.parametrize("place", PLACES)
async def test_the_oldest_days_go(tmp_path: Path, place: str) -> None:
    far = tmp_path / "far"
    async with camera(tmp_path, *PLACES[place].format(far=far).splitlines()) as node:
        await node.take(*OLD, TODAY)
        await node.until_blobs(4)
        for content, days in zip(OLD, (30, 20, 10), strict=True):
            await age(node, far, place, id_of(content), days)

        async def left() -> list[int]:
            return [len(c) for c in (*OLD, TODAY) if (await node.get(id_of(c)))[0] == 200]

        async def delete(rule: str, *, dry_run: bool = False) -> Any:
            end = " and dry_run = true" if dry_run else ""
            return (await node.execute(f"delete blobs where dbms = plant and {rule}{end}")).data

        one = {"place": place, "date": days_ago(30).strftime("%y%m%d"), "blobs": 1, "bytes": 1000}
        assert await delete("days = 25", dry_run=True) == [one]
        assert await left() == [1000, 2000, 3000, 4000]
        assert await delete("table = other and days = 1") == []
        assert await delete("days = 30") == []
        assert await delete("days = 25") == [one]
        assert await left() == [2000, 3000, 4000]
        assert await delete("size = 100 MB") == []
        await delete("table = photo and size = 8 KB")  # 9000 bytes are there
        assert await left() == [3000, 4000]
        await delete("size = 1 B")
        assert await left() == [4000]  # of today
        assert (await node.execute("get files count")).data == [{"dbms": "plant", "table": "photo", "count": 1}]


async def test_days_go_until_enough_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with camera(tmp_path, "run blobs archiver") as node:
        await node.take(*OLD, TODAY)
        await node.until_blobs(4)
        for content, days in zip(OLD, (30, 20, 10), strict=True):
            await age(node, tmp_path, "folder", id_of(content), days)
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
        shown = await node.execute("delete blobs where dbms = plant and free = 11500 B and dry_run = true")
        assert [row["bytes"] for row in shown.data] == [1000, 2000]
        assert "To be removed" in reply_text(shown)
        assert (await node.execute("delete blobs where dbms = plant and free = 10000 B")).data == []


@pytest.mark.parametrize("rule", ["", " and dry_run = true", " and days = 0", " and days = -1"])
async def test_a_rule_that_says_nothing_removes_nothing(tmp_path: Path, rule: str) -> None:
    async with camera(tmp_path) as node:
        with pytest.raises(CommandError):
            await node.execute(f"delete blobs where dbms = plant{rule}")
