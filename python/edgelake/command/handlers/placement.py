"""Where the data of the network is: nodes by table, and the own cluster (spec: metadata, section 13)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import Key
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.ingest.operator import Operator as OperatorService
from edgelake.metadata.routing import ROUTING, Cluster, Operator, Place, Routes
from edgelake.model import CommandClass, Reply, Table

_TITLES = (
    "Company",
    "DBMS",
    "Table",
    "Cluster ID",
    "Cluster Status",
    "Node Name",
    "Member ID",
    "External IP/Port",
    "Local IP/Port",
    "Main",
    "Node Status",
)


def routes_of(ctx: Context) -> Routes:
    """The node's routing. Raises EdgeLakeError (58) on a node without metadata."""
    found = ctx.parts.get(ROUTING)
    if not isinstance(found, Routes):
        raise error(58, "this node runs without metadata")
    return found


def node_status(routes: Routes, operator: Operator) -> str:
    if not routes.is_active(operator.address):
        return "not_responding"
    return "active" if routes.is_complete(operator.address) else "incomplete"


@command(
    "get data nodes",
    cls=CommandClass.DATA,
    topics=("metadata", "network"),
    examples=(
        "get data nodes",
        "get data nodes where company = acme and dbms = edge and table = sensors and sort = (1,2)",
        "get data nodes where format = json",
    ),
)
async def get_data_nodes(
    ctx: Context, *, company: str = "", dbms: str = "", table: str = "", sort: list[str] | None = None
) -> Reply:
    """Tables of the network, and the clusters and nodes that have their data.

    ``sort``: numbers of columns, from 0.
    """
    routes = routes_of(ctx)
    rows = list(_rows(routes, routes.routing.at(company, dbms, table)))
    for column in reversed(_columns(sort or [])):
        rows.sort(key=lambda row: (isinstance(row[column], str), row[column]))
    data = [dict(zip(_TITLES, row, strict=True)) for row in rows]
    return Reply.of_table(Table(_TITLES, rows), data=data)


def _columns(sort: list[str]) -> list[int]:
    if not all(word.isdigit() and int(word) < len(_TITLES) for word in sort):
        raise CommandError(f"sort = ({','.join(sort)})", hint=f"numbers of columns, 0 to {len(_TITLES) - 1}")
    return [int(word) for word in sort]


def _rows(routes: Routes, places: Any) -> Iterator[tuple[Any, ...]]:
    place: Place
    for place in places:
        cluster = place.cluster
        head = (place.company, place.dbms, place.table, cluster.id, cluster.status)
        if not cluster.operators:
            yield (*head, "", "", "", "", "", "")
        for one in cluster.operators:
            main = " +" if one.is_main else " -"
            yield (*head, one.name, one.member, one.external, one.local, main, node_status(routes, one))


@command(
    "get cluster info", cls=CommandClass.DATA, topics=("metadata", "high availability"), examples=("get cluster info",)
)
async def get_cluster_info(ctx: Context) -> Reply:
    """The cluster that this operator belongs to: its members, and the tables that it has."""
    cluster, member = own_cluster(ctx)
    return _cluster_reply(routes_of(ctx), cluster, member)


def own_cluster(ctx: Context) -> tuple[Cluster, int]:
    """The cluster of this node's operator, and its member number. Raises EdgeLakeError (222)."""
    running = ctx.services.get(OperatorService.name)
    if not isinstance(running, OperatorService) or not running.config.cluster:
        raise error(222, "no operator of a cluster runs here", hint="run operator where policy = ...")
    cluster = routes_of(ctx).routing.clusters.get(running.config.cluster)
    if cluster is None:
        raise error(222, f"no active cluster policy with id = {running.config.cluster}")
    return cluster, running.config.member


def _ip_port(address: str) -> tuple[str, str]:
    ip, _, port = address.rpartition(":")
    return ip, port  # as text: a number is printed with separators


def _cluster_reply(routes: Routes, cluster: Cluster, member: int) -> Reply:
    ports = [(*_ip_port(one.external), one.member, node_status(routes, one)) for one in cluster.operators]
    about = (
        f"Cluster ID  : {cluster.id}",
        f"Member ID   : {member}",
        f"Cluster Name: {cluster.name}",
        f"Cluster Name: {cluster.company}",  # the reference prints this title twice
        "Participating Operators:",
    )
    tables = (
        Table(("IP", "Port", "Member", "Status"), ports, header="\r\n".join(about), indent=6),
        Table(("Company", "DBMS", "Table"), cluster.tables, header="Tables Supported:", indent=6),
    )
    data = {
        "cluster_id": cluster.id,
        "member_id": member,
        "cluster_name": cluster.name,
        "company": cluster.company,
        "operators": [dict(zip(("ip", "port", "member", "status"), row, strict=True)) for row in ports],
        "tables": [dict(zip(("company", "dbms", "table"), row, strict=True)) for row in cluster.tables],
    }
    return Reply.of_table(*tables, data=data)


@command(
    "get members status",
    cls=CommandClass.DATA,
    topics=("metadata", "high availability"),
    examples=("get members status",),
)
async def get_members_status(ctx: Context) -> Reply:
    """Whether the operators of the network answered the last time that they were asked."""
    states = routes_of(ctx).states()
    rows = [(a, "active" if s.is_active else "not_responding", s.recorded) for a, s in states.items()]
    titles = ("Address", "Status", "Recorded time")
    return Reply.of_table(Table(titles, rows, indent=6), data=[dict(zip(titles, row, strict=True)) for row in rows])


@command(
    "blockchain query metadata",
    "query metadata",
    cls=CommandClass.DATA,
    topics=("metadata",),
    examples=("blockchain query metadata", "query metadata where dbms = edge and table = sensors"),
)
async def query_metadata(
    ctx: Context,
    *,
    company: str = "",
    dbms: str = "",
    table: str = "",
    form: Annotated[Literal["text", "json"], Key("format")] = "text",
) -> Reply:
    """Companies, databases, tables, and the clusters and operators that have them, as a tree."""
    routes = routes_of(ctx)
    tree: dict[str, Any] = {}
    for place in routes.routing.at(company, dbms, table):
        members = tree.setdefault(place.company, {}).setdefault(place.dbms, {}).setdefault(place.table, {})
        members[f"{place.cluster.name} {place.cluster.id} {place.cluster.status}"] = {
            f"{one.name} {one.external} {node_status(routes, one)}{' main' if one.is_main else ''}": {}
            for one in place.cluster.operators
        }
    reply = Reply.of_data(tree, text="\r\n".join(_branches(tree, "")) or "No tables in the metadata")
    reply.json_wanted = form == "json"
    return reply


def _branches(tree: dict[str, Any], margin: str) -> Iterator[str]:
    for at, (name, below) in enumerate(tree.items(), 1):
        last = at == len(tree)
        yield f"{margin}{'`-- ' if last else '|-- '}{name}"
        yield from _branches(below, margin + ("    " if last else "|   "))
