"""Numbers of a node as ``edgelake top`` writes them, and rates out of totals."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

BARS: Final = "▁▂▃▄▅▆▇█"
KEPT: Final = 60
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160), 8206, 8207, *range(8234, 8239)), "·")


class Rates:
    """What totals grow by each second, from one look to the next. A node that began again begins at zero."""

    def __init__(self) -> None:
        self._at = 0.0
        self._totals: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._past: dict[str, deque[float]] = {}

    def take(self, at: float, totals: dict[str, float]) -> None:
        """Totals by name, as they are at a time (seconds)."""
        passed = at - self._at
        if self._totals and passed > 0:
            self._rates = {
                name: max(total - self._totals[name], 0) / passed
                for name, total in totals.items()
                if name in self._totals
            }
            for name, rate in self._rates.items():
                self._past.setdefault(name, deque(maxlen=KEPT)).append(rate)
        for gone in self._past.keys() - totals.keys():
            del self._past[gone]
        self._at, self._totals = at, totals

    def of(self, name: str) -> float | None:
        """None until it is known."""
        return self._rates.get(name)

    def curve(self, name: str, width: int) -> str:
        """The last rates as small bars, the newest at the right."""
        past = list(self._past.get(name, ()))[-width:]
        most = max(past, default=0)
        drawn = (BARS[min(int(rate / most * len(BARS)), len(BARS) - 1)] if most else BARS[0] for rate in past)
        return "".join(drawn).rjust(width)


def clean(value: Any, longest: int = 500) -> str:
    """A text of the node for the terminal: without characters that would do something there."""
    return str(value)[:longest].translate(_CONTROLS)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def rate(found: float | None, unit: str = "/s") -> str:
    """Times each second for people."""
    if found is None:
        return ""
    return f"{found:,.0f}{unit}" if found >= 10 or not found else f"{found:.1f}{unit}"


def span(seconds: float) -> str:
    """``3d 04:05:06``."""
    whole = int(max(seconds, 0))
    clock = f"{whole // 3600 % 24:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 86_400}d {clock}" if whole >= 86_400 else clock


def since(at: float | None) -> str:
    """How long ago a time (Unix seconds) is."""
    return span(time.time() - at) if at else ""


def bar(used: float, of: float, width: int = 10) -> str:
    """``████░░░░░░``."""
    share = min(max(used / of, 0.0), 1.0) if of else 0.0
    full = round(share * width)
    return "█" * full + "░" * (width - full)
