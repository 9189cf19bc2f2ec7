"""What Grafana sends: the body of a request, checked. Source: REST API, section 14."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from edgelake.errors import RequestError, error

LONGEST_BODY: Final = 1 << 20
MOST_TARGETS: Final = 50
MOST_POINTS: Final = 100_000
DEFAULT_POINTS: Final = 1000
KINDS: Final = ("increments", "period", "sql", "info", "aggregations", "map")
_NO_ZONE: Final = frozenset({"", "browser", "default"})
_NAME: Final = re.compile(r"[A-Za-z_][\w\-]{0,127}")


@dataclass(frozen=True, slots=True)
class Range:
    """The time range of a dashboard, both ends included."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel.

    Attributes:
        name: ``dbms.table``, as it was chosen.
        form: ``timeseries``, ``table``; "" = not said.
        payload: what the panel's author wrote; None = nothing came.
    """

    name: str
    form: str
    payload: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Panel:
    """One request for data.

    Attributes:
        zone: of the dashboard; UTC when that is the browser's, which the node does not know.
    """

    range: Range | None
    interval_ms: int
    points: int
    zone: str
    targets: tuple[Target, ...] = field(default_factory=tuple)


def read_body(body: bytes) -> dict[str, Any]:
    """The object of a body; an empty one has nothing. Raises RequestError."""
    if len(body) > LONGEST_BODY:
        raise RequestError(f"the request of a panel has at most {LONGEST_BODY:,} bytes")
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise RequestError(f"the body is no JSON object: {problem}") from None


def read_panel(body: Mapping[str, Any]) -> Panel:
    """The body of ``/query``. Raises RequestError."""
    targets = body.get("targets")
    if not isinstance(targets, list) or not all(isinstance(one, dict) for one in targets):
        raise RequestError("'targets' is a list of objects")
    if len(targets) > MOST_TARGETS:
        raise RequestError(f"a panel has at most {MOST_TARGETS} targets")
    shown = tuple(_target(one) for one in targets if one.get("hide") is not True)
    zone = body.get("timezone")
    return Panel(
        _range(body.get("range")),
        _whole(body.get("intervalMs"), "intervalMs", 1000),
        min(_whole(body.get("maxDataPoints"), "maxDataPoints", DEFAULT_POINTS), MOST_POINTS),
        "utc" if not isinstance(zone, str) or zone.lower() in _NO_ZONE else zone,
        shown,
    )


def _target(one: Mapping[str, Any]) -> Target:
    name, form = one.get("target") or "", one.get("type") or ""
    if not isinstance(name, str) or not isinstance(form, str):
        raise RequestError("'target' and 'type' of a target are texts")
    given = one["payload"] if one.get("payload") is not None else one.get("data")
    return Target(name.strip(), form.strip().lower().replace("_", ""), _payload(given))


def _payload(given: Any) -> Mapping[str, Any] | None:
    """Plug-ins send an object, or the text that the author wrote. Raises RequestError."""
    if isinstance(given, str):
        if not given.strip():
            return {}
        try:
            given = msgspec.json.decode(given)
        except (msgspec.DecodeError, RecursionError) as problem:
            raise RequestError(f"the payload is no JSON: {problem}") from None
    if given is not None and not isinstance(given, dict):
        raise RequestError("the payload is an object")
    return given


def _range(given: Any) -> Range | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise RequestError("'range' is an object with 'from' and 'to'")
    start, end = _time(given.get("from"), "from"), _time(given.get("to"), "to")
    if end < start:
        raise RequestError("'range': 'to' is before 'from'")
    return Range(start, end)


def _time(given: Any, what: str) -> datetime:
    """ISO 8601 in UTC, or Unix milliseconds."""
    try:
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return datetime.fromtimestamp(given / 1000, UTC)
        found = datetime.fromisoformat(given)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise RequestError(f"'range': '{what}' is no time: {str(given)[:60]}") from None


def _whole(given: Any, what: str, default: int) -> int:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < 1 << 53:
        raise RequestError(f"'{what}' is a number")
    return int(given) or default


class Payload:
    """A payload with the meanings of its keys. What is wrong raises RequestError."""

    def __init__(self, target: Target) -> None:
        if target.payload is None:
            raise error(244, hint='write a payload, at least {}; for example {"type": "increments"}')
        self._values = {str(key).lower(): value for key, value in target.payload.items()}
        self._grafana = self._values.get("grafana") if isinstance(self._values.get("grafana"), dict) else {}
        dbms, _, table = target.name.partition(".")
        self.dbms = (self.text("dbms") or (dbms if table else "")).lower()
        self.table = (self.text("table") or table or dbms).lower()
        for name in (self.dbms, self.table):
            if name and not _NAME.fullmatch(name):
                raise RequestError(f"'{name[:60]}' is no name of a database or table")

    @property
    def kind(self) -> str:
        """``sql`` when there is a statement, else increments, unless the payload says."""
        kind = self.text("type").lower() or ("sql" if self.text("sql") else "increments")
        if kind not in KINDS:
            raise RequestError(f"'type': '{kind[:60]}'", hint=f"one of {', '.join(KINDS)}")
        return kind

    @property
    def is_said(self) -> bool:
        """Whether the author chose what to ask for."""
        return bool(self.text("type") or self.text("sql"))

    def text(self, key: str) -> str:
        value = self._values.get(key)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise RequestError(f"'{key}' is a text")
        text = str(value).strip()
        if "\0" in text:
            raise RequestError(f"'{key}' holds a zero")
        return text

    def texts(self, key: str) -> list[str]:
        """A text, or a list of texts."""
        value = self._values.get(key)
        if isinstance(value, list):
            if not all(isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in value):
                raise RequestError(f"'{key}' is a text or a list of texts")
            return [str(one).strip() for one in value if str(one).strip()]
        return [one.strip() for one in self.text(key).split(",") if one.strip()]

    def has(self, key: str) -> bool:
        return self._values.get(key) is not None

    def flag(self, key: str, default: bool) -> bool:
        value = self._values.get(key)
        shown = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
        if value is None:
            return default
        if not isinstance(shown, bool):
            raise RequestError(f"'{key}' is true or false")
        return shown

    def limit(self) -> int | None:
        value = self.text("limit")
        if not value:
            return None
        if not (value.isascii() and value.isdigit() and int(value[:10]) > 0 and len(value) < 10):
            raise RequestError("'limit' is a number of rows")
        return int(value)

    def shown(self, key: str) -> str:
        """A key of presentation: in the object ``grafana``, or written ``grafana.<key>``."""
        assert isinstance(self._grafana, dict)
        value = self._grafana.get(key, self._values.get(f"grafana.{key}"))
        return "" if value is None or isinstance(value, (dict, list)) else str(value).strip().lower()

    def form(self) -> str:
        """``timeseries``, ``table``, or "" when the author leaves it to the panel."""
        form = self.shown("format_as").replace("_", "").replace(" ", "")
        if form not in ("", "table", "timeseries"):
            raise RequestError(f"'grafana.format_as': '{form[:60]}'", hint="timeseries or table")
        return form

    def points(self) -> int | None:
        """``grafana.data_points`` as a number. None: the interval is as it is written (``fixed``), or nothing is."""
        text = self.shown("data_points")
        if text in ("", "fixed"):
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 7 and 0 < int(text) <= MOST_POINTS):
            raise RequestError("'grafana.data_points' is 'fixed' or a number", hint=f"up to {MOST_POINTS:,}")
        return int(text)
