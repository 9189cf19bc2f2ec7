"""What is found wrong, and what is said about it."""

from __future__ import annotations

import socket
from pathlib import Path

from edgelake.bench.processes import free_port
from edgelake.net.certificates import self_signed
from tests.system.program import Program
from tests.tools.test_configuration import edgelake


def test_a_node_that_is_well(tmp_path: Path) -> None:
    with Program(tmp_path) as node:
        node.put(b'{"value": 1}')
        node.post("flush buffers")
        node.post("id add user where name = eva and password = x")
        done = edgelake("doctor", "--home", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for said in ("a node runs there", "plant.dbms", "is whole", "1 users, 0 tokens", "Nothing has to be done"):
        assert said in done.stdout


def test_what_is_wrong_is_named_with_what_to_do(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Program(home) as node:
        node.put(b'{"value": 1}')
        node.post("flush buffers")
        node.post("id add user where name = eva and password = x")
    (home / "EdgeLake/anylog/users.json").chmod(0o644)
    self_signed(home / "EdgeLake/data/pem", ["localhost"])
    (home / "EdgeLake/data/pem/other.crt").write_text("nonsense")
    database = home / "EdgeLake/data/dbms/plant.dbms"
    database.write_bytes(b"x" * database.stat().st_size)
    port = free_port()
    config = tmp_path / "edgelake.toml"
    config.write_text(
        f'[node]\nhome = "home"\n[rest]\nexternal_ip = "127.0.0.1"\nexternal_port = {port}\nbind = true\n'
    )
    with socket.create_server(("127.0.0.1", port)):
        done = edgelake("doctor", cwd=tmp_path)
    assert done.returncode == 1
    for said in (
        "a node does not run there",
        "others can read",
        "chmod 600",
        "plant.dbms is damaged",
        "other.crt cannot be read",
        "server-self-signed-public-key.crt is valid until",
        f"[rest] 127.0.0.1:{port}: Address already in use",
        "4 to be done",
    ):
        assert said in done.stdout, said


def test_a_wrong_configuration_is_said_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "edgelake.toml").write_text("[rst]\n")
    done = edgelake("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean 'rest'?" in done.stdout
    assert "GB are free" in done.stdout
