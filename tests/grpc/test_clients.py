"""Clients of a real gRPC server: what it sends becomes rows, whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import CommandError, EdgeLakeError, NameInUseError, NotAvailableError, ServiceError
from edgelake.inputs.grpc import config, link
from tests.grpc.conftest import HERE, Server, Start
from tests.grpc.nodes import PROTO, rows, run, running, shown, until
from tests.mqtt.brokers import Files

STREAM = "dbms = plant and table = t and value = (filter = p-1 and count = {count} and hold = true)"


def stream(count: int) -> str:
    return STREAM.format(count=count)


@pytest.mark.parametrize("proto", [PROTO, ""], ids=["file", "reflection"])
async def test_each_message_of_a_stream_becomes_a_row(tmp_path: Path, shared: Server, proto: str) -> None:
    async with running(tmp_path) as node:
        await node.execute(run("readings", shared.port, "Watch", stream(2000), proto=proto))
        assert await rows(node, 2000) == list(range(1, 2001))
        query = "select deviceid, big, value, takenat from plant.t where n = 3"
        found = [row async for row in node.query(query)]
        assert (found[0]["deviceid"], int(found[0]["big"]), found[0]["value"]) == ("p-1", 2**60 + 3, 1.5)
        assert found[0]["takenat"].timestamp() == pytest.approx(1_700_000_000.000003)
        client = await until(node, "readings", lambda c: c["Rows"] == 2000)
        assert client == {
            "ID": "readings",
            "Status": "Connected",
            "Connection": f"127.0.0.1:{shared.port}",
            "Proto Name": "sensors" if proto else "",
            "Request Msg": "Request",
            "Policy Type": "",
            "Policy Name": "",
            "Policy ID": "",
            "Data Msgs": 2000,
            "Timeouts": 0,
            "Error": "",
            "Rows": 2000,
            "Errors": 0,
            "Waiting": 0,
        }
    assert sorted(path.name for path in HERE.glob("*_pb2*")) == []


async def test_a_function_with_one_reply_is_called_until_the_limit(tmp_path: Path, shared: Server) -> None:
    more = "dbms = plant and table = t and value = (count = 7.int) and limit = 5 and frequency = 0.01"
    async with running(tmp_path) as node:
        await node.execute(run("one", shared.port, "Read", more))
        assert await rows(node, 5) == [7] * 5
        client = await until(node, "one", lambda c: c["Status"] != "Connected")
        assert (client["Status"], client["Data Msgs"]) == ("Ended: limit of 5 messages", 5)
        # The name may be used again, and a stream ends at the limit, too.
        await node.execute(run("one", shared.port, "Watch", f"{stream(0)} and limit = 10"))
        client = await until(node, "one", lambda c: c["Status"] == "Ended: limit of 10 messages")
        assert client["Data Msgs"] == 10
        assert len(await rows(node, 15)) == 15


async def test_a_stream_that_ends_is_called_again(tmp_path: Path, shared: Server) -> None:
    more = "dbms = plant and table = t and value = (count = 3) and limit = 7"
    async with running(tmp_path) as node:
        await node.execute(run("again", shared.port, "Watch", more))
        assert await rows(node, 7) == [1, 1, 1, 2, 2, 3, 3]


async def test_a_policy_maps_the_messages_and_the_added_keys(tmp_path: Path, shared: Server) -> None:
    policy = {
        "mapping": {
            "id": "sensor-policy",
            "name": "sensors",
            "dbms": "plant",
            "table": "bring [deviceId]",
            "schema": {
                "n": {"type": "int", "bring": "[n]", "default": 0},
                "taken": {"type": "timestamp", "bring": "[takenAt]"},
                "conn": {"type": "string", "bring": "[<conn>]"},
                "origin": {"type": "string", "bring": "[<proto>] / [<request>]"},
            },
        }
    }
    async with running(tmp_path) as node:
        node.ctx.variables.set("policy", json.dumps(policy))
        await node.execute("blockchain insert where policy = !policy and local = true")
        more = "policy = sensor-policy and value = (filter = pump and count = 50 and hold = true) "
        more += "and add_info = conn and add_info = proto and add_info = request"
        await node.execute(run("mapped", shared.port, "Watch", more))
        assert await rows(node, 50, table="pump") == list(range(1, 51))
        found = [row async for row in node.query("select conn, origin from plant.pump where n = 3")]
        assert found == [{"conn": f"127.0.0.1:{shared.port}", "origin": "sensors/Request"}]
        client = await shown(node, "mapped")
        assert [client[f"Policy {key}"] for key in ("Type", "Name", "ID")] == ["mapping", "sensors", "sensor-policy"]
        assert (await node.execute("get msg clients")).data == []


async def test_messages_that_a_policy_does_not_fit_are_counted_kept_and_told(tmp_path: Path, shared: Server) -> None:
    schema = {"n": {"type": "int", "bring": "[n]"}}
    policy = json.dumps({"mapping": {"id": "odd", "dbms": "plant", "table": "t", "schema": schema}})
    async with running(tmp_path) as node:
        await node.execute("create work directories")
        node.ctx.variables.set("policy", policy)
        await node.execute("blockchain insert where policy = !policy and local = true")
        more = "policy = odd and log_error = true and value = (first = -1 and count = 3 and hold = true)"
        await node.execute(run("odd", shared.port, "Watch", more))  # the n of the second is 0, and so left out
        assert await rows(node, 2) == [-1, 1]
        client = await until(node, "odd", lambda c: c["Errors"] == 1)
        assert (client["Rows"], client["Data Msgs"], client["Status"]) == (2, 3, "Connected")
        assert "n" in client["Error"]
        await node.execute("exit grpc all")
        kept = [path.read_text() for path in (tmp_path / "EdgeLake").rglob("err_*")]
        assert any("takenAt" in text for text in kept)


async def test_json_in_texts_becomes_rows(tmp_path: Path, shared: Server) -> None:
    more = "dbms = plant and table = t and value = (count = 4) and limit = 1"
    async with running(tmp_path) as node:
        await node.execute(run("texts", shared.port, "Texts", more))
        assert await rows(node, 4) == [0, 1, 2, 3]


async def test_fields_that_are_zero_are_left_out_unless_they_are_asked_for(tmp_path: Path, shared: Server) -> None:
    async with running(tmp_path) as node:
        for table, more in (("some", ""), ("every", "and defaults = true")):
            line = f"dbms = plant and table = {table} and value = (first = -1 and count = 2 and hold = true) {more}"
            await node.execute(run(table, shared.port, "Watch", line))
        assert [n is None for n in await rows(node, 2, table="some")] == [False, True]
        assert await rows(node, 2, table="every") == [-1, 0]
        assert await rows(node, 2, table="every", column="value") == [-0.5, 0.0]


async def test_without_ingest_messages_are_counted_and_shown(tmp_path: Path, shared: Server) -> None:
    more = "ingest = false and debug = true and limit = 3 and value = (filter = seen and count = 3)"
    async with running(tmp_path) as node:
        await node.execute(run("seen", shared.port, "Watch", more))
        client = await until(node, "seen", lambda c: c["Status"].startswith("Ended"))
        assert (client["Data Msgs"], client["Rows"], client["Errors"]) == (3, 0, 0)
        assert '"deviceId": "seen"' in str((await node.execute("get event log")).data)


VALUES = [
    ("filter = a b", 'filter: "a b"'),
    ("filter = 5.str", 'filter: "5"'),
    ("count = 5", "count: 5"),
    ("count = 5.int and first = 4611686018427387904", "count: 5 first: 4611686018427387904"),
    ("hold = true and level = 2.5.float", "hold: true level: 2.5"),
    ("hold = true.bool", "hold: true"),
    ("kind = PUMP", "kind: PUMP"),
    ("range.low = 1.5 and range.high = 2", "range { low: 1.5 high: 2 }"),
    ("tags = x and tags = y", 'tags: "x" tags: "y"'),
    ("raw = bytes", 'raw: "bytes"'),
    ("filter = !site", 'filter: "north"'),
]


@pytest.mark.parametrize(("value", "told"), VALUES)
async def test_values_of_the_request_have_the_types_of_their_fields(
    tmp_path: Path, shared: Server, value: str, told: str
) -> None:
    async with running(tmp_path) as node:
        node.ctx.variables.set("site", "north")
        more = f"invoke = true and value = ({value})"
        await node.execute(run("ask", shared.port, "Read", more))
        reply = await node.execute("grpc call where name = ask")
        assert reply.data.get("told", "") == told


async def test_the_dictionary_holds_the_whole_request(tmp_path: Path, shared: Server) -> None:
    async with running(tmp_path) as node:
        await node.execute("grpc_value = (filter = all and count = 3.int)")
        await node.execute(run("ask", shared.port, "Read", "invoke = true and value = !grpc_value"))
        assert (await node.execute("grpc call where name = ask")).data["told"] == 'filter: "all" count: 3'


async def test_scripts_call_a_registered_function(tmp_path: Path, shared: Server) -> None:
    async with running(tmp_path) as node:
        await node.execute(run("ask", shared.port, "Read", "invoke = true", proto=""))
        await node.execute(run("list", shared.port, "Watch", "invoke = true and value = (count = 3)"))
        assert (await shown(node, "ask"))["Status"] == "Registered"
        reply = await node.execute("grpc call where name = ask and value = (filter = x and count = 2)")
        assert (reply.data["deviceId"], reply.data["n"], reply.data["big"]) == ("x", 2, str(2**60 + 2))
        await node.execute("reply = grpc call where name = ask and value = (count = 4)")
        assert json.loads(node.ctx.variables.get("reply"))["n"] == 4
        reply = await node.execute("grpc call where name = list")
        assert [one["n"] for one in reply.data] == [1, 2, 3]
        with pytest.raises(CommandError, match="no field 'nope'"):
            await node.execute("grpc call where name = list and value = (nope = 1)")
        with pytest.raises(CommandError, match="there is no gRPC client 'other'"):
            await node.execute("grpc call where name = other")


async def test_a_server_that_is_killed_in_mid_stream_is_found_again(tmp_path: Path, server: Start) -> None:
    first = server()
    async with running(tmp_path) as node:
        await node.execute(run("long", first.port, "Watch", f"{stream(0)} and reconnect = true"))
        await until(node, "long", lambda c: c["Rows"] > 1000)
        first.kill()
        client = await until(node, "long", lambda c: c["Status"] != "Connected")
        assert client["Status"].startswith("Not connected: UNAVAILABLE: ")
        first.start(start=10_000_000)
        await until(node, "long", lambda c: c["Status"] == "Connected")
        before = client["Data Msgs"]
        await until(node, "long", lambda c: c["Rows"] > before + 1000)
        await node.execute("exit grpc long")
        found = await rows(node, before + 1000)
        old = [n for n in found if n < 10_000_000]
        new = [n for n in found if n >= 10_000_000]
        assert old == list(range(1, len(old) + 1))
        assert new == list(range(10_000_000, 10_000_000 + len(new)))


@pytest.mark.parametrize("function", ["Watch", "Read"])
async def test_a_server_that_is_frozen_is_noticed_and_found_again(tmp_path: Path, server: Start, function: str) -> None:
    source = server(pause_s=0.01)
    more = "dbms = plant and table = t and value = (count = 0) and reconnect = true and timeout = 0.5"
    async with running(tmp_path) as node:
        await node.execute(run("calm", source.port, function, more))
        await until(node, "calm", lambda c: c["Rows"] > 10)
        source.freeze()
        client = await until(node, "calm", lambda c: "answers nothing" in c["Status"])
        assert client["Status"] == "Not connected: connected, but it answers nothing within 0.5 seconds"
        assert client["Timeouts"] >= 1
        client = await until(node, "calm", lambda c: "no connection within" in c["Status"])
        source.thaw()
        client = await until(node, "calm", lambda c: c["Status"] == "Connected")
        await until(node, "calm", lambda c: c["Rows"] > client["Rows"] + 10)


async def test_a_stream_that_brings_nothing_for_long_is_left_alone(
    tmp_path: Path, shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counter[str]()

    def answers(session: link.Session, channel: Any) -> bool:
        asked["times"] += 1
        return answer(session, channel)

    answer = link.Session._answers
    monkeypatch.setattr(link.Session, "_answers", answers)
    monkeypatch.setattr(link, "QUIET", 0.001)
    async with running(tmp_path) as node:
        await node.execute(run("quiet", shared.port, "Watch", f"{stream(3)} and timeout = 20"))
        await until(node, "quiet", lambda c: asked["times"] > 5)
        client = await shown(node, "quiet")
        assert (client["Status"], client["Rows"], client["Timeouts"]) == ("Connected", 3, 0)


async def test_a_server_that_comes_late_is_waited_for_without_filling_the_log(
    tmp_path: Path, server: Start, caplog: pytest.LogCaptureFixture
) -> None:
    late = Server()
    async with running(tmp_path) as node:
        await node.execute(run("late", late.port, "Watch", f"{stream(5)} and reconnect = true", proto=""))
        client = await until(node, "late", lambda c: c["Error"] != "")
        assert "Connection refused" in client["Status"]
        assert "Not declared" not in str((await node.execute("get processes")).data["gRPC"])
        with late:
            assert await rows(node, 5) == [1, 2, 3, 4, 5]
    told = Counter("Connection refused" in record.getMessage() for record in caplog.records)
    assert 1 <= told[True] <= 2


async def test_a_stopped_server_costs_others_nothing(tmp_path: Path, shared: Server, server: Start) -> None:
    other = server()
    async with running(tmp_path) as node:
        await node.execute(run("gone", other.port, "Watch", f"{stream(0)} and reconnect = true"))
        await node.execute(
            run("stays", shared.port, "Watch", "dbms = plant and table = u and value = (count = 100 and hold = true)")
        )
        other.kill()
        await until(node, "gone", lambda c: c["Status"] != "Connected")
        assert len(await rows(node, 100, table="u")) == 100
        assert (await shown(node, "stays"))["Status"] == "Connected"
        processes = (await node.execute("get processes where format = json")).data
        assert processes["gRPC"] == {"Status": "Running", "Details": "connected to 1 gRPC servers"}
        await node.execute("exit grpc all")
        assert (await node.execute("get grpc clients")).text == "No active gRPC clients"
        processes = (await node.execute("get processes where format = json")).data
        assert processes["gRPC"] == {"Status": "Not declared"}


async def test_calls_without_a_reply_in_time_are_counted(tmp_path: Path, server: Start) -> None:
    slow = server(delay_s=0.5)
    async with running(tmp_path) as node:
        await node.execute(run("slow", slow.port, "Read", "dbms = plant and table = t and timeout = 0.1"))
        client = await until(node, "slow", lambda c: c["Timeouts"] >= 2)
        assert (client["Status"], client["Data Msgs"]) == ("Connected", 0)
        assert "DEADLINE_EXCEEDED" in client["Error"]


async def test_what_a_server_says_is_shown(tmp_path: Path, server: Start) -> None:
    broken = server(broken=True)
    async with running(tmp_path) as node:
        await node.execute(run("broken", broken.port, "Watch", stream(0)))
        client = await until(node, "broken", lambda c: c["Status"] != "Connected")
        assert client["Status"] == "Ended: INTERNAL: the sensor is broken"


async def test_tls_with_a_certificate_of_our_own(tmp_path: Path, server: Start, files: Files) -> None:
    safe = server(ca=str(files.ca), cert=str(files.cert), key=str(files.key))
    ours = f"ca = {files.ca} and cert = {files.client_cert} and key = {files.client_key}"
    async with running(tmp_path) as node:
        await node.execute(run("safe", safe.port, "Watch", f"{stream(10)} and {ours}"))
        assert await rows(node, 10) == list(range(1, 11))
        reply = await node.execute(f"get grpc services where conn = 127.0.0.1:{safe.port} and {ours}")
        assert [row["Function"] for row in reply.data] == ["Read", "Watch", "Texts", "Upload"]


async def test_a_certificate_that_nobody_trusts_is_refused(tmp_path: Path, server: Start, files: Files) -> None:
    safe = server(cert=str(files.cert), key=str(files.key))
    async with running(tmp_path) as node:
        with pytest.raises(EdgeLakeError, match="CERTIFICATE_VERIFY_FAILED") as refused:
            await node.execute(run("safe", safe.port, "Watch", f"{stream(10)} and tls = true"))
        assert refused.value.number == 15
        assert f"127.0.0.1:{safe.port}" in str(refused.value)
        with pytest.raises(CommandError, match=r"nothing\.pem"):
            await node.execute(run("safe", safe.port, "Watch", f"{stream(10)} and ca = {tmp_path}/nothing.pem"))
        assert (await node.execute("get grpc clients")).data == []


WRONG = [
    ("function = Nothing and {to}", "has no function 'Nothing' (it has: Read, Texts, Upload, Watch)"),
    ("function = Upload and {to}", "takes a stream of requests"),
    ("function = Watch and request = Reading and {to}", "has the request plant.Request"),
    ("function = Watch and response = Request and {to}", "has the response plant.Reading"),
    ("function = Watch and value = (nope = 1) and {to}", "plant.Request has no field 'nope'"),
    ("function = Watch and value = (count = many) and {to}", "count"),
    ("function = Watch and value = (count = x.int) and {to}", "'x' is no int"),
    ("function = Watch and value = (filter = 5.int) and {to}", "filter"),
    ("function = Watch and value = (hold = perhaps) and {to}", "true or false"),
    ("function = Watch and value = (filter.x = 1) and {to}", "filter is no message"),
    ("function = Watch and timeout = 0 and {to}", "timeout = 0"),
    ("function = Watch and dbms = plant", "dbms and table are needed together"),
    ("function = Watch", "policy, or dbms and table are needed"),
    ("function = Watch and dbms = nowhere and table = t", "nowhere"),
    ("function = Watch and policy = nowhere", "no mapping policy with id = nowhere"),
    ("function = Watch and add_info = other and {to}", "add_info"),
]


@pytest.mark.parametrize(("more", "said"), WRONG)
@pytest.mark.parametrize("proto", [PROTO, ""], ids=["file", "reflection"])
async def test_a_wrong_declaration_says_what_is_wrong(
    tmp_path: Path, shared: Server, more: str, said: str, proto: str
) -> None:
    of_file = f"{proto} and " if proto else ""
    line = f"run grpc client where name = w and ip = 127.0.0.1 and port = {shared.port} and service = Sensors and "
    async with running(tmp_path) as node:
        with pytest.raises(EdgeLakeError, match=re.escape(said)):
            await node.execute(line + of_file + more.format(to="dbms = plant and table = t"))
        assert (await node.execute("get grpc clients")).data == []


async def test_a_definition_that_does_not_compile_says_where(tmp_path: Path, shared: Server) -> None:
    (tmp_path / "bad.proto").write_text('syntax = "proto3";\nmessage A {\n  intt x = 1;\n}\n')
    (tmp_path / "lost.proto").write_text('syntax = "proto3";\nimport "not/there.proto";\n')
    async with running(tmp_path / "node") as node:
        for name, said in (("bad", 'bad.proto:3:3: "intt" is not defined'), ("lost", "not/there.proto")):
            with pytest.raises(CommandError, match=re.escape(said)):
                await node.execute(
                    run("w", shared.port, "Watch", stream(1), proto=f"grpc_dir = {tmp_path} and proto = {name}")
                )
        with pytest.raises(EdgeLakeError, match="not below"):
            await node.execute(
                run("w", shared.port, "Watch", stream(1), proto=f"grpc_dir = {HERE / 'more'} and proto = ../sensors")
            )
        nowhere = "grpc_dir = /nowhere and proto = sensors"
        with pytest.raises(EdgeLakeError, match="nowhere"):
            await node.execute(run("w", shared.port, "Watch", stream(1), proto=nowhere))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.proto", "lost.proto", "node"]


async def test_without_a_file_and_without_reflection_the_command_says_so(tmp_path: Path, server: Start) -> None:
    silent = server(reflection=False)
    async with running(tmp_path) as node:
        await node.execute(run("w", silent.port, "Watch", f"{stream(1)} and reconnect = true", proto=""))
        client = await until(node, "w", lambda c: c["Error"] != "")
        assert "the server has no reflection (name the definition: grpc_dir and proto)" in client["Error"]
        with pytest.raises(ServiceError, match="no reflection"):
            await node.execute(f"get grpc services where conn = 127.0.0.1:{silent.port}")


async def test_a_name_stands_for_one_client(tmp_path: Path, shared: Server) -> None:
    async with running(tmp_path) as node:
        await node.execute(run("one", shared.port, "Watch", stream(5)))
        with pytest.raises(NameInUseError) as used:
            await node.execute(run("one", shared.port, "Watch", stream(5)))
        assert used.value.number == 208
        await rows(node, 5)
        with pytest.raises(CommandError, match="there is no gRPC client 'two'"):
            await node.execute("exit grpc two")
        await node.execute("exit grpc one")
        await node.execute(run("one", shared.port, "Watch", stream(5)))
        assert len(await rows(node, 10)) == 10


async def test_an_unreachable_server_is_told_at_once(tmp_path: Path) -> None:
    nobody = Server()
    async with running(tmp_path) as node:
        with pytest.raises(EdgeLakeError, match="Connection refused") as refused:
            await node.execute(run("w", nobody.port, "Watch", stream(1)))
        assert "reconnect = true" in str(refused.value)
        with pytest.raises(ServiceError, match="Connection refused"):
            await node.execute(f"get grpc services where conn = 127.0.0.1:{nobody.port}")
        assert (await node.execute("get grpc clients")).data == []


async def test_services_are_listed_by_reflection(tmp_path: Path, shared: Server) -> None:
    async with running(tmp_path) as node:
        reply = await node.execute(f"get grpc services where conn = 127.0.0.1:{shared.port}")
        keys = ("Service", "Function", "Request", "Response", "Streams")
        assert [tuple(row[key] for key in keys) for row in reply.data] == [
            ("plant.Sensors", "Read", "plant.Request", "plant.Reading", ""),
            ("plant.Sensors", "Watch", "plant.Request", "plant.Reading", "response"),
            ("plant.Sensors", "Texts", "plant.Request", "plant.TextsReply", ""),
            ("plant.Sensors", "Upload", "plant.Reading", "plant.Request", "request"),
        ]


async def test_a_full_node_makes_the_server_wait(tmp_path: Path, shared: Server) -> None:
    """Without a limit of its own the stream would fill the memory while nothing is taken."""
    async with running(tmp_path) as node:
        gate = asyncio.Event()
        submit = node.ctx.ingest.submit

        async def slowly(*args: object, **options: object) -> object:
            await gate.wait()
            return await submit(*args, **options)

        node.ctx.ingest.submit = slowly
        await node.execute(run("fast", shared.port, "Watch", f"{stream(60_000)}"))
        client = await until(node, "fast", lambda c: c["Waiting"] >= 10_000)
        assert client["Waiting"] == 10_000
        gate.set()
        assert await rows(node, 60_000) == list(range(1, 60_001))


async def test_without_the_library_the_command_says_what_to_install(
    tmp_path: Path, shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "_LIBRARIES", ("grpc", "grpc_of_nobody"))
    async with running(tmp_path) as node:
        for line in (run("w", shared.port, "Watch", stream(1)), "get grpc services where conn = 127.0.0.1:1"):
            with pytest.raises(NotAvailableError, match=r"grpc_of_nobody.*pip install 'edgelake\[grpc\]'"):
                await node.execute(line)
