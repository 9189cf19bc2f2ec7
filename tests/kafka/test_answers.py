"""``dest = kafka@ip:port``: answers of queries as messages of a topic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from tests.kafka.brokers import Kafka
from tests.kafka.nodes import running
from tests.mqtt.brokers import PASSWORD, USER

ROWS = [{"n": n} for n in range(200)]


async def filled(node: Node) -> None:
    await node.ingest("plant", "t", ROWS)
    await node.ctx.ingest.flush()


def select(port: int, topic: str, form: str) -> str:
    options = f"format = {form} and stat = false and dest = kafka@127.0.0.1:{port}"
    return f'sql plant {options} and topic = {topic} "select n from t order by n"'


async def test_rows_are_messages(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("out")
    async with running(tmp_path) as node:
        await filled(node)
        reply = await node.execute(select(shared.port, "out", "json:output"))
        assert json.loads(reply.text or "") == {"Reply": "Query output send to kafka", "Rows": 200}
    assert [json.loads(message) for message in await shared.read("out", 200)] == ROWS


@pytest.mark.parametrize("form", ["json", "json:list"])
async def test_blocks_are_messages(tmp_path: Path, shared: Kafka, form: str) -> None:
    topic = "blocks" + form.replace(":", "")
    await shared.create(topic)
    async with running(tmp_path) as node:
        await filled(node)
        await node.execute(select(shared.port, topic, form))
    (message,) = [json.loads(message) for message in await shared.read(topic, 1)]
    assert (message["Query"] if form == "json" else message) == ROWS


async def test_a_consumer_lends_user_and_password(tmp_path: Path, shared: Kafka) -> None:
    await shared.create("lent")
    login = f"user = {USER} and password = {PASSWORD}"
    topic = 'topic = (name = lent and dbms = plant and table = u and column.n.int = "bring [n]")'
    async with running(tmp_path) as node:
        await filled(node)
        with pytest.raises(EdgeLakeError, match=str(shared.sasl_port)):
            await node.execute(select(shared.sasl_port, "lent", "json:output"))
        await node.execute(
            f"run kafka consumer where ip = 127.0.0.1 and port = {shared.sasl_port} and {login} and {topic}"
        )
        await node.execute(select(shared.sasl_port, "lent", "json:output"))
    assert len(await shared.read("lent", 200)) == 200


async def test_what_cannot_be_sent_is_said(tmp_path: Path, shared: Kafka) -> None:
    async with running(tmp_path) as node:
        await filled(node)
        closed = free_port()
        with pytest.raises(EdgeLakeError, match=f"127.0.0.1:{closed}"):
            await node.execute(select(closed, "out", "json"))
        with pytest.raises(EdgeLakeError, match="no topic nowhere there"):
            await node.execute(select(shared.port, "nowhere", "json"))
        with pytest.raises(EdgeLakeError, match="format = table"):
            await node.execute(select(shared.port, "out", "table"))
        with pytest.raises(EdgeLakeError, match="name the topic"):
            await node.execute('sql plant dest = kafka@127.0.0.1:9092 "select n from t"')
        with pytest.raises(EdgeLakeError, match="kafka@ip:port"):
            await node.execute('sql plant dest = kafka@nowhere and topic = t "select n from t"')
