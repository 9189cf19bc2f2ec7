"""The vectors: what queries over the network answer, this node's table answers alone (tests/vectors)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgelake.errors import QueryError
from tests.query.conftest import VECTORS, Asked

QUERIES = json.loads((VECTORS / "queries.json").read_text())["cases"]
INCREMENTS = json.loads((VECTORS / "increments.json").read_text())["cases"]
# A local insert is a statement of the node's owner; only over the network it is refused, as these two cases say.
NETWORK_ONLY = {"q-104", "q-105"}
LOCAL = [case for case in QUERIES if case["id"] not in NETWORK_ONLY]


def plain(value: Any) -> Any:
    """Floats to nine digits, as the vectors give them; the printed empty text of a null as None."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in {"Nodes", "Time"}}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def rows_of(text: str) -> list[dict[str, Any]]:
    content = json.loads(text)
    if content == {"reply": "Empty data set"}:
        return []
    return [{key: None if value == "" else value for key, value in row.items()} for row in content["Query"]]


def ordered(rows: list[dict[str, Any]], sql: str) -> list[dict[str, Any]]:
    if "order by" in sql.lower() or "group by" in sql.lower():
        return rows
    return sorted(rows, key=lambda row: json.dumps(row))


@pytest.mark.parametrize("case", LOCAL, ids=lambda case: case["id"])
async def test_queries(cut: Asked, case: dict[str, Any]) -> None:
    sql, options, expect = case["sql"], case["options"], case["expect"]
    if "error" in expect:
        failure = await cut.failure(sql, options)
        assert failure.number in {45, 46, 134, 175}
        assert failure.detail
        return
    text = await cut.text(sql, options)
    if "text" in expect:
        assert text == expect["text"]
    elif "json" in expect:
        assert plain(json.loads(text)) == plain(expect["json"])
    elif "jsonlines" in expect:
        assert [json.loads(line) for line in text.splitlines()] == expect["jsonlines"]
    else:
        found = rows_of(text)
        wanted = [{k: None if v == "" else v for k, v in row.items()} for row in expect["rows"]]
        assert plain(ordered(found, sql)) == plain(ordered(wanted, sql))
        assert [list(row) for row in found] == [list(row) for row in expect["rows"]][: len(found)]


@pytest.mark.parametrize("case", INCREMENTS, ids=lambda case: case["id"])
async def test_increments_and_periods(cut: Asked, case: dict[str, Any]) -> None:
    sql, expect = case["sql"], case["expect"]
    if "error" in expect:
        assert isinstance(await cut.failure(sql), QueryError)
        return
    found = rows_of(await cut.text(sql))
    assert plain(found) == plain(expect["rows"])


@pytest.mark.parametrize("case", [c for c in INCREMENTS if "optimised" in c], ids=lambda case: case["id"])
async def test_points_choose_the_increments(asked: Asked, case: dict[str, Any]) -> None:
    from edgelake.query.options import Options

    wanted = case["optimised"]
    assert asked.queries.increments("edge", case["sql"], Options()) == (wanted["unit"], wanted["interval"])
