"""Where the data of a table is (spec: metadata, section 13; security and HA, section 10)."""

from __future__ import annotations

from typing import Any

import pytest

from edgelake.metadata.address import Addresses
from edgelake.metadata.ids import Policy
from edgelake.metadata.image import Image
from edgelake.metadata.routing import Routes, Routing


def cluster(key: str, *tables: str, **more: Any) -> Policy:
    listed = [{"dbms": t.split(".")[0], "name": t.split(".")[1]} for t in tables]
    return {"cluster": {"id": key, "name": f"name-{key}", "company": "Acme", "table": listed, **more}}


def child(parent: str, *tables: str) -> Policy:
    return cluster(f"{parent}-child-{'-'.join(tables)}", *tables, parent=parent, name=f"name-{parent}")


def operator(number: int, of: str, **more: Any) -> Policy:
    body = {"id": f"o{number}", "name": f"op-{number}", "company": "Acme", "ip": f"10.0.0.{number}", "port": 32148}
    return {"operator": {**body, "cluster": of, "member": number, **more}}


def routes(*policies: Policy) -> Routes:
    made = Routes()
    made.update(Image.of(policies))
    return made


def names(operators: Any) -> list[str]:
    return [o.name for o in operators]


TWO_CLUSTERS = (
    cluster("ca", "edge.t1"),
    child("ca", "edge.t2"),
    cluster("cb", "edge.t1", "other.t1"),
    operator(1, "ca"),
    operator(2, "ca", main=True),
    operator(3, "cb"),
    operator(4, "cb"),
)


def test_each_cluster_of_a_table_is_asked_once_its_main_operator_first() -> None:
    found = routes(*TWO_CLUSTERS).targets(dbms="EDGE", table="T1")
    assert [(t.cluster.id, names(t.operators)) for t in found] == [("ca", ["op-2", "op-1"]), ("cb", ["op-3", "op-4"])]


def test_members_take_turns_without_a_main_operator_or_when_asked_to() -> None:
    made = routes(*TWO_CLUSTERS)
    assert [names(made.targets(dbms="other", table="t1")[0].operators)[0] for _ in range(3)] == ["op-3", "op-4", "op-3"]
    turns = [made.targets(dbms="edge", table="t2", take_turns=True)[0].operators[0].name for _ in range(3)]
    assert turns == ["op-2", "op-1", "op-2"]


def test_an_operator_that_does_not_respond_is_tried_last_also_after_the_policies_changed() -> None:
    made = routes(*TWO_CLUSTERS)
    made.mark("10.0.0.2:32148", active=False)
    assert names(made.targets(dbms="edge", table="t2")[0].operators) == ["op-1", "op-2"]
    made.update(Image.of([*TWO_CLUSTERS, operator(5, "ca")]))
    assert names(made.targets(dbms="edge", table="t2")[0].operators) == ["op-1", "op-5", "op-2"]
    made.mark("10.0.0.2:32148", active=True)
    assert names(made.targets(dbms="edge", table="t2")[0].operators)[0] == "op-2"


def test_destinations_by_company_database_and_table() -> None:
    made = routes(*TWO_CLUSTERS)
    assert names(made.operators(company="acme")) == ["op-2", "op-1", "op-3", "op-4"]
    assert names(made.operators(dbms="other")) == ["op-3", "op-4"]
    assert made.operators(company="beta") == made.operators(dbms="edge", table="nosuch") == []


def test_a_table_added_to_the_metadata_is_routed_and_a_reader_keeps_what_it_has() -> None:
    made = Routes()
    image = Image.of(TWO_CLUSTERS)
    made.update(image)
    before = made.routing
    made.update(image.added(child("ca", "edge.t3")))
    assert made.routing.lists("ca", "edge", "t3")
    assert not before.lists("ca", "edge", "t3")


def test_changes_of_other_policies_build_nothing() -> None:
    made = Routes()
    image = Image.of(TWO_CLUSTERS)
    made.update(image)
    before = made.routing
    made.update(image.added({"config": {"id": "c"}}))
    assert made.routing is before


def test_a_cluster_that_is_down_is_not_read_and_a_static_one_gets_no_new_data() -> None:
    made = routes(
        cluster("ca", status="down"),
        child("ca", "d.t"),
        cluster("cb", "d.t", status="static"),
        operator(1, "ca"),
        operator(2, "cb"),
    )
    assert [t.cluster.id for t in made.targets(dbms="d", table="t")] == ["cb"]
    assert made.receivers(dbms="d", table="t") == []


def test_receivers_take_turns_over_clusters() -> None:
    made = routes(*TWO_CLUSTERS)
    first = [made.receivers(dbms="edge", table="t1")[0].cluster.id for _ in range(3)]
    assert first == ["ca", "cb", "ca"]


@pytest.mark.parametrize(
    ("policies", "problem"),
    [
        ((cluster("ca", "d.t", "d.t"),), "twice"),
        ((cluster("ca", "d.t"), child("ca", "d.t")), "twice"),
        ((cluster("ca"), {"cluster": {"id": "x", "parent": "ca", "name": "b", "company": "Acme"}}), "is called"),
        ((cluster("ca"), operator(1, "ca"), operator(2, "ca", ip="10.0.0.1")), "one address"),
    ],
)
def test_policies_that_contradict_each_other_are_reported_and_passed_over(
    policies: tuple[Policy, ...], problem: str
) -> None:
    routing = routes(*policies).routing
    assert len(routing.problems) == 1
    assert problem in routing.problems[0]


@pytest.mark.parametrize("broken", [{"table": "t"}, {"table": [1, {"dbms": "d"}]}, {"name": None}, {"company": 7}])
def test_a_malformed_policy_spoils_nothing_else(broken: dict[str, Any]) -> None:
    made = routes(cluster("cx", **broken), cluster("ca", "d.t"), operator(1, "ca"), operator(2, "ca", member="x"))
    assert names(made.operators(dbms="d", table="t")) == ["op-1"]


def test_our_own_external_address_is_reached_by_the_local_one() -> None:
    image = Image.of([cluster("ca", "d.t"), operator(1, "ca", ip="8.8.4.4", local_ip="192.168.0.7", local_port=7)])
    found = Routing.of(image, Addresses("8.8.4.4", "192.168.0.7")).at(dbms="d", table="t")[0].cluster.operators[0]
    assert (found.address, found.external) == ("192.168.0.7:7", "8.8.4.4:32148")
