"""What is said to be stored is there after a crash; what fails leaves nothing behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgelake.errors import DatabaseError, StorageFullError
from edgelake.store.sqlite import SqliteStore
from tests.store.rowset import fetch, insertion

_WRITE_AND_WAIT = """
import sys
from pathlib import Path
from edgelake.store.sqlite import SqliteStore
from tests.store.rowset import insertion

store = SqliteStore("plant", Path(sys.argv[1]))
for n in range(20):
    store.store_many([insertion({"v": n}, position=n + 1)])
assert store.checkpoint()
print("stored", flush=True)
sys.stdin.read()
"""


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Writes beyond ``limit`` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_rows_survive_a_kill_after_the_checkpoint(path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE_AND_WAIT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'python'}:{root}"},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"stored\n"
        child.kill()
    store = SqliteStore("plant", path)
    assert store.watermarks() == {"t": 20}
    assert fetch(store, "SELECT count(*), sum(v) FROM t") == [(20, 190)]
    assert fetch(store, "PRAGMA table_info(t)")
    store.close_blocking()


def test_a_full_disk_undoes_the_transaction_and_room_ends_it(store: SqliteStore) -> None:
    store.store_many([insertion({"v": "x"}, position=1)])
    many = insertion(*({"v": f"{n:2000d}"} for n in range(2000)), position=2)
    with file_size_limit(1 << 20), pytest.raises(StorageFullError):
        store.store_many([many])
    assert store.watermarks() == {"t": 1}
    assert fetch(store, "SELECT count(*) FROM t") == [(1,)]
    (done,) = store.store_many([many])
    assert done.rows == 2000
    assert fetch(store, "SELECT max(row_id) FROM t") == [(2001,)]


def test_a_checkpoint_holds_although_a_reader_stands_in_its_way(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    with store.reader() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM t").fetchall()
        store.store_many([insertion({"v": 2})])
        assert store.checkpoint()
    assert store.watermarks() == {}


def test_a_place_that_cannot_hold_a_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatabaseError):
        SqliteStore("plant", tmp_path / "file" / "plant.dbms")


def test_a_directory_without_write_permission_is_an_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from edgelake.errors import DatabaseError\n"
        "from edgelake.store.sqlite import SqliteStore\n"
        "if os.geteuid() == 0:\n"
        "    os.setuid(65534)\n"
        "try:\n"
        "    SqliteStore('plant', Path(sys.argv[1]))\n"
        "except DatabaseError:\n"
        "    print('refused')\n"
    )
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    closed.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", script, str(closed / "p.dbms")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent / "python")},
    )
    assert done.stdout.strip() == "refused", done.stderr


def test_a_file_that_is_no_database_is_an_error(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database, " * 1000)
    with pytest.raises(DatabaseError):
        SqliteStore("plant", path)
    assert path.read_bytes().startswith(b"no database")
