from __future__ import annotations

import asyncio
import os
import socket

import pytest

from edgelake.command.context import Context
from edgelake.errors import CommandError, EdgeLakeError
from tests.status.conftest import Listening
from tests.status.helpers import data, run, shown


def test_status_names_the_node_and_its_address(ctx: Context) -> None:
    assert run(lambda: shown(ctx, "get status")) == "edge-1@127.0.0.1 running"


def test_status_takes_the_tcp_address_when_there_is_one(ctx: Context) -> None:
    async def body() -> object:
        await ctx.services.start(Listening("tcp server", "TCP", "10.0.0.1:32148"))
        ctx.variables.set("disk_space", "77.5")
        await shown(ctx, "set node name edge-2")
        found = await ctx.execute("get status where format = json and include = !disk_space")
        return found.data

    assert run(body) == {
        "assigned_name": "edge-2@10.0.0.1:32148",
        "status": "running",
        "profiling": False,
        "disk_space": "77.5",
        "Status": "edge-2@10.0.0.1:32148 running",
    }


def test_an_unnamed_node_has_the_references_name(ctx: Context) -> None:
    ctx.node.name = ""
    assert run(lambda: shown(ctx, "get status")) == "AnyLog@127.0.0.1 running"


def test_version_begins_with_the_word_that_scripts_look_for(ctx: Context) -> None:
    assert run(lambda: shown(ctx, "get version")) == "EdgeLake Version: 1.4.2604"
    assert run(lambda: data(ctx, "get version")) == {
        "version": "EdgeLake Version: 1.4.2604",
        "node_name": "edge-1@127.0.0.1",
    }


def test_dictionary_is_sorted_and_filtered_by_a_part_of_the_key(ctx: Context) -> None:
    ctx.variables.set("zeta", "2")
    ctx.variables.set("alpha_dir_x", "1")
    found = run(lambda: data(ctx, "get dictionary _dir"))
    assert found["alpha_dir_x"] == "1"
    assert "zeta" not in found
    assert list(found) == sorted(found)
    text = run(lambda: shown(ctx, "get dictionary zeta"))
    assert text == "\nKey  Value \n----|-----|\nzeta|    2|\n"


def test_environment_is_shown_by_part(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_TEST_VAR", "7")
    assert run(lambda: data(ctx, "get env var EDGE_TEST")) == {"EDGE_TEST_VAR": "7"}


def test_error_text_by_number(ctx: Context) -> None:
    assert run(lambda: shown(ctx, "get error 26")) == 'Error text: "Time Out"'
    with pytest.raises(CommandError, match="999"):
        run(lambda: shown(ctx, "get error 999"))


def test_idle_sentences(ctx: Context) -> None:
    assert run(lambda: shown(ctx, "get watch directories")) == "No watch directories"
    assert run(lambda: shown(ctx, "get platforms")) == "No connections to blockchain platforms"


@pytest.mark.parametrize("field", ["usage", "free", "total", "used", "percentage"])
def test_disk_figures(ctx: Context, field: str) -> None:
    text = run(lambda: shown(ctx, f"get disk {field} /"))
    if field == "usage":
        assert text.startswith("usage(total=")
    elif field == "percentage":
        assert 0 <= float(text) <= 100
    else:
        assert int(text) >= 0
    found = run(lambda: data(ctx, f"get disk {field} /"))
    assert found["node"] == "127.0.0.1"


def test_disk_of_a_wrong_path_is_error_78(ctx: Context) -> None:
    with pytest.raises(EdgeLakeError) as caught:
        run(lambda: shown(ctx, "get disk free /no/such/path"))
    assert caught.value.number == 78


MACHINE = {
    "get memory info": "Total:     ",
    "get cpu info": "Physical Cores: ",
    "get platform info": "System:    ",
    "get node resources": "\nProperty         Details",
    "get os process": "\nID ",
    "get os process list": "\nName ",
    "get ip list": "\nFamily ",
    "get nics list": "\nName ",
    "get machine connections": "\nFD ",
    "get installed packages": "\nPackage ",
    "get cpu usage": "\nCore 1 ",
}


@pytest.mark.parametrize("line", MACHINE)
def test_machine_commands_print_and_give_json(ctx: Context, line: str) -> None:
    assert run(lambda: shown(ctx, line)).startswith(MACHINE[line])
    assert run(lambda: data(ctx, line)) is not None


def test_node_resources_have_the_keys_that_clients_read(ctx: Context) -> None:
    found = run(lambda: data(ctx, "get node resources"))
    assert list(found) == [
        "ip",
        "system",
        "version",
        "node",
        "machine",
        "processor",
        "physical_cores",
        "logical_cores",
        "memory_total",
        "memory_available",
        "memory_used",
        "memory_free",
        "disk_total",
        "disk_used",
        "disk_free",
    ]


def test_node_info_by_function_and_field(ctx: Context) -> None:
    assert float(run(lambda: shown(ctx, "get node info cpu_percent"))) >= 0
    assert int(run(lambda: shown(ctx, "get node info net_io_counters packets_recv"))) >= 0
    for line, number in (("get node info nothing", 3), ("get node info swap_memory nothing", 216)):
        with pytest.raises(EdgeLakeError) as caught:
            run(lambda line=line: shown(ctx, line))
        assert caught.value.number == number


def test_unused_port_is_free_and_in_the_role_s_row(ctx: Context) -> None:
    port = int(run(lambda: shown(ctx, "get unused rest port for query")))
    assert (port - 32349) % 10 == 0
    with socket.socket() as probe:
        probe.bind(("", port))
        assert int(run(lambda: shown(ctx, "get unused rest port for query"))) > port


def test_machine_connections_by_port(ctx: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = run(lambda: ctx.execute(f"get machine connections where port = {port}")).data
    assert [(row["Local Address"], row["PID"]) for row in found] == [(f"127.0.0.1:{port}", os.getpid())]


def test_connection_test_tells_open_and_refused(ctx: Context) -> None:
    async def body() -> tuple[str, str]:
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        opened = await shown(ctx, f"test connection 127.0.0.1:{port}")
        server.close()
        await server.wait_closed()
        refused = await shown(ctx, f"test connection 127.0.0.1:{port}")
        return opened.replace(str(port), "P"), refused.replace(str(port), "P")

    assert run(body) == (
        "Port 'P' on host 127.0.0.1 is open",
        "Not able to connect to '127.0.0.1:P' with error #111",
    )


def test_connection_test_of_an_unknown_host_is_error_20(ctx: Context) -> None:
    with pytest.raises(EdgeLakeError) as caught:
        run(lambda: shown(ctx, "test connection nothing.invalid:80"))
    assert caught.value.number == 20


def test_paths(ctx: Context) -> None:
    root = ctx.directories.path("tmp_dir")
    (root / "sub").mkdir()
    (root / "sub" / "b").write_bytes(b"123")
    (root / "a").write_bytes(b"12")
    assert run(lambda: shown(ctx, f"get size {root}")) == "5"
    assert run(lambda: data(ctx, f"get files {root}")) == ["a"]
    assert run(lambda: shown(ctx, f"get directories {root}")) == "sub"
    assert run(lambda: shown(ctx, f"get access {root}")) == "Read: True, Write: True, Execute: True"
    assert run(lambda: shown(ctx, f"get file timestamp {root}/a"))[:2] == "20"
    with pytest.raises(EdgeLakeError) as caught:
        run(lambda: shown(ctx, f"get size {root}/none"))
    assert caught.value.number == 78


def test_files_count_of_a_node_without_blobs(ctx: Context) -> None:
    assert run(lambda: shown(ctx, "get files count")) == (
        "\nDBMS Name Table Name Files Count \n---------|----------|-----------|\n"
    )


def test_status_commands_do_not_load_psutil_before_it_is_asked_for() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from edgelake.command.registry import Registry; Registry.discover(); "
        "print('psutil' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
