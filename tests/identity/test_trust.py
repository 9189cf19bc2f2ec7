"""What keys may do by the policies of trust (security spec, section 7)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from edgelake.errors import NotPermittedError
from edgelake.identity import keys
from edgelake.identity.keys import Opened
from edgelake.identity.trust import LONGEST_CHAIN, KeyRights, Permissions, Trust


class Network:
    """A ledger of policies of trust. Members are called by name."""

    def __init__(self) -> None:
        self.policies: list[dict[str, Any]] = []
        self.version = object()
        self.pinned = ""
        self._opened: dict[str, Opened] = {}
        self.trust = Trust(self._of_type, lambda: self.version, lambda: self.pinned, self._pin)
        self.add({"member": {"type": "root", "public_key": self.key("root")}})

    def _of_type(self, kind: str) -> list[dict[str, Any]]:
        return [policy for policy in self.policies if kind in policy]

    def _pin(self, key: str) -> None:
        self.pinned = key

    def opened(self, name: str) -> Opened:
        if name not in self._opened:
            self._opened[name] = Opened(keys.create("p").private, "p")
        return self._opened[name]

    def key(self, name: str) -> str:
        return self.opened(name).public

    def add(self, policy: dict[str, Any]) -> None:
        self.policies.append(policy)
        self.version = object()

    def remove(self, policy: dict[str, Any]) -> None:
        self.policies.remove(policy)
        self.version = object()

    def permissions(self, name: str, author: str = "root", **body: Any) -> None:
        made = keys.signed({"permissions": {"name": name, **body}}, self.opened(author))
        made["permissions"]["id"] = name
        self.add(made)

    def assign(self, name: str, *members: str, author: str = "root") -> dict[str, Any]:
        body = {"permissions": name, "members": [self.key(member) for member in members]}
        made = keys.signed({"assignment": body}, self.opened(author))
        self.add(made)
        return made

    def may(self, who: str, command: str, dbms: str = "", table: str = "") -> bool:
        return self.trust.allows(self.key(who), command, dbms, table)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.mark.parametrize(
    ("enable", "disable", "command", "expected"),
    [
        (["get"], [], "get status", True),
        (["get"], [], "getter", False),
        (["get status"], [], "get processes", False),
        (["*"], [], "run client", True),
        (["*"], ["run"], "run client", False),
        (["*", "run client"], ["run"], "run client", True),
        (["get"], ["get"], "get status", False),
        (["get"], ["get users"], "get users", False),
        (["get"], ["get users"], "get status", True),
        (["GET  Status"], [], "get status", True),
        ([], [], "get status", False),
    ],
)
def test_the_longest_words_decide(enable: list[str], disable: list[str], command: str, expected: bool) -> None:
    assert Permissions.of({"enable": enable, "disable": disable}).allow((command, "", "")) is expected


@pytest.mark.parametrize(
    ("lists", "dbms", "table", "expected"),
    [
        ({}, "plant", "motor", True),
        ({"databases": ["plant"]}, "plant", "motor", True),
        ({"databases": ["plant"]}, "office", "door", False),
        ({"databases": ["-plant"]}, "plant", "motor", False),
        ({"databases": ["-plant"]}, "office", "door", True),
        ({"databases": ["*", "-plant"]}, "plant", "", False),
        ({"databases": []}, "plant", "motor", False),
        ({"tables": ["plant.motor"]}, "plant", "motor", True),
        ({"tables": ["plant.motor"]}, "plant", "pump", False),
        ({"tables": ["plant.motor"]}, "plant", "", False),
        ({"tables": ["plant.motor"]}, "office", "door", True),
        ({"databases": ["plant"], "tables": ["-plant.motor"]}, "plant", "motor", False),
        ({"databases": ["plant"], "tables": ["-plant.motor"]}, "plant", "pump", True),
        ({"databases": ["office"], "tables": ["plant.motor"]}, "plant", "motor", True),
    ],
)
def test_databases_and_tables(lists: dict[str, list[str]], dbms: str, table: str, expected: bool) -> None:
    assert Permissions.of({"enable": ["sql"], **lists}).allow(("sql", dbms, table)) is expected


def test_the_root_may_all_and_others_what_it_signed(network: Network) -> None:
    assert network.may("root", "drop table")
    assert not network.may("eva", "get status")
    network.permissions("readers", enable=["get"])
    assert not network.may("eva", "get status")
    given = network.assign("readers", "eva")
    assert network.may("eva", "get status")
    assert not network.may("eva", "set debug")
    assert not network.may("adam", "get status")
    network.remove(given)
    assert not network.may("eva", "get status")


def test_a_policy_that_was_changed_gives_nothing(network: Network) -> None:
    network.permissions("readers", enable=["get"])
    given = network.assign("readers", "eva")
    given["assignment"]["members"].append(network.key("adam"))
    network.version = object()
    assert not network.may("eva", "get status")
    assert not network.may("adam", "get status")


def test_nobody_hands_on_more_than_he_has(network: Network) -> None:
    network.permissions("managers", enable=["get", "assignment", "permissions"], databases=["plant"])
    network.assign("managers", "eva")
    network.permissions("all", author="eva", enable=["*"])
    network.assign("all", "adam", "eva", author="eva")
    assert network.may("adam", "get rows count", "plant")
    assert not network.may("adam", "get rows count", "office")
    assert not network.may("adam", "set debug")
    assert not network.may("eva", "set debug")
    assert not network.may("eva", "get rows count", "office")


def test_who_may_not_assign_gives_nothing(network: Network) -> None:
    network.permissions("readers", enable=["get"])
    network.assign("readers", "eva")
    network.assign("readers", "adam", author="eva")
    network.permissions("own", author="eva", enable=["get"])
    network.assign("own", "adam")
    assert not network.may("adam", "get status")


def test_circles_and_long_chains_end(network: Network) -> None:
    network.permissions("all", enable=["*"])
    for one, other in (("a", "b"), ("b", "a")):
        network.assign("all", one, author=other)
    assert not network.may("a", "get")
    names = ["root", *(f"n{number}" for number in range(LONGEST_CHAIN + 1))]
    for author, member in pairwise(names):
        network.assign("all", member, author=author)
    assert network.may(names[LONGEST_CHAIN], "get")
    assert not network.may(names[LONGEST_CHAIN + 1], "get")


def test_the_root_that_was_seen_first_stays(network: Network) -> None:
    assert network.trust.root == network.key("root")
    network.policies.insert(0, {"member": {"type": "root", "public_key": network.key("thief")}})
    network.version = object()
    assert not network.may("thief", "get")
    with pytest.raises(NotPermittedError, match="another root"):
        network.trust.check_author({"member": {"type": "root", "public_key": network.key("thief")}})


def test_only_what_the_root_signed_itself_counts_as_named(network: Network) -> None:
    network.permissions("managers", enable=["*"])
    network.assign("managers", "eva")
    network.permissions("builders", author="eva", enable=["connect dbms"])
    network.assign("builders", "eva", author="eva")
    assert network.may("eva", "connect dbms")
    assert not network.trust.names(network.key("eva"), "connect dbms")
    network.permissions("named", enable=["connect dbms"])
    network.assign("named", "eva")
    assert network.trust.names(network.key("eva"), "connect dbms")


def test_a_refusal_says_what_and_to_whom(network: Network) -> None:
    rights = KeyRights(network.trust, network.key("eva"), "the user eva")
    with pytest.raises(NotPermittedError, match=r"do not permit 'sql' on plant.motor to the user eva"):
        rights.check("sql", "plant", "motor")
