"""Every form of the dictionary (spec: command language, section 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgelake.command.context import Context
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError

Run = Callable[..., str]


@pytest.fixture
def variables() -> Variables:
    found = Variables({"HOME": "/home/me", "REF": "!a", "N": "7"})
    for name, value in {
        "a": "Hello World",
        "n": "42",
        "f": "2.5",
        "t": "True",
        "no": "false",
        "dir": "/data",
        "list": '[{"name": "x", "ip": 1}, {"name": "y", "ip": 2}]',
        "obj": '{"k": {"v": [1, 2]}}',
        "replies": '[["1:1", "ok"], ["2:2", ""]]',
    }.items():
        found.set(name, value)
    return found


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("plain", "plain"),
        ("abc!a", "abc!a"),
        ("!a", "Hello World"),
        ("!unset", ""),
        ("!!a", "!a"),
        ("$HOME", "/home/me"),
        ("$REF", "Hello World"),
        ("!n.int", 42),
        ("$N.int", 7),
        ("!a.int", ""),
        ("!unset.int", ""),
        ("!f.float", 2.5),
        ("!n.str", "42"),
        ("!t.bool", True),
        ("!no.bool", False),
        ("!a.bool", True),
        ("!a.name", "hello_world"),
        ("!a.len", 11),
        ("!list.len", 2),
        ("!replies.replies", 1),
        ("!replies.diff", 1),
        ("!a[0:5]", "Hello"),
        ("!a[-5:]", "World"),
        ("abc[1:2]", "b"),
        ("!dir/sub/file.al", "/data/sub/file.al"),
        ("$HOME/x", "/home/me/x"),
        ("!n.$N", "42.7"),
        ("!unset/sub", ""),
        ("!list.name[1]", "y"),
        ("!list[0]", '{"name": "x", "ip": 1}'),
        ("!obj[k][v][1]", 2),
        ("!", "!"),
        ("$", "$"),
    ],
)
def test_words(variables: Variables, word: str, value: object) -> None:
    found = variables.translate(word)
    assert (found, type(found)) == (value, type(value))


def test_a_template_is_filled_outside_quotes_only(variables: Variables) -> None:
    filled = variables.fill('{"t": {"a": !a, "n": !n.int, "keep": "\'!a\'", "o": !obj, "l": [!n, !t.bool]}}')
    assert filled == (
        '{"t": {"a": "Hello World", "n": 42, "keep": "\'!a\'", "o": {"k": {"v": [1, 2]}}, "l": ["42", true]}}'
    )


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("a = text of   several words", "a", "text of several words"),
        ('a = !b + " " + $HOME + -cluster-', "a", "B /home/me-cluster-"),
        ("a = 5", "a", "5"),
        ("a=test", "a", "test"),
        ("a = http://h/x?y=1", "a", "http://h/x?y=1"),
        ("set a = v", "a", "v"),
        ("set a = two words", "a", "two words"),
        ("a = get", "a", "get"),
        ("a = print hi", "a", "hi"),
        ("a = if 1 == 1", "a", "True"),
        ("a[x] = v", "a", '{"x": "v"}'),
        ("a[x]='v w'", "a", '{"x": "v w"}'),
        ("a[x] = it's", "a", '{"x": "it\'s"}'),
        ("a = 'v'", "a", "'v'"),
        ("a[x y][z] = !n.int", "a", '{"x y": {"z": 42}}'),
        ('p = {"t": {"a": !x, "n": !y.int}}', "p", '{"t": {"a": !x, "n": !y.int}}'),
        ("n = incr !n 2", "n", "44"),
        ("list = (a, b)", "list", "(a, b)"),
        ('v = json {"a": !n.int}', "v", '{"a": 42}'),
        ('v = json {"a": \'!n.int\', "b": "it\'s"}', "v", '{"a": "!n.int", "b": "it\'s"}'),
        ("set policy q [k][ip] = '!n' and [k][l] + '!n.int'", "q", '{"k": {"ip": "!n", "l": ["!n.int"]}}'),
        ("v = json broken", "v", ""),
        ("set policy q [!n] = {} and [!n][a] = b", "q", '{"42": {"a": "b"}}'),
        ("set policy q [k] = {} and [k][port] = !n.int and [k][list] + v", "q", '{"k": {"port": 42, "list": ["v"]}}'),
    ],
)
def test_assignment(ctx: Context, run: Run, line: str, name: str, value: str) -> None:
    ctx.variables.set("b", "B")
    ctx.variables.set("n", "42")
    run(line)
    assert ctx.variables.get(name) == value


def test_a_policy_out_of_a_template_is_changed_with_its_references_filled(ctx: Context, run: Run) -> None:
    run("x = New Company", 'p = {"t": {"a": !x, "keep": "\'!x\'"}}', "set policy p [t][b] = 1 and [t][l] + !x")
    assert ctx.variables.get("p") == ('{"t": {"a": "New Company", "keep": "\'!x\'", "b": "1", "l": ["New Company"]}}')


def test_an_empty_value_removes_the_name(ctx: Context, run: Run) -> None:
    run("a = 1", 'a = ""')
    assert "a" not in ctx.variables
    run("a = 1", "a = ''")
    assert "a" not in ctx.variables


def test_the_environment_is_set_by_either_form(ctx: Context, run: Run) -> None:
    run("set $NEW = v", "$OTHER = w")
    assert (ctx.variables.environ["NEW"], ctx.variables.environ["OTHER"]) == ("v", "w")


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("a = b + + c", 302),
        ("a = + b", 302),
        ("a[x] = 1", 6),
        ("set policy a [k] = 1", 6),
        ("set policy q operator", 2),
    ],
)
def test_faults_of_assignments(ctx: Context, run: Run, line: str, number: int) -> None:
    ctx.variables.set("a", "no json")
    with pytest.raises(EdgeLakeError) as raised:
        run(line)
    assert raised.value.number == number


def test_values_are_printed(ctx: Context, run: Run) -> None:
    ctx.variables.set("a", "x")
    assert run("!a") == "x"
    assert run('!a + "-" + !a') == "x-x"
    assert run("get !a") == "x"
    assert run("get !unset") == ""


def test_a_caller_without_the_class_admin_sees_no_secrets(variables: Variables) -> None:
    variables.set("db_password", "hush")
    view = variables.view(secrets=False)
    assert view.translate("!db_password") == ""
    assert view.translate("$HOME") == ""
    assert view.translate("!a") == "Hello World"
    assert "db_password" not in dict(view.items())


def test_directories_follow_the_home(ctx: Context, run: Run, tmp_path: object) -> None:
    assert ctx.variables.get("dbms_dir") == f"{tmp_path}/EdgeLake/data/dbms"
    run("create work directories")
    assert ctx.directories.path("bwatch_dir").is_dir()
    with pytest.raises(EdgeLakeError) as raised:
        run("set edgelake home /no/such/place")
    assert raised.value.number == 63
