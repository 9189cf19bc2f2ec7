"""One SQLite library per process: a second one drops the locks of the first, and rows are lost."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgelake import _rust
from edgelake.store.sqlite import SqliteStore
from tests.store.rowset import insertion

_MAPS = """
from pathlib import Path
import tempfile
from edgelake.store.sqlite import SqliteStore
with tempfile.TemporaryDirectory() as d:
    SqliteStore("a", Path(d) / "a.dbms").close_blocking()
    print(Path("/proc/self/maps").read_text())
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no process map on this system")
def test_no_second_library_is_in_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", _MAPS], capture_output=True, text=True, check=True, env=os.environ)
    assert "apsw" in done.stdout
    assert "libsqlite3" not in done.stdout
    assert "_sqlite3." not in done.stdout


def test_the_extension_brings_no_sqlite_of_its_own() -> None:
    library = ctypes.CDLL(_rust.__file__)
    assert library.sqlite3_edgelake_init
    for symbol in ("sqlite3_open", "sqlite3_open_v2", "sqlite3_initialize", "sqlite3_step"):
        assert not hasattr(library, symbol)


def test_the_batch_table_is_gone_with_its_connection(path: Path) -> None:
    for _ in range(3):
        store = SqliteStore("plant", path)
        store.store_many([insertion({"v": 1})])
        store.close_blocking()
    shutil.rmtree(path.parent)
