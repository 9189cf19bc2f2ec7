"""Logical databases."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from edgelake.errors import CommandError, DatabaseError, DatabaseMissingError, NotAvailableError
from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.catalogue import AUTOMATIC
from edgelake.store.statement import RESERVED, create_statement, user_columns
from edgelake.store.stores import Stores
from tests.store.rowset import fetch, insertion


async def test_a_database_is_a_file_that_stays(stores: Stores, tmp_path: Path) -> None:
    store = await stores.connect("plant")
    store.store_many([insertion({"v": 1})])
    await stores.disconnect("plant")
    assert (tmp_path / "plant.dbms").is_file()
    assert not (tmp_path / "plant.dbms-wal").exists()
    assert fetch(await stores.connect("plant"), "SELECT v FROM t") == [(1,)]


async def test_connecting_again_is_no_error(stores: Stores) -> None:
    assert await stores.connect("plant") is await stores.connect("plant")
    with pytest.raises(DatabaseError):
        await stores.connect("plant", memory=True)


async def test_what_takes_no_rows_is_said(stores: Stores) -> None:
    with pytest.raises(NotAvailableError, match=r"MongoDB.*blobs: type = sqlite"):
        await stores.connect("plant", kind="mongo")
    with pytest.raises(NotAvailableError, match="MongoDB"):
        await stores.drop("blobs_plant", kind="mongo")
    with pytest.raises(CommandError, match="for blobs"):
        await stores.connect("plant", kind="bucket")


async def test_names(stores: Stores, tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    await stores.connect("line/one")
    assert "one" in stores
    assert (tmp_path / "line" / "one.dbms").is_file()
    for name in ("../outside", "/tmp/elsewhere", ""):
        with pytest.raises(CommandError):
            await stores.connect(name)
    with pytest.raises(CommandError):
        await stores.connect("plant", kind="oracle")


async def test_dropping_wants_a_disconnect_first(stores: Stores, tmp_path: Path) -> None:
    await stores.connect("plant")
    with pytest.raises(DatabaseError, match="disconnect"):
        await stores.drop("plant")
    await stores.disconnect("plant")
    await stores.drop("plant")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatabaseMissingError):
        await stores.drop("plant")
    with pytest.raises(DatabaseMissingError):
        await stores.disconnect("plant")


async def test_databases_are_listed(stores: Stores, tmp_path: Path) -> None:
    await stores.connect("system_query", memory=True)
    await stores.connect("plant")
    assert [(d.name, d.owner, d.storage) for d in stores.databases()] == [
        ("plant", "user", str(tmp_path / "plant.dbms")),
        ("system_query", "system", "MEMORY"),
    ]


def test_statements_of_policies_are_read() -> None:
    text = (
        "CREATE TABLE IF NOT EXISTS ping( row_id SERIAL PRIMARY KEY, insert_timestamp TIMESTAMP NOT NULL DEFAULT NOW(),"
        " tsd_name CHAR(3), tsd_id INT, |time stamp| timestamp not null default now(), v decimal(10,2), d DOUBLE "
        "PRECISION, n CHARACTER VARYING(40), c char(7), PRIMARY KEY (row_id) ); CREATE INDEX x ON ping(v);"
    )
    assert user_columns(text) == [
        ColumnInfo("time stamp", "timestamp", default_now=True),
        ColumnInfo("v", "decimal"),
        ColumnInfo("d", "float"),
        ColumnInfo("n", "varchar"),
        ColumnInfo("c", "char(7)"),
    ]


def test_a_statement_written_is_read_back() -> None:
    columns = (
        ColumnInfo("timestamp", "timestamp", default_now=True),
        ColumnInfo("select", "decimal"),
        ColumnInfo("c", "char(3)"),
        ColumnInfo("u", "uuid"),
    )
    text = create_statement(TableInfo("plant", "t", (*AUTOMATIC, *columns)))
    assert tuple(user_columns(text)) == columns


def test_a_statement_quotes_only_what_has_to_be() -> None:
    # Nodes of another edition take quotes for a part of the name.
    columns = (ColumnInfo("timestamp", "timestamp"), ColumnInfo("order", "int"), ColumnInfo("a-b", "int"))
    text = create_statement(TableInfo("plant", "pump_1", (*AUTOMATIC, *columns)))
    assert text.startswith("CREATE TABLE IF NOT EXISTS pump_1( row_id SERIAL PRIMARY KEY, ")
    assert 'tsd_id INT, timestamp TIMESTAMP, "order" INT, "a-b" INT );' in text
    assert "CREATE INDEX pump_1_timestamp_index ON pump_1(timestamp);" in text


def test_reserved_words_are_those_of_the_engine() -> None:
    connection = apsw.Connection(":memory:")
    refused = set()
    for word in apsw.keywords:
        try:
            connection.execute(f"CREATE TABLE t({word} int); DROP TABLE t")
        except apsw.SQLError:
            refused.add(word.lower())
    assert refused == RESERVED
