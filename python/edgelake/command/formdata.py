"""Readings with files beside them: the forms of ``command: data``.

The field ``data`` holds the readings, every other field a file, which a reading names as ``cid:<field>``. The files
stand in ``blobs_dir/.uploads`` until the readings are stored; a blob column with ``apply = file`` makes blobs of them.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from edgelake.command import transfer
from edgelake.durable import make_folder
from edgelake.errors import BodyTooLargeError, RequestError, error
from edgelake.model import Form, FormPart, Stored

DATA: Final = "data"
MOST_DATA_BYTES: Final = 64 << 20
_FOLDER: Final = ".uploads"
_LEFT_S: Final = 24 * 3600
"""A file that is so old was left by a node that was killed; its readings were not acknowledged."""

Post = Callable[[str, str, bytes], Awaitable[Stored]]


class FormData:
    """Takes forms.

    Args:
        blobs_dir: at the moment.
        post: takes the readings: (agent, topic, payload).
    """

    def __init__(self, blobs_dir: Callable[[], Path], post: Post) -> None:
        self._blobs_dir = blobs_dir
        self._post = post

    async def post(self, agent: str, topic: str, form: Form) -> Stored:
        """Readings and their files, durable on return. Raises RequestError, what the form raises, and as ``post``."""
        payload: bytes | None = None
        kept: dict[str, Path] = {}
        try:
            async for part in form.parts():
                if part.field == DATA and payload is None:
                    payload = await _whole(part)
                elif part.field in kept or part.field == DATA:
                    raise RequestError(f"The form has more than one field '{part.field[:100]}'")
                else:
                    kept[part.field] = await self._keep(part)
            if payload is None:
                raise RequestError(f"The form has no field '{DATA}'", hint=f"curl -F '{DATA}={{...}}' -F 'a=@a.png'")
            return await self._post(agent, topic, _named(payload, kept))
        finally:
            for path in kept.values():
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _keep(self, part: FormPart) -> Path:
        folder = self._blobs_dir() / _FOLDER
        await asyncio.to_thread(_prepare, folder)
        kind = Path(part.name.replace("\\", "/")).suffix.lower()
        kind = kind if re.fullmatch(r"\.\w{1,16}", kind, re.ASCII) else ""
        return await transfer.write(part.pieces(), folder, f"{secrets.token_hex(16)}{kind}")


async def _whole(part: FormPart) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in part.pieces():
        pieces.append(piece)
        size += len(piece)
        if size > MOST_DATA_BYTES:
            raise BodyTooLargeError(
                f"The field '{DATA}' is larger than {MOST_DATA_BYTES:,} bytes",
                hint="send several forms",
            )
    return b"".join(pieces)


def _named(payload: bytes, kept: dict[str, Path]) -> bytes:
    """The readings, in which the references to fields name the files. Raises EdgeLakeError 299 for an unknown field."""
    files = {json.dumps(f"cid:{field}").encode(): f'"{_FOLDER}/{path.name}"'.encode() for field, path in kept.items()}

    def file_of(found: re.Match[bytes]) -> bytes:
        if found[0] not in files:
            raise error(299, f"the form has no field for {found[0].decode('utf-8', 'replace')[:100]}")
        return files[found[0]]

    return re.sub(rb'(?<!\\)"cid:[^"\\]*"', file_of, payload)


def _prepare(folder: Path) -> None:
    make_folder(folder)
    before = time.time() - _LEFT_S
    for left in folder.iterdir():
        try:
            if left.stat().st_mtime < before:
                left.unlink()
        except FileNotFoundError:
            continue
