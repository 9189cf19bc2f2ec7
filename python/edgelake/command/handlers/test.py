"""Tests that a user asks of the node: the node itself, a connection, a process, a table.

Source: spec "Services and status", section 13.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.handlers.status import ROW_OF, listening, process_rows
from edgelake.command.registry import command
from edgelake.errors import CommandError, EdgeLakeError, error
from edgelake.metadata.ids import body_of
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.statement import user_columns
from edgelake.store.store import Store

CONNECT_S = 5.0


@command(
    "test process", cls=CommandClass.DATA, topics=("test",), examples=("test process rest", "test process msg client")
)
async def check_process(ctx: Context, name: Annotated[str, Tail(raw=False)]) -> Reply:
    """``true`` when a background process runs, else ``false``."""
    wanted = name.lower()
    row = ROW_OF.get(wanted)
    if row is None:
        raise CommandError(f"'{wanted}' is no process", hint=f"one of: {', '.join(ROW_OF)}")
    running = any(title == row and status == "Running" for title, status, _ in process_rows(ctx))
    return Reply.of_data(running, text="true" if running else "false")


@command(
    "test connection", cls=CommandClass.DATA, topics=("test", "network"), examples=("test connection 127.0.0.1:32049",)
)
async def check_connection(ctx: Context, address: str, port_word: str = "") -> Reply:
    """Whether a TCP port answers: ``test connection ip:port``."""
    host, _, port = (f"{address}:{port_word}" if port_word else address).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise error(20, f"'{address}' is no ip:port")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), CONNECT_S)
    except socket.gaierror as e:
        raise error(20, f"unknown host '{host}'") from e
    except OSError as e:
        number = e.errno if e.errno is not None else 110  # a time-out of ours reads like that of the system
        return Reply.of_text(f"Not able to connect to '{host}:{port}' with error #{number}")
    writer.close()
    return Reply.of_text(f"Port '{port}' on host {host} is open")


@command("test node", cls=CommandClass.DATA, topics=("test",), examples=("test node",))
async def check_node(ctx: Context) -> Reply:
    """Test the node: its metadata, and whether its own TCP and REST servers answer."""
    rows = [*await _metadata_rows(ctx), await _tcp_row(ctx), await _rest_row(ctx)]
    for warning in getattr(ctx.node, "settings", {}).get("warnings", ()):
        rows.append(("Warning", str(warning)))
    rows += [("Warning", f"{s.name}: {warning}") for s in ctx.services if (warning := getattr(s, "warning", ""))]
    return Reply.of_table(Table(("Test", "Status"), rows), data=dict(rows))


async def _metadata_rows(ctx: Context) -> list[tuple[str, str]]:
    try:
        await ctx.policies.load()
    except EdgeLakeError as e:
        return [("Metadata Version", str(ctx.policies.version)), ("Metadata Test", f"Failed: {e}")]
    return [("Metadata Version", str(ctx.policies.version)), ("Metadata Test", "Pass")]


async def _tcp_row(ctx: Context) -> tuple[str, str]:
    address = listening(ctx, "TCP")
    if address is None:
        return "TCP test", "No TCP IP and Port in use"
    try:
        reply = await asyncio.wait_for(
            ctx.execute(f"run client ({address.external}, named = true) get status"), CONNECT_S
        )
    except (EdgeLakeError, TimeoutError) as e:
        return f"TCP test using {address.external}", f"Failed: {e}"
    return f"TCP test using {address.external}", (reply.text or "").strip()


async def _rest_row(ctx: Context) -> tuple[str, str]:
    address = listening(ctx, "REST")
    if address is None:
        return "REST test", "No REST IP and Port in use"
    url = str(getattr(address, "url", f"http://{address.external}"))
    title = f"REST test using {url} "
    try:
        return title, await asyncio.wait_for(asyncio.to_thread(_ask_rest, url), CONNECT_S)
    except (OSError, TimeoutError) as e:
        return title, f"Failed: {e or type(e).__name__}"


def _ask_rest(url: str) -> str:
    import ssl
    import urllib.error
    import urllib.request

    trusting = ssl.create_default_context()  # the node asks itself; its certificate may be self-signed
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(f"{url}/", headers={"User-Agent": "AnyLog/1.23", "command": "get status"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    try:
        with opener.open(request, timeout=CONNECT_S) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.HTTPError as refused:
        if refused.code == 401:
            return "Pass: it asks for a name"
        raise


@command(
    "test table",
    cls=CommandClass.DATA,
    topics=("test",),
    examples=("test table t1 where dbms = d", "test table * where dbms = d"),
)
async def check_table(ctx: Context, name: str, *, dbms: str) -> Reply:
    """Compare a local table (or ``*``) with its policy in the metadata."""
    store = ctx.stores.get(dbms)
    names = sorted(store.tables) if name == "*" else [name.lower()]
    failures = [failure for table in names if (failure := _table_failure(ctx, store, dbms.lower(), table))]
    return Reply.of_text("\r\n".join(failures) if failures else "Passed")


def _table_failure(ctx: Context, store: Store, dbms: str, table: str) -> str:
    """What differs between a local table and its policy; empty when nothing does."""
    head = f"Test table {dbms}.{table} schema failed:"
    info = store.tables.get(table)
    if info is None:
        return f"{head} no local table"
    policies = ctx.policies.find("table", dbms=dbms, name=table)
    if not policies:
        return f"{head} the table is not declared in the metadata"
    try:
        declared = {c.name: c.kind for c in user_columns(str(body_of(policies[0]).get("create", "")))}
    except EdgeLakeError as failure:
        return f"{head} {failure}"
    local = {c.name: c.kind for c in info.user_columns}
    differing = [name for name in {**declared, **local} if declared.get(name) != local.get(name)]
    shown = [f"{name}: {local.get(name, 'none')} here, {declared.get(name, 'none')} declared" for name in differing]
    return f"{head} {'; '.join(shown)}" if shown else ""
