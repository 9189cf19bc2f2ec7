"""Charts without a value axis: pie, doughnut, polar area, radar, gauge, lamps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from edgelake.errors import CommandError
from edgelake.net.rest.pages.grid import Grid, cell, chartable, number
from edgelake.net.rest.pages.lines import nothing_to_draw
from edgelake.net.rest.pages.svg import Point, add, colour, drawing, hint, legend, shown_number, span_of, text, ticks

SIZE = 480
CENTRE = SIZE / 2
RADIUS = 200.0
MAX_SLICES = 60
MAX_GAUGES = 24
MAX_LAMPS = 500
_ON = frozenset({"1", "true", "on", "yes", "up", "running", "open"})


def _at(angle: float, radius: float) -> Point:
    """Point of a circle around the middle; 0 = top, in turns, clockwise."""
    return CENTRE + radius * math.sin(angle * math.tau), CENTRE - radius * math.cos(angle * math.tau)


def _slice(begin: float, end: float, radius: float, inner: float = 0.0) -> str:
    """Path of a piece of a ring; a whole turn is cut short by nothing that shows."""
    end = min(end, begin + 0.99999)
    large = int(end - begin > 0.5)
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = (
        _at(begin, radius),
        _at(end, radius),
        _at(end, inner),
        _at(begin, inner),
    )
    back = f"A{inner:.2f} {inner:.2f} 0 {large} 0 {dx:.2f} {dy:.2f}" if inner else ""
    return f"M{ax:.2f} {ay:.2f}A{radius:.2f} {radius:.2f} 0 {large} 1 {bx:.2f} {by:.2f}L{cx:.2f} {cy:.2f}{back}Z"


def _shares(grid: Grid) -> tuple[list[str], list[float]]:
    """Names and values: a row each with its first number, or of a single row its columns."""
    data = chartable(grid)
    if len(grid.rows) == 1 and len(data.series) > 1:
        pairs = [(one.name, one.values[0]) for one in data.series]
    else:
        pairs = list(zip(data.labels, data.series[0].values, strict=True)) if data.series else []
    kept = [(name, value) for name, value in pairs if value is not None and value > 0]
    if not kept:
        raise nothing_to_draw()
    if len(kept) > MAX_SLICES:
        kept.sort(key=lambda pair: -pair[1])
        kept = [*kept[: MAX_SLICES - 1], ("others", math.fsum(value for _, value in kept[MAX_SLICES - 1 :]))]
    return [name for name, _ in kept], [value for _, value in kept]


def pie(parent: Element, grid: Grid) -> None:
    _ring(parent, grid, 0.0)


def doughnut(parent: Element, grid: Grid) -> None:
    _ring(parent, grid, RADIUS * 0.55)


def _ring(parent: Element, grid: Grid, inner: float) -> None:
    names, values = _shares(grid)
    largest = max(values)
    parts = [value / largest for value in values]  # their sum stays finite
    total = math.fsum(parts)
    canvas = drawing(parent, SIZE, SIZE)
    begin = 0.0
    for n, part in enumerate(parts):
        end = begin + part / total
        made = add(canvas, "path", d=_slice(begin, end, RADIUS, inner), fill=colour(n), stroke="#fff")
        hint(made, f"{names[n]}: {shown_number(values[n])} ({100 * part / total:.1f} %)")
        begin = end
    legend(parent, [f"{name}: {shown_number(value)}" for name, value in zip(names, values, strict=True)])


def polararea(parent: Element, grid: Grid) -> None:
    """Equal angles; the length shows the value."""
    names, values = _shares(grid)
    largest = max(values)
    canvas = drawing(parent, SIZE, SIZE)
    for n, value in enumerate(values):
        drawn = _slice(n / len(values), (n + 1) / len(values), RADIUS * value / largest)
        made = add(canvas, "path", d=drawn, fill=colour(n), fill_opacity="0.7", stroke="#fff")
        hint(made, f"{names[n]}: {shown_number(value)}")
    _rings(canvas, 0.0, largest)
    legend(parent, [f"{name}: {shown_number(value)}" for name, value in zip(names, values, strict=True)])


def _rings(canvas: Element, low: float, high: float) -> None:
    for value in ticks(low, high, 4):
        radius = RADIUS * (value - low) / (high - low)
        if radius > 0:
            add(canvas, "circle", cx=CENTRE, cy=CENTRE, r=radius, fill="none", class_="grid")
            text(canvas, (CENTRE + 4, CENTRE - radius - 2), shown_number(value), "start")


def radar(parent: Element, grid: Grid) -> None:
    """A spoke for each row and a line for each column; of a single row a spoke for each column."""
    data = chartable(grid)
    names, series = data.labels, [(one.name, one.values) for one in data.series]
    if len(grid.rows) == 1 and len(data.series) > 1:
        names = [one.name for one in data.series]
        series = [(data.labels[0], [one.values[0] for one in data.series])]
    values = [value for _, line in series for value in line if value is not None]
    if not values:
        raise nothing_to_draw()
    if not 3 <= len(names) <= MAX_SLICES:
        raise CommandError(
            f"A radar chart has 3 to {MAX_SLICES} spokes, not {len(names)}", hint="group, or add a limit"
        )
    low, high = span_of(values, zero=True)
    canvas = drawing(parent, SIZE, SIZE)
    _rings(canvas, low, high)
    for n, name in enumerate(names):
        (x, y), label = _at(n / len(names), RADIUS), _at(n / len(names), RADIUS + 18)
        add(canvas, "line", x1=CENTRE, y1=CENTRE, x2=x, y2=y, class_="grid")
        hint(text(canvas, label, name if len(name) <= 14 else name[:13] + "…"), name)
    for at, (name, line) in enumerate(series):
        points = [_at(n / len(names), RADIUS * ((v or 0.0) - low) / (high - low)) for n, v in enumerate(line)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        made = add(canvas, "polygon", points=drawn, fill=colour(at), fill_opacity="0.2", stroke=colour(at))
        hint(made, name)
    legend(parent, [name for name, _ in series])


def gauge(parent: Element, grid: Grid) -> None:
    """The latest value of each column of numbers between the lowest and highest of the rows (one row: from 0)."""
    data = chartable(grid)
    shown = [(one.name, [v for v in one.values if v is not None]) for one in data.series]
    shown = [(name, values) for name, values in shown if values]
    if not shown:
        raise nothing_to_draw()
    for n, (name, values) in enumerate(shown[:MAX_GAUGES]):
        low, high = span_of(values, zero=len(set(values)) == 1)
        _dial(parent, name, values[-1], (low, high), n)


def _dial(parent: Element, name: str, value: float, span: tuple[float, float], number_: int) -> None:
    low, high = span
    canvas = add(parent, "figure", class_="gauge")
    view = drawing(canvas, SIZE, 330)
    add(view, "path", d=_slice(-0.25, 0.25, RADIUS, RADIUS * 0.7), fill="#e2e8f0")
    filled = -0.25 + 0.5 * (value - low) / (high - low)
    add(view, "path", d=_slice(-0.25, filled, RADIUS, RADIUS * 0.7), fill=colour(number_))
    text(view, (CENTRE, CENTRE - 10), shown_number(value), font_size=44)
    text(view, (CENTRE - RADIUS * 0.85, CENTRE + 24), shown_number(low))
    text(view, (CENTRE + RADIUS * 0.85, CENTRE + 24), shown_number(high))
    text(view, (CENTRE, CENTRE + 60), name, font_size=20)


def onoff(parent: Element, grid: Grid) -> None:
    """A lamp for each value: on for true, numbers other than 0, and words such as on; grey without a value."""
    data = chartable(grid)
    shown = [at for at in range(len(grid.columns)) if _switches(grid.column(at))] or [
        at for at, name in enumerate(grid.columns) if name in {one.name for one in data.series}
    ]
    if not shown:
        raise nothing_to_draw()
    body = add(add(parent, "table"), "tbody")
    for row in grid.rows[: MAX_LAMPS // len(shown)]:
        line = add(body, "tr")
        for at, value in enumerate(row):
            box = add(line, "td")
            if at in shown:
                state = "off" if value in (None, "") else ("on" if _is_on(value) else "out")
                add(box, "span", class_=f"lamp {state}")
            add(box, "span", f"{grid.columns[at]}: {cell(value)}")


def _switches(values: Sequence[object]) -> bool:
    present = [value for value in values if value not in (None, "")]
    words = _ON | {"0", "false", "off", "no", "down", "stopped", "closed"}
    return bool(present) and all(isinstance(v, bool) or str(v).lower() in words for v in present)


def _is_on(value: object) -> bool:
    as_number = number(value)
    return as_number != 0 if as_number is not None else str(value).lower() in _ON
