"""Images: what a reader took stays as it was, and an index never changes an answer (spec: metadata, section 15)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelake.metadata.ids import id_of
from edgelake.metadata.image import MAX_INDEXES, Image
from edgelake.metadata.select import Select

PLAIN = st.sampled_from(["x", "X", "y", "*", "", "21", "021", 21, 21.0, 1.5, True, None])
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=2), st.dictionaries(st.sampled_from("kl"), PLAIN, max_size=2))
BODIES = st.dictionaries(
    st.sampled_from(["name", "port", "tags", "a"]), st.one_of(VALUES, st.lists(VALUES, max_size=2)), max_size=4
)
PATHS = st.sampled_from(
    ["name", "[name]", "[a][name]", "[*][name]", "port", "tags", "[tags][k]", "[a]", "[a][k]", "a[k]"]
)
CLAUSES = st.builds(
    lambda path, operator, value: f"{path} {operator} {value}",
    PATHS,
    st.sampled_from(["=", "=="]),
    st.sampled_from(["x", "y", "21", "021", "1.5", "true", "*", "z"]),
)
CONDITIONS = st.lists(CLAUSES, min_size=1, max_size=3).flatmap(
    lambda clauses: st.sampled_from([" and ".join(clauses), " or ".join(clauses), "not " + " and ".join(clauses)])
)


@given(bodies=st.lists(BODIES, max_size=8), condition=CONDITIONS)
def test_an_index_changes_no_answer(bodies: list[dict[str, Any]], condition: str) -> None:
    policies = [{"ab"[at % 2]: {**body, "id": str(at)}} for at, body in enumerate(bodies)]
    select = Select.parse(f"(a, b) where {condition}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "candidates", lambda self, types, equal: self.of_type(*types))
        expected = [id_of(p) for p in select.policies(Image.of(policies))]
    half = Image.of(policies[: len(policies) // 2])
    select.policies(half)  # makes its indexes, which what comes later enters
    whole = half.added(*policies[len(policies) // 2 :])
    assert [id_of(p) for p in select.policies(whole)] == expected


GIVEN = st.dictionaries(
    st.sampled_from(["name", "dbms", "table", "ip", "port"]),
    st.one_of(VALUES, st.lists(VALUES, max_size=2)),
    max_size=5,
)


@given(bodies=st.lists(GIVEN, max_size=8), wanted=GIVEN)
def test_an_image_of_many_finds_what_one_finds_that_grew_by_one_at_a_time(
    bodies: list[dict[str, Any]], wanted: dict[str, Any]
) -> None:
    policies = [{"ab"[at % 2]: {**body, "id": str(at % 5)}} for at, body in enumerate(bodies)]
    at_once, grown = Image.of(policies), Image.of([])
    for policy in policies:
        grown = grown.added(policy)
    for names in (("name",), ("dbms", "table"), ("dbms", "name"), ("ip", "port")):
        values = [wanted.get(name, "x") for name in names]
        assert at_once.find(*names, values=values) == grown.find(*names, values=values)
    for kind in "ab":
        assert at_once.of_type(kind) == grown.of_type(kind)
        assert at_once.stamp(kind)[1:] == grown.stamp(kind)[1:]
    for number in range(5):
        assert at_once.get(str(number)) == grown.get(str(number))


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_an_image_stays_as_it_was(steps: list[tuple[bool, int]]) -> None:
    image, held = Image.of([]), [(Image.of([]), list[str]())]
    model: list[str] = []
    for adds, number in steps:
        key = f"p{number}"
        if adds and key not in model:
            image, model = image.added({"a": {"id": key, "name": "n"}}), [*model, key]
        elif not adds:
            image, model = image.removed(key), [one for one in model if one != key]
        held.append((image, model))
    for kept, ids in held:
        assert [id_of(p) for p in kept.policies] == ids
        assert [id_of(p) for p in kept.of_type("a")] == ids
        assert [id_of(p) for p in Select.parse("a where name = N").policies(kept)] == ids
        assert len(kept) == len(ids)
        assert [key for key in (f"p{n}" for n in range(6)) if kept.get(key)] == sorted(ids)


def test_two_may_go_on_from_one_image() -> None:
    first = Image.of([{"a": {"id": "1"}}])
    left, right = first.added({"a": {"id": "2"}}), first.added({"a": {"id": "3"}})
    assert [[id_of(p) for p in image.policies] for image in (first, left, right)] == [["1"], ["1", "2"], ["1", "3"]]


def test_questions_of_all_kinds_make_no_more_indexes_than_allowed() -> None:
    image = Image.of([{"a": {"id": str(n), f"k{n}": "x"}} for n in range(100)])
    for number in range(100):
        found = Select.parse(f"a where k{number} = x").policies(image)
        assert [id_of(p) for p in found] == [str(number)]
    assert len(image._line.indexes) == MAX_INDEXES
