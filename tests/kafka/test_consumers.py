"""``run kafka consumer`` against Apache Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from tests.kafka.brokers import Kafka
from tests.kafka.nodes import rows, run, running, shown, until
from tests.mqtt.brokers import PASSWORD, USER, Files


def readings(first: int, count: int) -> list[dict[str, int]]:
    return [{"n": n} for n in range(first, first + count)]


async def test_messages_of_all_partitions_become_rows_once(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("plain", 3)
    await shared.send("plain", readings(0, 3000))
    async with running(tmp_path) as node:
        number = (await node.execute(run(shared.port, "plain"))).text
        assert await rows(node, 3000) == list(range(3000))
        client = await until(node, lambda one: one["Messages"] == 3000 and not one["Lag"])
        assert client == {
            "ID": int(number),
            "Connection": shared.address,
            "Group": "edge-1",
            "Topics": "plain",
            "Status": "Connected",
            "Messages": 3000,
            "Errors": 0,
            "Lag": 0,
            "Last Error": "",
        }
        assert f"Kafka consumer configured to {shared.address}" in await shown(node, "get processes")
        assert f"Broker:       {shared.address}" in await shown(node, "get msg client")
    await shared.send("plain", readings(3000, 500))
    async with running(tmp_path) as node:  # goes on where it was
        await node.execute(run(shared.port, "plain"))
        assert await rows(node, 3500) == list(range(3500))


async def test_latest_begins_at_the_end_and_goes_on_where_it_was_after_that(tmp_path: Path, shared: Kafka) -> None:
    command = run(shared.port, "late", "reset = latest and group = late")
    await shared.create("late", 2)
    await shared.send("late", readings(0, 10))
    async with running(tmp_path) as node:
        await node.execute(command)
        await until(node, lambda one: one["Status"] == "Connected")
        await shared.send("late", readings(10, 10))
        assert await rows(node, 10) == list(range(10, 20))
        await node.execute("exit kafka")
        assert "No active Kafka consumers" in await shown(node, "get kafka clients")
        await shared.send("late", readings(20, 10))  # while nobody reads
        await node.execute(command)
        assert await rows(node, 20) == list(range(10, 30))
    await shared.send("late", readings(30, 10))
    async with running(tmp_path) as node:
        await node.execute(command)
        assert await rows(node, 30) == list(range(10, 40))
    async with running(tmp_path / "other", "other") as node:  # its journal knows nothing: the group's offsets count
        await shared.send("late", readings(40, 10))
        await node.execute(command)
        assert await rows(node, 10) == list(range(40, 50))


async def test_latest_is_the_same_place_when_nothing_came_before_the_stop(tmp_path: Path, shared: Kafka) -> None:
    command = run(shared.port, "quiet", "reset = latest and group = quiet")
    await shared.create("quiet")
    await shared.send("quiet", readings(0, 10))
    async with running(tmp_path) as node:
        await node.execute(command)
        await until(node, lambda one: one["Status"] == "Connected")
    await shared.send("quiet", readings(10, 10))
    async with running(tmp_path) as node:
        await node.execute(command)
        assert await rows(node, 10) == list(range(10, 20))


async def test_batches_of_any_form_are_read_from_within_and_to_their_end(tmp_path: Path, shared: Kafka) -> None:
    messages = [b'{"n": %d}' % n for n in range(5000)]
    await shared.create("batches")
    await shared.send_batch("batches", messages[:2500], compression_type="gzip")
    await shared.send_batch("batches", messages[2500:4500], transactional_id="batches")
    await shared.send_batch("batches", messages[4500:4600], transactional_id="batches")
    await shared.commit("within", "batches", 1234)
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "batches", "reset = earliest and group = within"))
        assert await rows(node, 4600 - 1234) == list(range(1234, 4600))
        await shared.send_batch("batches", messages[4600:])
        assert await rows(node, 5000 - 1234) == list(range(1234, 5000))
        client = await until(node, lambda one: one["Lag"] == 0)
        assert client["Messages"] == 5000 - 1234


async def test_bad_messages_are_counted_and_passed(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("bad")
    await shared.send("bad", [b"{no json", {"n": 1}, {"other": 1}, None, {"n": "x"}, {"n": 2}])
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "bad"))
        assert await rows(node, 2) == [1, 2]
        client = await until(node, lambda one: one["Messages"] == 6)
        assert client["Errors"] == 4
        assert client["Last Error"]


async def test_several_topics_go_to_their_tables(tmp_path: Path, shared: Kafka) -> None:
    for topic in ("one", "two"):
        await shared.create(topic)
        await shared.send(topic, readings(0, 5))
    second = ' and topic = (name = two and dbms = plant and table = u and column.n.int = "bring [n]")'
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "one") + second)
        assert await rows(node, 5, table="t") == await rows(node, 5, table="u") == list(range(5))


async def test_a_topic_that_is_missing_is_said_and_read_once_it_is_there(tmp_path: Path, shared: Kafka) -> None:
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "absent"))
        client = await until(node, lambda one: one["Last Error"])
        assert "no topic absent there" in client["Last Error"]
        assert shared.address in client["Last Error"]
        await shared.create("absent")
        await shared.send("absent", readings(0, 3))
        assert await rows(node, 3) == [0, 1, 2]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_user_and_password(tmp_path: Path, shared: Kafka, mechanism: str) -> None:
    topic = f"secret{mechanism}"
    await shared.create(topic)
    await shared.send(topic, readings(0, 3))

    def command(password: str) -> str:
        login = f"user = {USER} and password = {password} and mechanism = {mechanism}"
        return run(shared.sasl_port, topic, f"reset = earliest and {login}")

    async with running(tmp_path) as node:
        await node.execute(command("wrong"))
        client = await until(node, lambda one: one["Last Error"])
        assert "user and password" in client["Last Error"]
        assert "wrong" not in client["Last Error"]
        await node.execute(f"exit kafka {client['ID']}")
        await node.execute(command(PASSWORD))
        assert await rows(node, 3) == [0, 1, 2]


async def test_tls(tmp_path: Path, shared: Kafka, files: Files) -> None:
    await shared.create("sealed")
    await shared.send("sealed", readings(0, 3))
    async with running(tmp_path) as node:
        await node.execute(run(shared.tls_port, "sealed", "reset = earliest and tls = true"))
        client = await until(node, lambda one: one["Last Error"])
        assert "ca = " in client["Last Error"]  # the authority is none of the system's
        await node.execute("exit kafka all")
        await node.execute(run(shared.tls_port, "sealed", f"reset = earliest and ca = {files.ca}"))
        assert await rows(node, 3) == [0, 1, 2]


async def test_a_broker_that_wants_certificates_of_its_clients(tmp_path: Path, shared: Kafka, files: Files) -> None:
    await shared.create("mutual")
    await shared.send("mutual", readings(0, 3))
    authority = f"reset = earliest and ca = {files.ca}"
    async with running(tmp_path) as node:
        await node.execute(run(shared.mutual_port, "mutual", authority))
        client = await until(node, lambda one: one["Last Error"])
        assert str(shared.mutual_port) in client["Last Error"]
        assert "cert" in client["Last Error"]
        await node.execute("exit kafka all")
        own = f"cert = {files.client_cert} and key = {files.client_key}"
        await node.execute(run(shared.mutual_port, "mutual", f"{authority} and {own}"))
        assert await rows(node, 3) == [0, 1, 2]


async def test_tls_and_a_user(tmp_path: Path, shared: Kafka, files: Files) -> None:
    await shared.create("both")
    await shared.send("both", readings(0, 3))
    login = f"user = {USER} and password = {PASSWORD} and mechanism = SCRAM-SHA-512"
    async with running(tmp_path) as node:
        await node.execute(run(shared.both_port, "both", f"reset = earliest and ca = {files.ca} and {login}"))
        assert await rows(node, 3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("reset = sometimes", "latest or earliest"),
        ("threads = 0", "threads = 0"),
        ("ca = /nowhere/ca.pem", "/nowhere/ca.pem"),
        ("password = p", "user"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(tmp_path: Path, more: str, says: str) -> None:
    async with running(tmp_path) as node:
        with pytest.raises(EdgeLakeError, match=says):
            await node.execute(run(9092, "t", more))
        assert "No active Kafka consumers" in await shown(node, "get kafka clients")


async def test_members_of_a_group_share_and_hand_over_without_loss_or_doubles(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("split", 4)
    group = "reset = earliest and group = split"
    async with running(tmp_path / "a", "a") as one, shared.producer() as producer:

        async def send(first: int) -> None:
            for n in range(first, first + 1000):
                await producer.send("split", b'{"n": %d}' % n)
            await producer.flush()

        await one.execute(run(shared.port, "split", group))
        await send(0)
        async with running(tmp_path / "b", "b") as two:
            await two.execute(run(shared.port, "split", group))
            await until(two, lambda client: client["Status"] == "Connected")
            await send(1000)
            await until(two, lambda client: client["Messages"] > 0)  # partitions went over
            await send(2000)
            await until(two, lambda client: client["Lag"] == 0)
            await two.execute("exit kafka")
            await send(3000)
            await rows(two, 1)
            others = sorted([row["n"] async for row in two.query("select n from plant.t")])
        assert sorted(await rows(one, 4000 - len(others)) + others) == list(range(4000))


async def test_the_journal_knows_better_than_the_group_what_is_in(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("again")
    await shared.send("again", readings(0, 500))
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "again"))
        assert await rows(node, 500) == list(range(500))
    await shared.commit("edge-1", "again", 0)  # as if the node had been killed before it committed
    await shared.send("again", readings(500, 10))
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "again"))
        assert await rows(node, 510) == list(range(510))
        await until(node, lambda one: one["Messages"] == 10)


async def test_a_topic_made_anew_is_read_from_its_beginning(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("anew")
    await shared.send("anew", readings(0, 50))
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "anew"))
        assert await rows(node, 50) == list(range(50))
    await shared.delete("anew")
    await shared.create("anew")
    await shared.send("anew", readings(50, 5))
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "anew"))
        assert await rows(node, 55) == list(range(55))
