"""``config from policy``: services and a script out of one policy (spec: metadata, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.handlers.policy import describe, one_policy
from edgelake.command.registry import command
from edgelake.errors import EdgeLakeError, NotAvailableError, NotPermittedError, UnknownCommandError, error
from edgelake.metadata.ids import body_of, type_of
from edgelake.model import CommandClass, Reply, Table

_PART = "config policies"


@dataclass(slots=True)
class Applied:
    """What became of one policy that was applied."""

    id: str
    name: str
    error: str = ""
    message: str = ""


class _Values:
    """Attributes of the policy; ``!name`` and its casts are resolved now, so that one policy serves many nodes."""

    def __init__(self, body: Mapping[str, Any], ctx: Context) -> None:
        self._body = body
        self._ctx = ctx

    def get(self, name: str) -> str:
        value = self._body.get(name, "")
        if isinstance(value, str) and value.startswith("!"):
            value = self._ctx.variables.translate(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)


def _pairs(**values: str) -> str:
    return " and ".join(f"{key} = {value}" for key, value in values.items() if value)


def _listener(values: _Values, service: str, prefix: str, phrase: str) -> str:
    """The command that starts a REST server or a broker; empty when the policy names no port for it."""
    port = values.get(f"{prefix}_port")
    if not port:
        return ""
    own = values.get(f"{prefix}_ip")
    bind = values.get(f"{prefix}_bind") or ("true" if own else "false")
    local = own or values.get("local_ip")
    external = own or values.get("ip") or local
    return f"{phrase} where " + _pairs(
        external_ip=external or "0.0.0.0",
        external_port=port,
        internal_ip=local or external,
        internal_port=port,
        bind=bind,
        threads=values.get(f"{prefix}_threads") or (values.get("msg_threads") if service == "broker" else ""),
        timeout=values.get("rest_timeout") if service == "REST" else "",
    )


def service_lines(body: Mapping[str, Any], ctx: Context) -> list[tuple[str, str]]:
    """The services that a policy asks for, in their order: name and command."""
    values = _Values(body, ctx)
    lines = []
    ip, port = values.get("ip"), values.get("port")
    local_ip, local_port = values.get("local_ip"), values.get("local_port")
    if (ip or local_ip) and (port or local_port):
        one_ip = not (ip and local_ip)
        pairs = _pairs(
            external_ip=ip or local_ip,
            external_port=port or local_port,
            internal_ip=local_ip or ip,
            internal_port=local_port or port,
            bind=values.get("tcp_bind") or ("true" if one_ip else "false"),
            threads=values.get("tcp_threads") or "6",
        )
        lines.append(("TCP", f"run tcp server where {pairs}"))
    for service, prefix, phrase in (("REST", "rest", "run rest server"), ("broker", "broker", "run message broker")):
        if line := _listener(values, service, prefix, phrase):
            lines.append((service, line))
    return lines


@command(
    "config from policy",
    cls=CommandClass.ADMIN,
    topics=("configuration", "metadata"),
    examples=("config from policy where id = !config_id",),
)
async def config_from_policy(ctx: Context, *, where: Annotated[str, Tail()]) -> Reply:
    """Configure the node by a policy: start the listeners it names, then run its script line by line.

    The script stops at its first failure.
    """
    policy = one_policy(ctx, where)
    body = body_of(policy)
    script = body.get("script", [])
    if not isinstance(script, list) or not all(isinstance(line, str) for line in script):
        raise error(87, f"'script' of the '{type_of(policy)}' policy must be a list of commands")
    if script and not ctx.may(CommandClass.EXEC):
        raise NotPermittedError("a script out of a policy needs the class 'exec'", hint="run it at the node's prompt")
    applied = Applied(str(body["id"]), str(body.get("name", "")))
    results: dict[str, Applied] = ctx.parts.setdefault(_PART, {})
    results[applied.id] = applied
    try:
        notes = [note for name, line in service_lines(body, ctx) if (note := await _start(ctx, name, line))]
        applied.message = "; ".join(notes)
        for number, line in enumerate(script, 1):
            await _script_line(ctx, number, line)
    except EdgeLakeError as problem:
        applied.error = describe(problem)
        raise
    text = f"Config Policy {applied.name or applied.id}: " + (applied.message or "applied")
    return Reply.of_text(text)


async def _start(ctx: Context, name: str, line: str) -> str:
    """Start one service; returns a note when this version does not have it."""
    try:
        await ctx.execute(line)
    except (NotAvailableError, UnknownCommandError):
        return f"{name} is not available in this version and was passed over"
    return ""


async def _script_line(ctx: Context, number: int, line: str) -> None:
    if not line.strip():
        return
    try:
        await ctx.execute(line)
    except EdgeLakeError as problem:
        problem.detail = f"line {number} of the policy's script, '{line}': {problem.detail or problem.text}"
        raise


@command(
    "get config policies",
    cls=CommandClass.DATA,
    topics=("configuration", "metadata", "status"),
    examples=("get config policies",),
)
async def get_config_policies(ctx: Context) -> Reply:
    """The policies that configured this node, with what went wrong."""
    results: dict[str, Applied] = ctx.parts.get(_PART, {})
    rows = [(a.id, a.name, a.error, a.message) for a in results.values()]
    data = [{"ID": a.id, "Name": a.name, "Error": a.error, "Message": a.message} for a in results.values()]
    if not rows:
        return Reply.of_data([], text="No config policies")
    return Reply.of_table(Table(("ID", "Name", "Error", "Message"), rows), data=data)
