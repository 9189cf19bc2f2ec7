"""Who gets the data of a table: what is set, then policies, then clusters of the table, then any."""

from __future__ import annotations

from typing import Any

import pytest

from edgelake.metadata.distribution import Distribution
from edgelake.metadata.image import Image
from edgelake.metadata.routing import Routes

POLICIES: list[dict[str, Any]] = [
    {"cluster": {"id": "c1", "name": "one", "company": "acme", "table": [{"dbms": "d", "name": "t"}]}},
    {"cluster": {"id": "c2", "name": "two", "company": "acme"}},
    {"cluster": {"id": "c3", "name": "three", "company": "other"}},
    *(
        {"operator": {"id": f"o{n}", "name": f"o{n}", "ip": "10.0.0.9", "port": n, "cluster": f"c{n}", "member": n}}
        for n in (1, 2, 3)
    ),
]
ONE, TWO, THREE = "10.0.0.9:1", "10.0.0.9:2", "10.0.0.9:3"


def made(*policies: dict[str, Any]) -> Distribution:
    routes = Routes()
    routes.update(Image.of(POLICIES))
    return Distribution(lambda: routes, lambda: policies)


def policy(**body: Any) -> dict[str, Any]:
    return {"distribution": body}


def test_a_table_goes_to_its_cluster_and_a_new_one_to_all_in_turn() -> None:
    found = made()
    assert found.candidates("D", "t") == [ONE]
    turns = [found.candidates("d", "new") for _ in range(3)]
    assert sorted(turn[0] for turn in turns) == [ONE, TWO, THREE]
    assert all(sorted(turn) == [ONE, TWO, THREE] for turn in turns)
    assert {found.candidates("d", "new", "acme")[0] for _ in range(2)} == {ONE, TWO}
    assert found.candidates("d", "t", "other") == [THREE]
    assert found.candidates("d", "t", "nobody") == []


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([policy(dbms="d", dest=TWO)], [TWO]),
        ([policy(dbms="D", table="T", dest=["o3"]), policy(dbms="d", dest=TWO)], [THREE]),
        ([policy(dbms="d", table="*", dest=["c2", "c2"])], [TWO]),
        ([policy(dbms="other", dest=TWO), policy(dbms="d", table="x", dest=TWO)], [ONE]),
        ([policy(dbms="d", dest="unknown"), policy(table="t", dest=TWO)], [ONE]),
    ],
)
def test_policies_come_before_clusters(policies: list[dict[str, Any]], expected: list[str]) -> None:
    assert made(*policies).candidates("d", "t") == expected


def test_what_is_set_comes_first_the_table_before_its_database() -> None:
    found = made(policy(dbms="d", dest=TWO))
    found.set("d", "*", [THREE])
    assert found.candidates("d", "t") == [THREE]
    found.set("D", "t", [ONE, TWO])
    assert [found.candidates("d", "t") for _ in range(3)] == [[ONE, TWO], [TWO, ONE], [ONE, TWO]]
    assert found.entries() == [("d", "*", THREE), ("d", "t", ONE), ("d", "t", TWO)]
    assert found.remove("d", "t", [ONE])
    assert found.candidates("d", "t") == [TWO]
    assert found.remove("d", "t", [])
    assert not found.remove("d", "t", [])
    assert found.candidates("d", "t") == [THREE]
