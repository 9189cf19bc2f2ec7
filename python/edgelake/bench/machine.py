"""What the figures were measured on, and whether something else was running."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import apsw
import psutil

PACKAGES = ("granian", "uvloop", "apsw")
QUIET_LOAD = 0.25
"""Processes that want to run, a core; above it a run is marked."""


def describe(directory: Path) -> dict[str, Any]:
    """Processor, memory, disk of ``directory``, versions; JSON-serialisable."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "disk": _file_system(directory),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_before": round(os.getloadavg()[0], 2),
    }


def is_busy(machine: dict[str, Any]) -> bool:
    """Whether other work ran on the machine when the benches began: then the figures say little."""
    return bool(machine["load_before"] > QUIET_LOAD * (machine["cores"] or 1))


def text(machine: dict[str, Any]) -> str:
    """One paragraph."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    said = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['disk']}; "
        f"{machine['system']}; CPython {machine['python']}, SQLite {machine['sqlite']}, {packages}. {machine['time']}."
    )
    if is_busy(machine):
        said += f"\n\n**Other work ran on this machine** (load {machine['load_before']} before the run): provisional."
    return said


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _file_system(directory: Path) -> str:
    """Type of the file system that holds the directory."""
    path = directory.absolute()
    mounts = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    for folder in (path, *path.parents):
        if str(folder) in mounts:
            return str(mounts[str(folder)])
    return "unknown file system"
