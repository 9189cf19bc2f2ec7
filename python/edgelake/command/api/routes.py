"""What a route is, and the way from a request to its handler."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from edgelake.command.context import Context
from edgelake.errors import NotPermittedError, RequestError
from edgelake.model import CommandClass
from edgelake.net.rest.api import ApiReply, ApiRequest
from edgelake.net.rest.replies import JSON_TYPE

Kind = Literal["string", "integer", "boolean"]
_IN_PATH = re.compile(r"\{(\w+)\}")
LONGEST_VALUE = 1 << 20


class NoRouteError(RequestError):
    """No route has that path."""

    code = "api.no_route"
    text = "There is nothing at this path"
    http_status = 404


class WrongMethodError(RequestError):
    """The route has other methods."""

    code = "api.wrong_method"
    text = "This path does not take this method"
    http_status = 405


class ParameterError(RequestError):
    """A parameter is missing, unknown, or not what it should be."""

    code = "api.parameter"
    text = "A parameter is wrong"


class ContentTypeError(RequestError):
    """A body is of a type that is not taken."""

    code = "api.content_type"
    text = "The body has another type than the one that is taken"
    http_status = 415


class Parameter(Struct, frozen=True):
    """One value of the path, the query, or (with POST) the JSON body."""

    name: str
    about: str
    kind: Kind = "string"
    required: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    example: Any = None
    least: int = 1
    most: int = 1_000_000


class Call(Struct, frozen=True):
    """What a handler gets: checked values."""

    ctx: Context
    request: ApiRequest
    values: Mapping[str, Any]


Handler = Callable[[Call], Awaitable[ApiReply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Attributes:
        cls: command class that the caller needs; None = nobody is asked for a name.
        body: media types of a body that is not the parameters.
        answers: status -> (about, media types).
    """

    method: Literal["GET", "POST"]
    path: str
    about: str
    handler: Handler
    cls: CommandClass | None
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    body: tuple[str, ...] = ()
    answers: Mapping[int, tuple[str, tuple[str, ...]]] = field(default_factory=lambda: {200: ("Done", (JSON_TYPE,))})

    @property
    def name(self) -> str:
        """Unique among the routes."""
        words = re.sub(r"[{}/.]+", " ", self.path.removeprefix("/v1")).split()
        return "_".join([self.method.lower(), *words])

    def in_path(self) -> Sequence[str]:
        return _IN_PATH.findall(self.path)


_LOOKED_UP: Final = frozenset(
    {"/v1/sql", "/v1/query", "/v1/cancel", "/v1/explain", "/v1/command", "/v1/data/{dbms}/{table}"}
)
"""Routes that look up by themselves what policies permit."""


class Router:
    """Finds the route of a request, checks its parameters and the caller, and has it answered."""

    def __init__(self, ctx: Context, routes: Sequence[Route]) -> None:
        self._ctx = ctx
        self.routes = routes
        self._patterns = [
            (re.compile(_IN_PATH.sub(r"(?P<\1>[^/]+)", re.escape(r.path).replace(r"\{", "{").replace(r"\}", "}"))), r)
            for r in routes
        ]

    async def __call__(self, request: ApiRequest) -> ApiReply:
        """Raises EdgeLakeError."""
        route, in_path = self._find(request)
        ctx = self._ctx
        if route.cls is not None:
            caller = request.find_caller()
            if route.cls not in caller.classes:
                raise NotPermittedError(f"{route.method} {route.path} needs the command class '{route.cls}'")
            ctx = ctx.for_caller(caller)
        given: dict[str, Any] = {**request.query}
        if route.method == "POST" and not route.body:
            given |= _object(request.headers.get("content-type") or "", await request.body.whole())
        values = checked(route.parameters, {**given, **in_path})
        for parameter in route.headers:
            if (text := request.headers.get(parameter.name.lower())) is not None:
                values[parameter.name] = _value(parameter, text)
        if route.cls is not None and (rights := ctx.caller.rights) is not None and route.path not in _LOOKED_UP:
            rights.check("get", str(values.get("dbms") or ""), str(values.get("table") or ""))
        return await route.handler(Call(ctx, request, values))

    def _find(self, request: ApiRequest) -> tuple[Route, dict[str, str]]:
        others: list[str] = []
        method = "GET" if request.method == "HEAD" else request.method
        for pattern, route in self._patterns:
            if (found := pattern.fullmatch(request.path)) is None:
                continue
            if route.method == method:
                return route, found.groupdict()
            others.append(route.method)
        if others:
            raise WrongMethodError(f"{request.path} takes {', '.join(others)}", allow=", ".join(others))
        raise NoRouteError(request.path[:200], hint="/openapi.json lists what there is")


def _object(kind: str, body: bytes) -> dict[str, Any]:
    """The parameters in a body. A form of another site cannot send this type, a script there has to ask before."""
    if not body.strip():
        return {}
    if kind.partition(";")[0].strip().lower() != JSON_TYPE:
        raise ContentTypeError(f"Content-Type: {kind[:100] or 'none'}", hint=JSON_TYPE)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ParameterError(f"the body is no JSON object: {problem}") from None


def checked(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the defaults. Raises ParameterError."""
    known = {parameter.name: parameter for parameter in parameters}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ParameterError(f"'{unknown[0][:100]}' is unknown", hint=f"known: {', '.join(known) or 'none'}")
    values: dict[str, Any] = {}
    for name, parameter in known.items():
        if name in given and given[name] is not None:
            values[name] = _value(parameter, given[name])
        elif parameter.required:
            raise ParameterError(f"'{name}' is missing: {parameter.about}")
        else:
            values[name] = parameter.default
    return values


def _value(parameter: Parameter, given: Any) -> Any:
    name, kind = parameter.name, parameter.kind
    if kind == "integer":
        try:
            number = int(given) if isinstance(given, str) and given.isascii() and len(given) < 20 else given
        except ValueError:
            number = None
        if isinstance(number, bool) or not isinstance(number, int) or not parameter.least <= number <= parameter.most:
            raise ParameterError(f"'{name}' is a number from {parameter.least} to {parameter.most}")
        return number
    if kind == "boolean":
        found = {"true": True, "false": False}.get(given, given) if isinstance(given, str) else given
        if not isinstance(found, bool):
            raise ParameterError(f"'{name}' is true or false")
        return found
    if not isinstance(given, str) or len(given) > LONGEST_VALUE or "\0" in given:
        raise ParameterError(f"'{name}' is a text")
    if parameter.required and not given.strip():
        raise ParameterError(f"'{name}' is empty: {parameter.about}")
    if parameter.choices and given not in parameter.choices:
        raise ParameterError(f"'{name}' is one of: {', '.join(parameter.choices)}")
    return given


def json_reply(data: Any) -> ApiReply:
    """Data as JSON."""
    return ApiReply(msgspec.json.encode(data, enc_hook=str))
