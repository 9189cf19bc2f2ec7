"""Policy commands as a user types them (spec: metadata, sections 5, 7 and 8)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.context import Context
from edgelake.command.local import language_context
from edgelake.command.registry import Command, Registry, command
from edgelake.command.render import reply_text, reply_value, table_text
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError, NotPermittedError
from edgelake.metadata.address import Addresses
from edgelake.metadata.image import Image
from edgelake.metadata.policies import Policies
from edgelake.metadata.select import Select
from edgelake.model import LOOPBACK_CLASSES, PROMPT, Caller, CommandClass, Reply

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
GET = json.loads((VECTORS / "blockchain-get.json").read_text())


class Node:
    """The command language over policies, without the rest of a node."""

    def __init__(self, home: Path) -> None:
        self.started: list[dict[str, Any]] = []
        self.context = language_context(home=home, registry=self._registry(), variables=Variables({}))
        self.context.directories.create()
        self.context.policies = Policies(self.context.directories.path("blockchain_file"), Addresses)

    def _registry(self) -> Registry:
        """All commands; those that start listeners record what they are called with (their own tests start them)."""
        started = self.started

        @command("run rest server", "run tcp server", "run message broker", cls=CommandClass.ADMIN)
        async def run_listener(ctx: Context, **values: Any) -> Reply:
            """Record."""
            started.append({"phrase": ctx.phrase, **values})
            return Reply.done()

        registry = Registry()
        recording: list[Command] = run_listener.__commands__  # type: ignore[attr-defined]
        replaced = {entry.phrase for entry in recording}
        for entry in (*recording, *(c for c in Registry.discover() if c.phrase not in replaced)):
            registry.add(entry)
        return registry

    def run(self, *lines: str, caller: Caller = PROMPT) -> Reply:
        async def work() -> Reply:
            reply = Reply.done()
            for line in lines:
                reply = await self.context.for_caller(caller).execute(line)
            return reply

        return asyncio.run(work())

    def text(self, *lines: str) -> str:
        return reply_text(self.run(*lines))

    def var(self, name: str) -> str:
        return self.context.variables.get(name)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


CLUSTER = 'c = {"cluster": {"company": "acme", "name": "c1"}}'


def test_official_flow_cluster_then_operator(node: Node) -> None:
    node.run(
        CLUSTER,
        "blockchain insert where policy = !c and local = true and master = 10.0.0.1:32048",
        "cid = blockchain get cluster where name = c1 and company = acme bring [cluster][id]",
        "external_ip = 10.0.0.7",
        "op = create policy operator with defaults where name = op-1 and company = acme "
        "and cluster = !cid and main = true",
        "blockchain insert where policy = !op and local = true",
        "oid = blockchain get operator where name = op-1 bring [*][id]",
    )
    body = json.loads(node.var("op"))["operator"]
    assert (body["port"], body["rest_port"], body["ip"], body["main"]) == (32148, 32149, "10.0.0.7", True)
    assert len(node.var("oid")) == 32
    assert node.text("blockchain get operator bring.ip_port") == "10.0.0.7:32148"


def test_create_policy_with_an_unknown_cluster_is_222(node: Node) -> None:
    with pytest.raises(EdgeLakeError) as failed:
        node.run("create policy operator with defaults where name = a and company = b and ip = 1.1.1.1 and cluster = x")
    assert failed.value.number == 222


def test_references_are_filled_when_the_policy_is_used(node: Node) -> None:
    node.run(
        "name_v = plant 7",
        "port_v = 32148",
        'p = {"node": {"name": !name_v, "port": !port_v.int, "kept": "!port_v"}}',
        "blockchain insert where policy = !p and local = true",
    )
    found = json.loads(node.text("blockchain get node"))[0]["node"]
    assert (found["name"], found["port"], found["kept"]) == ("plant 7", 32148, "!port_v")
    assert node.text("blockchain get node where name = !name_v bring [*][port]") == "32148"


def test_prepare_gives_the_variable_an_id_that_insert_keeps(node: Node) -> None:
    node.run(CLUSTER, "blockchain prepare policy !c", "blockchain insert where policy = !c and local = true")
    prepared = json.loads(node.var("c"))["cluster"]["id"]
    assert node.text("blockchain get cluster bring [*][id]") == prepared
    assert node.text(f"blockchain test id {prepared}") == "true"


def test_insert_without_a_target_and_with_a_master_alone_fail(node: Node) -> None:
    node.run(CLUSTER)
    with pytest.raises(EdgeLakeError) as failed:
        node.run("blockchain insert where policy = !c and local = false and master = 10.0.0.1:32048")
    assert failed.value.number == 21
    with pytest.raises(EdgeLakeError) as failed:
        node.run("blockchain insert where policy = !c and local = false")
    assert failed.value.number == 2


def test_empty_results_by_destination(node: Node) -> None:
    node.run("v = blockchain get nosuch", "w = blockchain get nosuch bring [*][name]")
    assert (node.var("v"), node.var("w")) == ("", "")
    rest = Caller("rest", LOOPBACK_CLASSES)
    assert reply_text(node.run("blockchain get nosuch", caller=rest)) == "[]"
    assert reply_text(node.run("blockchain get nosuch bring [*][name]", caller=rest)) == "[]"


def test_delete_replace_and_version(node: Node) -> None:
    version = node.text("get metadata version")
    assert version == "0"
    node.run(
        CLUSTER, "blockchain add !c", "cid = blockchain get id !c", 'd = {"cluster": {"company": "acme", "name": "c9"}}'
    )
    node.run("blockchain replace policy !cid with !d".replace("!cid", node.var("cid")))
    assert node.text("blockchain get cluster bring [*][name] [*][id]") == "c9" + node.var("cid")
    assert node.text("get metadata version") != version
    node.run("blockchain delete policy where id = !cid and local = true")
    assert node.text("blockchain get cluster bring.count") == "0"
    assert node.text("blockchain test") == "Policies are valid"
    node.run("blockchain delete local file")
    assert node.text("get metadata version") == "0"


def test_reload_follows_the_file(node: Node) -> None:
    path = node.context.directories.path("blockchain_file")
    path.write_text('{"config": {"name": "a", "id": "1"}}\n')
    node.run("blockchain reload metadata")
    assert node.text("blockchain get config bring [*][name]") == "a"
    path.with_suffix(".new").write_text('{"config": {"name": "b", "id": "2"}}\n')
    node.run("blockchain update file")
    assert node.text("blockchain get config bring [*][name]") == "b"


def test_from_takes_values_out_of_json(node: Node) -> None:
    node.run('j = [{"a": {"b": 1}}, {"a": {"b": 2}}]', "v = from !j bring [a][b] separator = ;")
    assert node.var("v") == "1;2"


def test_wait_returns_when_the_policy_arrives(node: Node) -> None:
    async def work() -> str:
        ctx = node.context
        await ctx.execute(CLUSTER)
        waiting = asyncio.ensure_future(ctx.execute("blockchain wait where policy = !c"))
        await asyncio.sleep(0)
        await ctx.execute("blockchain insert where policy = !c and local = true")
        return reply_value(await waiting)

    assert asyncio.run(work()) == "true"


def test_config_from_policy_starts_services_and_runs_the_script(node: Node) -> None:
    policy = {
        "config": {
            "id": "cfg1",
            "name": "cfg",
            "ip": "!external_ip",
            "port": 32148,
            "rest_port": "!rest_port.int",
            "rest_threads": 8,
            "broker_port": 32150,
            "script": ["a = first", "b = !a"],
        }
    }
    node.run("external_ip = 10.1.1.1", "rest_port = 32149", f"p = {json.dumps(policy)}", "blockchain add !p")
    assert node.text("config from policy where id = cfg1").endswith("applied")
    assert [(one["phrase"], one["external_port"]) for one in node.started] == [
        ("run tcp server", "32148"),
        ("run rest server", "32149"),
        ("run message broker", "32150"),
    ]
    assert node.started[1]["threads"] == "8"
    assert (node.var("a"), node.var("b")) == ("first", "first")
    assert node.run("get config policies").data == [{"ID": "cfg1", "Name": "cfg", "Error": "", "Message": ""}]


def test_script_of_a_policy_stops_at_its_first_failure_with_the_line_number(node: Node) -> None:
    policy = {"config": {"id": "cfg1", "script": ["a = 1", "get nonsense now please", "b = 2"]}}
    node.run(f"p = {json.dumps(policy)}", "blockchain add !p")
    with pytest.raises(EdgeLakeError, match="line 2"):
        node.run("config from policy where id = cfg1")
    assert (node.var("a"), node.var("b")) == ("1", "")
    assert "line 2" in node.run("get config policies").data[0]["Error"]


def test_script_of_a_policy_needs_the_class_exec(node: Node) -> None:
    node.run('p = {"config": {"id": "cfg1", "script": ["a = 1"]}}', "blockchain add !p")
    with pytest.raises(NotPermittedError):
        node.run("config from policy where id = cfg1", caller=Caller("rest", LOOPBACK_CLASSES))


@pytest.mark.parametrize(("where", "number"), [("where id = nosuch", 113), ("where company = acme", 215)])
def test_config_needs_exactly_one_policy(node: Node, where: str, number: int) -> None:
    for index in range(2):
        node.run(f'p = {{"config": {{"company": "acme", "n": {index}}}}}', "blockchain add !p")
    with pytest.raises(EdgeLakeError) as failed:
        node.run(f"config from policy {where}")
    assert failed.value.number == number


@pytest.mark.parametrize("case", [c for c in GET["cases"] if "table" in c["expect"]], ids=lambda c: c["id"])
def test_tables_print_byte_for_byte(case: dict[str, Any]) -> None:
    answer = Select.parse(case["command"]).run(Image.of(GET["policies"]))
    assert answer.table is not None
    assert table_text(answer.table) == case["expect"]["text"]
