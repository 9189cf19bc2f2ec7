"""Face of the Rust module (rust/py)."""

from os import PathLike
from typing import Final, Literal, Self, final

BUILD_PROFILE: Final[Literal["dev", "release"]]
VERSION: Final[str]

# -- benches -----------------------------------------------------------------------------------------------------------

def workload_body(first: int, rows: int) -> bytes:
    """Rows ``first .. first + rows`` of workload W, newline-separated."""

def load_put(
    address: str,
    head: str,
    *,
    rows: int,
    rows_per_body: int,
    connections: int,
    limit_s: float,
    first: int = 0,
) -> dict[str, int | float | str]:
    """PUT workload W over kept connections. ``head``: header lines, each ended by CR LF."""

# --- directory notifications

@final
class DirectoryWatch:
    """Notifications of one directory: wait on ``fileno()``, then ``read()``. Linux only; elsewhere OSError."""

    def __new__(cls, directory: str | PathLike[str]) -> Self: ...
    def fileno(self) -> int: ...
    def read(self) -> list[tuple[Literal["written", "moved in", "created", "open", "gone", "lost"], str]]:
        """(change, name of the entry) since the last call. Never waits."""
    def close(self) -> None: ...

# --- store

def sqlite_ready() -> bool:
    """Whether apsw's SQLite interface has been handed over (``store.engine.load_native``)."""

@final
class BatchTable:
    """The virtual table ``edgelake_batch`` (columns c0..c1999, rowid) of one connection.

    ``load`` a batch, ``take`` windows of it, read each by SQL, ``clear``. For the connection's thread only.
    """

    def __new__(cls, pointer: int) -> Self:
        """``pointer``: ``apsw.Connection.sqlite3_pointer()``. Raises RuntimeError before ``load_native``."""
    def load(self, rows: Rows, *, key: int | None = None, fill_us: int = 0) -> None:
        """Make ``rows`` the batch, ordered by column number ``key`` (a null counts as ``fill_us``)."""
    def next_key(self) -> int | None:
        """Key of the first row that no window has shown; None at the end."""
    def take(self, first_row_id: int, *, end_us: int | None = None) -> int:
        """Show the rows from there up to key ``end_us`` (None = all), rowids from ``first_row_id``; how many."""
    def clear(self) -> None:
        """Show nothing, free the batch."""

def bench_native_loop(pointer: int, payload_bodies: list[bytes], table: str) -> int:
    """Baseline of the benches: serde, bind and step, a transaction per body. Returns the rows inserted."""

@final
class Rows:
    @staticmethod
    def parse(payload: bytes) -> Rows: ...
    def __len__(self) -> int: ...
    def names(self) -> list[str]: ...
    def changes(self, schema: list[tuple[str, str, bool]]) -> list[tuple[str, str, bool]]: ...
    def fit(self, schema: list[tuple[str, str, bool]], now_us: int) -> tuple[Rows, list[tuple[int, str]]]: ...
