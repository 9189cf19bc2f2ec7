"""CPython of every version that wheels are built for, unpacked from what Maven brought (pack/interpreters.xml).

Their headers are what the Cython modules are compiled against, for both machines: headers of x86_64 and aarch64 differ
in pyconfig.h alone, and there in nothing that an extension module sees. They run here, so wheels are tried on them.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from pack.components import ROOT

VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")
FOLDER: Final = ROOT / "build/interpreters"
_PREFIX: Final = "org/bytedeco/cpython/linux-x86_64/"
_UNNEEDED: Final = ("/test/", "/idlelib/", "/turtledemo/")


def headers(version: str) -> Path:
    """The folder with Python.h. Raises FileNotFoundError where make has not fetched it (build/interpreters)."""
    return _unpacked(version) / f"include/python{version}"


def interpreter(version: str) -> Path:
    """The program. Raises FileNotFoundError where make has not fetched it (build/interpreters)."""
    return _unpacked(version) / f"bin/python{version}"


def _unpacked(version: str) -> Path:
    folder = FOLDER / version
    done = folder / ".unpacked"
    if not done.exists():
        with zipfile.ZipFile(FOLDER / f"{version}.jar") as archive:
            for entry in archive.infolist():
                name = entry.filename.removeprefix(_PREFIX)
                if entry.is_dir() or name == entry.filename or any(part in name for part in _UNNEEDED):
                    continue
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(entry))
                path.chmod(0o755 if name.startswith("bin/") else 0o644)
        done.touch()
    return folder
