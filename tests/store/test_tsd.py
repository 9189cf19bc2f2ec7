"""TSD tables: every file once."""

from __future__ import annotations

import pytest

from edgelake.errors import CommandError, TableMissingError
from edgelake.store.sqlite import SqliteStore
from edgelake.store.tsd import FileEntry, Selection, TsdTable, tsd_name, tsd_tables

DAY_US = 86_400_000_000


def entry(n: int, **more: object) -> FileEntry:
    return FileEntry("plant", f"t{n % 2}", f"hash{n}", source=str(n), file_time_us=n * DAY_US, **more)  # type: ignore[arg-type]


async def test_a_file_has_one_id_however_often_it_is_entered(store: SqliteStore) -> None:
    table = TsdTable(store)
    await table.create()
    await table.create()
    assert [await table.add(entry(1)), await table.add(entry(2)), await table.add(entry(1))] == [1, 2, 1]
    assert await table.has("hash2")
    assert not await table.has("hash3")


async def test_files_of_a_member_keep_their_ids(store: SqliteStore) -> None:
    table = TsdTable(store, tsd_name(95))
    await table.create()
    assert await table.add_many([entry(1, file_id=7), entry(2, file_id=9)]) == [7, 9]
    assert await table.safe_id() == 7
    await table.add(entry(3, file_id=8))
    assert await table.safe_id() == 9
    assert tsd_tables(store) == ["tsd_95"]


async def test_rows_and_status_are_put_down(store: SqliteStore) -> None:
    table = TsdTable(store)
    await table.create()
    await table.add_many([entry(1), entry(2), entry(3)])
    await table.set_rows("hash1", 10)
    await table.set_rows("hash3", 5)
    assert await table.set_status("hash3", "01", None)
    assert not await table.set_status("nothing", "01", None)
    assert [row["file_id"] for row in await table.details(Selection())] == [3, 2, 1]
    assert [row["file_id"] for row in await table.details(Selection(), errors=True)] == [3, 2]
    assert [row["rows"] for row in await table.details(Selection(file_hash="hash1"))] == [10]
    assert await table.summary(Selection()) == [
        ("plant", "t0", 2 * DAY_US, 2, 2 * DAY_US, 2, 1, 1, 0, 0, 0),
        ("plant", "t1", DAY_US, 1, 3 * DAY_US, 3, 2, 2, 1, 0, 15),
    ]
    assert len(await table.details(Selection(start_us=2 * DAY_US, end_us=3 * DAY_US))) == 1


async def test_ids_are_not_used_again(store: SqliteStore) -> None:
    table = TsdTable(store)
    await table.create()
    await table.add_many([entry(1), entry(2)])
    assert await table.delete(2)
    assert not await table.delete(2)
    assert await table.add(entry(3)) == 3


async def test_a_missing_table_says_how_to_make_it(store: SqliteStore) -> None:
    with pytest.raises(TableMissingError, match="create table tsd_info"):
        await TsdTable(store).add(entry(1))
    with pytest.raises(CommandError):
        await TsdTable(store, "tsd_of_mine").create()
    table = TsdTable(store)
    await table.create()
    await table.drop()
    assert tsd_tables(store) == []
