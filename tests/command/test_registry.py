"""Every command: help, an example that parses, its class at every entry; and every form of the official scripts."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.command.official import OFFICIAL

from edgelake.command import assignment
from edgelake.command.context import Context
from edgelake.command.grammar import signature_grammar
from edgelake.command.handlers.later import later_commands
from edgelake.command.local import language_context
from edgelake.command.registry import Command, Registry
from edgelake.command.render import reply_text
from edgelake.command.tokenizer import tokenise
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError, NotAvailableError, NotPermittedError
from edgelake.identity.gate import Gate, Origin
from edgelake.identity.identities import Identities
from edgelake.model import Caller, CommandClass, Reply
from edgelake.net.endpoints import is_loopback

COMMANDS = list(Registry.discover())


class Anything(Variables):
    """A dictionary in which every name has a value that fits the forms."""

    def translate(self, word: str) -> object:
        if word[:1] == "!" and len(word) > 1:
            return "1"
        return super().translate(word)


def parse(registry: Registry, text: str) -> Command:
    """The command of a line, after its arguments were read. Raises what the node would answer."""
    line = tokenise(text)
    assert line.fault is None, line.fault
    found = assignment.target(line)
    first = found.used if found else 0
    match = registry.match(line.words[first:])
    assert match is not None, f"no command: {text}"
    line, _ = without_format(line, first + match.used, match.command)
    match.command.grammar.parse(line, first + match.used, Anything({}))
    return match.command


def without_format(line: object, first: int, command: Command) -> tuple[object, bool]:
    from edgelake.command.dispatcher import _without_format

    return _without_format(line, first, command.grammar)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.phrase)
def test_every_command_has_help_topics_and_an_example_that_parses(command: Command, registry: Registry) -> None:
    assert command.help
    assert command.topics
    assert command.examples
    for example in command.examples:
        parse(registry, example)


@pytest.mark.parametrize(("phrase", "text"), OFFICIAL, ids=[case[1][:60] for case in OFFICIAL])
def test_every_form_of_the_official_scripts_parses(phrase: str, text: str, registry: Registry) -> None:
    assert parse(registry, text).phrase == phrase


Entry = Literal["rest", "peer"]
ENTRIES: list[tuple[Entry, str, bool]] = [
    ("rest", "127.0.0.1:5000", True),
    ("rest", "127.0.0.1:5000", False),
    ("rest", "10.0.0.9:5000", True),
    ("rest", "10.0.0.9:5000", False),
    ("peer", "127.0.0.1", True),
    ("peer", "10.0.0.9", True),
]
D, M, F, A, E = CommandClass
EXPECTED = [{D, M, F, A}, {D}, {D, M}, {D}, {D, M, F, A}, {D, M}]


def classes_for(entry: Entry, address: str, origin_ok: bool = True) -> frozenset[CommandClass]:
    """Of a caller at a node without identities."""
    gate = Gate(Identities(Path))
    if entry == "peer":
        return gate.anonymous("peer", is_loopback(address))
    return gate.caller(Origin(address, address.partition(":")[0], is_loopback(address), not origin_ok)).classes


@pytest.mark.parametrize(("entry", "classes"), list(zip(ENTRIES, EXPECTED, strict=True)), ids=[str(e) for e in ENTRIES])
def test_every_command_runs_only_for_callers_with_its_class(
    entry: tuple[Entry, str, bool], classes: set[CommandClass], tmp_path: Path
) -> None:
    async def marker(ctx: Context, *words: str) -> Reply:
        return Reply.of_text("ran")

    harmless = Registry()
    for command in COMMANDS:
        harmless.add(Command(command.phrase, marker, command.cls, signature_grammar(marker)))
    ctx = language_context(caller=Caller(entry[0], classes_for(*entry), entry[1]), home=tmp_path, registry=harmless)
    assert classes_for(*entry) == classes
    for command in COMMANDS:
        if command.cls in classes:
            assert asyncio.run(ctx.execute(command.phrase)).text == "ran"
        else:
            with pytest.raises(NotPermittedError, match=f"needs the command class '{command.cls}'"):
                asyncio.run(ctx.execute(command.phrase))


@pytest.mark.parametrize("phrase", ["system", "python", "subprocess", "process", "thread"])
def test_what_runs_code_is_of_the_class_exec(phrase: str, registry: Registry) -> None:
    found = registry.get(phrase)
    assert found is not None
    assert found.cls is CommandClass.EXEC


def test_bodies_of_if_and_schedules_do_not_raise_the_class(ctx: Context) -> None:
    outside = ctx.for_caller(Caller("rest", classes_for("rest", "10.0.0.9")))
    for line in (
        "if 1 == 1 then system id",
        "a = 1",
        "if 1 == 1 then a = 1",
        "schedule name = x and time = 1 second task print a",
    ):
        with pytest.raises(NotPermittedError):
            asyncio.run(outside.execute(line))


@pytest.mark.parametrize(
    ("address", "result"),
    [("127.0.0.1", True), ("127.9.9.9:80", True), ("::1", True), ("[::1]:80", True), ("::ffff:127.0.0.1", True),
     ("localhost", True), ("10.0.0.1", False), ("", False), ("127.0.0.1.evil.com", False), ("[fe80::1]:80", False)],
)  # fmt: skip
def test_loopback(address: str, result: bool) -> None:
    assert is_loopback(address) is result


def test_the_longest_phrase_wins_in_any_case(registry: Registry) -> None:
    match = registry.match(tokenise("GET Scheduler 1").words)
    assert match is not None
    assert (match.command.phrase, match.used) == ("get scheduler", 2)


def test_a_real_command_replaces_a_row_of_the_later_table(registry: Registry) -> None:
    async def real(ctx: Context) -> Reply:
        """Real."""
        return Reply.done()

    own = Registry()
    later = registry.get("run mcp server")
    assert later is not None
    if later.later:
        own.add(later)
        own.add(Command("run mcp server", real, CommandClass.ADMIN, signature_grammar(real)))
        own.add(later)
        found = own.get("run mcp server")
        assert found is not None
        assert not found.later
    own.add(Command("x", real, CommandClass.ADMIN, signature_grammar(real)))
    with pytest.raises(ValueError, match="two commands"):
        own.add(Command("x", parse, CommandClass.ADMIN, signature_grammar(real)))  # type: ignore[arg-type]


LATER = [command for command in COMMANDS if command.later]


@pytest.mark.parametrize("command", LATER, ids=lambda command: command.phrase)
def test_a_later_command_says_so_in_every_form(command: Command, ctx: Context) -> None:
    forms = [command.phrase, *command.examples, *(text for phrase, text in OFFICIAL if phrase == command.phrase)]
    for form in forms:
        with pytest.raises(NotAvailableError, match=re.escape(f"'{command.phrase}'")):
            asyncio.run(ctx.execute(form))
    assert "Not available yet" in (asyncio.run(ctx.execute(f"help {command.phrase}")).text or "")


def test_no_row_of_the_later_table_is_left_over() -> None:
    rows = {entry.phrase for entry in later_commands()}
    assert rows == {command.phrase for command in LATER}


def test_an_unknown_command_names_similar_ones(ctx: Context) -> None:
    with pytest.raises(EdgeLakeError, match=r"did you mean: .*get scheduler") as raised:
        asyncio.run(ctx.execute("get schedulr"))
    assert raised.value.number == 141


# Not st.text(): it draws texts of the sources, too, and so whole commands, which need more than the language.
LETTERS = st.lists(st.characters(codec="utf-8"), max_size=60).map("".join)
WORDS = st.sampled_from(
    ["if", "then", "do", "else", "where", "and", "or", "=", "+", "!a", "!a.int", "$HOME", "print", "get", "set", "(",
     ")", "{", "}", "[", "]", '"', "'", "name", "policy", "json", "task", "help", "&", "#", "incr", "schedule",
     "time", "1", "not", "==", ">", "random", "substr", "goto", "on", "error", "echo", "queue", "reset", "event", "log",
     "index", "format", "python", "1+1", "a[x]", "wait", "0", "log", "keys", "\r", "\x00", "é"]
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(LETTERS, st.lists(WORDS, max_size=14).map(" ".join)))
def test_no_line_raises_anything_but_an_edgelake_error(ctx: Context, text: str) -> None:
    ctx.flow.chains.clear()

    async def work() -> None:
        reply = await ctx.execute(text)
        reply_text(reply)

    with contextlib.suppress(EdgeLakeError):
        asyncio.run(work())
    faults = [entry.text for entry in ctx.logs.ring("event").select(["Failed: "]) if "Error:" in entry.text]
    assert not [text for text in faults if re.search(r"Failed: \w+(Error|Exception): ", text)]
