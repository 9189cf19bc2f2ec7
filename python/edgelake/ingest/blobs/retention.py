"""Which blobs go: whole days, the oldest first; those of today stay.

Days are counted first, so that memory holds days and not blobs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from edgelake.ingest.blobs.blobs import Blobs, Place
from edgelake.ingest.blobs.names import Blob
from edgelake.store.retention import Rule

DAY: Final = "%y%m%d"


class Retention(Rule, frozen=True):
    """What stays of the blobs of a database, or of a table; ``most_bytes`` counts for each place by itself.

    ``free_bytes`` is wanted where ``blobs_dir`` is; only blobs in folders go for it.
    """

    def covers(self, blob: Blob) -> bool:
        return blob.name.dbms == self.dbms and self.table in {"", blob.name.table}


@dataclass(slots=True)
class Going:
    """Blobs of one day in one place that go, or went."""

    place: str
    day: str
    blobs: int = 0
    stored_bytes: int = 0


def going(blobs: Blobs, rule: Retention, *, now: datetime | None = None) -> list[Going]:
    """The days of each place that go. In a thread. Raises EdgeLakeError of a place that fails."""
    found: list[Going] = []
    for place in blobs.places(rule.dbms):
        days: dict[str, Going] = {}
        for blob in place.all(rule.dbms):
            if rule.covers(blob):
                day = days.setdefault(blob.day, Going(place.kind, blob.day))
                day.blobs += 1
                day.stored_bytes += blob.stored_bytes
        free = shutil.disk_usage(blobs.folder.root).free if place is blobs.folder else None
        found += _chosen(days.values(), rule, free, now or datetime.now(UTC))
    return found


def _chosen(days: Iterable[Going], rule: Retention, free: int | None, now: datetime) -> list[Going]:
    left = sum(day.stored_bytes for day in days)
    before = (now - timedelta(days=rule.days)).strftime(DAY) if rule.days is not None else ""
    chosen = []
    for day in sorted(days, key=lambda day: day.day):
        too_old = day.day < before
        too_many = rule.most_bytes is not None and left > rule.most_bytes
        too_full = rule.free_bytes is not None and free is not None and free < rule.free_bytes
        if day.day >= now.strftime(DAY) or not (too_old or too_many or too_full):
            break
        chosen.append(day)
        left -= day.stored_bytes
        free = free + day.stored_bytes if free is not None else None
    return chosen


def remove(blobs: Blobs, rule: Retention, chosen: Iterable[Going]) -> list[Going]:
    """Remove what goes; what went. In a thread. One that came again meanwhile stays."""
    days = {(day.place, day.day) for day in chosen}
    went: dict[tuple[str, str], Going] = {}
    for place in blobs.places(rule.dbms):
        for blob in _of_days(place, rule, days):
            blobs.expire(place, blob)
            day = went.setdefault((place.kind, blob.day), Going(place.kind, blob.day))
            day.blobs += 1
            day.stored_bytes += blob.stored_bytes
    return list(went.values())


def _of_days(place: Place, rule: Retention, days: set[tuple[str, str]]) -> Iterable[Blob]:
    return (blob for blob in place.all(rule.dbms) if rule.covers(blob) and (place.kind, blob.day) in days)
