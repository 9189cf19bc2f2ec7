"""Nodes that scripts deploy out of their environment, as the official ones do: alone, or a whole network."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from edgelake.bench.processes import free_port
from tests.system.partition import Pair, Space
from tests.system.program import AGENT, Program, quote_latin

SCRIPTS = Path(__file__).parent.parent / "command" / "scripts"
COMPANY = "Acme Works"
LOOPBACK = "127.0.0.1"

Inside = Callable[[], AbstractContextManager[None]]


class Deployed(Program):
    """A node that the scripts deploy; its parameters come out of the environment."""

    def __init__(self, home: Path, *, host: str = LOOPBACK, space: Inside = nullcontext, **environment: str) -> None:
        """``host``: its address, in the network that ``space`` enters."""
        scripts = home / "node-deployment"
        if not scripts.exists():
            shutil.copytree(SCRIPTS, scripts)
        super().__init__(home, "process $LOCAL_SCRIPTS/main.al")
        self.tcp_port = free_port()
        self._host, self._space = host, space
        self._environment |= {
            "LOCAL_SCRIPTS": str(scripts),
            "ANYLOG_SERVER_PORT": str(self.tcp_port),
            "ANYLOG_REST_PORT": str(self.port),
            "OVERLAY_IP": host,
            "TCP_BIND": "true",
            "REST_BIND": str(host == LOOPBACK).lower(),  # the test itself comes by the loopback
            **environment,
        }

    def set(self, **environment: str) -> None:
        """Parameters for its next start."""
        self._environment |= environment

    @property
    def address(self) -> str:
        """Where other nodes reach it."""
        return f"{self._host}:{self.tcp_port}"

    def start(self) -> None:
        with self._space():
            super().start()

    def request(
        self, method: str, headers: dict[str, str], body: bytes | None = None, *, path: str = "/"
    ) -> tuple[int, bytes]:
        with self._space():
            return super().request(method, headers, body, path=path)

    def deployed(self, what: str, times: int = 1) -> None:
        """Until the last script has said so, so many times since the home was made."""
        self.until(lambda: self.log.read_text().count(f"deployed {what}") >= times)

    def variables(self) -> dict[str, str]:
        found: dict[str, str] = self.data("get dictionary")
        return found

    def running(self) -> set[str]:
        return {name for name, row in self.data("get processes").items() if row["Status"] == "Running"}

    def over_all(self, sql: str, **header: str) -> tuple[int, Any]:
        """Status and reply of a query over the network."""
        command = f'sql plant format = json and stat = true "{sql}"'
        headers = {**AGENT, "command": quote_latin(command), "destination": "network", **header}
        status, body = self.request("GET", headers)
        return status, json.loads(body)


class Network:
    """A master, two operators with a cluster each, and a query node, in four processes."""

    def __init__(self, home: Path, joined: Pair | None = None) -> None:
        """``joined``: the last operator stands in the one of these namespaces, all others in the other."""
        near, far = (joined.left, joined.right) if joined else (None, None)
        self._home = home
        self.master = self._node("master", "main", near)
        # Its own address is where it follows the ledger, too.
        self.ledger = self.master.address
        self.master.set(LEDGER_CONN=self.ledger)
        self.operators = [self._node("operator", "north", near), self._node("operator", "south", far)]
        self.query = self._node("query", "desk", near)

    def _node(self, kind: str, name: str, space: Space | None) -> Deployed:
        made = Deployed(
            self._home / name,
            host=space.address if space else LOOPBACK,
            space=space or nullcontext,
            NODE_TYPE=kind,
            NODE_NAME=name,
            COMPANY_NAME=COMPANY,
            BLOCKCHAIN_SYNC="1 second",
            DEFAULT_DBMS="plant",
            THRESHOLD_TIME="1 second",
        )
        if kind != "master":
            made.set(LEDGER_CONN=self.ledger)
        return made

    @property
    def nodes(self) -> list[Deployed]:
        return [self.master, *self.operators, self.query]

    def put(self, table: str, values: list[list[int]]) -> None:
        """Rows with these values: a list for each operator."""
        for operator, own in zip(self.operators, values, strict=True):
            rows = [{"timestamp": f"2026-01-01T00:00:{n:02}Z", "value": value} for n, value in enumerate(own)]
            status, said = operator.put("\n".join(map(json.dumps, rows)).encode(), table=table)
            assert status == 200, said
            operator.post("flush buffers")

    def found(self, table: str = "sensors", **header: str) -> tuple[int, int]:
        """How many rows a query over all finds, and the sum of their values; fails the test on an error."""
        status, said = self.query.over_all(f"select count(*) as n, sum(value) as total from {table}", **header)
        assert status == 200, said
        (row,) = said["Query"]
        return row["n"], row["total"]

    def knows(self, table: str) -> bool:
        """Whether the query node knows that both operators have a table."""
        return self.query.get(f"get data nodes where table = {table}").count("|active ") == 2 * len(self.operators)


@contextlib.contextmanager
def network(home: Path, joined: Pair | None = None) -> Iterator[Network]:
    made = Network(home, joined)
    with contextlib.ExitStack() as opened:
        for node, said in zip(
            made.nodes, ("master main", "operator north", "operator south", "query desk"), strict=True
        ):
            opened.enter_context(node)
            node.deployed(said)
        yield made
