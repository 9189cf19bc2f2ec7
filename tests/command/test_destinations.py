"""Destinations of ``run client``: every form that scripts write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgelake.command.destinations import Destination, resolve
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError
from edgelake.metadata.image import Image
from edgelake.metadata.select import Select

A, B, C = "10.0.0.1:7848", "10.0.0.2:7848", "10.0.0.3:7848"


class Asked:
    """Answers of the metadata, and what was asked of it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.commands: list[str] = []
        self.routed: list[tuple[str, str, str]] = []

    def select(self, command: str) -> str:
        Select.parse(command)  # it is one that the metadata can answer
        self.commands.append(command)
        return ",".join(self.addresses)

    def operators(self, company: str, dbms: str, table: str) -> Sequence[str]:
        self.routed.append((company, dbms, table))
        return self.addresses

    def resolve(self, text: str) -> Destination:
        variables = Variables({})
        for name, value in {
            "one": A,
            "several": f"{A}, {B}",
            "group": f"({B}, {C})",
            "ip": "10.0.0.1",
            "port": "7848",
            "company": "New Company",
            "table": "sensors",
        }.items():
            variables.set(name, value)
        return resolve(text, variables, self.select, self.operators)


@pytest.mark.parametrize(
    ("text", "peers"),
    [
        (A, (A,)),
        ("10.0.0.1 7848", (A,)),
        ("!ip !port", (A,)),
        ("localhost:7848", ("127.0.0.1:7848",)),
        ("!one", (A,)),
        ("!several", (A, B)),
        ("!group", (B, C)),
        (f"({A}, {B}, {A})", (A, B)),
        (f"({C},!several)", (C, A, B)),
    ],
)
def test_addresses(text: str, peers: tuple[str, ...]) -> None:
    asked = Asked()
    assert asked.resolve(text) == Destination(peers)
    assert not asked.commands
    assert not asked.routed


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("(operator)", "blockchain get operator bring.ip_port"),
        ("(operator where company = x)", "blockchain get operator where company = x bring.ip_port"),
        (
            "(operator where company = !company)",
            'blockchain get operator where company = "New Company" bring.ip_port',
        ),
        ("(operator, query)", "blockchain get (operator, query) bring.ip_port"),
        ("((operator, query) where a = b)", "blockchain get (operator, query) where a = b bring.ip_port"),
        ("(blockchain get operator where a = b)", "blockchain get operator where a = b bring.ip_port"),
        ("(blockchain get query bring.ip_port)", "blockchain get query bring.ip_port"),
        ("(operator where name = '!one')", "blockchain get operator where name = '!one' bring.ip_port"),
    ],
)
def test_policies(text: str, command: str) -> None:
    asked = Asked(A, B)
    assert asked.resolve(text).peers == (A, B)
    assert asked.commands == [command]


@pytest.mark.parametrize(
    ("text", "peers"),
    [
        ("(operator where company = !c)", (A, B)),
        ("(operator, query)", (A, B, C)),
        ("((operator, query) where name = q)", (C,)),
        ("(blockchain get operator bring [operator][ip] : [operator][port] separator = , , subset = true)", (A, B)),
    ],
)
def test_policies_of_a_ledger(text: str, peers: tuple[str, ...]) -> None:
    nodes = [("operator", "o1", A), ("operator", "o2", B), ("query", "q", C)]
    ledger = Image.of(
        {kind: {"id": name, "name": name, "company": "a b", "ip": at.split(":")[0], "port": 7848}}
        for kind, name, at in nodes
    )
    variables = Variables({})
    variables.set("c", "a b")
    assert resolve(text, variables, lambda get: Select.parse(get).run(ledger).text, Asked().operators).peers == peers


@pytest.mark.parametrize("text", ["(dbms = edge and table = !table)", "(dbms=edge, table=sensors)"])
def test_operators_of_a_table(text: str) -> None:
    asked = Asked(B)
    assert asked.resolve(text).peers == (B,)
    assert asked.routed == [("", "edge", "sensors")]


def test_options_apply_to_every_form() -> None:
    assert Asked().resolve("()") == Destination((), by_query=True)
    assert Asked().resolve("(subset = true, timeout = 5)") == Destination((), True, True, 5.0)
    assert Asked().resolve(f"({A}, timeout = 3)") == Destination((A,), timeout_s=3.0)
    asked = Asked(A)
    assert asked.resolve("(operator where a = b, subset = true)") == Destination((A,), subset=True)
    assert asked.commands == ["blockchain get operator where a = b bring.ip_port"]


@pytest.mark.parametrize(
    "text", ["", "!unset", "(!unset)", "10.0.0.1", "10.0.0.1:99999", f"({A}, nothing here)", "(operator)", "(dbms = d)"]
)
def test_no_destination(text: str) -> None:
    with pytest.raises(EdgeLakeError) as raised:
        Asked().resolve(text)
    assert raised.value.number == 155


@pytest.mark.parametrize("text", ["(subset = maybe)", "(timeout = 0)", "(timeout = soon)", "(dbms = d or table = t)"])
def test_wrong_options(text: str) -> None:
    with pytest.raises(EdgeLakeError) as raised:
        Asked(A).resolve(text)
    assert raised.value.number == 2
