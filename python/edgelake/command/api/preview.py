"""``/v1/preview``: the rows that a payload would become, by the engine that stores them. Nothing is stored.

Three ways to say what is to be done with it: the ``client`` that gets such messages (and the topic), the id of a
mapping ``policy``, or the table alone, whose columns are then those of the data.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from edgelake._rust import MappingProgram, Rows
from edgelake.command.api.routes import Call, ParameterError, json_reply
from edgelake.command.context import Context
from edgelake.command.handlers.messages import clients_of
from edgelake.errors import error
from edgelake.inputs.mapped import imported_by
from edgelake.net.rest.api import ApiReply
from edgelake.store.base import TableInfo
from edgelake.store.catalogue import user_schema

ROWS_SHOWN: Final = 100
TOPIC: Final = "preview"

_Target = tuple[str, str, Rows, Sequence[tuple[str, str, bool]]]


async def preview(call: Call) -> ApiReply:
    """The rows, and what would be kept out. Raises EdgeLakeError with the place of the fault."""
    ctx, values = call.ctx, call.values
    payload = values["payload"].encode()
    if values["client"]:
        work = _by_client(ctx, values["client"], values["topic"], payload)
    elif values["policy"]:
        work = _by_policy(ctx, values["policy"], (values["dbms"], values["table"]), payload)
    elif values["table"]:
        work = _as_it_is(ctx, values["dbms"].lower(), values["table"].lower(), payload)
    else:
        raise ParameterError("'client', 'policy' or 'table' says what is to be done with the payload")
    return json_reply(await asyncio.to_thread(work))


def _by_client(ctx: Context, number: int, topic: str, payload: bytes) -> Callable[[], Any]:
    client = next((one for one in clients_of(ctx) if one.id == number), None)
    if client is None:
        raise error(128, f"No such client subscription: {number}", hint="get msg clients")
    definition, name = client.definition, topic or client.topics[0].name
    return lambda: _mapped(ctx, definition, name, payload)


def _by_policy(ctx: Context, policy_id: str, target: tuple[str, str], payload: bytes) -> Callable[[], Any]:
    policy = ctx.policies.get(policy_id)
    body = policy.get("mapping") if isinstance(policy, dict) else None
    if not isinstance(body, dict):
        raise error(113, f"no mapping policy with id = {policy_id[:100]}", hint="blockchain get mapping")
    given = {key: value.lower() for key, value in zip(("dbms", "table"), target, strict=True) if value}
    topic = {"name": TOPIC, "policies": [{"mapping": {**body, **given}}]}
    definition = json.dumps({"topics": [topic], "imported": imported_by([policy], ctx.policies.get)})
    return lambda: _mapped(ctx, definition, TOPIC, payload)


def _mapped(ctx: Context, definition: str, topic: str, payload: bytes) -> dict[str, Any]:
    """In a thread."""
    program = MappingProgram(definition)
    found, rejected, commands = program.map(payload, topic, now_us=time.time_ns() // 1000)
    targets = [_target(ctx, (dbms, table, rows, declared)) for dbms, table, _, _, declared, rows in found]
    kept_out = [{"element": element, "number": number, "reason": reason} for element, number, reason in rejected]
    return {"targets": targets, "rejected": kept_out, "commands": [command for command, _ in commands]}


def _as_it_is(ctx: Context, dbms: str, table: str, payload: bytes) -> Callable[[], Any]:
    if not dbms:
        raise ParameterError("'dbms' is missing: name of the database", hint="dbms and table")
    ctx.stores.get(dbms)

    def work() -> dict[str, Any]:
        return {"targets": [_target(ctx, (dbms, table, Rows.parse(payload), ()))], "rejected": [], "commands": []}

    return work


def _target(ctx: Context, target: _Target) -> dict[str, Any]:
    """The rows of a table, with the columns that the table has or would get, and those that fit none."""
    dbms, table, rows, declared = target
    store = ctx.stores.find(dbms)
    info: TableInfo | None = store.tables.get(table) if store is not None else None
    known = user_schema(info) if info is not None else list(declared)
    names = {name for name, _, _ in known}
    changes = rows.changes(known) if known else rows.infer()
    if ctx.ingest is not None and ctx.ingest.widens(dbms, table):
        wider = {one[0]: one for one in changes}
        known = [wider.get(one[0], one) for one in known]
    added = [one for one in changes if one[0] not in names]
    fitted, unfit = rows.fit([*known, *added], time.time_ns() // 1000)
    lines = fitted.to_json_lines(0, min(ROWS_SHOWN, len(fitted))).splitlines()
    new = {name for name, _, _ in added} if info is not None else names | {name for name, _, _ in added}
    return {
        "dbms": dbms,
        "table": table,
        "connected": store is not None,
        "exists": info is not None,
        "columns": [{"name": name, "type": kind, "new": name in new} for name, kind, _ in (*known, *added)],
        "rows": [json.loads(line) for line in lines],
        "count": len(fitted),
        "unfit": [{"row": number + 1, "reason": reason} for number, reason in unfit[:ROWS_SHOWN]],
    }
