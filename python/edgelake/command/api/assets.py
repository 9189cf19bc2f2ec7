"""``/ui``: the files of the web console, as they were built (console/dist), compressed once.

Names of all but the first page hold a hash of the content, so a browser may keep them forever.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgelake.command.api.routes import Call, NoRouteError
from edgelake.errors import NotAvailableError
from edgelake.net.rest.api import ApiReply

DIST: Final = Path(__file__).parent.parent.parent / "console" / "dist"
PAGE: Final = "index.html"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
"""No script or style but the console's own files, and nothing from or to another place."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SAFE: Final = [
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
]


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    gzipped: bytes
    media_type: str
    tag: str
    caching: str


class Assets:
    """Serves the console. The files are read with the first request."""

    def __init__(self, folder: Path = DIST) -> None:
        self._folder = folder
        self._files: Mapping[str, _File] = {}

    async def page(self, call: Call) -> ApiReply:
        """The page. Raises NotAvailableError when the console was not built."""
        return self._sent(call, PAGE)

    async def file(self, call: Call) -> ApiReply:
        """One of its files. Raises NoRouteError."""
        return self._sent(call, call.values["file"])

    def _sent(self, call: Call, name: str) -> ApiReply:
        if not self._files:
            self._files = _read(self._folder)
        found = self._files.get(name)
        if found is None:
            raise NoRouteError(f"the console has no file '{name[:100]}'")
        headers = [*_SAFE, ("cache-control", found.caching), ("etag", found.tag), ("vary", "Accept-Encoding")]
        asked = call.request.headers
        known = {tag.strip().removeprefix("W/") for tag in (asked.get("if-none-match") or "").split(",")}
        if found.tag in known:
            return ApiReply(b"", found.media_type, 304, headers=headers)
        if "gzip" in (asked.get("accept-encoding") or "").lower():
            return ApiReply(found.gzipped, found.media_type, headers=[*headers, ("content-encoding", "gzip")])
        return ApiReply(found.content, found.media_type, headers=headers)


def _read(folder: Path) -> Mapping[str, _File]:
    found: dict[str, _File] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if (media_type := _TYPES.get(path.suffix)) is None:
            continue
        content = path.read_bytes()
        caching = "no-cache" if path.name == PAGE else "public, max-age=31536000, immutable"
        tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
        found[path.name] = _File(content, gzip.compress(content, 9, mtime=0), media_type, tag, caching)
    if PAGE not in found:
        raise NotAvailableError("the web console is not part of this installation", hint="make console")
    return found
