"""vectors/type-inference.json: types and stored values of first and second payloads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import Rows, parse_time

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "type-inference.json").read_text())["cases"]
NOW_US = 1_800_000_000_000_000
Schema = list[tuple[str, str, bool]]


def apply(schema: Schema, changes: Schema) -> Schema:
    changed = {column[0]: column for column in changes}
    kept = [changed.pop(column[0], column) for column in schema]
    return kept + list(changed.values())


def as_stored(value: Any, kind: str) -> Any:
    """A value as the vectors compare it."""
    if value is None:
        return None
    if kind == "timestamp":
        return NOW_US if value == "$NOW" else value if isinstance(value, int) else parse_time(value, "UTC")
    if kind == "boolean":
        return bool(value)
    if isinstance(value, str) and value[:1] in "{[":
        return json.loads(value)
    return value


def assert_kinds(schema: Schema, expect: dict[str, str], accept: dict[str, list[str]]) -> None:
    found = {name: kind for name, kind, _ in schema}
    assert list(found) == list(expect)
    for name, kind in expect.items():
        allowed = {kind, *accept.get(name, ())}
        if kind in ("float", "decimal"):
            allowed |= {"float", "decimal"}
        assert found[name] in allowed


def assert_rows(rows: Rows, schema: Schema, expect: list[dict[str, Any]]) -> None:
    kinds = {name: kind for name, kind, _ in schema}
    found = [{name: as_stored(value, kinds[name]) for name, value in row.items()} for row in rows.to_list()]
    wanted = [{name: as_stored(value, kinds[name]) for name, value in row.items()} for row in expect]
    for row in found:  # columns that a case does not speak of are null
        for name in [n for n in row if n not in wanted[0]]:
            assert row.pop(name) is None
    assert found == wanted


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_types_and_values_of_the_vectors(case: dict[str, Any]) -> None:
    expect, accept = case["expect"], case.get("accept", {})
    first = Rows.parse("\n".join(case["rows"]).encode(), None, "UTC")
    schema: Schema = first.infer()
    if "then" not in case:
        assert_kinds(schema, expect["columns"], accept)
    rows, rejected = first.fit(schema, NOW_US)
    assert rejected == []
    if "then" not in case:
        assert_rows(rows, schema, expect["stored"])
        return
    second = Rows.parse("\n".join(case["then"]).encode(), schema, "UTC")
    schema = apply(schema, second.changes(schema))
    assert_kinds(schema, expect["columns"], accept)
    rows, rejected = second.fit(schema, NOW_US)
    assert rejected == []
    assert_rows(rows, schema, expect["stored_2"])
