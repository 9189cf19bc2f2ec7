"""Face of the Rust module (rust/py)."""

from typing import Final, Literal

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
