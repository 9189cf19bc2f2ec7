"""What Tab offers of a node's data: databases, tables, columns, policies, variables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from edgelake import Node
from edgelake.command.suggestions import SHOWN, Suggestions

POLICIES = (
    {"table": {"name": "pump", "dbms": "remote", "create": "create table pump (flow float, at timestamp);"}},
    {"cluster": {"id": "c-1", "name": "c1", "company": "acme"}},
    {"operator": {"name": "op-1", "company": "acme works", "ip": "127.0.0.1", "port": 32148, "cluster": "c-1"}},
    {"mapping": {"id": "map-1", "name": "pumps", "dbms": "plant", "table": "motor", "schema": {}}},
    {"config": {"id": "conf-1", "name": "cfg"}},
)
AUTOMATIC = {"row_id", "insert_timestamp", "tsd_name", "tsd_id"}


@pytest.fixture(scope="module")
def suggestions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suggestions]:
    async def made(node: Node) -> None:
        await node.start()
        for line in ("create work directories", "connect dbms plant where type = sqlite", "my_policy = {}"):
            await node.execute(line)
        await node.execute("connect dbms other where type = sqlite")
        await node.ingest("plant", "motor", [{"speed": 1.5, "device": "m-1"}])
        await node.ingest("plant", "motion", [{"axis": 1}])
        await node.ingest("other", "door", [{"open": True}])
        await node.execute("flush buffers")
        for policy in POLICIES:
            await node.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")
        node.ctx.variables.set("device_policy", json.dumps(POLICIES[0]))

    loop = asyncio.new_event_loop()
    node = Node(tmp_path_factory.mktemp("node"))
    loop.run_until_complete(made(node))
    yield Suggestions(node.ctx)
    loop.run_until_complete(node.stop())
    loop.close()


def ids(suggestions: Suggestions, kind: str) -> list[str]:
    return suggestions._names.ids((kind,))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        # Databases and tables of pairs and words
        ("get tables where dbms = ", {"plant", "other", "remote"}),
        ("get tables where dbms=pl", {"plant"}),
        ("get columns where dbms = plant and table = ", {"motor", "motion"}),
        ("get columns where dbms = plant and table = moto", {"motor"}),
        ("get columns where dbms = remote and table = ", {"pump"}),
        ("get table local status where dbms = other and name = ", {"door"}),
        ("drop table ", {"door", "motion", "motor", "pump"}),
        ("info table plant ", {"motor", "motion"}),
        ("partition plant ", {"motor", "motion"}),
        ("partition plant motor ", {"using"}),
        ("disconnect dbms ", {"plant", "other", "remote"}),
        ("set aggregation where dbms = plant and table = motor and value_column = ", {"speed", "device"} | AUTOMATIC),
        # Statements
        ("sql ", {"plant", "other", "remote"}),
        ('sql plant "select speed from ', {"motor", "motion", "other.door", "remote.pump"}),
        ("sql plant select speed from mot", {"motor", "motion"}),
        ("sql plant select speed from other.", {"other.door"}),
        ('sql plant "select avg(speed) from motor where spe', {"speed"}),
        ("sql plant select count(*) from motion where a", {"and", "as", "asc", "abs(", "avg(", "axis"}),
        ("sql plant select max(ax", {"axis"}),
        ("sql remote select f", {"flow", "from"}),
        ("sql plant select device from motor where device = 'sp", set()),
        ("sql plant format = ", {"json", "json:list", "json:output", "table", "csv"}),
        ("sql plant format = table and sta", {"stat ="}),
        ("sql plant format = table ", {"and", "select", '"select'}),
        ('run client () sql plant format = table "select speed from mot', {"motor", "motion"}),
        ("x = sql ", {"plant", "other", "remote"}),
        # Destinations, topics
        ("run client (oper", {"operator"}),
        ("run client (dbms = plant and table = ", {"motor", "motion"}),
        ("run msg client where broker = local and topic = (name = t and dbms = ", {"plant", "other", "remote"}),
        ("run msg client where broker = local and topic = (name = t and policy = ", {"map-1"}),
        # Policies
        ("blockchain get oper", {"operator"}),
        ("blockchain get operator wh", {"where"}),
        ("blockchain get operator where comp", {"company ="}),
        ("blockchain get operator where company = ", {'"acme works"'}),
        ("blockchain get operator where name = op-1 bring [operator][na", {"[operator][name]"}),
        ("blockchain get (operator, cl", {"cluster"}),
        ("run grpc client where name = g and policy = ", {"map-1"}),
        ("config from policy where id = ", {"conf-1"}),
        ("blockchain insert where policy = ", {"!my_policy", "!device_policy"}),
        # Variables
        ("get !my_", {"!my_policy"}),
        ("run client (!my_", {"!my_policy"}),
        ("ip=!!my_", {"!!my_policy"}),
    ],
)
def test_names_of_the_node_are_offered(suggestions: Suggestions, line: str, offered: set[str]) -> None:
    _, words = suggestions.at(line)
    assert set(words) == offered


def test_ids_are_offered_of_the_types_that_fit_and_explained(suggestions: Suggestions) -> None:
    operators, clusters = ids(suggestions, "operator"), ids(suggestions, "cluster")
    assert len(operators) == len(clusters) == 1
    found = suggestions.offered("run operator where policy = ")
    assert found.words == ((operators[0], "operator op-1"),)
    assert suggestions.at("create policy operator where cluster = ")[1] == clusters
    every = set(suggestions.at("blockchain delete policy where id = ")[1])
    assert {*operators, *clusters, "map-1", "conf-1"} <= every


def test_a_statement_is_read_on_both_sides_of_the_place(suggestions: Suggestions) -> None:
    alone = suggestions.at("sql plant select ")[1]
    assert {"speed", "axis"} <= set(alone)
    known = suggestions.at("sql plant select ", " from motion")[1]
    assert "axis" in known
    assert "speed" not in known


def test_so_many_words_are_no_help_and_are_counted_instead(suggestions: Suggestions) -> None:
    for number in range(SHOWN + 10):
        suggestions._ctx.variables.set(f"many_{number}", "x")
    found = suggestions.offered("print !many_")
    assert (len(found.words), found.more) == (SHOWN, 10)


@pytest.mark.parametrize(
    "line", ["sql plant 'sel", "get columns where dbms = (", "x = ((((", 'sql "', "{", "sql plant ) from", "="]
)
def test_lines_that_are_wrong_offer_what_they_can(suggestions: Suggestions, line: str) -> None:
    typed, words = suggestions.at(line)
    assert line.endswith(typed)
    assert all(isinstance(word, str) for word in words)
