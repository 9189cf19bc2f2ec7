"""A signature is the grammar: one handler with every kind of parameter, and what it makes of lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from edgelake.command.grammar import (
    After,
    Bytes,
    Directory,
    Frequency,
    IpPort,
    Json,
    Key,
    Pairs,
    Seconds,
    Tail,
    Timestamp,
    Untranslated,
    parse_pairs,
    signature_grammar,
)
from edgelake.command.tokenizer import tokenise
from edgelake.command.variables import Variables
from edgelake.errors import EdgeLakeError
from edgelake.model import Reply


async def connect(
    ctx: object,
    name: str,
    *,
    kind: Annotated[Literal["sqlite", "psql"], Key("type")],
    port: int = 5432,
    memory: bool = False,
    timeout: Seconds = 1.0,
    volume: Bytes = 0,
    every: Frequency = 1.0,
    address: IpPort = "",
    folder: Directory | None = None,
    start: Timestamp = 0,
    dest: list[str] = [],  # noqa: B006 - a default of the test, never changed
    topic: list[Pairs] = [],  # noqa: B006
    policy: Json = None,
    include: list[Untranslated] = [],  # noqa: B006
    ratio: float = 0.0,
) -> Reply:
    return Reply.done()


async def partition(
    ctx: object, dbms: str, column: Annotated[str, After("using")], by: Annotated[Seconds, After("by")]
) -> Reply:
    return Reply.done()


async def schedule(
    ctx: object, *, name: str, period: Annotated[Seconds, Key("time")], task: Annotated[str, Tail("task")]
) -> Reply:
    return Reply.done()


async def words(ctx: object, first: Literal["a", "b"] = "a", *words: str) -> Reply:
    return Reply.done()


async def open_keys(ctx: object, *, name: str, **columns: str) -> Reply:
    return Reply.done()


@pytest.fixture
def variables() -> Variables:
    found = Variables({"PORT": "77"})
    found.set("port", "9000")
    found.set("name", "lsl demo")
    found.set("grpc_value", "(Filter = all)")
    found.set("p", '{"port": !port.int}')
    return found


def parse(handler: Any, text: str, variables: Variables, where: str = "where") -> tuple[list[Any], dict[str, Any]]:
    return signature_grammar(handler, where=where).parse(tokenise(text), 0, variables)


BASE = "x where type = sqlite and "


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("port = 7", "port", 7),
        ("port = !port", "port", 9000),
        ("port = !port.int", "port", 9000),
        ("port = $PORT", "port", 77),
        ("memory = TRUE", "memory", True),
        ("timeout = 5 minutes", "timeout", 300.0),
        ("timeout = 1 day", "timeout", 86400.0),
        ("timeout = 30 second", "timeout", 30.0),
        ("volume = 100KB", "volume", 102400),
        ("volume = 2 mb", "volume", 2 << 20),
        ("volume = 10000", "volume", 10000),
        ("every = 4 hz", "every", 0.25),
        ("address = 10.0.0.1:7848", "address", "10.0.0.1:7848"),
        ("start = 2026-01-01", "start", 1767225600000000),
        ("dest = file and dest = dbms", "dest", ["file", "dbms"]),
        ("dest = (a, b, !port)", "dest", ["a", "b", "9000"]),
        ("dest = http://h/x?y=1", "dest", ["http://h/x?y=1"]),
        ("dest = !name and", "dest", ["lsl demo"]),
        ("dest = a b c", "dest", ["a b c"]),
        ('dest = "a and b"', "dest", ["a and b"]),
        (
            'topic = (name = t and column.v.int = "bring [v]")',
            "topic",
            [(("name", "t"), ("column.v.int", "bring [v]"))],
        ),
        ("topic = !grpc_value", "topic", [(("Filter", "all"),)]),
        ("policy = !p", "policy", {"port": 9000}),
        ('policy = {"a": !name}', "policy", {"a": "lsl demo"}),
        ("include = !port and include = !name", "include", ["!port", "!name"]),
        ("ratio = -0.5", "ratio", -0.5),
    ],
)
def test_values(pair: str, key: str, value: object, variables: Variables) -> None:
    assert parse(connect, BASE + pair, variables)[1][key] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "Missing 'type'"),
        ("", "Missing 'name'"),
        ("x where type = mongo", "not one of: sqlite, psql"),
        ("x where type", "Missing '='"),
        ("x where type =", "Missing value"),
        (BASE + "prot = 1", "Unknown key in EdgeLake command: prot (did you mean 'port'? allowed keys: type, port"),
        (BASE + "port = -1", "Value '-1' (for key 'port') is not numeric"),
        (BASE + "port = 1 and port = 2", "Multiple values to key"),
        (BASE + "port = 1 and port = 1", "Duplicate key value pair"),
        (BASE + "dest = a and dest = a", "Duplicate key value pair"),
        (BASE + "dest = !unset", "Missing dictionary definition for: '!unset'"),
        (BASE + "memory = yes", "is not true or false"),
        (BASE + "timeout = soon", "is not a time"),
        (BASE + "address = nowhere", "is not an address ip:port"),
        (BASE + "folder = /no/such", "is not a directory"),
        (BASE + "policy = {x}", "Error in JSON"),
        ("x y where type = sqlite", "Missing 'where' before 'y'"),
        ("x where kind = sqlite", "Unknown key"),
    ],
)
def test_errors_name_the_key_and_what_is_allowed(text: str, says: str, variables: Variables) -> None:
    with pytest.raises(EdgeLakeError) as raised:
        parse(connect, text, variables)
    assert says in str(raised.value)


def test_connecting_words_and_units_of_two_words(variables: Variables) -> None:
    assert parse(partition, "lsl using ts by 1 day", variables)[1] == {"dbms": "lsl", "column": "ts", "by": 86400.0}
    with pytest.raises(EdgeLakeError, match="Missing 'using'"):
        parse(partition, "lsl by 1 day", variables)


def test_a_tail_is_the_source_text_behind_its_word(variables: Variables) -> None:
    text = 'name = x and time = 15 seconds and task y = get disk percentage "/a b" !port'
    assert parse(schedule, text, variables, "")[1] == {
        "name": "x",
        "period": 15.0,
        "task": 'y = get disk percentage "/a b" !port',
    }


def test_optional_choice_and_words(variables: Variables) -> None:
    assert parse(words, "b !port c", variables) == (["9000", "c"], {"first": "b"})
    assert parse(words, "c d", variables) == (["c", "d"], {})


def test_open_keys_take_what_is_not_named(variables: Variables) -> None:
    found = parse(open_keys, "where name = x and column.v.type = int", variables)[1]
    assert found == {"name": "x", "column.v.type": "int"}


def test_pairs_by_key() -> None:
    pairs = parse_pairs("(name = a and policy = 1 and policy = 2)", Variables({}))
    assert (pairs.first("name"), pairs.all("policy"), pairs.first("none", "-")) == ("a", ["1", "2"], "-")


def test_directory_must_exist_and_be_writable(variables: Variables, tmp_path: Path) -> None:
    assert parse(connect, f"{BASE}folder = {tmp_path}", variables)[1]["folder"] == tmp_path


def test_usage_is_made_from_the_signature() -> None:
    assert signature_grammar(partition).usage() == "[dbms] using [column] by [by]"
    assert signature_grammar(schedule, where="").usage() == "name = [text] and time = [n unit] task [task]"
