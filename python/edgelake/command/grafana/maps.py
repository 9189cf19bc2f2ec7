"""Policies on a map: where members of the network are, with a name and a number each."""

from __future__ import annotations

import math
from typing import Any, Final

from edgelake.command.context import Context
from edgelake.command.grafana.requests import Payload
from edgelake.command.grafana.results import Result
from edgelake.errors import RequestError

_NAME: Final = "name"
_PLACES: Final = (("loc",), ("location",), ("latitude", "longitude"), ("lat", "lon"), ("lat", "long"))


def members(ctx: Context, payload: Payload) -> Result:
    """Rows of latitude, longitude, name and metric; policies without a place are left out. Raises RequestError.

    ``member``: types of policies. ``attribute``, ``metric``: what names one, and its number (the name of an attribute,
    or a number), one for all types or one for each.
    """
    types = payload.texts("member") or ["operator"]
    attributes = _for_each(payload.texts("attribute") or [_NAME], types, "attribute")
    metrics = _for_each(payload.texts("metric") or [str(n) for n in range(len(types))], types, "metric")
    rows = []
    for kind, attribute, metric in zip(types, attributes, metrics, strict=True):
        for policy in ctx.policies.of_type(kind.lower()):
            body = policy[kind.lower()]
            if (place := _place(body)) is not None:
                rows.append([*place, str(body.get(attribute, "")), _number(body, metric), kind.lower()])
    titles = ["latitude", "longitude", "name", "metric", "member"]
    return Result(titles, ["number", "number", "string", "number", "string"], rows)


def _for_each(given: list[str], types: list[str], key: str) -> list[str]:
    if len(given) == 1:
        return given * len(types)
    if len(given) != len(types):
        raise RequestError(f"'{key}' has {len(given)} values, 'member' {len(types)}")
    return given


def _place(body: dict[str, Any]) -> tuple[float, float] | None:
    for keys in _PLACES:
        values: Any = [body.get(key) for key in keys]
        if any(one is None for one in values):
            continue
        if len(keys) == 1:  # "37.4, -122.2", or a list
            values = values[0].split(",") if isinstance(values[0], str) else values[0]
        try:
            latitude, longitude = (float(one) for one in values)
        except (TypeError, ValueError):
            return None
        if math.isfinite(latitude) and math.isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180:
            return latitude, longitude
        return None
    return None


def _number(body: dict[str, Any], metric: str) -> float | None:
    value = body.get(metric, metric)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return (int(number) if number == int(number) else number) if math.isfinite(number) else None
