"""Scripts: a file to statements, parsed once and kept by modification time; and the machine that runs them.

Source: spec "Command language", section 7.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from edgelake import errors
from edgelake.command.console import show_reply
from edgelake.command.context import Context
from edgelake.command.flow import Flow, Frame, Signal
from edgelake.command.loops import Loop, bind, loop_end
from edgelake.command.tokenizer import Line, balance, tokenise
from edgelake.errors import CommandError, EdgeLakeError, ScriptError
from edgelake.model import Reply

_LABEL = re.compile(r":([^:\s]+):\s*(?:#.*)?")
MAX_DEPTH = 40
MAX_SCRIPT_BYTES = 4 << 20
MAX_JUMPS_OF_HANDLER = 100
_STRICT_NUMBERS = frozenset({1, 2, 112})


@dataclass(frozen=True)
class Statement:
    """One command of a script, or a label.

    Attributes:
        number: line in the file, from 1.
        line: the command, tokenised.
        label: name of the label; empty for a command.
    """

    number: int
    line: Line
    label: str = ""


@dataclass(frozen=True)
class Script:
    """A parsed script file."""

    file: str
    statements: tuple[Statement, ...]
    labels: dict[str, int] = field(default_factory=dict)
    variables: tuple[str, ...] = ()


def parse_script(text: str, file: str) -> Script:
    """Text of a script to its statements.

    Code blocks ``<...>`` and open braces join lines; blank and comment lines drop.
    Raises: error 3 for a label that stands twice.
    """
    statements: list[Statement] = []
    labels: dict[str, int] = {}
    variables: tuple[str, ...] = ()
    for number, command in _commands(text):
        if command.startswith(":"):
            found = _LABEL.fullmatch(command.rstrip())
            if found is None:
                continue  # without the second colon a label is a comment
            if found[1] in labels:
                raise errors.error(3, f"{file}, line {number}: label '{found[1]}' stands twice")
            labels[found[1]] = len(statements)
            statements.append(Statement(number, tokenise(""), found[1]))
            continue
        line = tokenise(command)
        if line.words and line.words[0].is_("variables") and len(line.words) == 2:
            variables = tuple(name.strip() for name in line.words[1].text.strip("()").split(",") if name.strip())
        elif line.words or line.rest.strip():
            statements.append(Statement(number, line))
    return Script(file, tuple(statements), labels, variables)


def parse_json_script(text: str, file: str) -> Script:
    """A ``.json`` script: sections under ``config``, each with ``setting`` (a map) and ``commands`` (a list).

    Raises: error 6.
    """
    try:
        sections = json.loads(text)["config"]
        lines: list[str] = []
        for section in sections:
            lines += [f'{name} = "{value}"' for name, value in section.get("setting", {}).items()]
            lines += [str(command) for command in section.get("commands", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise errors.error(6, f"{file}: {cause}", hint='needs {"config": [{"setting": {}, "commands": []}]}') from None
    return Script(file, tuple(Statement(i + 1, tokenise(line)) for i, line in enumerate(lines)))


def _commands(text: str) -> list[tuple[int, str]]:
    """Commands with their line numbers, blocks and open braces joined."""
    found: list[tuple[int, str]] = []
    block: list[str] = []
    start = 0
    mode = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not mode:
            if not line or line.startswith("#"):
                continue
            if line.startswith("<"):
                mode, start, block = "<", number, []
                line = line[1:]
            elif balance(_uncommented(line)) > 0:
                mode, start, block = "{", number, []
            else:
                found.append((number, raw.rstrip() if raw.startswith(":") else line))
                continue
        if line and not line.startswith("#"):
            closes = mode == "<" and line.endswith(">")
            part = line[:-1].rstrip() if closes else line
            if part:
                block.append(part)
            if closes or (mode == "{" and balance(" ".join(block)) <= 0):
                found.append((start, " ".join(block)))
                mode, block = "", []
    if block:
        found.append((start, " ".join(block)))
    return found


def _uncommented(line: str) -> str:
    at = line.find(" #")
    return line if at < 0 or line[:at].count('"') % 2 else line[:at]


class ScriptEngine:
    """Loads and runs scripts. One per node.

    Attributes:
        strict: ``on error goto|call`` passes over errors 1, 2 and 112, as the reference does (for parity tests).
    """

    def __init__(self) -> None:
        self.strict = False
        self._cache: dict[Path, tuple[tuple[int, int], Script]] = {}
        self.threads: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._frames: set[_Run] = set()

    def load(self, path: Path) -> Script:
        """A parsed script. Raises 112 when there is no such file, 3 or 6 when it doesn't parse."""
        try:
            stat = path.stat()
            key = (stat.st_mtime_ns, stat.st_size)
            held = self._cache.get(path)
            if held and held[0] == key:
                return held[1]
            if stat.st_size > MAX_SCRIPT_BYTES:
                raise errors.error(112, f"'{path}' is larger than {MAX_SCRIPT_BYTES} bytes")
            text = path.read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError) as cause:
            raise errors.error(112, f"'{path}': {cause}", hint="check the path of the script") from None
        script = (parse_json_script if path.suffix == ".json" else parse_script)(text, str(path))
        if len(self._cache) > 200:
            self._cache.clear()
        self._cache[path] = (key, script)
        return script

    async def process(self, path: Path, ctx: Context, arguments: tuple[str, ...] = ()) -> Signal | None:
        """Run a script to its end; returns ``exit`` when it asked all callers to end.

        Raises: ScriptError, or 112 and 55 before anything ran.
        """
        script = self.load(path)
        if len(script.variables) != len(arguments):
            wanted = f"{len(script.variables)} variables, got {len(arguments)}"
            raise errors.error(55, f"{path} wants {wanted}")
        for name, value in zip(script.variables, arguments, strict=True):
            ctx.variables.set(name, value)
        caller_flow = ctx.flow
        if caller_flow.nesting > MAX_DEPTH:
            raise CommandError(f"scripts call each other deeper than {MAX_DEPTH}")
        frame = Frame(str(path), debug=bool(ctx.node.settings.get("debug")))
        run = _Run(script, ctx.at(flow=Flow(frame=frame, nesting=caller_flow.nesting)), frame, self.strict)
        self._frames.add(run)
        try:
            return await run.run()
        finally:
            self._frames.discard(run)

    def stop_all(self) -> None:
        """Let every running script end behind the line that runs (``exit scripts`` from the prompt)."""
        for run in self._frames:
            run.stopped = True

    def thread(self, path: Path, ctx: Context) -> str:
        """Run a script beside everything else; returns the name of its thread."""
        self.load(path)
        number = 1
        while (name := f"thread_{number}") in self.threads:
            number += 1
        task = asyncio.create_task(self._in_thread(name, path, ctx.for_caller(ctx.caller)), name=name)
        self.threads[name] = (str(path), task)
        return name

    async def _in_thread(self, name: str, path: Path, ctx: Context) -> None:
        try:
            await self.process(path, ctx)
        except EdgeLakeError as failure:
            ctx.logs.error(f"script {path} in {name}: {failure}", thread=name)
        finally:
            self.threads.pop(name, None)

    async def stop_thread(self, name: str) -> bool:
        """Stop one thread of a script; False when there is none of that name."""
        held = self.threads.pop(name, None)
        if held is None:
            return False
        held[1].cancel()
        await asyncio.gather(held[1], return_exceptions=True)
        return True

    async def stop(self) -> None:
        """Stop all threads of scripts."""
        for name in list(self.threads):
            await self.stop_thread(name)


class _Run:
    """One run of a script: position, calls, what a failure does."""

    def __init__(self, script: Script, ctx: Context, frame: Frame, strict: bool) -> None:
        self.script = script
        self.ctx = ctx
        self.frame = frame
        self.strict = strict
        self.position = 0
        self.calls: list[tuple[int, str]] = []
        self.loops: list[Loop] = []
        self.reached = ""
        self.handled: dict[int, int] = {}
        self.stopped = False

    async def run(self) -> Signal | None:
        """To the end of the script. Raises ScriptError."""
        statements = self.script.statements
        while self.position < len(statements) and not self.stopped:
            statement = statements[self.position]
            while self.loops and not self.loops[-1].holds(self.position, len(self.calls)):
                self.loops.pop()  # left by goto or return
            self.position += 1
            if statement.label:
                continue
            await asyncio.sleep(0)  # a script that jumps in circles must not hold the node
            signal = await self._execute(statement)
            if signal is None:
                continue
            if signal.kind in ("end", "exit"):
                return signal if signal.kind == "exit" else None
            if signal.kind == "return":
                if not self.calls:
                    return None
                self.position, self.reached = self.calls.pop()  # the handler may be called again from now on
            elif signal.kind == "loop":
                self._begin_loop(signal, statement)
            elif signal.kind == "next":
                self._next_round(statement)
            else:
                self._jump(signal, statement)
        return None

    async def _execute(self, statement: Statement) -> Signal | None:
        self.frame.number = statement.number
        self.frame.signal = None
        command = bind(statement.line.text, self.loops) if self.loops else statement.line.text
        try:
            reply = await self.ctx.dispatcher.run(command, self.ctx)
            if self.frame.debug:
                self._show(f"[{statement.number:04}] {command} --> Success")
            await self._show_reply(reply)
        except EdgeLakeError as failure:
            if self.frame.debug:
                self._show(f"[{statement.number:04}] {command} --> {failure.text}")
            return self._failed(statement, failure)
        return self.frame.signal

    async def _show_reply(self, reply: Reply) -> None:
        show = self.ctx.console
        if show is not None:
            await show_reply(reply, self.ctx, show)
        elif reply.stream is not None:
            async for _ in reply.stream:  # nobody looks, but what answers runs by being asked
                pass

    def _show(self, text: str) -> None:
        show = self.ctx.console
        if show is not None:
            show(text)

    def _failed(self, statement: Statement, failure: EdgeLakeError) -> Signal | None:
        """What ``on error`` says about a failed line: go on, a signal, or ScriptError."""
        if isinstance(failure, ScriptError) and self.frame.on_error is None:
            raise failure
        handling = self.frame.on_error
        if handling is not None:
            kind, label = handling
            if kind == "ignore":
                return None
            if kind == "end":
                return Signal("end")
            passes = self.strict and failure.number in _STRICT_NUMBERS
            if not passes and label in self.script.labels and label != self.reached and self._may_jump(statement):
                return Signal("goto" if kind == "goto" else "call", label)
        raise self._error(statement, failure) from failure

    def _may_jump(self, statement: Statement) -> bool:
        """A line may send the script to its handler a bounded number of times, so that a handler cannot loop."""
        count = self.handled.get(statement.number, 0) + 1
        self.handled[statement.number] = count
        return count <= MAX_JUMPS_OF_HANDLER

    def _jump(self, signal: Signal, statement: Statement) -> None:
        target = self.script.labels.get(signal.label)
        if target is None:
            failure = CommandError(
                f"Script includes {signal.kind} command without declared destination: '{signal.label}'"
            )
            raise self._error(statement, failure, number=2) from failure
        if signal.kind == "call":
            if len(self.calls) >= 1000:
                failure = CommandError(f"'{signal.label}' calls itself without end")
                raise self._error(statement, failure) from failure
            self.calls.append((self.position, self.reached))
        self.reached = signal.label
        self.position = target + 1

    def _begin_loop(self, signal: Signal, statement: Statement) -> None:
        """Go on with the first round, or behind the loop of an empty list."""
        start = self.position - 1
        end = loop_end([each.line for each in self.script.statements], start)
        if end is None:
            failure = CommandError("'for loop start' without 'for loop end'")
            raise self._error(statement, failure) from failure
        if signal.count:
            self.loops.append(Loop(signal.label, signal.count, start, end, len(self.calls)))
        else:
            self.position = end + 1

    def _next_round(self, statement: Statement) -> None:
        """Go back to the first line of the innermost loop, or on behind it."""
        loop = self.loops[-1] if self.loops else None
        if loop is None or loop.end != self.position - 1:
            failure = CommandError("'for loop end' without 'for loop start'")
            raise self._error(statement, failure) from failure
        loop.index += 1
        if loop.index < loop.size:
            self.position = loop.start + 1
        else:
            self.loops.pop()

    def _error(self, statement: Statement, failure: EdgeLakeError, number: int | None = None) -> ScriptError:
        command = statement.line.text.strip()
        text = f"'[{statement.number:04}] {command[:200]} --> {failure.text}' in file {self.script.file}"
        reason = f": {failure.detail}" if failure.detail else ""
        raised = ScriptError(
            f"Script terminated: Error: {text}{reason}",
            hint=failure.hint,
            file=self.script.file,
            line=statement.number,
            label=self.reached,
            number=failure.number,
        )
        raised.source, raised.place, raised.usage = failure.source, failure.place, failure.usage
        if number is not None or failure.number in _STRICT_NUMBERS:
            raised.number, raised.text = failure.number, failure.text
        return raised
