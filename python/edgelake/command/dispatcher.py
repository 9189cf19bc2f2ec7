"""From a line to a reply: tokenise, find the command, check the class, parse the arguments, run, log.

Source: design, section 4; spec "Command language", sections 3 and 5.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from edgelake import errors
from edgelake.command import assignment
from edgelake.command.audit import AUDITED
from edgelake.command.context import Context, Standing
from edgelake.command.faults import locate, unknown_place
from edgelake.command.flow import Flow
from edgelake.command.grammar import Grammar
from edgelake.command.logs import mask
from edgelake.command.registry import Command, Match, Registry
from edgelake.command.render import reply_value
from edgelake.command.tokenizer import Line, tokenise
from edgelake.command.variables import Variables
from edgelake.errors import (
    CommandError,
    EdgeLakeError,
    NotPermittedError,
    UnknownCommandError,
)
from edgelake.model import Caller, CommandClass, Reply, Rights

log = logging.getLogger(__name__)
_CACHED_LINES = 512
_FORMAT = re.compile(r"json|table|text", re.IGNORECASE)
_LONGEST_USAGE = 120
MAX_NESTING = 60
_STATEMENTS = frozenset({"sql"})
MAX_VALUE_BYTES = 16 << 20


class Call(Struct, frozen=True):
    """What a line stands for that is the same call each time: one command, no reference, nothing else to read. The
    audit does not keep it.

    Attributes:
        shown: the line for the log, secrets masked.
    """

    text: str
    command: Command
    arguments: Mapping[str, str]
    json_wanted: bool
    shown: str


class _Seen(Struct):
    """A line that came lately; its call is looked for when it comes again."""

    line: Line
    is_read: bool = False
    call: Call | None = None


class Dispatcher:
    """Runs command lines. One per node; everything a caller owns is in the context."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._cache: OrderedDict[str, _Seen] = OrderedDict()

    def line(self, text: str) -> Line:
        """The tokenised line, from the cache when it was seen lately."""
        found = self._cache.get(text)
        if found is None:
            line = tokenise(text)
            if len(text) < 4096:
                self._cache[text] = _Seen(line)
                if len(self._cache) > _CACHED_LINES:
                    self._cache.popitem(last=False)
            return line
        self._cache.move_to_end(text)
        return found.line

    def _call_of(self, text: str) -> Call | None:
        """The call that a line is, when it was seen before and is one."""
        seen = self._cache.get(text)
        if seen is None:
            return None
        self._cache.move_to_end(text)
        if not seen.is_read:
            seen.is_read, seen.call = True, self._read(seen.line)
        return seen.call

    def _read(self, line: Line) -> Call | None:
        if line.fault is not None or line.rest.strip() or "!" in line.text or "$" in line.text:
            return None
        match = self.registry.match(line.words)
        if match is None or assignment.target(line) is not None:
            return None
        entry = match.command
        if entry.cls in AUDITED:
            return None
        kept, json_wanted = _without_format(line, match.used, entry.grammar)
        try:
            args, kwargs = entry.grammar.parse(kept, match.used, Variables({}))
        except CommandError:
            return None  # whoever runs it gets the error
        # Other values may be anew each time (a directory that is there, a time), or are changed by who gets them.
        texts = {param.name for param in entry.grammar.positional if param.tail and param.tail.raw}
        if args or not texts.issuperset(kwargs):
            return None
        return Call(line.text, entry, kwargs, json_wanted, mask(line.source(0)))

    def standing(self, text: str, ctx: Context, caller: Caller) -> Standing | None:
        """A line for a caller, to be run as often as it comes, when that takes no waiting; None: it is for ``run``."""
        self.line(text)
        call = self._call_of(text)
        if call is None or call.command.waits:
            return None
        made = ctx.at(caller=caller, flow=Flow(), line=call.text, phrase=call.command.phrase)
        return Standing(partial(self._run_standing, call, made), partial(ctx.logs.ran, call.shown, entry=caller.entry))

    def _run_standing(self, call: Call, ctx: Context) -> Reply:
        try:
            reply: Reply = self._begun(call, ctx)
        except EdgeLakeError as failure:
            self._note(failure, call.shown, ctx)
            raise
        except Exception as fault:
            raise self._fault(fault, call.shown, ctx) from fault
        if call.json_wanted:
            reply.json_wanted = True
        return reply

    def _begun(self, call: Call, ctx: Context) -> Any:
        """The reply of a call, or what is to be awaited for it."""
        command, caller = call.command, ctx.caller
        if command.cls not in caller.classes or caller.rights is not None:
            self._permit(ctx, command.cls, command.phrase)
        return command.handler(ctx, **call.arguments)

    async def _called(self, call: Call, ctx: Context) -> Reply:
        flow = ctx.flow
        if flow.nesting > MAX_NESTING:
            raise CommandError(f"commands are nested deeper than {MAX_NESTING}")
        ctx = ctx.at(line=call.text, phrase=call.command.phrase)
        flow.nesting += 1
        try:
            given = self._begun(call, ctx)
            reply: Reply = await given if call.command.waits else given
        except EdgeLakeError as failure:
            self._note(failure, call.shown, ctx)
            raise
        except Exception as fault:
            raise self._fault(fault, call.shown, ctx) from fault
        finally:
            flow.nesting -= 1
        if call.json_wanted:
            reply.json_wanted = True
        if (entry := ctx.caller.entry) != "schedule":
            ctx.logs.ran(call.shown, entry=entry)
        return reply

    def run(self, text: str, ctx: Context) -> Coroutine[Any, Any, Reply]:
        """Run a line, with everything behind ``&``; the last reply is returned.

        Raises EdgeLakeError, and nothing else: a fault of a handler is logged with its trace and becomes error 3.
        """
        call = self._call_of(text)
        return self._run_line(text, ctx) if call is None else self._called(call, ctx)

    async def _run_line(self, text: str, ctx: Context) -> Reply:
        line = self.line(text)
        reply = await self._logged(line, ctx)
        while line.rest.strip():
            line = self.line(line.rest)
            await _collect(reply)
            following = await self._logged(line, ctx)
            reply = _merged(reply, following)
        return reply

    async def _logged(self, line: Line, ctx: Context) -> Reply:
        if not line.words:
            return Reply.done()
        shown = line.source(0)
        if ctx.flow.nesting > MAX_NESTING:
            raise CommandError(f"commands are nested deeper than {MAX_NESTING}")
        ctx = ctx.at(line=line.text)
        ctx.flow.nesting += 1
        try:
            reply = await self._run(line, ctx)
        except EdgeLakeError as failure:
            self._note(failure, shown, ctx)
            locate(failure, line)
            raise
        except Exception as fault:
            raise self._fault(fault, shown, ctx) from fault
        finally:
            ctx.flow.nesting -= 1
        if ctx.caller.entry != "schedule":
            ctx.logs.command(shown, entry=ctx.caller.entry)
        return reply

    def _note(self, failure: EdgeLakeError, shown: str, ctx: Context) -> None:
        """Put a command that failed into the logs. What its caller is told has no secrets either."""
        failure.detail, failure.hint = mask(failure.detail), mask(failure.hint)
        failure.args = (failure.detail or failure.text,)
        if ctx.caller.entry != "schedule" or ctx.flow.frame is not None:  # a scheduler notes what its tasks do
            ctx.logs.command(shown, str(failure), entry=ctx.caller.entry)
            ctx.echo.add(f"Error executing: [{mask(shown)}] Message: [{mask(str(failure))}]")

    def _fault(self, fault: Exception, shown: str, ctx: Context) -> EdgeLakeError:
        """The error of a handler that broke; its trace is in the log."""
        text = f"{type(fault).__name__}: {fault}"
        log.error("fault in command: %s", ctx.phrase or shown.partition(" ")[0], exc_info=fault)
        ctx.logs.command(shown, text, entry=ctx.caller.entry)
        return errors.error(3, text, hint="this is a fault of the node: report it")

    async def _run(self, line: Line, ctx: Context) -> Reply:
        if line.fault is not None:
            raise errors.error(line.fault[0], line.fault[1])
        target = assignment.target(line)
        first = target.used if target else 0
        match = self.registry.match(line.words[first:], ctx.visible.translate)
        if isinstance(target, assignment.FileTarget):
            return await self._to_file(target, line, match, ctx)
        if target is None:
            if match is None:
                return self._no_command(line, ctx)
            return await self._call(line, 0, match, ctx)
        self._permit(ctx, CommandClass.ADMIN, f"{target.name} = ...", "set")
        if match is not None and target.may_run and not _lone_word(line, first, match):
            target.prepare(ctx)
            reply = await self._call(line, first, match, ctx)
            await _collect(reply)
            target.store(ctx, reply_value(reply))
            return Reply.done()
        if match is None and target.may_run and self._misspelt(line, first):
            raise self._unknown(line, first)
        target.assign(ctx, line, first)
        return Reply.done()

    async def _to_file(self, file: assignment.FileTarget, line: Line, match: Match | None, ctx: Context) -> Reply:
        if match is None:
            raise self._unknown(line, file.used)
        self._permit(ctx, CommandClass.FILES, "[file = ...] = ...", "file")
        reply = await self._call(line, file.used, match, ctx)
        await _collect(reply)
        return await file.write(ctx, reply_value(reply))

    async def _call(self, line: Line, first: int, match: Match, ctx: Context) -> Reply:
        entry = match.command
        with ctx.audit.watched(ctx.caller, entry.cls, line.source(first)):
            self._permit(ctx, entry.cls, entry.phrase)
            return await self._handled(line, first, match, ctx)

    async def _handled(self, line: Line, first: int, match: Match, ctx: Context) -> Reply:
        entry = match.command
        line, json_wanted = _without_format(line, first + match.used, entry.grammar)
        try:
            args, kwargs = entry.grammar.parse(line, first + match.used, ctx.visible)
        except CommandError as failure:
            failure.usage = entry.usage
            if not failure.hint and len(entry.usage) <= _LONGEST_USAGE:
                failure.hint = f"usage: {entry.usage}"
            raise
        if ctx.caller.rights is not None:
            _check_data(ctx.caller.rights, entry, args, kwargs)
        try:
            given: Any = entry.handler(ctx.at(phrase=entry.phrase), *args, **kwargs)
            reply: Reply = await given if entry.waits else given
        except UnknownCommandError as failure:
            if not failure.source:
                failure.place = unknown_place(self.registry, line.words[first:])
            raise
        if json_wanted:
            reply.json_wanted = True
        return reply

    def _permit(self, ctx: Context, cls: CommandClass, what: str, command: str = "") -> None:
        """Raises NotPermittedError. ``command``: by which policies know it, "" = as it is called here."""
        if ctx.caller.rights is not None:
            ctx.caller.rights.check(command or what)
        if cls not in ctx.caller.classes:
            raise NotPermittedError(
                f"'{what}' needs the command class '{cls}'",
                hint="run it at the node's prompt, or ask its owner to grant the class",
            )

    def _no_command(self, line: Line, ctx: Context) -> Reply:
        """A value to print, or an unknown command."""
        if assignment.is_value(line):
            return Reply.of_text(assignment.value_text(line, 0, ctx.visible))
        raise self._unknown(line, 0)

    def _misspelt(self, line: Line, first: int) -> bool:
        """Several words that begin as commands do, but are none: an error, no text to assign."""
        words = line.words[first:]
        return len(words) > 1 and words[0].bare and len(self.registry.next_words([words[0].text])) > 3

    def _unknown(self, line: Line, first: int) -> UnknownCommandError:
        text = line.source(first)[:80]
        near = self.registry.similar(text)
        hint = f"did you mean: {', '.join(near)}?" if near else "try: help index"
        failure = UnknownCommandError(f"'{text}'", hint=hint)
        failure.place = unknown_place(self.registry, line.words[first:])
        return failure


def _check_data(rights: Rights, entry: Command, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """The database and table that a command names; statements have a look of their own. Raises NotPermittedError."""
    if entry.phrase in _STATEMENTS:
        return
    named = dict(zip((param.name for param in entry.grammar.positional), args, strict=False)) | dict(kwargs)
    dbms, table = named.get("dbms"), named.get("table")
    if isinstance(dbms, str) and dbms:
        rights.check(entry.phrase, dbms, table if isinstance(table, str) else "")


def _lone_word(line: Line, first: int, match: Match) -> bool:
    """A single word on the right that is a phrase but no complete command is a value (``dbms = test``)."""
    if len(line.words) - first != 1:
        return False
    grammar = match.command.grammar
    return any(param.required for param in (*grammar.positional, *grammar.pairs))


def _without_format(line: Line, first: int, grammar: Grammar) -> tuple[Line, bool]:
    """The line without its pair ``format = json|table``, which every command accepts, and whether JSON is wanted."""
    words = line.words
    if "format" in grammar.keys or any(param.tail for param in grammar.positional):
        return line, False
    if not any(word.is_("where") for word in words[first:]):
        return line, False
    start = next(index for index in range(first, len(words)) if words[index].is_("where"))
    for index in range(start + 1, len(words) - 2):
        if not (words[index].is_("format") and words[index + 1].is_("=") and _FORMAT.fullmatch(words[index + 2].text)):
            continue
        behind = index + 3
        if words[index - 1].is_("and") or index == start + 1:
            if behind < len(words) and not words[behind].is_("and"):
                continue
            if index == start + 1:
                kept = words[: start + 1] + words[behind + 1 :] if behind < len(words) else words[:start]
            else:
                kept = words[: index - 1] + words[behind:]
            return Line(line.text, kept, line.fault, line.rest), words[index + 2].text.lower() == "json"
    return line, False


async def _collect(reply: Reply) -> None:
    """Turn a streamed body into text, for an assignment. Raises CommandError above the limit of a value."""
    if reply.stream is None:
        return
    body = bytearray()
    async for piece in reply.stream:
        body += piece
        if len(body) > MAX_VALUE_BYTES:
            raise CommandError(f"the reply has more than {MAX_VALUE_BYTES} bytes", hint="narrow the query")
    reply.stream, reply.text = None, body.decode(errors="replace")


def _merged(first: Reply, second: Reply) -> Reply:
    """Two replies of one line: texts one after the other; else the second."""
    if first.text and second.text:
        second.text = f"{first.text}\r\n{second.text}"
        return second
    return first if first.text and second.text is None and not second.tables and not second.has_data else second
