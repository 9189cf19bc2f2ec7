"""``edgelake deploy``: a node as the environment describes it, by the variables of EdgeLake's compose files.

Source: spec "Command language", section 15, "Environment the scripts read". An empty variable counts as unset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgelake.command.machine_values import local_ip
from edgelake.errors import EdgeLakeError

ROLES: Final[dict[str, tuple[str, ...]]] = {
    "master": ("master",),
    "operator": ("operator",),
    "query": ("query",),
    "publisher": ("publisher",),
    "generic": (),
    "master-operator": ("master", "operator"),
    "master-publisher": ("master", "publisher"),
}
PORTS: Final = {"master": 32048, "operator": 32148, "publisher": 32248, "query": 32348, "generic": 32548}
"""Of TCP; REST is the next one, the message broker the one after."""

_SYNC_S: Final = 60
_TRUE: Final = ("true", "True", "TRUE")
_FALSE: Final = ("false", "False", "FALSE")


class DeploymentError(EdgeLakeError):
    """A variable of the environment that is missing, or holds what it cannot."""

    code = "deployment"
    text = "Error in the environment"


@dataclass(frozen=True, slots=True)
class Deployment:
    """The environment, read. Its methods raise DeploymentError."""

    environment: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        """As a value in the command language."""
        found = self.environment.get(name, "").strip() or default
        if re.search(r"[\"\r\n]", found):
            raise DeploymentError(f"{name}: no quotation marks and line breaks can be in it")
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.text(name, str(default))
        if found not in (*_TRUE, *_FALSE):
            raise DeploymentError(f"{name} = {found}", hint="true or false")
        return found in _TRUE

    def number(self, name: str, default: int, least: int = 1, most: int = 65535) -> int:
        found = self.text(name, str(default))
        if not found.isdecimal() or not least <= int(found) <= most:
            raise DeploymentError(f"{name} = {found}", hint=f"a number from {least} to {most}")
        return int(found)

    # ---- who the node is

    @property
    def kind(self) -> str:
        found = self.text("NODE_TYPE", "generic").lower()
        if found not in ROLES:
            raise DeploymentError(f"NODE_TYPE = {found}", hint=f"one of: {', '.join(ROLES)}")
        return found

    @property
    def name(self) -> str:
        return self.text("NODE_NAME", f"edgelake-{self.kind}")

    @property
    def company(self) -> str:
        return self.text("COMPANY_NAME", "New Company")

    @property
    def dbms(self) -> str:
        """The database of readings: letters, digits and underscores."""
        return self.text("DEFAULT_DBMS") or re.sub(r"\W+", "_", self.company.lower())

    @property
    def address(self) -> str:
        """Where other nodes reach this one. A name outlives a container; an address of a bridge does not."""
        return self.text("EXTERNAL_DNS") or self.own

    @property
    def own(self) -> str:
        """The address of this machine, or container, on its network."""
        return self.text("OVERLAY_IP") or local_ip()

    @property
    def port(self) -> int:
        return self.number("ANYLOG_SERVER_PORT", PORTS[self.kind.partition("-")[0]])

    @property
    def ledger(self) -> str:
        """The master's address; a master's own."""
        if "master" in ROLES[self.kind]:
            return f"{self.address}:{self.port}"
        found = self.text("LEDGER_CONN")
        if self.kind != "generic" and not re.fullmatch(r".+:\d+", found):
            raise DeploymentError(
                f"LEDGER_CONN = {found or '(not set)'}", hint="the master as host:port, e.g. master:32048"
            )
        return found


def commands(environment: Mapping[str, str]) -> list[str]:
    """What the node runs when it starts. Raises DeploymentError."""
    node = Deployment(environment)
    lines = list(_common(node))
    roles = ROLES[node.kind]
    if "master" in roles:
        lines += _master(node)
    elif node.ledger:
        lines += _followed(node)
    for role, added in (("operator", _operator), ("publisher", _publisher), ("query", _query)):
        if role in roles:
            lines += added(node)
    lines += _services(node)
    if "operator" in roles or "publisher" in roles:
        lines += _sources(node)
    return lines


def replaced_by(environment: Mapping[str, str], folder: Path) -> list[str] | None:
    """A script of the user in the place of all this, when it is there: ``main.al`` of the official scripts, in
    LOCAL_SCRIPTS or its folder node-deployment."""
    root = folder / (environment.get("LOCAL_SCRIPTS", "").strip() or ".")
    found = next((path for path in (root / "node-deployment/main.al", root / "main.al") if path.is_file()), None)
    return None if found is None else [f"process {found}"]


def _common(node: Deployment) -> Iterator[str]:
    yield f'set node name "{node.name}"'
    yield "create work directories"
    if node.flag("DISABLE_CLI"):
        yield "set cli off"
    yield "run scheduler 1"
    yield (
        f"run tcp server where external_ip = {node.address} and external_port = {node.port} "
        f"and internal_ip = {node.own} and internal_port = {node.port} "
        f"and bind = {_flag(node, 'TCP_BIND')} and threads = {node.number('TCP_THREADS', 6, most=1024)}"
    )


def _flag(node: Deployment, name: str, default: bool = False) -> str:
    return str(node.flag(name, default)).lower()


def _services(node: Deployment) -> Iterator[str]:
    """What takes readings and questions comes when all behind it stands."""
    shared = f"external_ip = {node.address} and internal_ip = {node.own}"
    rest = node.number("ANYLOG_REST_PORT", node.port + 1)
    yield (
        f"run rest server where {shared} and external_port = {rest} and internal_port = {rest} "
        f"and bind = {_flag(node, 'REST_BIND')} and threads = {node.number('REST_THREADS', 6, most=1024)} "
        f"and timeout = {node.number('REST_TIMEOUT', 30, least=0)}"
    )
    default = node.port + 2 if {"operator", "publisher"} & set(ROLES[node.kind]) else 0
    broker = node.number("ANYLOG_BROKER_PORT", default, least=0)
    if broker:
        yield (
            f"run message broker where {shared} and external_port = {broker} and internal_port = {broker} "
            f"and bind = {_flag(node, 'BROKER_BIND')} and threads = {node.number('BROKER_THREADS', 6, most=1024)}"
        )


def _database(node: Deployment, name: str) -> str:
    kind = node.text("DB_TYPE", "sqlite")
    if kind == "sqlite":
        return f"connect dbms {name} where type = sqlite"
    if kind != "psql":
        raise DeploymentError(f"DB_TYPE = {kind}", hint="sqlite or psql")
    login = f'user = "{node.text("DB_USER")}" and password = "{node.text("DB_PASSWD")}"'
    place = f"ip = {node.text('DB_IP', '127.0.0.1')} and port = {node.number('DB_PORT', 5432)}"
    return f"connect dbms {name} where type = psql and {login} and {place} and autocommit = {_flag(node, 'AUTOCOMMIT')}"


def _master(node: Deployment) -> Iterator[str]:
    yield _database(node, "blockchain")
    yield "create table ledger where dbms = blockchain"
    every = _time(node, "BLOCKCHAIN_SYNC", "30 seconds")
    yield f"run blockchain sync where source = dbms and time = {every} and dest = file"
    yield from _policy(node, "master")


def _followed(node: Deployment) -> Iterator[str]:
    every = _time(node, "BLOCKCHAIN_SYNC", "30 seconds")
    yield f"run blockchain sync where source = master and time = {every} and dest = file and connection = {node.ledger}"
    yield f"wait {_SYNC_S} for sync"


def _time(node: Deployment, name: str, default: str) -> str:
    found = node.text(name, default)
    if not re.fullmatch(r"\d+(\.\d+)? +[A-Za-z]+", found):
        raise DeploymentError(f"{name} = {found}", hint="a number and a unit: 30 seconds")
    return found


def _policy(node: Deployment, kind: str, *more: str) -> Iterator[str]:
    """Say who the node is, unless the network knows it from an earlier start."""
    who = f'name = "{node.name}" and company = "{node.company}"'
    own = [who, f"ip = {node.address}", f"port = {node.port}", *more]
    for key in ("COUNTRY", "STATE", "CITY"):
        if node.text(key):
            own.append(f'{key.lower()} = "{node.text(key)}"')
    if node.text("LOCATION"):
        own.append(f'loc = "{node.text("LOCATION")}"')
    yield from _once(node, kind, who, " and ".join(own))


def _once(node: Deployment, kind: str, who: str, policy: str) -> Iterator[str]:
    """``!<kind>_id`` is the policy's id, of a policy that is there or of one that is added now."""
    found = f"{kind}_id = blockchain get {kind} where {who} bring.first [{kind}][id]"
    yield found
    yield f"if not !{kind}_id then new_policy = create policy {kind} where {policy}"
    insert = f"blockchain insert where policy = !new_policy and local = true and master = {node.ledger}"
    yield f"if not !{kind}_id then {insert}"
    yield found


def _operator(node: Deployment) -> Iterator[str]:
    yield _database(node, node.dbms)
    yield "connect dbms almgm where type = sqlite"
    yield "create table tsd_info where dbms = almgm"
    cluster = f'name = "{node.text("CLUSTER_NAME", f"{node.name}-cluster")}" and company = "{node.company}"'
    yield from _once(node, "cluster", cluster, cluster)
    yield from _policy(node, "operator", "cluster = !cluster_id")
    yield from _partitions(node)
    yield from _streamer(node)
    shared = node.flag("ENABLE_HA")
    packed = _flag(node, "COMPRESS_FILE", True)
    yield (
        "run operator where policy = !operator_id and create_table = true and update_tsd_info = true "
        f"and compress_json = {packed} and compress_sql = {packed} "
        f"and archive_json = {_flag(node, 'ARCHIVE', True)} and archive_sql = {_flag(node, 'ARCHIVE_SQL')} "
        f"and distributor = {str(shared).lower()} and master_node = {node.ledger} "
        f"and threads = {node.number('OPERATOR_THREADS', 3, most=1024)}"
    )
    if shared:
        yield "run data distributor"
        yield f"run data consumer where start_date = -{node.number('START_DATE', 30, most=36500)}d"


def _partitions(node: Deployment) -> Iterator[str]:
    if not node.flag("ENABLE_PARTITIONS", True):
        return
    table = node.text("TABLE_NAME", "*")
    every = _time(node, "PARTITION_INTERVAL", "14 days")
    yield f"partition {node.dbms} {table} using {node.text('PARTITION_COLUMN', 'insert_timestamp')} by {every}"
    keep = node.number("PARTITION_KEEP", 3, most=100_000)
    yield (
        f"schedule name = drop_partitions and time = {_time(node, 'PARTITION_SYNC', '1 day')} and task "
        f"drop partition where dbms = {node.dbms} and table = {table} and keep = {keep}"
    )


def _streamer(node: Deployment) -> Iterator[str]:
    """A threshold that nobody set is ours, which shows rows sooner."""
    wanted = [
        f"time = {_time(node, 'THRESHOLD_TIME', '')}" if node.text("THRESHOLD_TIME") else "",
        f"volume = {node.text('THRESHOLD_VOLUME')}" if node.text("THRESHOLD_VOLUME") else "",
        "write_immediate = true" if node.flag("WRITE_IMMEDIATE") else "",
    ]
    if any(wanted):
        yield f"set buffer threshold where {' and '.join(filter(None, wanted))}"
    yield "run streamer"


def _publisher(node: Deployment) -> Iterator[str]:
    yield from _policy(node, "publisher")
    yield from _streamer(node)
    yield f"run publisher where compress_json = {_flag(node, 'COMPRESS_FILE', True)} and master_node = {node.ledger}"


def _query(node: Deployment) -> Iterator[str]:
    yield from _policy(node, "query")


def _sources(node: Deployment) -> Iterator[str]:
    """A client of a message broker, this node's own (``local``) or another."""
    if not node.flag("ENABLE_MQTT"):
        return
    broker = node.text("MQTT_BROKER", "local")
    options = [f"broker = {broker}"]
    if broker not in ("local", "rest"):
        options.append(f"port = {node.number('MQTT_PORT', 1883)}")
    if node.text("MQTT_USER"):
        options.append(f'user = "{node.text("MQTT_USER")}" and password = "{node.text("MQTT_PASSWD")}"')
    options.append(f"log = {_flag(node, 'MQTT_LOG')}")
    value_type = node.text("MSG_VALUE_COLUMN_TYPE", "float")
    topic = [
        f'name = "{node.text("MSG_TOPIC", "#")}"',
        f'dbms = "{node.text("MSG_DBMS", node.dbms)}"',
        f'table = "{node.text("MSG_TABLE", "bring [table]")}"',
        f'column.timestamp.timestamp = "{node.text("MSG_TIMESTAMP_COLUMN", "now()")}"',
        f'column.value = (type = {value_type} and value = "{node.text("MSG_VALUE_COLUMN", "bring [value]")}")',
    ]
    yield f"run msg client where {' and '.join(options)} and topic = ({' and '.join(topic)})"
