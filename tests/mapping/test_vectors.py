"""Messages to rows over the vectors (spec: brokers and mapping, sections 5 to 9)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import MappingProgram, parse_time
from edgelake.command.grammar import parse_pairs
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError
from edgelake.inputs.msg_client import topic_spec

CASES = json.loads((Path(__file__).resolve().parent.parent / "vectors" / "mapping.json").read_text())["cases"]
NOW_US = int(time.time() * 1_000_000)


def program_of(case: dict[str, Any]) -> MappingProgram:
    if "policies" in case:
        spec: dict[str, Any] = {"name": case["topic"], "policies": case["policies"]}
    else:
        variables = Variables({})
        pairs = parse_pairs(case["topic_params"], variables)
        spec = topic_spec(pairs, lambda text: parse_pairs(text, variables), lambda _: None)
    return MappingProgram(json.dumps({"topics": [spec]}))


def same(expected: Any, given: Any, *, is_time: bool) -> bool:
    if expected == "$NOW":
        return bool(given == NOW_US)
    if is_time and isinstance(expected, str):
        return bool(parse_time(expected, "UTC") == given)
    if isinstance(expected, str) and expected[:1] in ("{", "["):
        return bool(json.loads(expected) == json.loads(given))
    return bool(expected == given and isinstance(expected, bool) == isinstance(given, bool))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_message_to_rows(case: dict[str, Any], tmp_path: Path) -> None:
    expect = case["expect"]
    message = case["message"]
    payload = (message if message == "not json" else json.dumps(message)).encode()
    program = program_of(case)
    if expect.get("text") in ("Failed to identify application data", "Unrecognized MQTT topic"):
        with pytest.raises(EdgeLakeError) as failed:
            program.map(payload, case["topic"])
        assert failed.value.text == expect["text"]
        return
    targets, rejected, _ = program.map(payload, case["topic"], now_us=NOW_US, timezone="UTC", blobs_dir=tmp_path)
    assert (expect["status"] == "error") == bool(rejected), rejected
    found = [
        (dbms, table, source, row, {name for name, kind, _ in declared if kind == "timestamp"})
        for dbms, table, source, _, declared, rows in targets
        for row in rows.to_list()
    ]
    assert len(found) == len(expect["rows"])
    for wanted, (dbms, table, source, row, times) in zip(expect["rows"], found, strict=True):
        assert (dbms, table, source) == (wanted["dbms"], wanted["table"], wanted["source"])
        expected = {name.lower(): value for name, value in wanted["row"].items() if value is not None}
        given = {name: value for name, value in row.items() if value is not None}
        assert given.keys() == expected.keys()
        for name, value in expected.items():
            assert same(value, given[name], is_time=name in times), (name, value, given[name])


def test_rows_carry_the_policy_as_instructions_and_declared_types() -> None:
    case = next(c for c in CASES if c["id"] == "map-045")
    targets, _, _ = program_of(case).map(json.dumps(case["message"]).encode(), "t", now_us=NOW_US)
    _, _, _, instructions, declared, _ = targets[0]
    assert instructions == "p1"
    assert declared == [("timestamp", "timestamp", True), ("value", "float", False)]
