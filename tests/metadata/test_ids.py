"""Ids and automatic fields (spec: metadata, sections 2 and 3)."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelake.metadata.checks import completed
from edgelake.metadata.ids import body_of, complete, hashed_text, make_id, utc_text
from edgelake.metadata.image import Image
from edgelake.metadata.policy import dumps, parse_policy

CASES = json.loads((Path(__file__).resolve().parent.parent / "vectors" / "policy-id.json").read_text())["cases"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_id_byte_for_byte(case: dict[str, Any]) -> None:
    assert hashed_text(case["policy"]) == case["hashed_text"]
    assert make_id(case["policy"]) == case["policy_id"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_automatic_fields_stand_behind_the_given_ones(case: dict[str, Any]) -> None:
    made = complete(case["policy"])
    assert list(body_of(made)) == case["key_order_after"]
    assert body_of(made)["id"] == case["policy_id"]


def test_given_id_and_date_stay_where_they_are() -> None:
    policy = {"node": {"id": "node_001", "date": "2026-01-01T00:00:00.000000Z", "name": "n"}}
    assert complete(policy) == policy
    assert list(body_of(complete(policy))) == ["id", "date", "name"]


def test_defaults_of_checks_stand_behind_id_and_date_and_before_ledger() -> None:
    policy = {"cluster": {"name": "c", "company": "x", "ledger": "local"}}
    made = completed(complete(policy), Image.of(()))
    assert list(body_of(made)) == ["name", "company", "id", "date", "status", "ledger"]
    assert body_of(made)["id"] == make_id(policy)


def test_date_has_six_digits() -> None:
    assert len(utc_text()) == len("2026-01-01T00:00:00.000000Z")


@given(st.dictionaries(st.text().filter(lambda k: k not in ("id", "date", "ledger")), JSON, min_size=1, max_size=4))
def test_text_of_any_policy_is_its_literal_and_survives_the_file(body: dict[str, Any]) -> None:
    policy = {"test": body}
    text = hashed_text(policy)
    assert ast.literal_eval(text) == policy
    assert make_id(parse_policy(dumps(policy))) == hashlib.md5(text.encode("utf-8", "backslashreplace")).hexdigest()


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (1e16, "1e+16"),
        (1e15, "1000000000000000.0"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-0.0, "-0.0"),
        (2.0, "2.0"),
    ],
)
def test_floats_print_as_the_reference_prints_them(value: float, printed: str) -> None:
    assert hashed_text({"t": {"v": value}}) == f"{{'t': {{'v': {printed}}}}}"
