"""Elements of a page, scales and axes: what every chart is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement

COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#475569", "#b45309")
WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 60

Point = tuple[float, float]


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def add(parent: Element, tag: str, text: str = "", **attributes: object) -> Element:
    """A child element. ``class_`` is class; ``_`` in names is ``-``; floats are cut to two places."""
    made = SubElement(parent, tag, {name.rstrip("_").replace("_", "-"): _written(v) for name, v in attributes.items()})
    if text:
        made.text = clean(text)
    return made


def clean(text: str) -> str:
    """Without the characters that no page may hold."""
    return "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _written(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else clean(str(value))


def drawing(parent: Element, width: int = WIDTH, height: int = HEIGHT) -> Element:
    """An empty drawing that fills the width of the page."""
    return add(
        parent, "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img", class_="chart"
    )


def text(parent: Element, at: Point, shown: str, anchor: str = "middle", **more: object) -> Element:
    return add(parent, "text", shown, x=float(at[0]), y=float(at[1]), text_anchor=anchor, **more)


def hint(element: Element, shown: str) -> None:
    """What a browser shows while the pointer rests on the element."""
    add(element, "title", shown)


def legend(parent: Element, names: Sequence[str]) -> None:
    """Names beside their colours, in a list below the chart."""
    made = add(parent, "ul", class_="legend")
    for number, name in enumerate(names):
        item = add(made, "li")
        add(item, "span", class_="key", style=f"background:{colour(number)}")
        add(item, "span", name)


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places on the drawing."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        return self.begin + (self.end - self.begin) * ((value - self.low) / span if span else 0.5)


def span_of(values: Sequence[float], *, zero: bool = False) -> tuple[float, float]:
    """Lowest and highest, apart from each other; ``zero`` is inside."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        margin = abs(low) / 10 or 1.0
        return low - (0 if zero and low == 0 else margin), high + margin
    return low, high


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between two values."""
    raw = (high - low) / about
    if not raw > 0 or not math.isfinite(raw):
        return [low]
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next((unit * n for n in (1, 2, 2.5, 5) if unit * n >= raw), unit * 10)
    first = math.ceil(low / step)
    found = [(first + n) * step for n in range(about * 3)]
    return [value for value in found if value <= high + step * 1e-9]


def shown_number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.4g}" if not 1e4 <= abs(value) < 1e15 else f"{value:,.0f}"


def time_label(seconds: float, span_seconds: float) -> str:
    """A time as short as the span allows."""
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return shown_number(seconds)
    if span_seconds > 3 * 86400:
        return when.strftime("%Y-%m-%d")
    return when.strftime("%m-%d %H:%M" if span_seconds > 600 else "%H:%M:%S")


def value_axis(parent: Element, scale: Scale, *, right: bool = False, tint: str = "") -> None:
    """Lines across the drawing with their values at the left, or values at the right."""
    more = {"fill": tint} if tint else {}
    for value in ticks(scale.low, scale.high):
        y = scale(value)
        if not right:
            add(parent, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        at = (WIDTH - RIGHT + 4 if right else LEFT - 8, y + 4)
        text(parent, at, shown_number(value), "start" if right else "end", **more)


def number_axis(parent: Element, scale: Scale, title: str = "") -> None:
    """Values below the drawing."""
    for value in ticks(scale.low, scale.high, 8):
        text(parent, (scale(value), HEIGHT - BOTTOM + 20), shown_number(value))
    text(parent, ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8), title)


def time_axis(parent: Element, scale: Scale) -> None:
    """Times below the drawing."""
    for n in range(7):
        value = scale.low + (scale.high - scale.low) * n / 6
        text(parent, (scale(value), HEIGHT - BOTTOM + 20), time_label(value, scale.high - scale.low))


def name_axis(parent: Element, names: Sequence[str], scale: Scale) -> None:
    """Names of places below the drawing; of many every n-th."""
    every = max(-(-len(names) // 12), 1)
    for at in range(0, len(names), every):
        shown = names[at] if len(names[at]) <= 14 else names[at][:13] + "…"
        hint(text(parent, (scale(at), HEIGHT - BOTTOM + 20), shown), names[at])
