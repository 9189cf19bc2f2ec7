"""Every fenced block of every page is run by a test, or is one of those that nothing here can run, with the reason.

A block that is in none of the tables fails the test, and so does a row that no block has. What is here is also read as
what it is: commands by their grammar, the program's arguments by its parsers, other forms by their own.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import yaml

from edgelake.__main__ import parsers
from edgelake.command.registry import Registry
from edgelake.errors import EdgeLakeError
from tests.command.test_registry import parse
from tests.docs.fences import Block, blocks, pages
from tests.docs.test_docs import ROOT

_SCRIPTS = "test_docs.test_the_scripts_of_a_page_run_and_print_what_it_says"
_CURL = "test_pages.test_curl_lines_of_a_page_work_on_the_node_of_the_readme"
_CLUSTER = "test_availability_page.test_the_commands_of_the_page_make_a_cluster_of_two"
_PUBLISHER = "test_availability_page.test_the_commands_of_the_page_send_readings_to_the_operators_they_name"
_MAIL = "test_alerts_page.test_the_commands_of_mail_and_alerts_send_mails"
_DEVICES = "test_devices_pages.test_a_message_becomes_the_rows_of_the_page"
_GRPC = "test_grpc_page.test_the_server_of_the_page_makes_rows"
_POSTGRESQL = "test_postgresql.test_the_commands_work_on_a_real_server"
_CHAIN = "../chain/test_docs.test_the_scripts_of_the_page_run"
_ARCHIVER = "test_blobs_page.test_the_archiver_and_retrieval"
_BUCKETS = "test_blobs_page.test_object_storage"
_PIP = "test_shell_blocks.test_pip_takes_the_options_and_the_package_the_extras"
_MADE = "test_shell_blocks.test_what_is_made_can_be_made"
_MOSQUITTO = "test_shell_blocks.test_mosquitto_clients_and_the_rights_of_topics"
_KEYS = "test_node_blocks.test_keys_and_certificates"

KINDS = {"edgelake": _SCRIPTS, "output": _SCRIPTS}
"""Blocks of these kinds, on any page."""

OF_PAGES = {
    ("README.md", "sh"): _CURL,
    ("docs/api.md", "sh"): _CURL,
    ("docs/grafana.md", "sh"): _CURL,
    ("docs/rest.md", "sh"): _CURL,
    ("docs/console.md", "sh"): _CURL,
    ("docs/security.md", "sh"): "test_security_page.test_the_lines_of_the_page_work_in_their_order",
    ("docs/blobs.md", "sh"): "test_blobs_page.test_the_uploads_of_the_page_are_kept",
    ("docs/migration.md", "sh"): "test_migration_page.test_policies_are_taken_over",
    ("docs/ethereum.md", "script"): _CHAIN,
    ("docs/network.md", "demo"): "../system/test_demo.test_the_page_shows_what_the_demo_does",
}
"""All blocks of a kind on a page."""

ONE = {
    "README.md": {
        "make demo": _MADE,
        ".venv/bin/edgelake demo --network": "../system/test_demo.test_four_nodes_answer_one_query_and_leave_nothing",
        "make test": _MADE,
        "set node name edge-1": _CURL,
        "EDGELAKE_HOME=/tmp/edge-1": "test_shell_blocks.test_the_script_of_the_readme_is_started_so",
        "import asyncio": "test_pages.test_the_program_of_the_readme_runs",
    },
    "docs/alerts.md": {
        "run smtp client": _MAIL,
        "<schedule name = full": _MAIL,
        "<set streaming condition": _MAIL,
    },
    "docs/api.md": {
        '{"title"': "test_node_blocks.test_errors_have_the_form_of_the_page",
        "scrape_configs:": "test_node_blocks.test_prometheus_reads_with_a_token",
    },
    "docs/availability.md": {
        "set peer files": _PUBLISHER,
        "create work directories": _PUBLISHER,
        "get publisher": _PUBLISHER,
        "set data distribution": _PUBLISHER,
        "connect dbms almgm": _CLUSTER,
        "get distributor": _CLUSTER,
        "get cluster comparison": _CLUSTER,
        "sql plant delete": "test_node_blocks.test_a_file_is_deleted_from_one_member_and_comes_again",
    },
    "docs/backup.md": {
        "edgelake backup /mnt": "test_shell_blocks.test_a_backup_in_a_folder",
        "edgelake backup s3": "test_shell_blocks.test_a_backup_in_object_storage",
    },
    "docs/benchmarks.md": {
        "make release": "test_shell_blocks.test_benchmarks_are_named_as_the_program_names_them",
    },
    "docs/blobs.md": {
        "run blobs archiver where reuse": _ARCHIVER,
        "connect dbms blobs_plant where type = sqlite": _ARCHIVER,
        "get blobs archiver": _ARCHIVER,
        "connect dbms blobs_plant where type = bucket": _BUCKETS,
        "bucket provider connect": _BUCKETS,
        "file retrieve": _ARCHIVER,
        "run client (10.0.0.78:7848) file get": "test_blobs_page.test_another_node_gets_a_blob",
        "delete blobs": _ARCHIVER,
    },
    "docs/command-language.md": {
        "EL > get schedulr": "test_shell_blocks.test_an_error_at_the_prompt_has_a_mark_under_what_is_wrong",
        "edgelake attach": "test_shell_blocks.test_terminals_at_a_node",
    },
    "docs/configuration.md": {
        "edgelake init": "test_shell_blocks.test_a_configuration_in_four_questions",
        "[node]": "../tools/test_configuration.test_the_example_of_the_page_is_right",
        "sudo edgelake service": "test_shell_blocks.test_a_service_is_installed",
        "edgelake man": "test_shell_blocks.test_the_manual_page_and_completion_are_put_where_the_page_says",
        "edgelake completion": "test_shell_blocks.test_the_manual_page_and_completion_are_put_where_the_page_says",
        "edgelake doctor": "test_shell_blocks.test_a_configuration_in_four_questions",
    },
    "docs/edgex.md": {"Writable:": _DEVICES},
    "docs/ethereum.md": {"pip install": _PIP},
    "docs/grpc.md": {
        "syntax =": _GRPC,
        "import time": _GRPC,
        "connect dbms plant": _GRPC,
        "get grpc services": "test_node_blocks.test_a_grpc_server_is_asked_and_called",
        "run grpc client where name = health": "test_node_blocks.test_a_grpc_server_is_asked_and_called",
    },
    "docs/index.md": {
        "pip install": "test_shell_blocks.test_a_first_node_as_the_page_of_the_site_has_it",
        "curl -X PUT": "test_shell_blocks.test_a_first_node_as_the_page_of_the_site_has_it",
    },
    "docs/install.md": {
        "python3 -m venv": _PIP,
        "sudo useradd": "test_shell_blocks.test_a_service_is_installed",
        "docker compose": "test_shell_blocks.test_containers_are_described_by_the_files_that_the_page_names",
        "pip download": _PIP,
        "pip install --no-index": _PIP,
        "pip install --no-binary": _PIP,
    },
    "docs/kafka.md": {
        "connect dbms plant": "test_kafka_page.test_the_topic_of_the_page_becomes_rows",
        "run kafka consumer": "test_kafka_page.test_a_listener_with_users_and_certificates_is_read_and_gets_answers",
        "run client () sql": "test_kafka_page.test_a_listener_with_users_and_certificates_is_read_and_gets_answers",
    },
    "docs/metadata.md": {"run blockchain sync": "test_node_blocks.test_policies_go_to_the_master"},
    "docs/migration.md": {
        "import json": "test_migration_page.test_rows_of_a_sqlite_file_are_taken_over_with_their_times_and_types",
        "python3 rows.py": "test_migration_page.test_rows_of_a_sqlite_file_are_taken_over_with_their_times_and_types",
    },
    "docs/mqtt.md": {
        "topic read public": _MOSQUITTO,
        "logger --server": "test_shell_blocks.test_syslog_as_its_own_program_sends_it",
        "mosquitto_sub": _MOSQUITTO,
        "import paho": "test_mqtt_page.test_the_paho_program_makes_a_row",
    },
    "docs/network.md": {
        ".venv/bin/edgelake demo --network": "../system/test_demo.test_the_page_shows_what_the_demo_does",
        "run client () sql lsl_demo format": "test_node_blocks.test_one_query_over_all_nodes",
        "run client () sql lsl_demo table": "test_node_blocks.test_rows_are_brought_here_and_joined",
        "run client (10.0.0.78:7848) monitor": "test_node_blocks.test_a_node_says_how_it_is",
        "run client (10.0.0.7:32148) file copy": "test_node_blocks.test_files_go_and_come",
    },
    "docs/nodered.md": {
        '[\n  {"id": "edge-broker"': "test_node_red.test_the_flow_by_mqtt_makes_rows",
        '[\n  {"id": "edge-tick"': "test_node_red.test_the_flow_by_http_makes_rows",
    },
    "docs/postgresql.md": {
        "pip install": _PIP,
        "connect dbms plant": _POSTGRESQL,
        "partition plant": _POSTGRESQL,
    },
    "docs/queries.md": {"sql plant format = table and stat": "test_node_blocks.test_answers_beside_trusted_ones"},
    "docs/rest.md": {
        "run rest server": "test_node_blocks.test_the_rest_server_is_started_so",
        "http://127.0.0.1:32049/?into": "test_node_blocks.test_a_page_of_a_browser_shows_a_line",
    },
    "docs/security.md": {
        "set permissions": _KEYS,
        "id generate": _KEYS,
        "id create keys": _KEYS,
        "sealed = id encrypt": _KEYS,
        'root = {"member"': "test_node_blocks.test_the_policies_of_an_owner",
    },
    "docs/services.md": {
        "ip = 127.0.0.1": "test_services_page.test_every_example_does_what_the_table_says",
        "edgelake top": "test_shell_blocks.test_the_screen_of_services_takes_the_arguments_of_the_page",
    },
    "docs/telegraf.md": {"[[outputs.mqtt]]": _DEVICES},
}
"""Blocks by their beginning."""

NOT_RUN = {
    "README.md": {"sensors ──REST": "a drawing"},
    "docs/architecture.md": {"__main__  demo": "the layers, which tests/test_architecture.py holds the imports to"},
    "docs/availability.md": {
        "readings ──▶ publisher": "a drawing",
        "readings ──▶ member 1": "a drawing",
        "1 tables, 2 of 2 members": "an answer of two machines that differ",
        "fail  plant.motor": "an answer of three machines that differ",
    },
    "docs/grpc.md": {"run grpc client where name = safe": "a server of others, with their certificates; it is parsed"},
    "docs/network.md": {
        "┌───": "a drawing",
        "policies   ": "a drawing",
        "Address  ": "an answer of machines that are away",
    },
    "docs/postgresql.md": {"plant       |psql": "a row of an answer, of a server that is away"},
}
"""Blocks that no test runs, by their beginning: the reason."""


def runners(block: Block) -> list[str]:
    """The tests that run a block; a reason for one that none runs."""
    beginning = block.text.lstrip()
    found = [test for kind, test in KINDS.items() if block.kind == kind]
    found += [test for (page, kind), test in OF_PAGES.items() if (page, kind) == (block.page, block.kind)]
    for table in (ONE, NOT_RUN) if not found else ():
        found += [test for begin, test in table.get(block.page, {}).items() if beginning.startswith(begin)]
    return found


ALL = [block for page in pages() for block in blocks(page)]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_is_run_by_a_test_or_named_with_the_reason(block: Block) -> None:
    found = runners(block)
    assert len(found) == 1, (
        f"{block}\nis run by {found or 'no test'}: write one (tests/docs/test_shell_blocks.py and test_node_blocks.py "
        "have many), and a row for it in the tables of this file"
    )


def test_every_row_has_a_block() -> None:
    rows = {(page, begin) for table in (ONE, NOT_RUN) for page, begins in table.items() for begin in begins}
    used = {(block.page, begin) for block in ALL for page, begin in rows if _is(block, page, begin)}
    assert not rows - used
    assert not OF_PAGES.keys() - {(block.page, block.kind) for block in ALL}


def _is(block: Block, page: str, begin: str) -> bool:
    return block.page == page and block.text.lstrip().startswith(begin)


@cache
def _source(test: str) -> str:
    return (ROOT / "tests" / "docs" / f"{test.rpartition('.')[0]}.py").read_text()


@pytest.mark.parametrize("block", ALL, ids=str)
def test_the_test_is_there_and_reads_the_page(block: Block) -> None:
    for test in runners(block):
        if " " in test:
            continue  # a reason
        source, name = _source(test), test.rpartition(".")[2]
        functions = {
            node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in functions, test
        stem = block.page.removeprefix("docs/").removesuffix(".md")
        typed = block.lines[0].split()[-1]  # the test of a command that stands on several pages has the command
        assert test == _SCRIPTS or stem in source or typed in source, f"{test} does not read {block.page}"


# ---- read as what it is

FORMS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "python": ast.parse,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}
BY_BEGINNING = {"import ": "python", "[\n": "json", "[[": "toml", "scrape_configs": "yaml", "Writable": "yaml"}
PROGRAM = re.compile(r"(?:^|\s)(?:\S*/)?edgelake\s+([^|>#]*)")


def commands(block: Block) -> Iterator[str]:
    """The commands of the language in a block, those of several lines joined."""
    text = re.sub(r"^<(.*?)>$", lambda found: found[1].replace("\n", " "), block.text, flags=re.M | re.S)
    for line in re.sub(r"(?<= and)\n", " ", text).splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def is_language(block: Block) -> bool:
    """Whether a block without a kind has commands: its first word begins one, or it is an assignment."""
    if block.kind in ("script", "demo"):
        return True
    first = block.text.lstrip("<").split()
    if any(block.text.startswith(begin) for begin in BY_BEGINNING):
        return False
    words = {command.phrase.split()[0] for command in Registry.discover()} | {"schedule"}
    return (
        block.kind == ""
        and len(first) > 2
        and (first[0] in words - {"test"} or first[1] == "=")
        and "│" not in block.text
    )


@pytest.mark.parametrize("block", [one for one in ALL if is_language(one)], ids=str)
def test_commands_are_commands(block: Block) -> None:
    registry = Registry.discover()
    for line in commands(block):
        if re.match(r"\S+ = (?!blockchain|create|id |get |run |grpc |rest )", line):
            continue  # an assignment of a value
        parse(registry, line)


@pytest.mark.parametrize("block", [one for one in ALL if one.kind in ("", "sh")], ids=str)
def test_the_arguments_of_the_program_are_its_own(block: Block) -> None:
    for line in block.lines:
        for words in PROGRAM.findall(line):
            first, *rest = [word.strip("'\"") for word in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", words)]
            if (
                first in ("-c", "--version")
                or "--help" in rest
                or not re.match(r"^(sudo |\S*/|EDGELAKE_HOME=\S+ \S*)?edgelake ", line)
            ):
                continue
            assert parsers()[first].parse_args(rest), line


@pytest.mark.parametrize("block", [one for one in ALL if one.kind in ("", *FORMS)], ids=str)
def test_other_forms_are_well_formed(block: Block) -> None:
    kind = block.kind or next((form for begin, form in BY_BEGINNING.items() if block.text.startswith(begin)), "")
    if kind:
        assert FORMS[kind](block.text)


# ---- commands inside the text

PARTS = {
    "mqtt publish where broker = local",
    "set user authentication on\\|off",
    "return ignore entry",
    "stream = true",
}
"""Parts of commands, and what only looks like one."""


def inside(page: str) -> set[str]:
    """Words of a page in the type of code that begin as a command does, and have no gap."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    spans = {" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)}
    phrases = {command.phrase for command in Registry.discover()}
    return {
        span
        for span in spans - phrases - PARTS
        if not re.search(r"\.\.\.|<|\[|…", span) and any(span.startswith(f"{phrase} ") for phrase in phrases)
    }


@pytest.mark.parametrize("page", pages())
def test_commands_inside_the_text_are_commands(page: str) -> None:
    registry = Registry.discover()
    for span in sorted(inside(page)):
        try:
            parse(registry, span)
        except (AssertionError, EdgeLakeError) as wrong:
            raise AssertionError(f"{page}: `{span}`: {wrong}") from None


def test_there_are_many_commands_inside_the_text() -> None:
    assert sum(len(inside(page)) for page in pages()) > 100
