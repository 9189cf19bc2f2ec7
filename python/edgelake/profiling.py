"""Where the time of the node's Python goes: what ``set profiler`` switches on (spec: query, section 15)."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from cProfile import Profile

T = TypeVar("T")

TARGETS: Final = ("operator", "get", "put", "post")


class Line(Struct, frozen=True):
    """One function: how often it was called, seconds in itself, seconds with what it calls."""

    calls: int
    own_s: float
    total_s: float
    function: str


class Profiler:
    """A profile for each target that is on, or was. Only steps of that target's work are counted, not what the loop
    does between them; work of other threads and of native code is seen as the time of the call that waits for it.

    Attributes:
        active: targets that are on; a set, so that looking costs nothing.
    """

    def __init__(self) -> None:
        self.active: set[str] = set()
        self._profiles: dict[str, Profile] = {}

    def start(self, target: str) -> None:
        """Begin a profile anew. Nothing for one that is on."""
        from cProfile import Profile

        if target not in self.active:
            self._profiles[target] = Profile()
            self.active.add(target)

    def stop(self, target: str) -> None:
        """The profile stays to be read. Idempotent."""
        self.active.discard(target)

    async def run(self, target: str, work: Coroutine[Any, Any, T]) -> T:
        """Do work of a target, counted while the target is on."""
        if target not in self.active:
            return await work
        found: T = await _Stepped(self._profiles[target], work)
        return found

    def lines(self, target: str, most: int) -> list[Line] | None:
        """The functions that took longest with what they call; None when the target never was on."""
        import pstats

        profile = self._profiles.get(target)
        if profile is None:
            return None
        profile.create_stats()
        if not profile.stats:
            return []
        stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
        found = [
            Line(calls, own, total, name if file == "~" else f"{file}:{number}({name})")
            for (file, number, name), (_, calls, own, total, _) in stats.items()
        ]
        return sorted(found, key=lambda line: -line.total_s)[:most]


class _Stepped:
    """A coroutine whose steps run under a profile, which is off while others have the loop."""

    def __init__(self, profile: Profile, work: Coroutine[Any, Any, T]) -> None:
        self._profile = profile
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        work = self._work
        failure: BaseException | None = None
        while True:
            self._profile.enable()
            try:
                waited = work.send(None) if failure is None else work.throw(failure)
            except StopIteration as end:
                return end.value
            finally:
                self._profile.disable()
            failure = None
            try:
                yield waited
            except BaseException as raised:  # noqa: BLE001 - it is thrown into the work
                failure = raised
