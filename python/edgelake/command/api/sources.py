"""``/v1/clients`` and ``/v1/rejected``: where readings come from, how they are mapped, and what was kept out."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgelake.command.api.routes import Call, json_reply
from edgelake.command.context import Context
from edgelake.command.handlers.messages import PART
from edgelake.errors import EdgeLakeError
from edgelake.inputs.msg_client import Counters, MessageClient, Topic
from edgelake.metadata.ids import body_of, id_of
from edgelake.net.mqtt import MqttBroker
from edgelake.net.rest.api import ApiReply

POLICIES_SHOWN: Final = 500
CONNECTED_SHOWN: Final = 500
FILES_SHOWN: Final = 50
REASONS_SHOWN: Final = 5
ROWS_SHOWN: Final = 3
HEAD_BYTES: Final = 16 << 10
LARGEST_REASON: Final = 1 << 20
REASON: Final = ".reason"


async def clients(call: Call) -> ApiReply:
    """Message clients with their topics, policies that map, and who is connected to the node's own broker."""
    ctx = call.ctx
    mappings = [_mapping(policy) for policy in ctx.policies.of_type("mapping")[:POLICIES_SHOWN]]
    found = {
        "clients": [_client(one) for one in ctx.parts.get(PART) or ()],
        "mappings": mappings,
        "connected": list(_connected(ctx)),
    }
    return json_reply(found)


def _client(one: MessageClient) -> dict[str, Any]:
    return {
        "id": one.id,
        "broker": one.broker,
        "agent": one.agent or None,
        "connection": one.connection,
        **_counted(one.counters),
        "topics": [_topic(topic) for topic in one.topics],
    }


def _topic(topic: Topic) -> dict[str, Any]:
    spec = topic.spec
    return {
        "name": topic.name,
        "dbms": spec.get("dbms"),
        "table": spec.get("table"),
        "qos": spec.get("qos", 0),
        "policies": [id_of(policy) for policy in spec.get("policies", ())],
        "columns": [{key: column[key] for key in ("name", "type", "value")} for column in spec.get("columns", ())],
        **_counted(topic.counters),
    }


def _counted(counters: Counters) -> dict[str, Any]:
    return {
        "messages": counters.messages,
        "errors": counters.errors,
        "last_message": counters.last_message or None,
        "last_error": counters.last_error or None,
        "last_error_time": counters.last_error_time or None,
    }


def _mapping(policy: dict[str, Any]) -> dict[str, Any]:
    body = body_of(policy)
    schema = body.get("schema")
    columns = sorted(schema) if isinstance(schema, dict) else []
    return {
        "id": id_of(policy),
        "name": str(body.get("name", "")),
        "dbms": _said(body.get("dbms")),
        "table": _said(body.get("table")),
        "columns": columns,
    }


def _said(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _connected(ctx: Context) -> Iterator[dict[str, Any]]:
    broker = ctx.services.get(MqttBroker.name)
    if not isinstance(broker, MqttBroker):
        return
    for number, one in enumerate(broker.clients()):
        if number == CONNECTED_SHOWN:
            return
        yield {
            "client_id": one.client_id,
            "user": one.user or None,
            "address": one.address or None,
            "version": one.version,
            "subscriptions": one.subscriptions,
            "queued": one.queued,
        }


# ---- what was kept out


async def rejected(call: Call) -> ApiReply:
    """Files of the error folder with their reasons and first rows, the newest first."""
    ctx = call.ctx
    try:
        folder = ctx.directories.path("err_dir")
    except EdgeLakeError:
        folder = None
    files = await asyncio.to_thread(_files, folder) if folder is not None else []
    tables = [
        {"dbms": one.dbms, "table": one.table, "rows": one.rejected_rows}
        for one in (ctx.ingest.streams() if ctx.ingest is not None else ())
        if one.rejected_rows
    ]
    return json_reply({"tables": tables, "files": files})


def _files(folder: Path) -> list[dict[str, Any]]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.stat().st_mtime, entry.name) for entry in entries if entry.name.endswith(REASON)]
    except OSError:
        return []
    newest = sorted(found, reverse=True)[:FILES_SHOWN]
    return [shown for at, name in newest if (shown := _file(folder / name, at)) is not None]


def _file(path: Path, at: float) -> dict[str, Any] | None:
    data = path.with_name(path.name.removesuffix(REASON))
    try:
        if path.stat().st_size > LARGEST_REASON:
            return None
        reason = json.loads(path.read_bytes())
        dbms, table, *_ = data.name.split(".")
    except (OSError, ValueError):
        return None
    reasons = reason.get("rows") if isinstance(reason, dict) else None
    return {
        "file": data.name,
        "time": at,
        "dbms": dbms,
        "table": table,
        "error": str(reason.get("err_text", "")) if isinstance(reason, dict) else "",
        "count": reason.get("count") if isinstance(reason, dict) else None,
        "reasons": reasons[:REASONS_SHOWN] if isinstance(reasons, list) else [],
        "rows": _first_rows(data),
    }


def _first_rows(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return [line.decode(errors="replace") for line in file.read(HEAD_BYTES).splitlines()[:ROWS_SHOWN]]
    except OSError:
        return []
