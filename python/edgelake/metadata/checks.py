"""Checks of a policy where it is made (spec: metadata, section 4)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.metadata.image import Image

Body = dict[str, Any]
Special = Callable[[Body, Image], None]


class Rule(Struct, frozen=True):
    """What the policies of one type must hold.

    Attributes:
        required, typed: attribute -> type ("text", "int", "bool", "list", "object"); typed ones may be absent.
        defaults: set when absent.
        unique: groups of attributes whose values no other policy of the type may have together.
    """

    required: dict[str, str]
    typed: dict[str, str]
    defaults: dict[str, Any]
    unique: tuple[tuple[str, ...], ...]
    special: Special | None = None


_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "int": (int,),
    "bool": (bool,),
    "list": (list,),
    "object": (dict,),
    "any": (object,),
}


def _words(spec: str) -> dict[str, str]:
    """``name:text port:int`` as a mapping; text is the default type."""
    return {w.partition(":")[0]: w.partition(":")[2] or "text" for w in spec.split()}


def _rule(
    required: str = "", typed: str = "", unique: str = "", special: Special | None = None, **defaults: Any
) -> Rule:
    groups = tuple(tuple(g.split("+")) for g in unique.split())
    return Rule(_words(required), _words(typed), defaults, groups, special)


def completed(policy: Policy, image: Image) -> Policy:
    """The checked policy, with the defaults of its type behind its other attributes (``ledger`` stays last).

    Raises EdgeLakeError: 263 attribute, 180 not unique, 149 address in use, 222 cluster, 118 parent, 87 structure.
    """
    kind, body = type_of(policy), dict(body_of(policy))
    rule = _RULES.get(kind)
    if rule is None:
        return {kind: body}
    _check_types(kind, body, rule)
    for key, value in rule.defaults.items():
        body.setdefault(key, value)
    _check_unique(kind, body, rule, image)
    if rule.special is not None:
        rule.special(body, image)
    if "ledger" in body:
        body["ledger"] = body.pop("ledger")
    return {kind: body}


def check_unique(policy: Policy, image: Image) -> None:
    """What a master checks of a policy that was made elsewhere: that no other one has what must be unique.

    Raises EdgeLakeError: 180 not unique, 149 address in use.
    """
    kind, body = type_of(policy), body_of(policy)
    rule = _RULES.get(kind)
    if rule is None:
        return
    _check_unique(kind, body, rule, image)
    if kind == "cluster" and "parent" not in body:
        _check_root(body, image)
    if kind == "operator" and body.get("member") in _members(body, image):
        raise _taken(body)


def _check_types(kind: str, body: Body, rule: Rule) -> None:
    for key in rule.required:
        if key not in body or body[key] == "" or body[key] is None:
            raise error(263, f"'{kind}' policy without the attribute '{key}'", attribute=key)
    for key, wanted in (rule.required | rule.typed).items():
        if key in body and not _is(body[key], wanted):
            raise error(263, f"'{key}' of a '{kind}' policy must be {wanted}, not {body[key]!r}", attribute=key)


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, str) and value.startswith("!"):
        return True  # a reference that is resolved when the policy is applied
    return isinstance(value, _TYPES[wanted]) and (wanted != "int" or not isinstance(value, bool))


def _check_unique(kind: str, body: Body, rule: Rule, image: Image) -> None:
    for group in rule.unique:
        if not all(key in body for key in group):
            continue
        for other in _same(kind, body, group, image):
            if id_of(other) != str(body.get("id", "")):
                number = 149 if group == ("ip", "port") else 180
                shown = ", ".join(f"{key} = {body[key]}" for key in group)
                raise error(number, f"the '{kind}' policy {id_of(other)} has {shown}", policy=id_of(other))


def _same(kind: str, body: Body, group: tuple[str, ...], image: Image) -> list[Policy]:
    found = image.find(*group, values=[body[k] for k in group])
    return [p for p in found if type_of(p) == kind and all(body_of(p).get(k) == body[k] for k in group)]


def _check_cluster(body: Body, image: Image) -> None:
    seen = set()
    if "table" in body:
        body["table"] = [dict(e) if isinstance(e, dict) else e for e in body["table"]]
    for entry in body.get("table", ()):
        if not isinstance(entry, dict) or not entry.get("dbms") or not entry.get("name"):
            raise error(263, f"an entry of 'table' needs dbms and name: {entry!r}", attribute="table")
        entry.setdefault("status", "active")
        place = (str(entry["dbms"]), str(entry["name"]))
        if place in seen:
            raise error(180, f"the table {place[0]}.{place[1]} stands twice in the cluster policy")
        seen.add(place)
    parent = body.get("parent")
    if parent is None:
        _check_root(body, image)
        return
    known = image.get(str(parent))
    if known is None or type_of(known) != "cluster" or body_of(known).get("name") != body["name"]:
        raise error(118, f"no cluster policy with id = {parent} and name = {body['name']}")
    if body_of(known).get("company") != body["company"]:
        raise error(87, f"company {body['company']} differs from the parent's {body_of(known).get('company')}")


def _check_root(body: Body, image: Image) -> None:
    for other in image.find("name", value=body.get("name")):
        root = type_of(other) == "cluster" and "parent" not in body_of(other)
        if root and body_of(other).get("name") == body.get("name") and id_of(other) != str(body.get("id", "")):
            raise error(180, f"the cluster policy {id_of(other)} has name = {body['name']}", policy=id_of(other))


def _members(body: Body, image: Image) -> set[Any]:
    """Numbers of the other members of an operator's cluster."""
    return {
        body_of(p).get("member")
        for p in image.find("cluster", value=body.get("cluster"))
        if type_of(p) == "operator"
        and id_of(p) != str(body.get("id", ""))
        and body_of(p).get("cluster") == body.get("cluster")
    } - {None}


def _taken(body: Body) -> EdgeLakeError:
    return error(180, f"the cluster {body.get('cluster')} has a member {body.get('member')}")


def _check_operator(body: Body, image: Image) -> None:
    known = image.get(str(body["cluster"]))
    if known is None or type_of(known) != "cluster":
        raise error(222, f"no cluster policy with id = {body['cluster']}", hint="insert the cluster policy first")
    taken = _members(body, image)
    if "member" not in body:
        free = [n for n in range(1, 256) if n not in taken]
        if not free:
            raise error(180, f"the cluster {body['cluster']} has 255 members")
        body["member"] = random.choice(free)
    elif body["member"] in taken:
        raise _taken(body)


def _check_mapping(body: Body, image: Image) -> None:
    if "." in str(body.get("id", "")):
        raise error(87, "the id of a mapping policy must not hold a dot: it becomes part of file names")
    for name, column in body["schema"].items():
        if name.startswith("__") and name.endswith("__"):
            continue
        definitions = column if isinstance(column, list) else [column]
        for definition in definitions:
            if not isinstance(definition, dict) or not isinstance(definition.get("type"), str):
                raise error(263, f"the column '{name}' of the schema needs a type", attribute=name)
            if not isinstance(definition.get("bring", ""), str | list):
                raise error(263, f"'bring' of the column '{name}' must be text or a list", attribute=name)
    imported = body.get("import", {})
    for policy_id in imported.values() if isinstance(imported, dict) else ():
        if image.get(str(policy_id)) is None:
            raise error(222, f"the imported policy {policy_id} is missing")


def _check_member(body: Body, image: Image) -> None:
    if body["type"] not in ("root", "node", "user", "certificate"):
        raise error(263, f"type '{body['type']}' of a member is not root, node, user or certificate", attribute="type")
    if body["type"] == "root" and any(
        body_of(p).get("type") == "root" and id_of(p) != str(body.get("id", "")) for p in image.of_type("member")
    ):
        raise error(180, "there is a root member already")


def _check_tag(body: Body, image: Image) -> None:
    if "node_iid" not in body and "node_sid" not in body:
        raise error(263, "a 'tag' policy needs node_iid or node_sid", attribute="node_iid")


def _check_uns(body: Body, image: Image) -> None:
    parent = body.get("parent")
    if parent is not None and image.get(str(parent)) is None:
        raise error(118, f"no policy with id = {parent}")


_RULES: dict[str, Rule] = {
    "cluster": _rule("name company", "status table:list", special=_check_cluster, status="active"),
    "operator": _rule(
        "company name ip port:int cluster",
        "member:int main:bool",
        "ip+port name",  # the name alone covers (company, name)
        _check_operator,
    ),
    "table": _rule("name dbms", "create", "dbms+name"),
    "mapping": _rule("dbms table schema:object", special=_check_mapping),
    "transform": _rule("dbms table column"),
    "member": _rule("type public_key", unique="public_key", special=_check_member),
    "permissions": _rule(
        "name enable:list public_key signature", "disable:list databases:list tables:list", unique="name"
    ),
    "assignment": _rule("permissions members:list public_key signature"),
    "bucket": _rule("name operator", unique="name"),
    "tag": _rule("dbms table ns:int", unique="dbms+table dbms+table+node_iid dbms+table+node_sid", special=_check_tag),
    "uns": _rule("name namespace", unique="namespace dbms+table+name", special=_check_uns),
    "license": _rule("activation_key company expiration type", unique="activation_key company expiration type"),
}
