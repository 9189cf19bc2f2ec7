"""The test format: an answer between lines that say what was asked, and its comparison (spec: query, section 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from edgelake.errors import error
from edgelake.query.jobs import Job
from edgelake.query.options import Options

_LINE: Final = "=" * 74
_INDENT: Final = 12


def head(job: Job, options: Options) -> str:
    """Lines before the answer."""
    include = ", ".join(f"{dbms}.{table}" if dbms else table for dbms, table in options.include)
    fields = (
        ("Title", options.title),
        ("Date", datetime.now().strftime("%Y-%m-%d %H:%M:%S")),
        ("Command", " ".join(job.command.split())),
        ("DBMS", job.dbms),
        ("Include", include),
        ("Extend", ", ".join(item.what for item in options.extend)),
        ("Format", options.format),
    )
    lines = [_LINE, *(f"{f'{name}:':<{_INDENT}}{value}".rstrip() for name, value in fields), _LINE]
    return "\n".join(lines) + "\n"


def foot(job: Job) -> str:
    """Lines behind the answer."""
    return f"\n{_LINE}\nRows:     {job.rows}\nRun Time: {job.shown_time}\n{_LINE}\n"


async def framed(pieces: AsyncIterator[bytes], job: Job, options: Options) -> AsyncIterator[bytes]:
    """An answer between its head and foot."""
    yield head(job, options).encode()
    async for piece in pieces:
        yield piece
    yield foot(job).encode()


def body_of(text: str) -> tuple[list[str], str]:
    """Lines of the answer in a text of the test format, and its run time. Raises EdgeLakeError 175 for other texts."""
    lines = [line.rstrip() for line in text.splitlines()]
    marks = [at for at, line in enumerate(lines) if line == _LINE]
    if len(marks) < 4:
        raise error(175, "source: the file is no answer in the test format", hint="make it with: test = true")
    time = next((line.partition(":")[2].strip() for line in lines[marks[2] :] if line.startswith("Run Time:")), "")
    return [line for line in lines[marks[1] + 1 : marks[2]] if line], time


def header_of(text: str) -> dict[str, str]:
    """Fields of the head, by their names in lower case. Raises EdgeLakeError 175 for other texts."""
    body_of(text)
    lines = text.splitlines()
    begin = next(at for at, line in enumerate(lines) if line.rstrip() == _LINE)
    fields: dict[str, str] = {}
    for line in lines[begin + 1 :]:
        if line.rstrip() == _LINE:
            break
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    return fields


def text_of(path: Path) -> str:
    """Raises EdgeLakeError 78 when the file can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise error(78, f"{path}: {cause}") from cause


def compared(text: str, source: Path, options: Options) -> dict[str, object]:
    """Verdict on an answer beside a trusted file. Raises EdgeLakeError 78 when the file can't be read."""
    (found, found_time), (wanted, wanted_time) = body_of(text), body_of(text_of(source))
    reason = _difference(found, wanted)
    if not reason and options.option == "time" and found_time > wanted_time:
        reason = f"Run time {found_time}, in the file {wanted_time}"
    return {"result": "Failed" if reason else "Passed", "Title": options.title, "Reason": reason}


def _difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    for number, (a, b) in enumerate(zip(found, wanted, strict=False), 1):
        if a != b:
            return f"Line {number}: '{a}', in the file '{b}'"
    if len(found) != len(wanted):
        return f"{len(found)} lines, in the file {len(wanted)}"
    return ""
