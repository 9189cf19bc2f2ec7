"""Commands of the language: print, echo, python, system, wait, logs, help, format = json."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from edgelake.command.context import Context
from edgelake.command.dispatcher import Dispatcher
from edgelake.command.expressions import evaluate
from edgelake.command.grammar import signature_grammar
from edgelake.command.logs import Ring, mask
from edgelake.command.registry import Command, Registry
from edgelake.errors import EdgeLakeError
from edgelake.model import CommandClass, Reply

Run = Callable[..., str]


def test_print_joins_words_and_drops_empty_ones(ctx: Context, run: Run) -> None:
    ctx.variables.set("a", "x")
    assert run('print  hello !a   !unset "two  blanks" end') == "hello x two  blanks end"
    assert run("print '!a'") == "'!a'"
    assert json.loads(run('print {"k": !a}')) == {"k": "x"}
    assert run("echo a+b") == "a + b"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("7 // 2 ** 2", 1),
        ("'a b'.replace(' ', '-').upper()", "A-B"),
        ("'abc'[::-1]", "cba"),
        ("'a,b'.split(',')[1]", "b"),
        ("1 if 'x' in 'xyz' else 2", 1),
        ("1 < 2 <= 2", True),
        ("not 0 or 1", True),
        ("'-'.join(['a', 'b'])", "a-b"),
        ("{'a': [1, 2]}['a'][-1]", 2),
        ("{'a': 1}.get('b', 5)", 5),
        ("len('abc') + int('4') + round(2.6)", 10),
        ("max([1, 3]) - min(1, 2)", 2),
        ("datetime.strptime('2026-01-02', '%Y-%m-%d').strftime('%d.%m.%y')", "02.01.26"),
        ("(datetime.fromisoformat('2026-01-02') + timedelta(days=1)).day", 3),
        ("datetime.datetime.fromisoformat('2026-01-02').year", 2026),
        ("len(datetime.now().isoformat()) > 18", True),
    ],
)
def test_expressions(expression: str, value: object) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('id')",
        "().__class__.__bases__[0].__subclasses__()",
        "'a'.__class__",
        "open('/etc/passwd')",
        "[x for x in [1]]",
        "lambda: 1",
        "f'{1}'",
        "'{0.__class__}'.format(1)",
        "(x := 1)",
        "9 ** 9 ** 9",
        "2 ** 100000",
        "'a' * 10 ** 9",
        "[0] * 10 ** 9",
        "[[0] * 5000] * 5000",
        "'a'.zfill(10 ** 9)",
        "'a'.center(10 ** 9)",
        "('a' * 9999).replace('a', 'b' * 9999)",
        "('a' * 9999).join(['b'] * 4000)",
        "round(5, -10 ** 9)",
        "1 << 10 ** 9",
        "'%1000000000d' % 1",
        "int('9' * 5000)",
        "datetime.fromtimestamp(10 ** 30)",
        "timedelta(days=10 ** 30)",
        "1 / 0",
        "[1][5]",
        "{}['a']",
        "sorted([1, 'a'])",
        "name",
        "1 +",
        "",
        "(" * 500 + ")" * 500,
        "-" * 5000 + "1",
        "import os",
        "print(1)",
        "max(*[1])",
        "sum([[0] * 100] * 50, [])",
        "b'x'",
    ],
)
def test_expressions_that_are_refused_or_fail_do_so_at_once(expression: str) -> None:
    with pytest.raises(EdgeLakeError):
        evaluate(expression)


def test_python_takes_variables_as_text_and_numbers(ctx: Context, run: Run) -> None:
    ctx.variables.set("name", 'it\'s "x"')
    ctx.variables.set("n", "4")
    assert run("python !name.upper()") == 'IT\'S "X"'
    assert run("python !n.int * 2") == "8"
    assert run("python !n + '!n'") == "4!n"
    assert run("python !n.int != 4") == "False"
    run("x = python !name.split(' ')[0]")
    assert ctx.variables.get("x") == "it's"


def test_system_shows_output_and_never_reads_a_value_as_shell_text(ctx: Context, run: Run) -> None:
    assert run("system printf 'a\\nb\\n'") == "a\r\nb"
    ctx.variables.set("evil", "x; echo injected")
    assert run("system echo !evil") == "x; echo injected"
    for line in ("system ls /no/such", "system timeout = 0 sleep 5", "system false"):
        with pytest.raises(EdgeLakeError) as raised:
            run(line)
        assert raised.value.number == 61
    with pytest.raises(EdgeLakeError) as raised:
        run("system echo !unset")
    assert raised.value.number == 2


def test_subprocess_starts_or_says_259(run: Run) -> None:
    assert run("subprocess true").isdigit()
    with pytest.raises(EdgeLakeError) as raised:
        run("subprocess /no/such/program")
    assert raised.value.number == 259


def test_wait_ends_when_its_condition_holds(ctx: Context, run: Run) -> None:
    run("r = wait 0 for !x == 1")
    assert ctx.variables.get("r") == "False"
    run("x = 1", "r = wait 60 for !x == 1")
    assert ctx.variables.get("r") == "True"


def test_random_substr_takes_one_part(run: Run) -> None:
    assert run('random substr "," "a,b,c"') in ("a", "b", "c")


def test_json_normalises_or_is_empty(ctx: Context, run: Run) -> None:
    ctx.variables.set("p", '{"a":!n.int}')
    ctx.variables.set("n", "3")
    assert run("json !p") == '{"a": 3}'
    assert run("json !p test") == "true"
    assert run("json !n test") == "false"


def test_the_echo_queue_keeps_echoes_and_failures(ctx: Context, run: Run) -> None:
    assert run("get echo queue") == "Message Queue not declared"
    run("set echo queue on", "echo hello")
    with pytest.raises(EdgeLakeError):
        run("no such command")
    assert ctx.echo.unread
    shown = run("get echo queue")
    assert shown.startswith("\r\nMessage Queue:\r\nCounter Time ")
    assert "|hello" in shown
    assert "Error executing: [no such command] Message: [Unrecognized Command" in shown
    assert not ctx.echo.unread
    run("reset echo queue where size = 2", "echo 1", "echo 2", "echo 3")
    assert [row["Message"] for row in json.loads(run("get echo queue where format = json"))] == ["2", "3"]
    with pytest.raises(EdgeLakeError):
        run("reset echo queue where size = 101")


def test_logs_have_every_command_and_filter_by_words(ctx: Context, run: Run) -> None:
    run("print a", "print a", "print b")
    with pytest.raises(EdgeLakeError):
        run("get foo")
    entries = json.loads(run("get event log where format = json and keys = PRINT failed"))
    assert [(entry["Count"], entry["Type"], entry["Text"]) for entry in entries] == [
        (2, "Event", "(ok) print a"),
        (1, "Event", "(ok) print b"),
        (1, "Error", entries[2]["Text"]),
    ]
    assert entries[2]["Text"].startswith("(Failed: Unrecognized Command")
    assert run("get error log").startswith("\r\nID Count Thread Time")
    run("reset error log")
    assert json.loads(run("get error log where format = json")) == []


def test_a_ring_keeps_its_size() -> None:
    ring = Ring("x", 3)
    for number in range(5):
        ring.add(str(number))
    assert [entry.text for entry in ring.select()] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "run x where user = a and password = hush and port = 1",
            "run x where user = a and password = **** and port = 1",
        ),
        ('set db_passwd = "a b"', "set db_passwd = ****"),
        ("where private_key=0xabc and access_key = k", "where private_key=**** and access_key = ****"),
        ("where password = !pw", "where password = !pw"),
        ("get postgres://me:hush@host/db", "get postgres://me:****@host/db"),
        ("print compass = 1", "print compass = 1"),
    ],
)
def test_secrets_are_masked_in_logs(line: str, shown: str) -> None:
    assert mask(line) == shown


def test_secrets_of_a_failed_command_stay_out_of_log_and_queue(ctx: Context, run: Run) -> None:
    run("set echo queue on")
    with pytest.raises(EdgeLakeError):
        run("connect nothing where password = hush")
    assert "hush" not in run("get event log") + run("get error log") + run("get echo queue")


def test_help_is_made_from_the_registry(run: Run) -> None:
    text = run("help schedule")
    assert text.startswith("Usage:       schedule name = [text] and time = [n unit]")
    assert "Examples:    schedule name = disk" in text
    assert "get scheduler" in run("help get")
    assert "scheduler:" in run("help index sched")
    assert "script" in run("help index")
    assert json.loads(run("help print where format = json"))[0]["command"] == "print"
    tools = json.loads(run("help where format = mcp"))
    assert {"name", "description", "inputSchema"} <= set(tools[0])
    with pytest.raises(EdgeLakeError, match="similar: "):
        run("help schedull")


def test_format_json_is_accepted_by_every_command(run: Run) -> None:
    assert json.loads(run("get user threads where format = json")) == []
    assert run("get user threads where format=table").startswith("\r\nThread ID")


def test_a_fault_of_a_handler_becomes_error_3(ctx: Context, run: Run) -> None:
    def broken(text: str) -> None:
        raise ZeroDivisionError("oops")

    ctx.echo.on = True
    ctx.echo.add = broken  # type: ignore[method-assign]
    with pytest.raises(EdgeLakeError, match="ZeroDivisionError: oops") as raised:
        run("echo x")
    assert raised.value.number == 3


def test_nested_commands_end(run: Run) -> None:
    with pytest.raises(EdgeLakeError, match="nested deeper"):
        run("if 1 == 1 then " * 100 + "print a")


def test_raising_the_stop_event_is_what_exit_node_does(ctx: Context, run: Run) -> None:
    assert run("exit node") == "Terminating node processes"
    assert ctx.node.stopping.is_set()


def test_two_callers_have_their_own_chains(ctx: Context) -> None:
    async def work() -> str | None:
        await ctx.execute("if 1 == 1 then")
        other = ctx.for_caller(ctx.caller)
        await other.execute("if 1 == 2 then")
        return (await ctx.execute("do print mine")).text

    assert asyncio.run(work()) == "mine"


def test_a_streamed_reply_is_assigned_as_text(ctx: Context) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def streamed(ctx: Context) -> Reply:
        return Reply(stream=pieces())

    ctx.dispatcher = Dispatcher(Registry())
    ctx.dispatcher.registry.add(Command("rows", streamed, CommandClass.DATA, signature_grammar(streamed)))
    asyncio.run(ctx.execute("x = rows"))
    assert ctx.variables.get("x") == "one two"


def test_continuous_repeats_its_commands_until_enter(ctx: Context) -> None:
    ctx.variables.set("n", "0")

    async def work() -> str:
        pressed = asyncio.Event()
        ctx.parts["enter"] = pressed.wait
        reply = await ctx.execute('continuous 0.001 n = incr !n, print "round," !n, get foo')
        shown = ""
        assert reply.stream is not None
        async for piece in reply.stream:
            shown += piece.decode()
            if "round, 3" in shown or len(shown) > 10_000:
                pressed.set()
        return shown

    shown = asyncio.run(work())
    assert shown.count("round, 1") == shown.count("round, 2") == 1
    assert shown.count("Error 141: Unrecognized Command: 'get foo'") == 3
    assert "round, 4" not in shown


@pytest.mark.parametrize("text", ["5", "get status,", "0 get status", ", get status"])
def test_continuous_wants_commands(ctx: Context, run: Run, text: str) -> None:
    ctx.parts["enter"] = asyncio.Event().wait
    with pytest.raises(EdgeLakeError, match="names no commands to repeat"):
        run(f"continuous {text}")


def test_continuous_needs_a_terminal(run: Run) -> None:
    with pytest.raises(EdgeLakeError, match="command of the prompt"):
        run("continuous get status")
