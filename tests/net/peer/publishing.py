"""Policies of a network with a publisher: clusters with an operator each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

COMPANY = "acme"


def cluster_id(number: int) -> str:
    return f"{number:02}" * 16


def operator_id(number: int) -> str:
    return f"{number:02}" * 15 + "aa"


def write_ledger(home: Path, ports: Sequence[int]) -> None:
    """The same policies for each node: the operator at each port, each the only one of its cluster."""
    policies: list[dict[str, dict[str, object]]] = []
    date = "2026-01-01T00:00:00.000000Z"
    for number, port in enumerate(ports, 1):
        common = {"company": COMPANY, "date": date, "ledger": "global"}
        policies.append({"cluster": {"name": f"c{number}", "id": cluster_id(number), **common}})
        place = {"name": f"op{number}", "ip": "127.0.0.1", "port": port, "cluster": cluster_id(number)}
        policies.append({"operator": {**place, "member": number, "id": operator_id(number), **common}})
    folder = home / "EdgeLake" / "blockchain"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blockchain.json").write_text("".join(json.dumps(policy) + "\n" for policy in policies))


def operator_script(number: int, port: int) -> list[str]:
    return [
        "create work directories",
        "connect dbms plant where type = sqlite",
        "connect dbms almgm where type = sqlite",
        "create table tsd_info where dbms = almgm",
        f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true",
        "set peer files where watch_dir = true",
        f"run operator where policy = {operator_id(number)} and create_table = true and update_tsd_info = true "
        "and archive_json = true",
    ]


def publisher_script(port: int) -> list[str]:
    return [
        "create work directories",
        f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true",
        "run publisher where compress_json = true and company = acme",
    ]
