from __future__ import annotations

import asyncio

import pytest

from edgelake.command.context import Context
from edgelake.command.handlers.status import EXITS
from edgelake.errors import CommandError
from tests.status.conftest import Listening, Named
from tests.status.helpers import data, run, shown

# From a run of the reference; the three last rows are ours.
PROCESSES = """
    Process         Status       Details                                                                 
    ---------------|------------|-----------------------------------------------------------------------|
    TCP            |Not declared|No active connection                                                   |
    REST           |Running     |Listening on: 127.0.0.1:32149, Threads Pool: 6, Timeout: 20, SSL: False|
    MCP            |Not declared|                                                                       |
    Operator       |Running     |Cluster Member: True, Using Master: 127.0.0.1:32048, Threads Pool: 3   |
    Blockchain Sync|Not declared|                                                                       |
    Scheduler      |Running     |Schedulers IDs in use: [0 (system)] [1 (user)] [2]                     |
    Blobs Archiver |Not declared|                                                                       |
    MQTT           |Running     |                                                                       |
    MSG Client Pool|Not declared|                                                                       |
    MSG Broker     |Not declared|No active connection                                                   |
    SMTP           |Not declared|                                                                       |
    Streamer       |Not declared|                                                                       |
    UNS Streamer   |Not declared|                                                                       |
    Query Pool     |Not declared|                                                                       |
    Kafka Consumer |Not declared|                                                                       |
    gRPC           |Not declared|                                                                       |
    PLC Client     |Not declared|                                                                       |
    Pull Processes |Not declared|                                                                       |
    Video Processes|Not declared|                                                                       |
    Publisher      |Not declared|                                                                       |
    Distributor    |Not declared|                                                                       |
    Consumer       |Not declared|                                                                       |
    Web console    |Running     |                                                                       |
"""  # noqa: W291


async def start_some(ctx: Context) -> None:
    rest = "Listening on: 127.0.0.1:32149, Threads Pool: 6, Timeout: 20, SSL: False"
    await ctx.services.start(Named("web console", "Web console"))
    await ctx.services.start(Named("msg client", "MQTT"))
    await ctx.services.start(Listening("rest", "REST", "127.0.0.1:32149", rest))
    await ctx.services.start(
        Named("operator", "Operator", "Cluster Member: True, Using Master: 127.0.0.1:32048, Threads Pool: 3")
    )


def test_processes_stand_in_the_references_order_and_ours_follow(ctx: Context) -> None:
    async def body() -> str:
        await start_some(ctx)
        for number in (0, 1, 2):
            ctx.scheduler.start(number)
        text = await shown(ctx, "get processes")
        await ctx.scheduler.stop()
        return text

    assert run(body) == PROCESSES


def test_processes_as_json_have_details_only_where_there_are_any(ctx: Context) -> None:
    async def body() -> dict[str, dict[str, str]]:
        await start_some(ctx)
        return await data(ctx, "get processes")

    found = run(body)
    assert found["MCP"] == {"Status": "Not declared"}
    assert found["MSG Broker"] == {"Status": "Not declared", "Details": "No active connection"}
    assert found["MQTT"] == {"Status": "Running"}
    assert found["REST"]["Details"].startswith("Listening on: 127.0.0.1:32149")
    assert list(found)[:3] == ["TCP", "REST", "MCP"]


def test_connections_show_what_listens_and_what_does_not(ctx: Context) -> None:
    async def body() -> tuple[str, dict[str, object]]:
        await start_some(ctx)
        return await shown(ctx, "get connections"), await data(ctx, "get connections")

    text, found = run(body)
    assert text == (
        "\nType      External Address Internal Address Bind Address  \n"
        "---------|----------------|----------------|-------------|\n"
        "TCP      |Not declared    |Not declared    |Not declared |\n"
        "REST     |127.0.0.1:32149 |127.0.0.1:32149 |0.0.0.0:32149|\n"
        "Messaging|Not declared    |Not declared    |Not declared |\n"
    )
    assert found["REST"] == {"external": "127.0.0.1:32149", "local": "127.0.0.1:32149", "bind": "0.0.0.0:32149"}
    assert found["TCP"] == {"external": "Not declared", "local": "Not declared", "bind": "Not declared"}


def test_exit_ends_a_service_and_leaves_no_trap(ctx: Context) -> None:
    async def body() -> list[str]:
        seen = []
        await shown(ctx, "exit rest")  # idle: success, and the next start lives
        await start_some(ctx)
        await asyncio.sleep(0)
        seen.append(await shown(ctx, "test process rest"))
        await shown(ctx, "exit rest")
        seen.append(await shown(ctx, "test process rest"))
        return seen

    assert run(body) == ["true", "false"]


@pytest.mark.parametrize("name", EXITS)
def test_exit_of_an_idle_service_is_success(ctx: Context, name: str) -> None:
    assert run(lambda: shown(ctx, f"exit {name}")) == ""


def test_exit_of_an_unknown_name_says_so(ctx: Context) -> None:
    with pytest.raises(CommandError, match="'exit foo' in 'exit' command is not valid"):
        run(lambda: shown(ctx, "exit foo"))


def test_test_process_knows_every_key_of_the_table(ctx: Context) -> None:
    async def body() -> set[str]:
        keys = ("tcp", "blockchain sync", "msg client pool", "gRPC", "Video processes", "uns streamer")
        return {await shown(ctx, f"test process {key}") for key in keys}

    assert run(body) == {"false"}
    with pytest.raises(CommandError, match="is no process"):
        run(lambda: shown(ctx, "test process nothing"))
