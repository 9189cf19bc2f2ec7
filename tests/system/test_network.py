"""A network of four processes that scripts deploy: one answer over all, and what happens when nodes go and come."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from tests.system.deployed import COMPANY, Deployed, Network, network

VALUES = [[1, 2, 3], [10, 20]]
WHOLE, NORTH = (5, 36), (3, 6)
SQL = "select count(*) as n, sum(value) as total from sensors"


def filled(made: Network) -> Network:
    made.put("sensors", VALUES)
    made.query.until(lambda: made.knows("sensors"))
    return made


def test_the_scripts_bring_up_a_network_that_answers_one_query(tmp_path: Path) -> None:
    with network(tmp_path) as made:
        for node in made.nodes:
            said = node.variables()
            assert said["deployed"] == "true"
            assert "deploy_error" not in said
            assert {"TCP", "REST", "Blockchain Sync"} <= node.running()
        master, query = made.master, made.query
        for kind, name, node in (
            ("master", "main", master),
            ("operator", "north", made.operators[0]),
            ("operator", "south", made.operators[1]),
            ("query", "desk", query),
        ):
            command = f"blockchain get {kind} where company = {COMPANY} and name = {name} bring [*][ip] : [*][port]"
            for reader in made.nodes:
                reader.until(partial(_says, reader, command, node.address))
        filled(made)
        assert made.found() == WHOLE
        status, said = query.over_all("select timestamp, value from sensors where value > 2 order by value desc")
        assert status == 200
        assert [row["value"] for row in said["Query"]] == [20, 10, 3]
        assert said["Statistics"][0]["Nodes"] == 2


def test_an_operator_that_is_killed_is_named_and_its_rows_come_back_with_it(tmp_path: Path) -> None:
    with network(tmp_path) as made:
        filled(made)
        assert made.found() == WHOLE
        south = made.operators[1]
        south.kill()
        for _ in range(2):  # the first time, and when it is known to be gone
            status, said = made.query.over_all(SQL)
            assert (status, said["err_code"]) == (502, 208)
            assert south.address in said["local_msg"]
        assert made.found(subset="true") == NORTH
        _, said = made.query.over_all(SQL, subset="true")
        assert (said["Statistics"][0]["Target Nodes"], said["Statistics"][0]["Participating Nodes"]) == (2, 1)
        south.start()
        south.deployed("operator south", times=2)
        assert made.found() == WHOLE
        made.put("sensors", [[4], [30]])
        assert made.found() == (7, 70)


def test_queries_go_on_without_the_master_and_policies_travel_again_when_it_is_back(tmp_path: Path) -> None:
    with network(tmp_path) as made:
        filled(made)
        made.master.kill()
        assert made.found() == WHOLE
        made.put("sensors", [[4], [30]])
        assert made.found() == (7, 70)
        # A table that is new while nobody keeps the ledger: the rows are taken, the policies wait.
        made.put("later", [[7], [8]])
        assert [operator.count("later") for operator in made.operators] == [1, 1]
        assert made.found() == (7, 70)
        assert not made.knows("later")
        policies = _ids(made)
        made.master.start()
        made.master.deployed("master main", times=2)
        made.query.until(lambda: made.knows("later"), limit_s=60)
        assert made.found("later") == (2, 15)
        assert policies <= _ids(made)


def _says(node: Deployed, command: str, text: str) -> bool:
    return node.get(command).strip() == text


def _ids(made: Network) -> set[str]:
    return {next(iter(policy.values()))["id"] for policy in json.loads(made.query.get("blockchain get *"))}
