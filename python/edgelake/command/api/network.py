"""``/v1/network``: nodes, clusters and tables of the network, as the policies of this node say, and who is down."""

from __future__ import annotations

import re
from typing import Any, Final

from edgelake.command.api.routes import Call, json_reply
from edgelake.command.context import Context
from edgelake.command.handlers.placement import routes_of
from edgelake.command.handlers.status import LISTENERS, listening
from edgelake.metadata.address import NODE_TYPES, Addresses
from edgelake.metadata.ids import body_of, id_of, type_of
from edgelake.metadata.routing import Routes
from edgelake.net.rest.api import ApiReply

MOST: Final = 2000
TABLES_SHOWN: Final = 200
_PLACE: Final = re.compile(r"\s*(-?\d{1,3}(?:\.\d+)?)\s*[,; ]\s*(-?\d{1,3}(?:\.\d+)?)\s*")


async def network(call: Call) -> ApiReply:
    """What the policies say; no node is asked. ``test network`` asks."""
    ctx = call.ctx
    routes = routes_of(ctx)
    policies = ctx.policies.of_type(*NODE_TYPES)
    own = Addresses(ctx.variables.get("external_ip"), ctx.variables.get("ip"))
    mine = _own_addresses(ctx)
    clusters = [
        {
            "id": one.id,
            "name": one.name,
            "company": one.company,
            "status": one.status,
            "members": [member.policy_id for member in one.operators],
            "tables": [{"dbms": dbms, "table": table} for _, dbms, table in one.tables[:TABLES_SHOWN]],
            "table_count": len(one.tables),
        }
        for one in list(routes.routing.clusters.values())[:MOST]
    ]
    found = {
        "nodes": [_node(policy, own, mine, routes) for policy in policies[:MOST]],
        "clusters": clusters,
        "total": {"nodes": len(policies), "clusters": len(routes.routing.clusters)},
        "metadata": {
            "version": ctx.policies.version,
            "shared_version": ctx.policies.shared_version,
            "policies": len(ctx.policies.image),
            "unconfirmed": len(ctx.policies.unconfirmed),
        },
        "problems": [*routes.routing.problems, *ctx.policies.problems],
    }
    return json_reply(found)


def _node(policy: Any, own: Addresses, mine: set[str], routes: Routes) -> dict[str, Any]:
    body, address = body_of(policy), own.of(body_of(policy))
    state = routes.state(address)
    return {
        "id": id_of(policy),
        "type": type_of(policy),
        "name": str(body.get("name", "")),
        "company": str(body.get("company", "")),
        "address": address or None,
        "cluster": str(body["cluster"]) if body.get("cluster") else None,
        "place": place_of(body.get("loc")),
        "here": address in mine,
        "active": routes.is_active(address),
        "asked": state.recorded_s or None,
    }


def _own_addresses(ctx: Context) -> set[str]:
    address = listening(ctx, LISTENERS[0][1])
    return {address.external, address.internal, address.bound} if address is not None else set()


def place_of(text: Any) -> tuple[float, float] | None:
    """Latitude and longitude of ``37.78,-122.39``; None for anything else."""
    found = _PLACE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    latitude, longitude = float(found[1]), float(found[2])
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None
