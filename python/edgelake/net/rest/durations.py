"""How long requests took: histograms for ``/metrics``, by kind and method."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS: Final = frozenset({"GET", "POST", "PUT"})


class Histogram:
    """Counts of durations up to each bound, the last one of all above."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Durations:
    """A histogram for each kind and method: few, whatever clients send."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Histogram] = {}

    def observe(self, kind: str, method: str, seconds: float) -> None:
        """``kind``: what answers it; a method that is not of HTTP's usual ones counts as ``other``."""
        key = (kind, method if method in _METHODS else "other")
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Histogram()
        found.observe(seconds)

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Histogram]]:
        return iter(sorted(self._found.items()))
