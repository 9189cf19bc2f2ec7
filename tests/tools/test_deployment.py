"""``edgelake deploy``: what the environment of a container becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pack.components import extras

from edgelake.command.registry import Registry
from edgelake.command.tokenizer import tokenise
from edgelake.command.variables import Variables
from edgelake.tools.deployment import ROLES, DeploymentError, commands, replaced_by
from tests.docs.test_docs import ROOT
from tests.tools.test_configuration import edgelake

EVERYTHING = {
    "NODE_NAME": "plant 7",
    "COMPANY_NAME": "Acme Works",
    "LEDGER_CONN": "master:32048",
    "EXTERNAL_DNS": "plant-7.example",
    "COUNTRY": "DE",
    "CITY": "Ulm",
    "LOCATION": "48.4, 9.98",
    "DB_TYPE": "psql",
    "DB_USER": "edge",
    "DB_PASSWD": "s3cret",
    "DB_IP": "10.0.0.9",
    "ENABLE_HA": "True",
    "WRITE_IMMEDIATE": "true",
    "THRESHOLD_TIME": "60 seconds",
    "THRESHOLD_VOLUME": "100KB",
    "ENABLE_MQTT": "TRUE",
    "MQTT_BROKER": "10.0.0.8",
    "MQTT_USER": "u",
    "MQTT_PASSWD": "p w",
    "MSG_TOPIC": "plant/+/motor",
    "DISABLE_CLI": "true",
    "ANYLOG_BROKER_PORT": "32150",
    "NIC_TYPE": "",  # empty counts as unset
}


@pytest.mark.parametrize("kind", ROLES)
@pytest.mark.parametrize("environment", [{"LEDGER_CONN": "10.0.0.1:32048"}, EVERYTHING], ids=["little", "everything"])
def test_every_kind_of_node_is_made_of_commands_that_exist(kind: str, environment: dict[str, str]) -> None:
    registry = Registry.discover()
    variables = Variables({})
    for name in ("new_policy", "cluster_id", "operator_id"):
        variables.set(name, "{}" if name == "new_policy" else "a1")
    for line in commands({**environment, "NODE_TYPE": kind}):
        bare = re.sub(r"^(if not !\w+ then )?(\w+ = (?=blockchain|create))?", "", line)
        words = tokenise(bare)
        assert words.fault is None, line
        match = registry.match(words.words)
        assert match is not None, line
        match.command.grammar.parse(words, len(match.command.phrase.split()), variables)


def test_a_node_says_what_the_environment_says() -> None:
    lines = commands({**EVERYTHING, "NODE_TYPE": "operator"})
    text = "\n".join(lines)
    assert lines[0] == 'set node name "plant 7"'
    assert "set cli off" in lines
    assert (
        'connect dbms acme_works where type = psql and user = "edge" and password = "s3cret" and ip = 10.0.0.9' in text
    )
    assert 'name = "plant 7" and company = "Acme Works" and ip = plant-7.example and port = 32148' in text
    assert 'country = "DE" and city = "Ulm" and loc = "48.4, 9.98"' in text
    assert "set buffer threshold where time = 60 seconds and volume = 100KB and write_immediate = true" in lines
    assert "run data consumer where start_date = -30d" in lines
    assert "distributor = true and master_node = master:32048" in text
    order = [line.partition(" where")[0] for line in lines if line.startswith("run ")]
    assert order.index("run operator") < order.index("run rest server") < order.index("run msg client")


def test_defaults_are_those_of_the_official_files_where_ours_are_not_better() -> None:
    text = "\n".join(commands({"NODE_TYPE": "operator", "LEDGER_CONN": "m:1", "OVERLAY_IP": "127.0.0.1"}))
    assert "external_ip = 127.0.0.1 and external_port = 32148" in text
    assert "partition new_company * using insert_timestamp by 14 days" in text
    assert "keep = 3" in text
    assert "set buffer threshold" not in text  # rows are seen after 0.1 seconds, not after 60
    generic = commands({"OVERLAY_IP": "127.0.0.1"})
    assert not any("blockchain" in line for line in generic)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NODE_TYPE": "oprator"}, "NODE_TYPE = oprator"),
        ({"NODE_TYPE": "operator"}, "LEDGER_CONN = (not set)"),
        ({"NODE_TYPE": "query", "LEDGER_CONN": "master"}, "the master as host:port"),
        ({"ANYLOG_REST_PORT": "http"}, "a number from 1 to 65535"),
        ({"ANYLOG_REST_PORT": "70000"}, "a number from 1 to 65535"),
        ({"TCP_BIND": "yes"}, "true or false"),
        ({"NODE_TYPE": "master", "DB_TYPE": "oracle"}, "sqlite or psql"),
        ({"NODE_TYPE": "master", "BLOCKCHAIN_SYNC": "often"}, "a number and a unit"),
        ({"NODE_NAME": 'x" and y = "z'}, "no quotation marks"),
    ],
)
def test_what_is_wrong_is_said_with_the_variable(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    with pytest.raises(DeploymentError) as raised:
        commands(environment)
    assert said in f"{raised.value} {raised.value.hint}"
    found = edgelake("deploy", cwd=tmp_path, **environment)
    assert (found.returncode, said in found.stderr) == (1, True), found.stderr


def test_show_prints_the_commands_without_secrets_and_runs_none(tmp_path: Path) -> None:
    shown = edgelake("deploy", "--show", cwd=tmp_path, **{**EVERYTHING, "NODE_TYPE": "operator"})
    assert shown.returncode == 0
    assert "run operator where policy = !operator_id" in shown.stdout
    assert "s3cret" not in shown.stdout
    assert "p w" not in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_scripts_of_the_user_stand_in_the_place_of_ours(tmp_path: Path) -> None:
    assert replaced_by({"LOCAL_SCRIPTS": str(tmp_path)}, tmp_path) is None
    (tmp_path / "node-deployment").mkdir()
    main = tmp_path / "node-deployment/main.al"
    main.write_text("print mine\n")
    assert replaced_by({"LOCAL_SCRIPTS": str(tmp_path)}, Path("/")) == [f"process {main}"]
    shown = edgelake("deploy", "--show", cwd=tmp_path, LOCAL_SCRIPTS=str(tmp_path))
    assert shown.stdout == f"process {main}\n"


def test_the_page_names_every_variable_and_no_other() -> None:
    source = (ROOT / "python/edgelake/tools/deployment.py").read_text() + (ROOT / "docker/healthy.py").read_text()
    read = set(re.findall(r"[\"']([A-Z_]{4,})[\"']", source)) - {"TRUE", "FALSE"}
    page = (ROOT / "docs/install.md").read_text()
    rows = [row.split("|")[1] for row in page.splitlines() if re.match(r"\| `[A-Z_]+`", row)]
    assert set(re.findall(r"`([A-Z_]+)`", " ".join(rows))) == read


def test_the_page_names_every_extra() -> None:
    page = (ROOT / "docs/install.md").read_text()
    named = set(re.findall(r"^\| `([a-z]+)` \|", page, re.M))
    assert named == set(extras())
