"""What docs/postgresql.md shows works, with the tests' server in the place of the one that the page names."""

from __future__ import annotations

import re
from pathlib import Path

from edgelake import Node
from edgelake.bench.postgres_server import PostgresServer
from edgelake.bench.processes import free_port
from edgelake.model import PROMPT
from tests.docs.test_docs import ROOT

PAGE = (ROOT / "docs" / "postgresql.md").read_text()


async def test_the_commands_work_on_a_real_server(tmp_path: Path, postgres: PostgresServer) -> None:
    postgres.sql("DROP DATABASE IF EXISTS plant WITH (FORCE)")
    _, connect, use = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[:3]
    here = {"port = 5432": f"port = {postgres.port}", "user = edge": "user = test", "32049": str(free_port())}

    def at_the_server(text: str) -> str:
        for shown, real in here.items():
            text = text.replace(shown, real)
        return text

    async with Node(tmp_path, caller=PROMPT) as node:
        node.ctx.variables.set("secret", "s3cret")
        for line in at_the_server(connect).splitlines():
            await node.execute(line)
        assert f"127.0.0.1:{postgres.port}" in str((await node.execute("get databases")).tables)
        partition, rest, sql, drop_partition, drop = at_the_server(use).splitlines()
        await node.execute(partition)
        await node.execute(rest)
        days = [{"timestamp": f"2026-01-{day:02d}T10:00:00Z", "value": day} for day in range(1, 32)]
        await node.ingest("plant", "motor", days)
        await node.ctx.ingest.flush()
        shown = await node.execute(sql)
        assert shown.stream is not None
        assert b"31" in b"".join([piece async for piece in shown.stream])
        await node.execute(drop_partition)
        assert postgres.sql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'par_motor%'", "plant") == "30"
        await node.execute("disconnect dbms plant")
        await node.execute(drop.replace("and user", f"and port = {postgres.port} and user"))
    assert postgres.sql("SELECT count(*) FROM pg_database WHERE datname = 'plant'") == "0"
