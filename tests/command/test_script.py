"""Scripts: nesting of if/else/do, labels, and what a failing line does (spec: command language, sections 7, 8)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelake.command.context import Context
from edgelake.command.handlers.script import engine
from edgelake.errors import EdgeLakeError, ScriptError

Process = Callable[..., str]


@pytest.fixture
def process(ctx: Context, tmp_path: Path) -> Process:
    """Run a script's text; returns everything that it printed, joined by blanks."""

    versions: list[int] = []

    def work(text: str, arguments: str = "") -> str:
        shown: list[str] = []
        ctx.console = shown.append
        path = tmp_path / "test.al"
        path.write_text(text)
        versions.append(len(versions))
        os.utime(path, (1, len(versions)))  # a new version even within one tick of the clock
        ctx.parts["shown"] = shown
        asyncio.run(ctx.execute(f"process {path} {arguments}"))
        return " ".join(shown)

    return work


NESTING = [
    ("if 1 == 1 then print a\ndo print b\nelse print c", "a b"),
    ("if 1 == 2 then print a\ndo print b\nelse print c", "c"),
    ("if 1 == 2 then\ndo print b\nelse print c\nelse print d", "c d"),
    ("if 1 == 1 then\ndo print a\nelse if 2 == 2 then\ndo print b\nelse print c", "a"),
    ("if 1 == 2 then\ndo print a\nelse if 2 == 2 then\ndo print b\nelse print c", "b"),
    ("if 1 == 2 then\ndo print a\nelse if 2 == 3 then\ndo print b\nelse print c", "c"),
    ("if 1 == 2 then\ndo print a\nelse\ndo print b\ndo print c", "b c"),
    ("if 1 == 1 then\ndo print a\nelse\ndo print b", "a"),
    ("if 1 == 1 then\ndo if 1 == 2 then print x\ndo else print y\ndo print z", "y z"),
    ("if 1 == 1 then\ndo if 1 == 1 then\ndo do print x\ndo else print y\nelse print z", "x"),
    ("if 1 == 2 then\ndo if 1 == 1 then\ndo do print x\ndo else print y\nelse print z", "z"),
    ("if 1 == 1 then\ndo if 1 == 2 then\ndo do print x\ndo else if 1 == 1 then\ndo do print y\ndo print z", "y z"),
    # the do belongs to the last if: the debug print takes it over
    ("if 1 == 1 then\nif 1 == 2 then print debug\ndo print never", ""),
    ("do print never", ""),
    ("else print never", ""),
    ("<if 1 == 1 then\n  print\n # comment\n\n a b>\nprint c", "a b c"),
    ("<print a\n>", "a"),
    ('<p = {"t": {\n"n": 1\n}}>\nprint !p.len', "1"),
    ('p = {"t": {\n  "n": 1 }\n}\nprint !p[t][n]', "1"),
    ("print a & print b", "a\nb"),
    ("# nothing\n\n  print a  # comment", "a"),
]


@pytest.mark.parametrize(("text", "shown"), NESTING, ids=[case[0].replace("\n", "; ") for case in NESTING])
def test_nesting(process: Process, text: str, shown: str) -> None:
    assert process(text).replace("\r\n", "\n") == shown


CONDITIONS = [
    ("!t", True),
    ("!unset", False),
    ("not !unset", True),
    ("!false", True),
    ("!false.bool", False),
    ("!false == false", True),
    ("!t == TEXT", True),
    ("'text' == text", True),
    ("!n.int > 5", True),
    ("!n > 5", False),
    ("!unset.int > 0", False),
    ("!n.int == !f.float", False),
    ("!t contains ex", True),
    ("!t startswith te and !t endswith xt", True),
    ("/a/b childfrom /a", True),
    ("/ab childfrom /a", False),
    ("1 == 2 and 1 == 1 or 1 == 1", False),
    ("1 == 1 or 1 == 2 and 1 == 2", True),
    ("!unset and !unset == true or !t == text", False),
    ("(1 == 2 and 1 == 1) or (1 == 1)", True),
    ("!t is declared", True),
    ("not declared !unset", True),
    ("!n != 13", True),
    (
        "!unset and !t print a",
        False,
    ),  # what no test needs is not read: a `then` may be missing, as an official script has it
]


@pytest.mark.parametrize(("condition", "result"), CONDITIONS, ids=[case[0] for case in CONDITIONS])
def test_conditions(ctx: Context, run: Process, condition: str, result: bool) -> None:
    for name, value in {"t": "text", "n": "12", "f": "2.5", "false": "false"}.items():
        ctx.variables.set(name, value)
    assert run(f"if {condition}") == str(result)


@pytest.mark.parametrize("condition", ["", "a b c", "a ==", "== b", "a and", "!n.int > x", "((a) or b)"])
def test_faulty_conditions_are_structure_errors(ctx: Context, run: Process, condition: str) -> None:
    ctx.variables.set("n", "1")
    with pytest.raises(EdgeLakeError) as raised:
        run(f"if {condition} then print a")
    assert raised.value.number == 2


BAD_STRUCTURE = "set debug maybe"  # error 2
BAD_OTHER = "no such command"  # error 141
MISSING = "process /no/such.al"  # error 112


@pytest.mark.parametrize("line", [BAD_STRUCTURE, BAD_OTHER, MISSING])
@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("on error ignore", "a b handler"),
        ("on error goto handler", "a handler"),
        ("on error call handler", "a handler b handler"),
        ("on error end script", "a"),
    ],
)
def test_what_a_failing_line_does(process: Process, line: str, setting: str, shown: str) -> None:
    text = f"{setting}\nprint a\n{line}\nprint b\ngoto last\n:handler:\nprint handler\nreturn\n:last:\ncall handler"
    if "goto" in setting:
        assert process(text) == "a handler"
    else:
        assert process(text) == shown


@pytest.mark.parametrize(("line", "number"), [(BAD_STRUCTURE, 2), (BAD_OTHER, 56), (MISSING, 112)])
def test_without_on_error_the_script_ends_and_says_where(
    process: Process, ctx: Context, line: str, number: int
) -> None:
    with pytest.raises(ScriptError) as raised:
        process(f"print a\n:here:\n{line}\nprint b")
    assert raised.value.number == number
    assert "[0003]" in raised.value.detail
    assert "test.al" in raised.value.detail
    assert raised.value.where["line"] == 3
    assert ctx.parts["shown"] == ["a"]


def test_strict_mode_passes_over_structure_errors_as_the_reference_does(process: Process, ctx: Context) -> None:
    engine(ctx).strict = True
    with pytest.raises(ScriptError):
        process(f"on error goto handler\n{BAD_STRUCTURE}\nprint b\n:handler:\nprint handler")
    assert process(f"on error goto handler\n{BAD_OTHER}\nprint b\n:handler:\nprint handler") == "handler"


def test_a_failing_handler_ends_the_script_instead_of_looping(process: Process) -> None:
    with pytest.raises(ScriptError):
        process(f"on error goto handler\n{BAD_OTHER}\n:handler:\n{BAD_OTHER}")


def test_a_handler_is_called_again_for_a_later_failure(process: Process) -> None:
    text = f"on error call handler\n{BAD_OTHER}\nprint a\n{BAD_OTHER}\nend script\n:handler:\nprint handler\nreturn"
    assert process(text) == "handler a handler"


def test_two_handlers_cannot_send_the_script_in_circles(process: Process) -> None:
    text = (
        f"on error goto one\n{BAD_OTHER}\n:one:\non error goto two\n{BAD_OTHER}\n:two:\non error goto one\n{BAD_OTHER}"
    )
    with pytest.raises(ScriptError):
        process(text)


def test_goto_call_and_return(process: Process) -> None:
    text = "call sub\nprint b\ncall sub\ngoto done\n:sub:\nprint sub\nreturn\n:done:\nprint done\nreturn\nprint never"
    assert process(text) == "sub b sub done"


def test_goto_without_its_label_ends_the_script_with_error_2(process: Process) -> None:
    with pytest.raises(ScriptError, match="without declared destination: 'nowhere'") as raised:
        process("goto nowhere\n:nowhere")
    assert raised.value.number == 2


def test_a_label_that_stands_twice_is_found_before_anything_runs(process: Process, ctx: Context) -> None:
    with pytest.raises(EdgeLakeError) as raised:
        process("print a\n:x:\n:x:")
    assert raised.value.number == 3
    assert ctx.parts["shown"] == []


def test_end_script_returns_to_the_caller_and_exit_scripts_leaves_all(process: Process, tmp_path: Path) -> None:
    (tmp_path / "inner.al").write_text("print inner\nend script\nprint never")
    assert process(f"process {tmp_path}/inner.al\nprint outer") == "inner outer"
    (tmp_path / "inner.al").write_text("print inner!\nexit scripts\nprint never")
    assert process(f"process {tmp_path}/inner.al\nprint outer") == "inner!"


def test_the_if_of_the_caller_survives_a_script_and_on_error_is_not_inherited(process: Process, tmp_path: Path) -> None:
    (tmp_path / "inner.al").write_text("if 1 == 2 then print x")
    text = f"if 1 == 1 then\ndo process {tmp_path}/inner.al\ndo print still"
    assert process(text) == "still"
    (tmp_path / "inner.al").write_text("no such command\nprint never")
    assert process(f"on error ignore\nprocess {tmp_path}/inner.al\nprint outer") == "outer"


def test_words_behind_the_file_feed_its_variables(process: Process) -> None:
    assert process("variables (a, b)\nprint !b !a", "1 2") == "2 1"
    with pytest.raises(EdgeLakeError) as raised:
        process("variables (a, b)\nprint !b", "1")
    assert raised.value.number == 55


def test_a_script_is_parsed_again_only_when_it_changes(ctx: Context, tmp_path: Path) -> None:
    path = tmp_path / "x.al"
    path.write_text("print a")
    first = engine(ctx).load(path)
    assert engine(ctx).load(path) is first
    path.write_text("print abc")
    assert engine(ctx).load(path) is not first


def test_a_json_script_has_settings_and_commands(ctx: Context, tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text('{"config": [{"setting": {"a": "x y"}, "commands": ["b = !a", "c = 1"]}]}')
    asyncio.run(ctx.execute(f"process {path}"))
    assert (ctx.variables.get("b"), ctx.variables.get("c")) == ("x y", "1")


def test_a_line_with_an_open_quote_fails_only_when_it_runs(process: Process) -> None:
    assert process('print a\ngoto end\nprint "open\n:end:\nprint b') == "a b"


def test_a_path_is_built_from_variables(ctx: Context, process: Process, tmp_path: Path) -> None:
    (tmp_path / "inner.al").write_text("print inner")
    ctx.variables.set("here", str(tmp_path))
    assert process("process !here/inner.al") == "inner"
    assert process('process !here + "/" + inner.al') == "inner"


def test_scripts_that_call_themselves_end_with_an_error(ctx: Context, tmp_path: Path) -> None:
    path = tmp_path / "loop.al"
    path.write_text(f"process {path}")
    with pytest.raises(EdgeLakeError):
        asyncio.run(ctx.execute(f"process {path}"))


LOOPS = [
    ("print !l[+]", "a b c"),
    ("print !objects.name[+] !objects.n[+].int", "x 1 y 2"),
    ('p = json {"k": !objects.name[+]}\nprint !p[k]', "x y"),
    ("for loop start where list = !l\nprint !objects.n[+] !l[+]\nfor loop end", "1 a 1 b 1 c 2 a 2 b 2 c"),
    ("if !objects.name[+] == x then print found\nelse print !objects.n[+]", "found 2"),
    ("call sub\nprint !objects.n[+]", "sub x 1 sub y 2"),
    ("if !objects.n[+] == 1 then goto next\nprint !objects.n[+]\n:next:", "2"),
    ("print !objects.n[+]\ngoto out", "1"),
    ("print a[+] !other[+]", "a[+] a[+]"),
    ("no such command\nprint !objects.n[+]", "1 2"),
]


@pytest.mark.parametrize(("body", "shown"), LOOPS, ids=[case[0].replace("\n", "; ") for case in LOOPS])
def test_loops(process: Process, ctx: Context, body: str, shown: str) -> None:
    ctx.variables.set("l", '["a", "b", "c"]')
    ctx.variables.set("objects", '[{"name": "x", "n": 1}, {"name": "y", "n": 2}]')
    name = "l" if body == "print !l[+]" else "objects"
    tail = "\n:out:\nend script\n:sub:\nprint sub !objects.name[+]\nreturn"
    assert process(f"on error ignore\nfor loop start where list = !{name}\n{body}\nfor loop end{tail}") == shown


@pytest.mark.parametrize("items", ["", "[]"])
def test_a_loop_over_nothing_is_passed_over(process: Process, ctx: Context, items: str) -> None:
    ctx.variables.set("l", items)
    inner = "for loop start where list = !l\nprint never\nfor loop end"
    assert process(f"for loop start where list = !l\n{inner}\nprint never\nfor loop end\nprint done") == "done"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("for loop start where list = !l\nprint a", 2),
        ("print a\nfor loop end", 2),
        ("for loop start where list = !word\nfor loop end", 2),
        ("for loop start where list = [1]\nfor loop end", 2),
    ],
)
def test_faulty_loops_end_the_script(process: Process, ctx: Context, text: str, number: int) -> None:
    ctx.variables.set("l", "[1]")
    ctx.variables.set("word", "x")
    with pytest.raises(ScriptError) as raised:
        process(text)
    assert raised.value.number == number


def test_commands_of_scripts_are_refused_at_the_prompt(run: Process) -> None:
    with pytest.raises(EdgeLakeError, match="command of scripts"):
        run("goto x")


def test_a_thread_of_a_script_is_listed_and_stopped(ctx: Context, tmp_path: Path) -> None:
    path = tmp_path / "long.al"
    path.write_text("wait 3600")

    async def work() -> None:
        await ctx.execute(f"thread {path}")
        listed = await ctx.execute("get user threads")
        assert listed.data == [{"Thread ID": "thread_1", "Script": str(path)}]
        await ctx.execute("stop all")
        assert (await ctx.execute("get user threads")).data == []

    asyncio.run(work())
