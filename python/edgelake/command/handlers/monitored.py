"""What nodes say of themselves to the node that watches them: ``monitor`` and ``get monitored``.

Source: spec "Services and status", section 10; "Command language", section 15 (monitoring scripts).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from edgelake.command.context import Context
from edgelake.command.handlers.status import full_name
from edgelake.command.registry import command
from edgelake.errors import NotPermittedError, error
from edgelake.metadata.address import NODE_TYPES, ips_of
from edgelake.metadata.ids import body_of
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.endpoints import is_loopback
from edgelake.query.jobs import clock

MAX_TOPICS: Final = 100
MAX_NODES: Final = 10_000
"""Of a topic."""
MAX_BYTES: Final = 64 << 10
"""Of what a node says."""
_PART: Final = "monitored"


@dataclass(frozen=True, slots=True)
class _Said:
    """The last that a node said. ``at``: monotonic seconds; ``shown``: the time of day, UTC."""

    info: dict[str, Any]
    at: float = field(default_factory=time.monotonic)
    shown: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))


_Topics = dict[str, dict[str, _Said]]


def _topics(ctx: Context) -> _Topics:
    """By topic and by address."""
    found: _Topics = ctx.parts.setdefault(_PART, {})
    return found


@command(
    "monitor",
    cls=CommandClass.DATA,
    topics=("monitor", "network"),
    examples=(
        "monitor operators where info = !node_insight",
        "run client (10.0.0.78:7848) monitor operators where info = !node_insight",
    ),
)
async def monitor(ctx: Context, topic: str, *, info: str) -> Reply:
    """Put down what a node says of itself under a topic: a JSON object, in place of what it said before.

    Other nodes send it by ``run client``, when their address is in a policy. ``get monitored`` shows it.
    """
    address = ctx.caller.address if ctx.caller.entry == "peer" else full_name(ctx).rpartition("@")[2]
    if ctx.caller.entry == "peer" and not (is_loopback(address) or _is_known(ctx, address)):
        raise NotPermittedError(f"monitor: {address} is no node of the policies")
    said = _object(info)
    topics, name = _topics(ctx), topic.lower()
    nodes = topics.get(name)
    if nodes is None:
        if len(topics) >= MAX_TOPICS or len(name) > 64:
            raise error(3, f"monitor: at most {MAX_TOPICS} topics, whose names have up to 64 letters")
        nodes = topics[name] = {}
    if address not in nodes and len(nodes) >= MAX_NODES:
        del nodes[min(nodes, key=lambda one: nodes[one].at)]  # whoever has been silent for the longest time
    nodes[address] = _Said(said)
    return Reply.done()


def _object(text: str) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise error(9, f"monitor: info of more than {MAX_BYTES:,} bytes")
    try:
        return msgspec.json.decode(text.strip().strip("'"), type=dict[str, Any])
    except msgspec.DecodeError as wrong:
        raise error(6, f"monitor: info is no JSON object: {wrong}") from None


def _is_known(ctx: Context, address: str) -> bool:
    host = address.rpartition(":")[0]
    return any(host in ips_of(body_of(policy)) for policy in ctx.policies.of_type(*NODE_TYPES))


@command(
    "get monitored",
    cls=CommandClass.DATA,
    topics=("monitor", "network"),
    examples=("get monitored", "get monitored operators", "get monitored operators where format = json"),
)
async def get_monitored(ctx: Context, topic: str = "") -> Reply:
    """What nodes said of themselves under a topic, by address, and how long ago; without a topic: the topics."""
    topics = _topics(ctx)
    if not topic:
        rows = [(name, len(nodes)) for name, nodes in sorted(topics.items())]
        return Reply.of_table(Table(("Topic", "Nodes"), rows), data=dict(rows))
    now = time.monotonic()
    data = {
        address: {"Update time": said.shown, **said.info, "Elapsed time": clock(now - said.at)}
        for address, said in sorted(topics.get(topic.lower(), {}).items())
    }
    if not data:
        return Reply.of_data({}, text=f"No node has said anything under '{topic[:64]}'")
    keys = dict.fromkeys(key for said in data.values() for key in said if key != "Elapsed time")
    titles = ("Node", *keys, "Elapsed time")
    table = [(address, *(_cell(said.get(key)) for key in titles[1:])) for address, said in data.items()]
    return Reply.of_table(Table(titles, table), data=data)


def _cell(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else "" if value is None else value
