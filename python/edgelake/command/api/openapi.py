"""``/openapi.json`` and its page: made of the table of routes, so that neither says what the node does not do."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Final

from edgelake.command.api.routes import Parameter, Route
from edgelake.net.rest.api import PROBLEM_TYPE
from edgelake.net.rest.replies import JSON_TYPE

_ERROR: Final = {"$ref": "#/components/schemas/Error"}
_FAILURES: Final = {
    400: "Something is wrong with the request",
    401: "A name is needed, or the one that was sent is wrong",
    403: "The caller lacks a command class",
    404: "There is no such thing",
    405: "The path takes other methods",
    408: "The client was silent in the middle of its request",
    413: "Too much at once",
    415: "A content type or encoding that is not taken",
    422: "An Idempotency-Key of other rows",
    429: "Too many failed logins, wait for Retry-After seconds",
    500: "A fault of the node",
    501: "Not part of this node",
    502: "Another node could not be reached",
    503: "Overloaded, not ready, or being stopped: send again",
    504: "It took too long",
    507: "The disk is full",
}

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>EdgeLake API</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
body{{color:#222;background:#fff}}
code,pre{{font:14px/1.4 ui-monospace,monospace}} h2{{margin-top:2rem;border-top:1px solid #8888;padding-top:1rem}}
table{{border-collapse:collapse;width:100%}} td,th{{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #8884}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}a{{color:#8bf}}}}</style></head>
<body><h1>EdgeLake API</h1><p>Version {version}. The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>
{routes}</body></html>
"""
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "EdgeLake", "version": version, "summary": "A data node for the edge"},
        "paths": paths,
        "components": {
            "schemas": {"Error": _error_schema()},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"basic": []}, {"bearer": []}],
    }


def _operation(route: Route) -> dict[str, Any]:
    in_path = set(route.in_path())
    is_body = route.method == "POST" and not route.body
    made: dict[str, Any] = {"operationId": route.name, "summary": route.about, "responses": _responses(route)}
    parameters = [_parameter(p, "path" if p.name in in_path else "query") for p in route.parameters if not is_body]
    parameters += [_parameter(p, "path") for p in route.parameters if is_body and p.name in in_path]
    parameters += [_parameter(p, "header") for p in route.headers]
    if parameters:
        made["parameters"] = parameters
    if is_body:
        own = [p for p in route.parameters if p.name not in in_path]
        schema = {
            "type": "object",
            "properties": {p.name: _schema(p, may_be_null=not p.required) for p in own},
            "required": [p.name for p in own if p.required],
            "additionalProperties": False,
        }
        is_needed = any(p.required for p in own)
        made["requestBody"] = {"required": is_needed, "content": {JSON_TYPE: {"schema": schema}}}
    elif route.body:
        made["requestBody"] = {"required": True, "content": {kind: {"schema": {}} for kind in route.body}}
    if route.cls is not None:
        made["description"] = f"Needs the command class `{route.cls}`."
    else:
        made["security"] = [{}]
    return made


def _responses(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {
        str(status): {"description": about, "content": {kind: {"schema": {}} for kind in kinds}}
        for status, (about, kinds) in route.answers.items()
    }
    for status, about in _FAILURES.items():
        found.setdefault(str(status), {"description": about, "content": {PROBLEM_TYPE: {"schema": _ERROR}}})
    return found


def _parameter(one: Parameter, where: str) -> dict[str, Any]:
    required = one.required or where == "path"
    return {"name": one.name, "in": where, "required": required, "description": one.about, "schema": _schema(one)}


def _schema(one: Parameter, *, may_be_null: bool = False) -> dict[str, Any]:
    kind = [one.kind, "null"] if may_be_null else one.kind
    found: dict[str, Any] = {"type": kind, "description": one.about}
    if one.choices:
        found["enum"] = [*one.choices, *([None] if may_be_null else [])]
    elif one.required and one.kind == "string":
        found["minLength"] = 1
    if one.kind == "integer":
        found |= {"minimum": one.least, "maximum": one.most}
    if one.default is not None:
        found["default"] = one.default
    if one.example is not None:
        found["examples"] = [one.example]
    return found


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    fields: dict[str, Any] = dict.fromkeys(("title", "code", "detail", "hint"), text)
    fields |= {"status": {"type": "integer"}, "where": {"type": "object"}}
    return {"type": "object", "properties": fields, "required": ["title", "status", "code"]}


def page(routes: Sequence[Route], version: str) -> str:
    """The same for people; it asks for nothing from elsewhere and runs no script."""
    parts = []
    for route in routes:
        rows = "".join(
            f"<tr><td><code>{html.escape(p.name)}</code></td><td>{p.kind}{', required' if p.required else ''}</td>"
            f"<td>{html.escape(p.about)}</td></tr>"
            for p in (*route.parameters, *route.headers)
        )
        needs = f"Needs <code>{route.cls}</code>." if route.cls else "Needs no name."
        table = f"<table><tr><th>Name</th><th>Type</th><th>Meaning</th></tr>{rows}</table>" if rows else ""
        title = f"{route.method} <code>{html.escape(route.path)}</code>"
        parts.append(f"<h2>{title}</h2><p>{html.escape(route.about)} {needs}</p>{table}")
    return _PAGE.format(version=html.escape(version), routes="\n".join(parts))
