"""Face of the Rust module (rust/py)."""

from typing import Final, Literal

BUILD_PROFILE: Final[Literal["dev", "release"]]
VERSION: Final[str]
