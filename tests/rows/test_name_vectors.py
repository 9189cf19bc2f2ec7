"""vectors/names-and-files.json: names, file names, hashes, partitions, PUT bodies, epochs, storage units."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgelake import _rust
from edgelake.errors import PayloadError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "names-and-files.json").read_text())


@pytest.mark.parametrize("case", VECTORS["sanitize"], ids=lambda c: c["in"])
def test_names_are_sanitised(case: dict[str, Any]) -> None:
    assert _rust.sanitize_name(case["in"]) == case["expect"]


@pytest.mark.parametrize("case", VECTORS["file_names"], ids=lambda c: c["file"])
def test_file_names_are_read(case: dict[str, Any]) -> None:
    if case["expect"].get("status") == "error":
        with pytest.raises(ValueError, match="file name"):
            _rust.parse_file_name(case["file"])
    else:
        assert _rust.parse_file_name(case["file"]) == case["expect"]


@pytest.mark.parametrize("case", VECTORS["hash"], ids=lambda c: c["table"])
def test_hashes_cover_table_and_data(case: dict[str, Any]) -> None:
    assert _rust.payload_hash(case["dbms"], case["table"], case["data"].encode()) == case["expect"]


def shown(us: int, like: str) -> str:
    """An instant in the vectors' precision: a day, or a day and an hour."""
    form = "%Y-%m-%d-%H" if like.count("-") == 3 else "%Y-%m-%d"
    return datetime.fromtimestamp(us / 1_000_000, UTC).strftime(form)


@pytest.mark.parametrize("case", VECTORS["partition_names"], ids=lambda c: f"{c['interval']} {c['value']}")
def test_partitions_have_the_names_and_ranges(case: dict[str, Any]) -> None:
    us = _rust.parse_time(case["value"])
    assert us is not None
    name, start_us, end_us = _rust.partition_of(case["interval"], case["column"], case["table"], us)
    expect = case["expect"]
    assert name == expect["name"]
    assert start_us <= us < end_us
    assert shown(start_us, expect["start"]) == expect["start"]
    assert shown(end_us - 1, expect["end"]) == expect["end"]


@pytest.mark.parametrize("case", VECTORS["put_bodies"], ids=lambda c: c["body"])
def test_bodies_become_rows(case: dict[str, Any]) -> None:
    body, expect = case["body"].encode(), case["expect"]
    if expect.get("status") == "error":
        with pytest.raises(PayloadError):
            _rust.Rows.parse(body)
        return
    found = [{k: v for k, v in row.items() if v is not None} for row in _rust.Rows.parse(body).to_list()]
    wanted = [
        {k: json.dumps(v, separators=(",", ":")) if isinstance(v, dict) else v for k, v in row.items()}
        for row in expect["rows"]
    ]
    assert found == wanted


@pytest.mark.parametrize("case", VECTORS["epoch_to_datetime"], ids=lambda c: c["in"])
def test_epochs_of_any_unit(case: dict[str, Any]) -> None:
    us = _rust.parse_time(case["in"])
    assert us is not None
    assert _rust.format_time(us) == case["expect"]


@pytest.mark.parametrize("case", VECTORS["storage_units"], ids=lambda c: c["in"])
def test_storage_units(case: dict[str, Any]) -> None:
    assert _rust.storage_bytes(case["in"]) == case["expect"]


def test_a_deep_document_is_an_error_and_no_crash() -> None:
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(PayloadError, match="recursion limit"):
        _rust.Rows.parse(deep)


def test_the_place_of_an_error_is_said() -> None:
    with pytest.raises(PayloadError) as caught:
        _rust.Rows.parse(b'{"a": 1}\n{"a": }\n')
    assert caught.value.where == {"row": 2, "byte": caught.value.where["byte"]}
    assert 9 <= caught.value.where["byte"] <= 17
    with pytest.raises(PayloadError, match="not UTF-8"):
        _rust.Rows.parse(b'{"a": "\xff"}')
