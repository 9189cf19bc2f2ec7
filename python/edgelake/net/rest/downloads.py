"""Files as replies, whole or in part, sent by the HTTP server itself. Spec: "REST API", sections 9 and 12."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from edgelake.errors import error
from edgelake.net.rest.exchange import Exchange, HeaderList
from edgelake.net.rest.replies import CORS

VIDEO = "video/mp4"
PLAYED: HeaderList = [("cache-control", "public, max-age=3600")]
"""A video is shown by the browser, not stored."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def send_file(out: Exchange, path: Path, media_type: str, asked: Mapping[str, str]) -> None:
    """Send a file, or the range of it that ``Range`` asks for; a list of ranges gets the whole file.

    Raises EdgeLakeError 78 when it is gone.
    """
    from email.utils import formatdate  # not needed before the first file

    try:
        found = path.stat()
    except OSError as cause:
        raise error(78, f"'{path}': {cause.strerror or cause}") from cause
    size = found.st_size
    headers: HeaderList = [
        ("content-type", media_type),
        *(PLAYED if media_type == VIDEO else [("content-disposition", disposition(path.name))]),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
        ("last-modified", formatdate(found.st_mtime, usegmt=True)),
        *CORS,
    ]
    wanted = _RANGE.fullmatch(asked.get("range", "").replace(" ", "")) if "if-range" not in asked else None
    if wanted is None or wanted[0] == "bytes=-":
        out.response_file(200, [*headers, ("content-length", str(size))], str(path))
        return
    span = _span(wanted[1], wanted[2], size)
    if span is None:
        out.response_bytes(416, [*CORS, ("content-range", f"bytes */{size}")], b"")
        return
    begin, end = span
    part = [("content-length", str(end - begin)), ("content-range", f"bytes {begin}-{end - 1}/{size}")]
    out.response_file_range(206, [*headers, *part], str(path), begin, end)


def _span(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Begin and end (exclusive) of a range; None when nothing of the file lies in it."""
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
    return (begin, end) if begin < end else None


def disposition(name: str) -> str:
    """The header that makes a browser store a file, never show it."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'))}"
    return f'attachment; filename="{plain}"{encoded}'
