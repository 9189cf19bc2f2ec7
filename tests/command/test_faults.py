"""Errors as a terminal shows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.tools.test_configuration import edgelake

from edgelake.command.context import Context
from edgelake.command.faults import failure_text, marked
from edgelake.errors import EdgeLakeError


def failure(ctx: Context, line: str) -> EdgeLakeError:
    with pytest.raises(EdgeLakeError) as raised:
        asyncio.run(ctx.execute(line))
    return raised.value


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("connect dbms x where tpe = sqlite", "tpe"),
        ("x = connect dbms y where ip = 1 and tpe = sqlite", "tpe"),
        ("connect dbms x where type = sqlite and type = psql", "type"),
        ("connect dbms x where type", "type"),
        ("set debug maybe", "maybe"),
        ("get procesess", "procesess"),
        ("get procesess where format = json", "procesess"),
        ("x = get procesess", "procesess"),
        ("foo bar", "foo"),
        ("reset echo queue where size = many", "many"),
        ("get error 4x", "4x"),
        ('print "abc', '"'),
        ("a = [1, 2", "["),
        ("task stop where name = x and and id = 1", "and"),
        ("get node name more", "more"),
    ],
)
def test_the_mark_is_under_what_is_wrong(ctx: Context, line: str, wrong: str) -> None:
    lines = failure_text(failure(ctx, line)).splitlines()
    at = next(index for index, text in enumerate(lines) if set(text.strip()) == {"^"})
    start, end = lines[at].index("^"), lines[at].rindex("^") + 1
    assert lines[at - 1][start:end] == wrong


@pytest.mark.parametrize(
    ("line", "before"),
    [("partition p t using c", "partition p t using c "), ("set debug", "set debug ")],
)
def test_what_is_missing_is_marked_where_it_should_stand(ctx: Context, line: str, before: str) -> None:
    lines = failure_text(failure(ctx, line)).splitlines()
    assert lines[1:3] == [f"    {line}", f"    {' ' * len(before)}^"]
    assert lines[3].startswith("    usage: ")


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("get procesess where format = json", "get processes"),
        ("conect dbms x where type = sqlite", "connect dbms"),
        ("run msg clint where broker = local", "run msg client"),
        ("shedule name = x and time = 1 day task print", "schedule"),
    ],
)
def test_the_nearest_command_is_named(ctx: Context, line: str, near: str) -> None:
    assert f"did you mean: {near}" in failure_text(failure(ctx, line))


def test_secrets_are_not_shown_and_the_mark_still_fits(ctx: Context) -> None:
    text = failure_text(failure(ctx, "connect dbms x where password = very-secret-indeed and tpe = sqlite"))
    assert "very-secret-indeed" not in text
    lines = text.splitlines()
    start = lines[2].index("^")
    assert lines[1][start : start + 3] == "tpe"


def test_a_long_line_is_cut_around_the_place() -> None:
    source = "x" * 500 + " wrong " + "y" * 500
    line, marks = marked(source, 501, 506)
    assert line[marks.index("^") : marks.rindex("^") + 1] == "wrong"
    assert len(line) <= 74
    assert line.startswith("...")
    assert line.endswith("...")
    for start in range(0, len(source), 7):
        line, marks = marked(source, start, start + 1)
        assert len(line) <= 74
        assert len(marks) <= 75


def test_control_characters_of_a_line_do_not_reach_the_terminal(ctx: Context) -> None:
    assert "\x1b" not in "".join(marked("get \x1b[2Jstatus x", 15, 16))


def test_a_reply_by_rest_is_as_it_was(ctx: Context) -> None:
    body = failure(ctx, "connect dbms x where tpe = sqlite").as_dict()
    assert set(body) == {"err_code", "err_text", "code", "local_msg", "detail", "hint"}


def test_an_error_of_a_script_names_file_and_line(tmp_path: Path) -> None:
    script = tmp_path / "start.al"
    script.write_text("# a comment\nprint fine\nconnect dbms x where\ttpe = sqlite\n")
    done = edgelake("-c", f"process {script}", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert f"    {script}, line 3:" in lines
    at = lines.index(f"    {script}, line 3:")
    assert lines[at + 1] == "    connect dbms x where tpe = sqlite"
    assert lines[at + 2].rstrip() == " " * 25 + "^^^"
    assert "did you mean 'type'?" in done.stderr


def test_sql_is_marked_where_its_parser_stopped(tmp_path: Path) -> None:
    done = edgelake(
        "-c", "connect dbms plant where type = sqlite", "-c", 'sql plant "select a frm t where"', cwd=tmp_path
    )
    lines = done.stderr.splitlines()
    start = lines[-1].index("^")
    assert lines[-2][start] == "t"
