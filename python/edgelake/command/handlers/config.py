"""``config from policy``: services and a script out of one policy (spec: metadata, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Struct

from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.handlers.policy import describe, one_policy
from edgelake.command.handlers.status import listening, service_of
from edgelake.command.registry import command
from edgelake.errors import EdgeLakeError, NotAvailableError, NotPermittedError, UnknownCommandError, error
from edgelake.metadata.ids import body_of, type_of
from edgelake.model import CommandClass, Listener, Reply, Table

_PART = "config policies"


class Applied(Struct):
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


class Wanted(Struct, frozen=True):
    """A listener that a policy asks for: its row in ``get processes``, and the command that starts it."""

    row: str
    phrase: str
    options: Mapping[str, str]

    @property
    def line(self) -> str:
        pairs = " and ".join(f"{key} = {value}" for key, value in self.options.items() if value)
        return f"{self.phrase} where {pairs}"

    def fits(self, running: Listener) -> bool:
        """Whether a running one has these addresses already."""
        addresses = [
            f"{self.options[f'{side}_ip']}:{self.options[f'{side}_port']}" for side in ("external", "internal")
        ]
        return [running.external, running.internal] == addresses


def _listener(values: _Values, row: str, prefix: str, phrase: str) -> Wanted | None:
    """A REST server or a broker; None when the policy names no port for it."""
    port = values.get(f"{prefix}_port")
    if not port:
        return None
    own = values.get(f"{prefix}_ip")
    local = own or values.get("local_ip")
    external = own or values.get("ip") or local or "0.0.0.0"
    options = {
        "external_ip": external,
        "external_port": port,
        "internal_ip": local or external,
        "internal_port": port,
        "bind": values.get(f"{prefix}_bind") or ("true" if own else "false"),
        "threads": values.get(f"{prefix}_threads") or (values.get("msg_threads") if prefix == "broker" else ""),
        "timeout": values.get("rest_timeout") if prefix == "rest" else "",
    }
    return Wanted(row, phrase, options)


def _tcp(values: _Values) -> Wanted | None:
    ip, port = values.get("ip"), values.get("port")
    local_ip, local_port = values.get("local_ip"), values.get("local_port")
    if not (ip or local_ip) or not (port or local_port):
        return None
    one_ip = not (ip and local_ip)
    options = {
        "external_ip": ip or local_ip,
        "external_port": port or local_port,
        "internal_ip": local_ip or ip,
        "internal_port": local_port or port,
        "bind": values.get("tcp_bind") or ("true" if one_ip else "false"),
        "threads": values.get("tcp_threads") or "6",
    }
    return Wanted("TCP", "run tcp server", options)


def wanted_listeners(body: Mapping[str, Any], ctx: Context) -> list[Wanted]:
    """The services that a policy asks for, in their order."""
    values = _Values(body, ctx)
    found = (
        _tcp(values),
        _listener(values, "REST", "rest", "run rest server"),
        _listener(values, "MSG Broker", "broker", "run message broker"),
    )
    return [one for one in found if one is not None]


@command(
    "config from policy",
    cls=CommandClass.ADMIN,
    topics=("configuration", "metadata"),
    examples=("config from policy where id = !config_id",),
)
async def config_from_policy(ctx: Context, *, where: Annotated[str, Tail()]) -> Reply:
    """Configure the node by a policy: start the listeners it names, then run its script line by line.

    A listener that runs at other addresses is replaced. The script stops at its first failure.
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
        notes = [note for one in wanted_listeners(body, ctx) if (note := await _start(ctx, one))]
        applied.message = "; ".join(notes)
        for number, line in enumerate(script, 1):
            await _script_line(ctx, number, line)
    except EdgeLakeError as problem:
        applied.error = describe(problem)
        raise
    text = f"Config Policy {applied.name or applied.id}: " + (applied.message or "applied")
    return Reply.of_text(text)


async def _start(ctx: Context, wanted: Wanted) -> str:
    """Start a listener; one that runs at other addresses ends. Returns a note when this version does not have it."""
    running, service = listening(ctx, wanted.row), service_of(ctx, wanted.row)
    if running is not None and service is not None:
        if wanted.fits(running):
            return f"{wanted.row} listens already"
        await ctx.services.stop(service.name)
    try:
        await ctx.execute(wanted.line)
    except (NotAvailableError, UnknownCommandError):
        return f"{wanted.row} is not available in this version and was passed over"
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
