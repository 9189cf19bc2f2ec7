"""Charts over an axis: line, area, multiscale, bar, scatter, bubble."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from edgelake.errors import CommandError
from edgelake.net.rest.pages.grid import Chartable, Grid, Series, cell, chartable, number
from edgelake.net.rest.pages.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Point,
    Scale,
    add,
    colour,
    drawing,
    hint,
    legend,
    name_axis,
    number_axis,
    shown_number,
    span_of,
    time_axis,
    value_axis,
)

MAX_POINTS = 2000
"""Points of a line; a longer one keeps the lowest and highest of each stretch."""

DOTS = 120
"""Up to so many points each has a dot that tells its value."""

MAX_BARS = 400


def nothing_to_draw() -> CommandError:
    return CommandError(
        "The reply has no numbers to draw", hint="select columns with numbers, or use into = html.table"
    )


def _numbers(series: Sequence[Series]) -> list[float]:
    return [value for one in series for value in one.values if value is not None]


def _drawable(grid: Grid) -> Chartable:
    found = chartable(grid)
    if not _numbers(found.series):
        raise nothing_to_draw()
    return found


def _place_scale(data: Chartable, *, inset: float = 0.0, right: float = RIGHT) -> tuple[Scale, list[float]]:
    places = data.places if data.places is not None else [float(n) for n in range(len(data.labels))]
    low, high = span_of(places) if data.places is not None else (0.0, float(max(len(places) - 1, 0)))
    return Scale(low, high, LEFT + inset, WIDTH - right - inset), places


def _place_axis(parent: Element, data: Chartable, scale: Scale) -> None:
    if data.places is not None:
        time_axis(parent, scale)
    else:
        name_axis(parent, data.labels, scale)


def line(parent: Element, grid: Grid) -> None:
    _lines(parent, grid, filled=False)


def area(parent: Element, grid: Grid) -> None:
    _lines(parent, grid, filled=True)


def _lines(parent: Element, grid: Grid, *, filled: bool) -> None:
    data = _drawable(grid)
    canvas = drawing(parent)
    x, places = _place_scale(data)
    y = Scale(*span_of(_numbers(data.series), zero=filled), HEIGHT - BOTTOM, TOP)
    value_axis(canvas, y)
    _place_axis(canvas, data, x)
    for at, one in enumerate(data.series):
        _line(canvas, one, (x, y), places, data.labels, at, filled=filled)
    legend(parent, [one.name for one in data.series])


def multiscale(parent: Element, grid: Grid) -> None:
    """Each series over an axis of its own: the first at the left, the second at the right."""
    data = _drawable(grid)
    canvas = drawing(parent)
    x, places = _place_scale(data, right=RIGHT + 50)
    for at, one in enumerate(data.series):
        y = Scale(*span_of(_numbers([one])), HEIGHT - BOTTOM, TOP)
        if at < 2:
            value_axis(canvas, Scale(y.low, y.high, y.begin, y.end), right=at == 1, tint=colour(at))
        _line(canvas, one, (x, y), places, data.labels, at)
    _place_axis(canvas, data, x)
    legend(parent, [one.name for one in data.series])


def _line(
    canvas: Element,
    series: Series,
    scales: tuple[Scale, Scale],
    places: Sequence[float],
    labels: Sequence[str],
    at: int,
    *,
    filled: bool = False,
) -> None:
    x, y = scales
    known = [n for n, value in enumerate(series.values) if value is not None]
    points: list[Point] = [(x(places[n]), y(series.values[n] or 0.0)) for n in known]
    kept = thinned(points)
    drawn = "".join(f"{'L' if n else 'M'}{px:.1f} {py:.1f}" for n, (px, py) in enumerate(kept))
    if filled and kept:
        base = y(max(min(0.0, y.high), y.low))
        closed = f"{drawn}L{kept[-1][0]:.1f} {base:.1f}L{kept[0][0]:.1f} {base:.1f}Z"
        add(canvas, "path", d=closed, fill=colour(at), fill_opacity="0.25")
    path = add(canvas, "path", d=drawn, fill="none", stroke=colour(at), stroke_width=2)
    hint(path, series.name)
    if len(known) <= DOTS:
        for n, (px, py) in zip(known, points, strict=True):
            dot = add(canvas, "circle", cx=px, cy=py, r=3, fill=colour(at))
            hint(dot, f"{series.name}, {labels[n]}: {shown_number(series.values[n] or 0.0)}")


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most about MAX_POINTS points that look the same: of each stretch its first, lowest, highest and last."""
    if len(points) <= MAX_POINTS:
        return points
    stretch = -(-len(points) * 4 // MAX_POINTS)
    kept: list[Point] = []
    for begin in range(0, len(points), stretch):
        part = range(begin, min(begin + stretch, len(points)))
        chosen = {part[0], part[-1], min(part, key=lambda n: points[n][1]), max(part, key=lambda n: points[n][1])}
        kept += [points[n] for n in sorted(chosen)]
    return kept


def bar(parent: Element, grid: Grid) -> None:
    data = _drawable(grid)
    count = len(data.labels)
    if count * len(data.series) > MAX_BARS:
        raise CommandError(
            f"{count * len(data.series):,} bars are more than fit", hint=f"at most {MAX_BARS}: group, or add a limit"
        )
    canvas = drawing(parent)
    width = (WIDTH - LEFT - RIGHT) / count
    x = Scale(0, max(count - 1, 1), LEFT + width / 2, WIDTH - RIGHT - width / 2)
    if count == 1:
        x = Scale(0, 0, LEFT, WIDTH - RIGHT)
    y = Scale(*span_of(_numbers(data.series), zero=True), HEIGHT - BOTTOM, TOP)
    value_axis(canvas, y)
    name_axis(canvas, data.labels, x)
    one_width = min(width * 0.8, 160.0) / len(data.series)
    for at, one in enumerate(data.series):
        for n, value in enumerate(one.values):
            if value is None:
                continue
            begin = x(n) + (at - len(data.series) / 2) * one_width
            top, base = sorted((y(value), y(0.0)))
            made = add(canvas, "rect", x=begin, y=top, width=one_width, height=base - top, fill=colour(at))
            hint(made, f"{one.name}, {data.labels[n]}: {shown_number(value)}")
    legend(parent, [one.name for one in data.series])


def scatter(parent: Element, grid: Grid) -> None:
    """The first column of numbers against the others; a single one against its place."""
    _points(parent, grid, sized=False)


def bubble(parent: Element, grid: Grid) -> None:
    """Three columns of numbers: place, height and size."""
    _points(parent, grid, sized=True)


def _points(parent: Element, grid: Grid, *, sized: bool) -> None:
    columns = [at for at in range(len(grid.columns)) if any(number(v) is not None for v in grid.column(at))]
    needed = 3 if sized else 2
    if len(columns) < needed:
        raise CommandError(f"This chart needs {needed} columns with numbers", hint="for example: select x, y from ...")
    size_at = columns[2] if sized else None
    heights = [columns[1]] if sized else columns[1:]
    rows = [row for row in grid.rows if number(row[columns[0]]) is not None]
    rows = rows[:: max(-(-len(rows) // MAX_POINTS), 1)]
    x = Scale(*span_of([number(row[columns[0]]) or 0.0 for row in rows]), LEFT + 20, WIDTH - RIGHT - 20)
    shown = [v for at in heights for row in rows if (v := number(row[at])) is not None]
    y = Scale(*span_of(shown), HEIGHT - BOTTOM - 20, TOP + 20)
    largest = max((abs(number(row[size_at]) or 0.0) for row in rows), default=0.0) if size_at is not None else 0.0
    canvas = drawing(parent)
    value_axis(canvas, y)
    number_axis(canvas, x, grid.columns[columns[0]])
    for n, at in enumerate(heights):
        for row in rows:
            value = number(row[at])
            if value is None:
                continue
            radius = 4.0
            if size_at is not None and largest:
                radius = 3 + 27 * (abs(number(row[size_at]) or 0.0) / largest) ** 0.5
            dot = add(
                canvas, "circle", cx=x(number(row[columns[0]]) or 0.0), cy=y(value), r=radius, fill=colour(n),
                fill_opacity="0.6",
            )  # fmt: skip
            hint(dot, ", ".join(f"{name}: {cell(v)}" for name, v in zip(grid.columns, row, strict=True)))
    legend(parent, [grid.columns[at] for at in heights])
