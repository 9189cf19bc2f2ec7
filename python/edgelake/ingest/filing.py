"""Where a file goes after it was dealt with: the archive's day folders, or the error folder with its reason.

A move is complete before the source disappears: content and directory are synced first, so that a crash leaves the file
in one place at least, never in none. Source: spec "Ingestion", sections 5, 7 and 12.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgelake.durable import sync_directory
from edgelake.errors import EdgeLakeError

GZIP_LEVEL = 6
COPY_BYTES = 1 << 20


def day_folder(archive: Path, when: datetime) -> Path:
    """``archive/YY/MM/DD`` of a UTC time."""
    return archive / when.strftime("%y") / when.strftime("%m") / when.strftime("%d")


def file_day(tsd_date: str | None, path: Path) -> datetime:
    """The day a file belongs to: its TSD date (YYMMDDHHMMSS), else the time it was last changed. UTC."""
    time_us = date_us(tsd_date or "")
    return datetime.fromtimestamp(path.stat().st_mtime if time_us is None else time_us / 1e6, UTC)


def tsd_date(time_us: int) -> str:
    """YYMMDDHHMMSS UTC, as file names carry it."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%y%m%d%H%M%S")


def date_us(tsd_date: str) -> int | None:
    """Unix microseconds of a file name's date; None for one without."""
    try:
        return int(datetime.strptime(tsd_date, "%y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError:
        return None


def move(source: Path, folder: Path, name: str, *, compress: bool = False) -> Path:
    """Move a file to ``folder`` under ``name``, gzip'd (and named ``.gz``) when asked for; returns where it is.

    An existing file of that name is never overwritten: the new one gets a number before its type.
    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compress = compress and not name.endswith(".gz")
    if not compress:
        target = free_name(folder / name)
        try:
            sync(source)
            source.rename(target)
            sync_directory(folder)
            return target
        except OSError as e:
            if e.errno != errno.EXDEV:
                raise
    target = free_name(folder / (f"{name}.gz" if compress else name))
    with source.open("rb") as content:
        write_file(target, content, compress=compress)
    source.unlink()
    return target


def write_file(target: Path, content: Iterator[bytes] | object, *, compress: bool) -> None:
    """Write a file so that it appears whole and durable, or not at all.

    ``content`` is an open binary file, or an iterator of pieces.
    """
    working = target.with_name(f"{target.name}_tmp")
    try:
        with working.open("wb") as raw:
            # No time stamp in the gzip head: equal content makes equal files.
            out = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) if compress else raw
            if hasattr(content, "read"):
                shutil.copyfileobj(content, out, COPY_BYTES)
            else:
                for piece in content:  # type: ignore[attr-defined]
                    out.write(piece)
            if out is not raw:
                out.close()
            raw.flush()
            os.fsync(raw.fileno())
        working.rename(target)
        sync_directory(target.parent)
    except BaseException:
        working.unlink(missing_ok=True)
        raise


def free_name(wanted: Path) -> Path:
    """The path itself, or one with a number before its type when it is taken."""
    target, number = wanted, 1
    stem, dot, kind = wanted.name.partition(".json")
    while target.exists():
        target = wanted.with_name(f"{stem}_{number}{dot}{kind}" if dot else f"{wanted.name}_{number}")
        number += 1
    return target


def error_name(name: str, number: int, unique: int) -> str:
    """``<name>.err_<code>.<unique>.<type>``; a compressed file keeps both of its types at the end."""
    for kind in (".insert.sql.gz", ".json.gz", ".insert.sql", ".json", ".sql.gz", ".sql", ".gz"):
        if name.endswith(kind):
            return f"{name.removesuffix(kind)}.err_{number}.{unique}{kind}"
    return f"{name}.err_{number}.{unique}"


def to_error(source: Path, folder: Path, failure: EdgeLakeError, **more: object) -> Path:
    """Move a failed file to the error folder; the reason stands beside it as ``<file>.reason``. Raises OSError."""
    target = free_unique(folder, source.name, failure.number)
    moved = move(source, folder, target.name)
    write_reason(moved, failure, **more)
    return moved


def free_unique(folder: Path, name: str, number: int) -> Path:
    """A name in the error folder that nothing has."""
    unique = int(time.time())
    while (target := folder / error_name(name, number, unique)).exists():
        unique += 1
    return target


def write_reason(beside: Path, failure: EdgeLakeError, **more: object) -> None:
    """Why a file stands in the error folder, as JSON."""
    reason = {**failure.as_dict(), "time": datetime.now(UTC).isoformat(timespec="seconds"), **more}
    target = beside.with_name(f"{beside.name}.reason")
    working = target.with_name(f"{target.name}_tmp")
    working.write_text(json.dumps(reason, indent=1, default=str) + "\n")
    working.rename(target)  # whoever sees it reads it whole


def plain_name(name: str) -> str:
    """The name without ``.err_<code>.<unique>``: what a file is called when it is moved back to the watch directory."""
    head, found, tail = name.partition(".err_")
    if not found:
        return name
    parts = tail.split(".")
    return ".".join([head, *parts[2:]]) if len(parts) > 2 and parts[0].isdigit() and parts[1].isdigit() else name


def pieces_of(path: Path) -> Iterator[bytes]:
    """Content of a file piece by piece, unpacked when it is gzip'd. Raises OSError, EOFError for a cut gzip file."""
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as content:
        while piece := content.read(COPY_BYTES):
            yield piece


def sync(path: Path) -> None:
    with path.open("rb") as content:
        os.fsync(content.fileno())


def archived(archive: Path, date: str) -> list[str]:
    """Names of the files archived on a day (``YYYY-MM-DD`` or ``YY-MM-DD``). Raises ValueError for no date."""
    day = datetime.strptime(date, "%Y-%m-%d" if len(date) == 10 else "%y-%m-%d")
    folder = day_folder(archive, day.replace(tzinfo=UTC))
    return sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []


def delete_archive(archive: Path, days: int, *, now: datetime | None = None) -> int:
    """Remove day folders older than ``days`` days (UTC), then empty months and years; returns the days removed."""
    limit = (now or datetime.now(UTC)).date() - timedelta(days=days)
    removed = 0
    for folder in list(archive.glob("[0-9][0-9]/[0-9][0-9]/[0-9][0-9]")):
        try:
            day = datetime.strptime("/".join(folder.parts[-3:]), "%y/%m/%d").date()
        except ValueError:
            continue
        if day < limit and folder.is_dir():
            shutil.rmtree(folder)
            removed += 1
            for parent in (folder.parent, folder.parent.parent):
                with contextlib.suppress(OSError):
                    parent.rmdir()
    return removed
