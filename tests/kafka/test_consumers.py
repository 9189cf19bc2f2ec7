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


async def test_latest_begins_at_the_end_and_stays_there_over_a_stop(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("late")
    await shared.send("late", readings(0, 10))
    async with running(tmp_path) as node:
        await node.execute(run(shared.port, "late", "reset = latest and group = late"))
        await until(node, lambda one: one["Status"] == "Connected")
        await node.execute("exit kafka")
        assert "No active Kafka consumers" in await shown(node, "get kafka clients")


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


async def test_user_and_password(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("secret")
    await shared.send("secret", readings(0, 3))
    async with running(tmp_path) as node:
        wrong = f"reset = earliest and user = {USER} and password = wrong"
        await node.execute(run(shared.sasl_port, "secret", wrong))
        client = await until(node, lambda one: one["Last Error"])
        assert "user and password" in client["Last Error"]
        assert "wrong" not in client["Last Error"]
        await node.execute(f"exit kafka {client['ID']}")
        right = f"reset = earliest and user = {USER} and password = {PASSWORD}"
        await node.execute(run(shared.sasl_port, "secret", right))
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
