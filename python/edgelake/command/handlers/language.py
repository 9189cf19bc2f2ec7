"""Commands of the language itself: print, echo, json, wait, python, system and the like.

Source: spec "Command language", section 9.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

from edgelake import errors
from edgelake.command.assignment import json_value
from edgelake.command.conditions import parse_condition
from edgelake.command.context import Context
from edgelake.command.expressions import evaluate
from edgelake.command.grammar import Tail, translate_word
from edgelake.command.registry import command
from edgelake.command.render import to_json
from edgelake.command.tokenizer import tokenise
from edgelake.command.variables import Variables
from edgelake.errors import CommandError, UnknownCommandError
from edgelake.metadata.sync import Synchronizer
from edgelake.model import CommandClass, Reply

_REFERENCE = re.compile(r"[!$][A-Za-z_][\w-]*(?:\.(?:int|float|str|bool|name|len|replies|diff)\b)?")
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
_SYSTEM_TIMEOUT_S = 5.0
_OUTPUT_BYTES = 1 << 20


def spoken(text: str, variables: Variables) -> str:
    """Words translated and joined by one blank; JSON with its references filled in."""
    line = tokenise(text)
    parts = []
    for word in line.words:
        if word.bare and word.text[:1] == "{":
            parts.append(variables.fill(word.text))
        else:
            parts.append(str(translate_word(word, variables)))
    return " ".join(part for part in parts if part)


@command("print", cls=CommandClass.DATA, topics=("script",), examples=("print hello !name",))
async def print_(ctx: Context, text: Annotated[str, Tail()] = "") -> Reply:
    """Show the words, with !variables replaced, joined by one blank; JSON is shown with indents."""
    shown = spoken(text, ctx.visible)
    if shown[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            return Reply(text=to_json(json.loads(shown), pretty=True), value=shown)
    return Reply.of_text(shown)


@command("echo", cls=CommandClass.DATA, topics=("script",), examples=("echo sync is done",))
async def echo(ctx: Context, text: Annotated[str, Tail()] = "") -> Reply:
    """Show the words, or keep them in the echo queue when it is on."""
    shown = spoken(text, ctx.visible)
    if ctx.echo.on:
        ctx.echo.add(shown)
        return Reply.done()
    return Reply.of_text(shown)


@command("incr", cls=CommandClass.DATA, topics=("script",), examples=("incr !counter", "counter = incr !counter 2"))
async def incr(ctx: Context, value: str, step: str = "1") -> Reply:
    """A number plus a step (1 when none is given)."""
    try:
        total = int(value) + int(step)
    except ValueError:
        raise CommandError(f"'{value}' and '{step}' are no whole numbers") from None
    return Reply.of_text(str(total))


@command(
    "python",
    cls=CommandClass.EXEC,
    topics=("script",),
    examples=("python 2 + 3", "python !name.lower()", "python datetime.now().strftime('%Y')"),
)
async def python(ctx: Context, expression: Annotated[str, Tail()]) -> Reply:
    """Value of one expression: arithmetic, text, slices, comparisons, dates. Variables go in as quoted text, typed
    ones (``!a.int``) as numbers. Nothing is imported, and no name is defined but a few functions.
    """
    parts = _QUOTED.split(expression)
    for index in range(0, len(parts), 2):
        parts[index] = _REFERENCE.sub(lambda found: repr(ctx.visible.translate(found[0])), parts[index])
    value = evaluate("".join(parts))
    return Reply.of_text(to_json(value) if isinstance(value, dict | list | tuple) else str(value))


@command("system", cls=CommandClass.EXEC, topics=("script",), examples=("system date", "system timeout = 10 ls !home"))
async def system(ctx: Context, line: Annotated[str, Tail()]) -> Reply:
    """Run a command of the operating system and show what it writes. It ends after 5 seconds, or ``timeout = n``."""
    words = tokenise(line).words
    timeout = _SYSTEM_TIMEOUT_S
    if len(words) > 3 and words[0].is_("timeout") and words[1].is_("="):
        if not words[2].text.isdigit():
            raise CommandError(f"timeout = '{words[2].text}' is no number of seconds")
        timeout, line = float(words[2].text), line[words[2].end :].strip()
    code, out, err = await _run_program(("/bin/sh", "-c", _shell_text(line, ctx.visible)), timeout)
    if err.strip():
        raise errors.error(61, err.strip()[:500])
    if code and not out:
        raise errors.error(61, f"the command ended with code {code}")
    return Reply.of_text("\r\n".join(out.rstrip("\n").splitlines()))


def _shell_text(line: str, variables: Variables) -> str:
    """The line with its variables in place, each as one quoted word: a value is never read as shell text, except
    where the whole line is one variable."""
    words = tokenise(line).words
    if len(words) == 1:
        value = str(translate_word(words[0], variables))
        if not value:
            raise CommandError(f"Missing dictionary definition for: '{line}'")
        return value
    text = line
    for word in reversed(words):
        if word.bare and word.text[:1] == "!" and len(word.text) > 1:
            value = str(variables.translate(word.text))
            if not value:
                raise CommandError(f"Missing dictionary definition for: '{word.text}'")
            text = text[: word.start] + shlex.quote(value) + text[word.end :]
    return text


async def _run_program(program: tuple[str, ...], timeout_s: float) -> tuple[int, str, str]:
    """Run a program to its end. Raises 61 when it cannot start or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *program,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as cause:
        raise errors.error(61, str(cause)) from None
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        raise errors.error(61, f"no end within {timeout_s:g} seconds", hint="system timeout = n ...") from None
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()
    return process.returncode or 0, out[:_OUTPUT_BYTES].decode(errors="replace"), err.decode(errors="replace")


def _kill_group(pid: int) -> None:
    """End a program with all that it started; it leads a session of its own."""
    import os
    import signal

    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


@command("subprocess", cls=CommandClass.EXEC, topics=("script",), examples=("subprocess sleep 0",))
async def subprocess(ctx: Context, program: str, *words: str) -> Reply:
    """Start a program with arguments, without a shell, and go on."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as cause:
        raise errors.error(259, str(cause)) from None
    return Reply.of_text(str(process.pid))


@command(
    "wait",
    "sleep",
    cls=CommandClass.ADMIN,
    topics=("script",),
    examples=("wait 5", "r = wait 10 for !tables.len == 3", "wait 10 for sync", "sleep 1"),
)
async def wait(ctx: Context, seconds: float, condition: Annotated[str, Tail("for")] = "") -> Reply:
    """Wait a number of seconds, or until a condition holds (then the reply says True or False).

    ``for sync``: until the metadata was synchronised once more.
    """
    if not 0 <= seconds <= 86400 * 7:
        raise CommandError(f"'{seconds}' seconds cannot be waited for")
    if not condition:
        await asyncio.sleep(seconds)
        return Reply.done()
    if condition.strip() == "sync":
        return Reply(value=str(await _synchronized(ctx, seconds)))
    parsed = parse_condition(tokenise(condition).words)
    end = time.monotonic() + seconds
    # Polled, as the reference does: what a condition speaks of (a variable) tells nobody when it changes.
    while not (holds := parsed.holds(ctx.visible)) and (left := end - time.monotonic()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(min(1.0, left))
    return Reply(value=str(holds))


async def _synchronized(ctx: Context, seconds: float) -> bool:
    """A round of the synchroniser that began now has ended in time. Raises CommandError when none runs."""
    running = ctx.services.get(Synchronizer.name)
    if not isinstance(running, Synchronizer):
        raise CommandError("no synchronizer runs", hint="run blockchain sync where source = master and time = ...")
    return await running.round(timeout_s=seconds)


@command("random substr", cls=CommandClass.DATA, topics=("script",), examples=('random substr "," "a,b,c"',))
async def random_substr(ctx: Context, separator: str, text: str) -> Reply:
    """One of the parts of a text, by chance."""
    if not separator:
        raise CommandError("the separator is empty")
    return Reply.of_text(random.choice(text.split(separator)).strip())


@command("json", cls=CommandClass.DATA, topics=("script", "metadata"), examples=("v = json !policy", "json !p test"))
async def json_(ctx: Context, value: Annotated[str, Tail()]) -> Reply:
    """The JSON text of a value, with its references filled in; empty when it is no JSON. With ``test``: true/false."""
    words = tokenise(value).words
    tested = len(words) > 1 and words[-1].is_("test")
    if tested:
        value = value[: words[-1].start].strip()
    found = _json_of(value, ctx.visible)
    if tested:
        return Reply.of_text("false" if found is None else "true")
    return Reply.of_text("") if found is None else Reply.of_data(found)


def _json_of(text: str, variables: Variables) -> Any:
    """A JSON object or list out of a reference or text; None when it is none."""
    words = tokenise(text).words
    if len(words) == 1:
        text = str(translate_word(words[0], variables))
    try:
        found = json_value(text, variables)
    except errors.EdgeLakeError:
        return None
    return found if isinstance(found, dict | list) else None


@command("get", cls=CommandClass.DATA, topics=("script",), examples=("get !node_name",))
async def get(ctx: Context, name: Annotated[str, Tail()]) -> Reply:
    """The value of a variable; empty when it isn't set."""
    if name[:1] not in ("!", "$"):
        near = ctx.registry.similar(f"get {name}")
        hint = f"did you mean: {', '.join(near)}?" if near else "try: help get"
        raise UnknownCommandError(f"'get {name[:80]}'", hint=hint)
    return Reply.of_text(str(ctx.visible.translate(name)))


@command(
    "file test",
    "file check",
    cls=CommandClass.FILES,
    topics=("files",),
    examples=("v = file test !local_scripts/start.al",),
)
async def file_test(ctx: Context, path: str) -> Reply:
    """Whether a file or a folder is there: True or False."""
    wanted = Path(path).expanduser()
    if not ctx.may(CommandClass.EXEC) and not ctx.directories.inside(wanted):
        raise errors.NotPermittedError(f"'{path}' is outside the node's directories")
    return Reply.of_text(str(wanted.exists()))
