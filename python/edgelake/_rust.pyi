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
