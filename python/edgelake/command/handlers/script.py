"""Commands of scripts: process, if/else/do, goto/call/return, on error.

Source: spec "Command language", sections 7 and 8.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from edgelake.command.assignment import value_text
from edgelake.command.conditions import parse_condition
from edgelake.command.context import Context
from edgelake.command.flow import Signal
from edgelake.command.grammar import Key, Tail, Untranslated
from edgelake.command.registry import command
from edgelake.command.script import ScriptEngine
from edgelake.command.tokenizer import tokenise
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table

_ENGINE = "scripts"


def engine(ctx: Context) -> ScriptEngine:
    """The node's script engine."""
    found = ctx.parts.setdefault(_ENGINE, ScriptEngine())
    assert isinstance(found, ScriptEngine)
    return found


def script_path(ctx: Context, text: str) -> tuple[Path, tuple[str, ...]]:
    """File and arguments of ``process <file> a b``; the name is built with ``+`` and references, either slash."""
    line = tokenise(text)
    if line.fault:
        raise CommandError(line.fault[1])
    words = line.words
    size = 1
    while size + 1 < len(words) and words[size].is_("+"):
        size += 2
    name_line = tokenise(text[: words[size - 1].end])
    name = value_text(name_line, 0, ctx.visible).replace("\\", "/")
    if not name:
        raise CommandError(f"Missing dictionary definition for: '{text}'", hint="the script's path is empty")
    values = tuple(str(ctx.visible.translate(word.text)) for word in words[size:])
    return Path(name).expanduser(), values


@command("process", cls=CommandClass.EXEC, topics=("script",), examples=("process !local_scripts/start.al",))
async def process(ctx: Context, file: Annotated[str, Tail()]) -> Reply:
    """Run a script file, line by line. Words behind the file feed the script's line ``variables (a, b)``."""
    path, values = script_path(ctx, file)
    signal = await engine(ctx).process(path, ctx, values)
    if signal is not None and ctx.flow.frame is not None:
        ctx.flow.frame.signal = signal
    return Reply.done()


@command("thread", cls=CommandClass.EXEC, topics=("script",), examples=("thread !local_scripts/start.al",))
async def thread(ctx: Context, file: Annotated[str, Tail()]) -> Reply:
    """Run a script beside everything else."""
    path, _ = script_path(ctx, file)
    name = engine(ctx).thread(path, ctx)
    return Reply.of_text(name)


@command("get user threads", cls=CommandClass.DATA, topics=("script", "status"), examples=("get user threads",))
async def get_user_threads(ctx: Context) -> Reply:
    """List the scripts that run in threads of their own."""
    rows = [(name, file) for name, (file, _) in sorted(engine(ctx).threads.items())]
    data = [{"Thread ID": name, "Script": file} for name, file in rows]
    return Reply.of_table(Table(("Thread ID", "Script"), rows), data=data)


@command("stop", cls=CommandClass.ADMIN, topics=("script",), examples=("stop all", "stop thread_1"))
async def stop(ctx: Context, thread: str) -> Reply:
    """Stop a script that runs in a thread, or all of them."""
    if thread.lower() == "all":
        await engine(ctx).stop()
    elif not await engine(ctx).stop_thread(thread):
        raise CommandError(f"no thread '{thread}'", hint="see: get user threads")
    return Reply.done()


@command("set debug", cls=CommandClass.ADMIN, topics=("script",), examples=("set debug on", "set debug off"))
async def set_debug(ctx: Context, mode: Literal["on", "off", "interactive"], thread: str = "") -> Reply:
    """Show every line of scripts with its result."""
    ctx.node.settings["debug"] = mode != "off"
    if ctx.flow.frame is not None:
        ctx.flow.frame.debug = mode != "off"
    return Reply.done()


@command(
    "if",
    cls=CommandClass.DATA,
    topics=("script",),
    examples=("if !node_name then print !node_name", "if !x.int > 3 and !y == test then"),
)
async def if_(ctx: Context, condition: Annotated[str, Tail()]) -> Reply:
    """Run a command when a condition holds; without ``then`` show True or False.

    ``do`` lines behind ``if ... then`` belong to it; ``else`` and ``else if`` continue it.
    """
    body, then = _split_then(condition)
    result = parse_condition(tokenise(body).words).holds(ctx.visible)
    ctx.flow.open_if(result)
    if then is None:
        return Reply.of_text(str(result))
    return await _inner(ctx, then) if result and then else Reply.done()


@command("else", cls=CommandClass.DATA, topics=("script",), examples=("else print no", "else if !a then print a"))
async def else_(ctx: Context, body: Annotated[str, Tail()] = "") -> Reply:
    """Run a command when no branch of the ``if`` before it was taken; alone it opens a body of ``do`` lines."""
    flow = ctx.flow
    if not flow.may_else():
        return Reply.done()
    words = tokenise(body).words
    if words and words[0].is_("if"):
        condition, then = _split_then(body[words[0].end :])
        result = parse_condition(tokenise(condition).words).holds(ctx.visible)
        flow.else_if(result)
        return await _inner(ctx, then) if result and then else Reply.done()
    if not body:
        flow.open_else()
        return Reply.done()
    return await _inner(ctx, body)


@command("do", cls=CommandClass.DATA, topics=("script",), examples=("do print yes",))
async def do(ctx: Context, body: Annotated[str, Tail()]) -> Reply:
    """Run a command when the ``if`` (or ``else``) that it belongs to was taken."""
    return await _inner(ctx, body) if ctx.flow.may_do() else Reply.done()


async def _inner(ctx: Context, text: str) -> Reply:
    """Run the body of an if, else or do, one level deeper."""
    ctx.flow.depth += 1
    try:
        return await ctx.execute(text)
    finally:
        ctx.flow.depth -= 1


def _split_then(text: str) -> tuple[str, str | None]:
    """Condition and command of an ``if``; the command is None without ``then``."""
    line = tokenise(text)
    for word in line.words:
        if word.is_("then"):
            return text[: word.start], text[word.end :].strip()
    return text, None


@command("goto", cls=CommandClass.DATA, topics=("script",), examples=("goto done",))
async def goto(ctx: Context, label: str) -> Reply:
    """Go on at the line ``:label:`` of this script."""
    ctx.flow.script("goto").signal = Signal("goto", label)
    return Reply.done()


@command("call", cls=CommandClass.DATA, topics=("script",), examples=("call report",))
async def call(ctx: Context, label: str) -> Reply:
    """Run from ``:label:`` to the next ``return``, then go on behind the call."""
    ctx.flow.script("call").signal = Signal("call", label)
    return Reply.done()


@command("return", cls=CommandClass.DATA, topics=("script",), examples=("return",))
async def return_(ctx: Context) -> Reply:
    """Go on behind the last ``call``; without one the script ends."""
    ctx.flow.script("return").signal = Signal("return")
    return Reply.done()


@command(
    "for loop start",
    cls=CommandClass.DATA,
    topics=("script",),
    examples=("for loop start where list = !tables",),
)
async def for_loop_start(ctx: Context, *, items: Annotated[Untranslated, Key("list")]) -> Reply:
    """Run the lines up to ``for loop end`` once for each element of a JSON list.

    In these lines ``!tables[+]`` is the element, ``!tables.name[+]`` an attribute of it.
    """
    frame = ctx.flow.script("for loop start")
    name = items.removeprefix("!")
    try:
        found = json.loads(ctx.visible.get(name) or "[]")
    except (ValueError, RecursionError):
        found = None
    if not items.startswith("!") or not isinstance(found, list):
        raise CommandError(f"list = '{items}' is no variable with a JSON list", hint='tables = ["a", "b"]')
    frame.signal = Signal("loop", name, len(found))
    return Reply.done()


@command("for loop end", cls=CommandClass.DATA, topics=("script",), examples=("for loop end",))
async def for_loop_end(ctx: Context) -> Reply:
    """Go on with the next element of ``for loop start``, or behind the loop after the last one."""
    ctx.flow.script("for loop end").signal = Signal("next")
    return Reply.done()


@command("end script", cls=CommandClass.DATA, topics=("script",), examples=("end script",))
async def end_script(ctx: Context) -> Reply:
    """Leave this script with success."""
    ctx.flow.script("end script").signal = Signal("end")
    return Reply.done()


@command("exit scripts", cls=CommandClass.ADMIN, topics=("script",), examples=("exit scripts",))
async def exit_scripts(ctx: Context) -> Reply:
    """Leave this script and all that called it; outside a script, end all scripts that run."""
    if ctx.flow.frame is not None:
        ctx.flow.frame.signal = Signal("exit")
    else:
        engine(ctx).stop_all()
    return Reply.done()


@command("on error ignore", cls=CommandClass.DATA, topics=("script",), examples=("on error ignore",))
async def on_error_ignore(ctx: Context) -> Reply:
    """Go on with the next line when a line of this script fails."""
    ctx.flow.script("on error").on_error = ("ignore", "")
    return Reply.done()


@command("on error end script", cls=CommandClass.DATA, topics=("script",), examples=("on error end script",))
async def on_error_end(ctx: Context) -> Reply:
    """Leave this script with success when a line fails."""
    ctx.flow.script("on error").on_error = ("end", "")
    return Reply.done()


@command("on error goto", cls=CommandClass.DATA, topics=("script",), examples=("on error goto failed",))
async def on_error_goto(ctx: Context, label: str) -> Reply:
    """Go to a label when a line of this script fails."""
    ctx.flow.script("on error").on_error = ("goto", label)
    return Reply.done()


@command("on error call", cls=CommandClass.DATA, topics=("script",), examples=("on error call failed",))
async def on_error_call(ctx: Context, label: str) -> Reply:
    """Call a label when a line of this script fails, and go on behind the line at ``return``."""
    ctx.flow.script("on error").on_error = ("call", label)
    return Reply.done()
