"""docs/services.md: each example of its table runs on a node that has real counterparts, and does what is said."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.command.render import reply_text
from edgelake.model import PROMPT
from tests.chain.anvil import ANN, Anvil
from tests.docs.test_docs import ROOT
from tests.grpc.conftest import HERE as PROTO_FOLDER
from tests.grpc.conftest import Server as GrpcServer
from tests.kafka.brokers import Kafka
from tests.mqtt.brokers import PASSWORD, USER, Files, Mosquitto
from tests.net.peer.nodes import node as peer_node
from tests.net.peer.nodes import until
from tests.net.peer.publishing import cluster_id, operator_id
from tests.net.smtp.servers import PASSWORD as MAIL_PASSWORD
from tests.net.smtp.servers import MailServer

PAGE = (ROOT / "docs" / "services.md").read_text()

# Command: its row in get processes.
STARTS = {
    "run tcp server": "TCP",
    "run blockchain sync": "Blockchain Sync",
    "run streamer": "Streamer",
    "run operator": "Operator",
    "run publisher": "Publisher",
    "run data distributor": "Distributor",
    "run data consumer": "Consumer",
    "run rest server": "REST",
    "run message broker": "MSG Broker",
    "run msg client": "MQTT",
    "run kafka consumer": "Kafka Consumer",
    "run grpc client": "gRPC",
    "run blobs archiver": "Blobs Archiver",
    "run scheduler": "Scheduler",
    "run smtp client": "SMTP",
}
COMMANDS = [
    *STARTS,
    "set data distribution",
    "get processes",
    "get connections",
    "get synchronizer",
    "get operator",
    "get publisher",
    "get rest server info",
    "get rest calls",
    "get rest pool",
    "get local broker",
    "get blobs archiver",
]
SEVERAL = ("run msg client", "run kafka consumer", "run grpc client")


class Row(NamedTuple):
    example: str
    does: str
    ended_by: str
    more: str

    @property
    def command(self) -> str:
        return next(command for command in COMMANDS if self.example.startswith(command))


def table() -> list[Row]:
    lines = [line for line in PAGE.partition("\n## On the whole screen\n")[0].splitlines() if line.startswith("|")]
    return [Row(*(cell.strip(" `") for cell in line.strip("|").split("|"))) for line in lines[2:]]


def test_every_command_is_in_the_table() -> None:
    assert {row.command for row in table()} == set(COMMANDS)
    for row in table():
        assert row.does, row
        assert row.more.startswith("["), row
        assert bool(row.ended_by) == (row.command in STARTS and row.example != "run blockchain sync"), row


@dataclass
class World:
    """The node, and what the page names beside it."""

    node: Node
    master: Node
    operator: Node
    mail: MailServer
    kafka: Kafka
    ports: dict[str, str]
    folder: Path

    def here(self, text: str) -> str:
        """An example, with the addresses of this run."""
        text = re.sub(r"10\.0\.0\.\d:(\d+)", lambda found: f"127.0.0.1:{self.ports[found[1]]}", text)
        text = re.sub(r"\b\w+\.example\.com\b", "127.0.0.1", text)
        text = re.sub(r"(?<=port = )\d+\b(?!\.)", lambda found: self.port(found[0]), text)
        text = text.replace("/tmp/plant", str(PROTO_FOLDER)).replace(
            "mail_password = s3cret", f"mail_password = {MAIL_PASSWORD}"
        )
        return text.replace("email =", f"ca = {self.mail.ca} and email =")

    def port(self, shown: str) -> str:
        return self.ports.setdefault(shown, str(free_port()))

    async def run(self, line: str) -> str:
        reply = await self.node.execute(line)
        return reply.value if reply.value is not None else reply_text(reply)

    async def stored(self, table: str, columns: str, count: int = 1) -> list[dict[str, object]]:
        """Rows of a table of plant, once they are there."""
        found: list[dict[str, object]] = []

        async def arrived() -> bool:
            await self.node.ctx.ingest.flush()
            if self.node.ctx.stores.table("plant", table) is not None:
                found[:] = [row async for row in self.node.query(f"select {columns} from plant.{table}")]
            return len(found) >= count

        await until(arrived)
        return found

    async def process(self, row: Row) -> dict[str, str]:
        """What ``get processes`` says of the service that a row starts."""
        shown: dict[str, dict[str, str]] = json.loads(await self.run("get processes where format = json"))
        return shown[STARTS[row.command]]

    async def listening(self, row: Row) -> str:
        """ip:port of a service; of two addresses the internal one."""
        address = re.findall(r"127\.0\.0\.1:\d+", (await self.process(row))["Details"])[-1]
        return str(address)

    async def publish(self, port: str, topic: str, message: dict[str, object], more: str = "") -> None:
        """A message from elsewhere, acknowledged."""
        await self.master.execute(
            f"mqtt publish where broker = 127.0.0.1 and port = {port} and topic = {topic} and qos = 1{more} "
            f"and message = {json.dumps(message)}"
        )

    async def known(self, name: str) -> None:
        """Wait until a note of the network is here."""

        async def arrived() -> bool:
            return self.node.ctx.policies.get(f"note-of-{name}") is not None

        await until(arrived)


POLICIES = [
    {"cluster": {"name": "c1", "id": cluster_id(1)}},
    {
        "operator": {
            "name": "op1",
            "ip": "127.0.0.1",
            "port": 7848,
            "cluster": cluster_id(1),
            "member": 1,
            "id": operator_id(1),
        }
    },
]


def policy(shown: dict[str, dict[str, object]], **more: object) -> str:
    ((kind, body),) = shown.items()
    return json.dumps({kind: {**body, "company": "acme", "date": "2026-01-01T00:00:00.000000Z", **more}})


def note(name: str) -> dict[str, dict[str, object]]:
    return {"note": {"name": name, "id": f"note-of-{name}"}}


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as running:
        chain = running.enter_context(Anvil(folder / "chain"))
        mosquitto = running.enter_context(Mosquitto(folder / "mosquitto", login=True))
        assert f"user = {USER} and password = {PASSWORD}" in PAGE
        grpc = running.enter_context(GrpcServer())
        kafka = running.enter_context(Kafka(folder / "kafka", Files.made_in(folder / "tls")))
        await kafka.create("sensors")
        mail = running.enter_context(MailServer(folder, security="starttls", auth=True))
        master, address = await running.enter_async_context(peer_node(folder / "master", "master"))
        operator, operator_address = await running.enter_async_context(peer_node(folder / "operator", "operator"))
        node = await running.enter_async_context(Node(folder / "node", name="edge-1", caller=PROMPT))
        ports = {"32048": address.partition(":")[2], "32148": operator_address.partition(":")[2]}
        ports |= {"1883": str(mosquitto.port), "50051": str(grpc.port), "587": str(mail.port), "9092": str(kafka.port)}
        for line in (
            "connect dbms blockchain where type = sqlite",
            "create table ledger where dbms = blockchain",
            *(f"blockchain push {policy(one)}" for one in (*POLICIES, note("master"))),
        ):
            await master.execute(line)
        for line in (
            "connect dbms yard where type = sqlite",
            "connect dbms almgm where type = sqlite",
            "create table tsd_info where dbms = almgm",
            "set peer files where watch_dir = true",
            *(f"blockchain insert where policy = {policy(one)} and local = true" for one in POLICIES),
            f"run operator where policy = {operator_id(1)} and create_table = true and update_tsd_info = true",
        ):
            await operator.execute(line)
        for line in (
            "create work directories",
            "connect dbms plant where type = sqlite",
            "connect dbms almgm where type = sqlite",
            "create table tsd_info where dbms = almgm",
            "connect dbms blockchain where type = sqlite",
            "create table ledger where dbms = blockchain",
            f"blockchain connect to ethereum where provider = {chain.url}",
            f"blockchain set account info where platform = ethereum and private_key = {ANN[1]}",
            "contract = blockchain deploy contract where platform = ethereum",
            "blockchain set account info where platform = ethereum and contract = !contract",
            *(
                f"blockchain insert where policy = {policy(one)} and local = true and blockchain = ethereum"
                for one in POLICIES
            ),
            f"blockchain commit to ethereum {policy(note('contract'))}",
        ):
            await node.execute(line)
        yield World(node, master, operator, mail, kafka, ports, folder)


# What the table says of an example, tried out: called with the row and what the example has answered.


async def the_node_answers_another(here: World, row: Row, answer: str) -> None:
    answered = await here.master.execute(f"run client ({await here.listening(row)}) get status")
    assert "edge-1" in reply_text(answered)


async def policies_arrive(here: World, row: Row, answer: str) -> None:
    if "source = master" in row.example:
        await here.known("master")
    elif "source = blockchain" in row.example:
        await here.known("contract")
    else:
        await here.run(f"blockchain commit to ethereum {policy(note('later'))}")
        await here.run(row.example)
        await here.known("later")


async def rows_are_stored(here: World, row: Row, answer: str) -> None:
    name = "pump" if "limit_tables" in row.example else "motor" if "master_node" in row.example else "fan"
    await here.node.ingest("plant", name, [{"speed": 1480.5}])
    assert (await here.stored(name, "speed"))[0] == {"speed": 1480.5}

    async def told() -> bool:
        if "blockchain = ethereum" in row.example:
            ledger = json.dumps((await here.node.ctx.parts["platforms"].get("ethereum").pull()).policies)
        else:
            found = here.master.query("select policy from blockchain.ledger where policy_type = 'table'")
            ledger = "".join([row["policy"] async for row in found])
        return re.search(rf'"name": ?"{name}"', ledger) is not None

    if "limit_tables" not in row.example:
        await until(told)


async def the_server_answers(here: World, row: Row, answer: str) -> None:
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    scheme = "https" if "ssl = true" in row.example else "http"
    headers = {"User-Agent": "AnyLog/1.23", "command": "get status"}
    request = urllib.request.Request(f"{scheme}://{await here.listening(row)}", headers=headers)

    def body() -> bytes:
        context = anybody if scheme == "https" else None
        with urllib.request.urlopen(request, timeout=20, context=context) as reply:
            return bytes(reply.read())

    assert b"edge-1" in await asyncio.to_thread(body)


async def the_broker_takes_messages(here: World, row: Row, answer: str) -> None:
    await here.publish((await here.listening(row)).partition(":")[2], "elsewhere", {"speed": 1})


async def messages_become_rows(here: World, row: Row, answer: str) -> None:
    if "broker = local" in row.example:
        await here.publish(here.ports["7852"], "line/1", {"speed": 91.5})
        assert {"speed": 91.5} in await here.stored("motor", "speed", 2)
        return
    press = {"company": "plant", "machine_name": "press", "serial_number": 7}
    message = {"metadata": press, "ts": "2026-01-01T12:00:00Z", "value": 5}

    async def subscribed() -> bool:
        return (await here.process(row))["Details"].endswith("Connected")

    await until(subscribed)
    await here.publish(here.ports["1883"], "test", message, f" and user = {USER} and password = {PASSWORD}")
    assert await here.stored("press_7", "value") == [{"value": 5}]


async def a_topic_becomes_rows(here: World, row: Row, answer: str) -> None:
    await here.kafka.send("sensors", [{"time": "2026-01-01T12:00:00Z", "value": value} for value in (1.5, 2.5)])
    assert sorted(str(found["value"]) for found in await here.stored("sensor", "value", 2)) == ["1.5", "2.5"]


async def replies_become_rows(here: World, row: Row, answer: str) -> None:
    assert sorted(str(row["n"]) for row in await here.stored("reading", "n", 3)) == ["1", "2", "3"]


async def a_file_goes_to_the_folder_of_its_day(here: World, row: Row, answer: str) -> None:
    picture = here.folder / "picture.png"
    picture.write_bytes(b"a picture")
    await here.run(f"file store where dbms = plant and table = photo and source = {picture}")
    blobs = Path(here.node.ctx.variables.get("blobs_dir"))

    async def archived() -> bool:
        return bool(list(blobs.glob("[0-9][0-9]/[0-9][0-9]/[0-9][0-9]/plant.photo.*.png")))

    await until(archived)


async def a_task_runs(here: World, row: Row, answer: str) -> None:
    await here.run("schedule name = once and time = 1 day task seen = yes")

    async def ran() -> bool:
        return here.node.ctx.variables.get("seen") == "yes"

    await until(ran)


async def mails_are_sent(here: World, row: Row, answer: str) -> None:
    await here.run("email to boss@plant.example where subject = Motor and message = hot")
    assert (await asyncio.to_thread(here.mail.post.next))["Subject"] == "Motor"


async def readings_go_to_the_operator_named(here: World, row: Row, answer: str) -> None:
    await here.node.ingest("yard", "crane", [{"load": 12.5}])

    async def arrived() -> bool:
        return here.operator.ctx.stores.table("yard", "crane") is not None

    await until(arrived)
    assert [found async for found in here.operator.query("select load from yard.crane")] == [{"load": 12.5}]


def shows(*texts: str) -> Callable[[World, Row, str], Awaitable[None]]:
    async def check(here: World, row: Row, answer: str) -> None:
        for text in texts:
            assert text in answer, row.example
        if "format = json" in row.example:
            json.loads(answer)

    return check


CHECKS = {
    "run tcp server": the_node_answers_another,
    "run blockchain sync": policies_arrive,
    "run streamer": shows(),
    "run operator": rows_are_stored,
    "run publisher": shows(),
    "run data distributor": shows(),
    "run data consumer": shows(),
    "get publisher": shows("yard"),
    "run rest server": the_server_answers,
    "run message broker": the_broker_takes_messages,
    "run msg client": messages_become_rows,
    "run kafka consumer": a_topic_becomes_rows,
    "run grpc client": replies_become_rows,
    "run blobs archiver": a_file_goes_to_the_folder_of_its_day,
    "run scheduler": a_task_runs,
    "run smtp client": mails_are_sent,
    "set data distribution": readings_go_to_the_operator_named,
    "get processes": shows("TCP", "Operator", "Not declared"),
    "get connections": shows("TCP", "127.0.0.1:"),
    "get synchronizer": shows("Running", "ethereum"),
    "get operator inserts": shows("OPERATOR INSERTS", "fan"),
    "get operator summary": shows("edge-1", "Active"),
    "get operator config": shows(operator_id(1), cluster_id(1)),
    "get operator": shows("OPERATOR JSON", "OPERATOR SQL", "OPERATOR INSERTS", "OPERATOR ERROR"),
    "get rest server info": shows("https://127.0.0.1:"),
    "get rest calls": shows("https://127.0.0.1:"),
    "get rest pool": shows("6 threads"),
    "get local broker": shows("PUBLISH"),
    "get blobs archiver": shows("photo"),
}


async def test_every_example_does_what_the_table_says(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        (values,) = re.findall(r"^```script\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        for line in values.splitlines():
            await here.run(here.here(line))
        started: dict[str, Row] = {}
        for row in table():
            if row.command in started and row.command not in SEVERAL and row.ended_by:
                await here.run(started[row.command].ended_by)
            if row.command == "run operator" and "run publisher" in started:
                await here.run(started.pop("run publisher").ended_by)
            answer = await here.run(here.here(row.example))
            if row.command in STARTS:
                assert (await here.process(row))["Status"] == "Running", row.example
            await next(check for name, check in CHECKS.items() if row.example.startswith(name))(here, row, answer)
            if row.ended_by:
                started[row.example if row.command in SEVERAL else row.command] = row
        for row in reversed(started.values()):
            await here.run(row.ended_by)
            if row.command not in ("run scheduler", *SEVERAL):  # the system's goes on; others of its kind may
                assert (await here.process(row))["Status"] == "Not declared", row
