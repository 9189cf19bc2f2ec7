"""Start a node: ``edgelake [command [and command ...]]``.

Source: spec "Command language", section 13.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from edgelake.command.console import execute, write
from edgelake.command.context import STARTED, Context
from edgelake.command.faults import failure_text
from edgelake.command.logs import mask
from edgelake.errors import EdgeLakeError
from edgelake.loop import run
from edgelake.model import PROMPT, SCRIPT
from edgelake.node import Node, version
from edgelake.processes import LIFELINE
from edgelake.tools.attached import Attached
from edgelake.tools.systemd import notify, watched

TOOLS = ("attach", "backup", "config", "doctor", "init", "restore", "service", "top")
_STOP_SECONDS = 4.0
_USAGE = """\
EdgeLake: a data node for the edge.

usage:
  edgelake                          start a node, with a prompt when there is a terminal
  edgelake process SCRIPT.al        start a node and run a script; 'and' separates commands,
                                    a quoted argument is one command, '#' ends them
  edgelake -c COMMAND [-c ...]      run commands and leave; exit code 1 when one fails
  edgelake init                     make a configuration, in four questions
  edgelake start [FILE.toml]        start a node as its configuration says (edgelake.toml)
  edgelake deploy [--show]          start a node as the environment says (NODE_TYPE, LEDGER_CONN ...)
  edgelake config check|show        look at a configuration
  edgelake attach [-c COMMAND]      a terminal at a node that runs in the same folder
  edgelake top [--url URL]          what a node does, on the whole screen
  edgelake doctor [FILE.toml]       what keeps a node from running well
  edgelake backup TARGET            copy a node, also while it runs
  edgelake restore BACKUP           a node's folder out of a backup
  edgelake service show|install     the node as a service of systemd
  edgelake completion bash|zsh|fish what the shell completes of these arguments
  edgelake man [--page]             the manual page
  edgelake demo [--network]         a node (a network of four) with example data, in a minute
  edgelake bench                    measure this machine
  edgelake --version | --help

environment: EDGELAKE_HOME (the node's folder), EDGELAKE_LOG (debug, info, warning, error), NO_COLOR
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the program ``edgelake``. Returns the exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    first = args[0] if args else ""
    if first in ("--version", "-V"):
        write(f"EdgeLake Version: {version()}")
        return 0
    if first in ("--help", "-h"):
        write(_USAGE)
        return 0
    if first in ("demo", "bench"):
        return _sub_program(first, args[1:])
    if first in ("completion", "man"):
        return _of_all(first, args[1:])
    if first in TOOLS:
        return _sub_program(f"tools.{first}", args[1:])
    level = logging.getLevelNamesMapping().get(os.environ.get("EDGELAKE_LOG", "critical").upper(), logging.WARNING)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if first == "-c":
        commands = args[1::2]
        if len(args) % 2 or any(flag != "-c" for flag in args[::2]):
            write("edgelake -c needs a command, in quotes", sys.stderr)
            return 2
        return run(_batch(commands))
    if first == "start":
        return _start(args[1:])
    if first == "deploy":
        return _deploy(args[1:])
    if first.startswith("-"):
        write(f"edgelake: unknown option {first}\n\n{_USAGE}", sys.stderr)
        return 2
    return run(_serve(split_commands(args)))


def _start_parser() -> argparse.ArgumentParser:
    from edgelake.tools.configuration import NAME

    made = argparse.ArgumentParser("edgelake start", description="Start a node as its configuration says.")
    made.add_argument("file", nargs="?", default=NAME, help=f"default: {NAME}")
    return made


def _deploy_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("edgelake deploy", description="Start a node as the environment says.")
    made.add_argument("--show", action="store_true", help="print its commands, and run none")
    return made


def _process_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("edgelake process", description="Start a node, and run a script.")
    made.add_argument("script", help="its commands, a line each")
    return made


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of the program's parts; of a part that is not installed, none."""
    from edgelake.tools import completion, man

    found = {
        "start": _start_parser(),
        "deploy": _deploy_parser(),
        "process": _process_parser(),
        "completion": completion.parser(),
        "man": man.parser(),
    }
    for name, module in (*((tool, f"tools.{tool}") for tool in TOOLS), ("bench", "bench"), ("demo", "demo")):
        with contextlib.suppress(ModuleNotFoundError):
            found[name] = importlib.import_module(f"edgelake.{module}").parser()
    return found


def _of_all(first: str, args: list[str]) -> int:
    """What is made of the arguments of all parts."""
    from edgelake.tools import completion, man

    return completion.main(args, parsers()) if first == "completion" else man.main(args, parsers(), version())


def _start(args: list[str]) -> int:
    """``edgelake start [FILE]``: a node as its configuration says."""
    from edgelake.tools.configuration import commands, read

    file = _start_parser().parse_args(args).file
    try:
        found = read(Path(file).absolute(), os.environ)
        lines = commands(found)
    except EdgeLakeError as failure:
        _write_error(failure_text(failure))
        return 1
    return run(_serve(lines, found.home))


def _deploy(args: list[str]) -> int:
    """``edgelake deploy``: a node as the environment says. It ends when a step of its start fails, so that a manager of
    containers tries again: its database may not be there yet."""
    from edgelake.tools.deployment import commands, replaced_by

    options = _deploy_parser().parse_args(args)
    try:
        script = replaced_by(os.environ, Path.cwd())
        lines = commands(os.environ) if script is None else script
    except EdgeLakeError as failure:
        _write_error(failure_text(failure))
        return 1
    if options.show:
        write("\n".join(map(mask, lines)))
        return 0
    return run(_serve(lines, whole=script is None))


def split_commands(args: Sequence[str]) -> list[str]:
    """The commands of the command line: ``and`` separates, a quoted argument is one command, ``#`` ends."""
    commands: list[str] = []
    current: list[str] = []
    for arg in args:
        if arg.startswith("#"):
            break
        if arg.lower() == "and":
            commands.append(" ".join(current))
            current = []
        elif not current and " " in arg.strip():
            commands.append(arg.strip())
        else:
            current.append(f'"{arg}"' if " " in arg and '"' not in arg else arg)
    commands.append(" ".join(current))
    return [command for command in commands if command]


def _sub_program(name: str, args: list[str]) -> int:
    """Run ``edgelake.demo``, ``edgelake.bench`` or a tool; they are imported only when they are asked for."""
    try:
        module = importlib.import_module(f"edgelake.{name}")
    except ModuleNotFoundError as missing:
        write(f"edgelake {name}: the module '{missing.name}' is not installed", sys.stderr)
        return 1
    code: int = module.main(args)
    return code


def _node(home: Path | None = None) -> Node:
    """The program's node: its commands are the owner's, and print on the terminal."""
    node = Node(home, caller=PROMPT)
    node.ctx.console = write
    return node


async def _batch(commands: list[str]) -> int:
    """Run commands and leave."""
    node = _node()
    if not await _started(node):
        return 1
    failed = False
    try:
        for line in commands:
            failed = not await execute(line, node.ctx.at(caller=SCRIPT), write, _write_error) or failed
            if node.ctx.node.stopping.is_set():
                break
    finally:
        await _stop(node)
    return 1 if failed else 0


async def _serve(commands: list[str], home: Path | None = None, whole: bool = False) -> int:
    """A node that runs until ``exit node``, SIGTERM or SIGINT; ``whole``: or until one of the commands fails."""
    node = _node(home)
    stopping = node.ctx.node.stopping
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopping.set)
    _follow_parent(loop, stopping)
    write(f"EdgeLake Version: {version()}")
    if not await _started(node):
        return 1
    attached = Attached(node.ctx)
    await attached.start()
    async with watched():
        work = asyncio.create_task(_work(commands, node.ctx, whole))
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done() and not work.cancelled() and work.exception() is not None:
            stopping.set()
        await stopped
    work.cancel()
    results = await asyncio.gather(work, return_exceptions=True)
    await attached.stop()
    await _stop(node)
    fault = results[0]
    if isinstance(fault, Exception):
        raise fault
    return 1 if fault is False else 0


def _follow_parent(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """End with the program that started this node for its own use (``processes.NodeProcess``)."""
    pipe = os.environ.pop(LIFELINE, "")
    if not pipe.isdigit():
        return

    def ended() -> None:
        if not os.read(int(pipe), 1):
            loop.remove_reader(int(pipe))
            stopping.set()

    with contextlib.suppress(OSError):
        loop.add_reader(int(pipe), ended)


async def _started(node: Node) -> bool:
    try:
        await node.start()
    except EdgeLakeError as failure:
        _write_error(failure_text(failure))
        return False
    return True


async def _work(commands: list[str], ctx: Context, whole: bool) -> bool:
    """The commands of the command line, then the prompt or the commands of standard input.

    ``whole``: ends the node and returns False when one of the former fails.
    """
    settings = ctx.node.settings
    settings[STARTED] = False
    for line in commands:
        write(f"EL > {mask(line)}")
        if not await execute(line, ctx.at(caller=SCRIPT), write, _write_error) and whole:
            ctx.node.stopping.set()
            return False
    settings[STARTED] = True
    notify("READY=1")
    if not ctx.node.settings.get("cli", True):
        return True
    if sys.stdin is not None and sys.stdin.isatty():
        from edgelake.command.prompt import Prompt

        await Prompt(ctx).run()
        return True
    await _standard_input(ctx)
    write("EdgeLake runs detached: no terminal on standard input. It stops at SIGTERM, or by: exit node")
    return True


async def _standard_input(ctx: Context) -> None:
    """Commands from a pipe, until it ends. A thread reads: a pipe, a file and /dev/null are read alike."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        rest = b""
        with contextlib.suppress(OSError, RuntimeError):
            while piece := os.read(0, 65536):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    loop.call_soon_threadsafe(lines.put_nowait, line.decode(errors="replace"))
            if rest:
                loop.call_soon_threadsafe(lines.put_nowait, rest.decode(errors="replace"))
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while (line := await lines.get()) is not None and not ctx.node.stopping.is_set():
        if line.strip():
            await execute(line, ctx, write, _write_error)


def _write_error(text: str) -> None:
    write(text, sys.stderr)


async def _stop(node: Node) -> None:
    """Stop the node; what takes longer than a few seconds is given up: what was acknowledged is in the journal."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await node.stop()
    except TimeoutError:
        write("some services did not stop in time", sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
