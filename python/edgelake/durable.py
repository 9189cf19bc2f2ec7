"""Files that survive a crash: whole, or as they were."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` in place of a file's content; on return it is on disk. Raises OSError, the file being as it was."""
    working = path.with_name(f"{path.name}.new")
    try:
        with working.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        working.replace(path)
    except BaseException:
        working.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Make a new name in the folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
