"""One table of inputs for the tokeniser (spec: command language, section 2)."""

from __future__ import annotations

import pytest

from edgelake.command.tokenizer import balance, join, tokenise

CASES = [
    ("get  status", ["get", "status"]),
    ("a=b", ["a", "=", "b"]),
    ("a==b", ["a", "==", "b"]),
    ("a!=b", ["a", "!=", "b"]),
    ("x >= 3 and y<4", ["x", ">=", "3", "and", "y", "<", "4"]),
    ("a -> b", ["a", "->", "b"]),
    ("a+b", ["a", "+", "b"]),
    ("http://h/x?y=1", ["http://h/x?y", "=", "1"]),
    ('print "two words" x', ["print", "two words", "x"]),
    ("print 'two words'", ["print", "'two words'"]),
    ("print `a b`", ["print", "`a b`"]),
    ('say \\"!key\\"', ["say", "!key"]),
    ('mid"word', ['mid"word']),
    ('""', [""]),
    ("get x # comment", ["get", "x"]),
    ("a#b", ["a#b"]),
    ('print "a # b"', ["print", "a # b"]),
    ("node_insight[CPU Percent] = 1", ["node_insight[CPU Percent]", "=", "1"]),
    ("abc[1:2]", ["abc[1:2]"]),
    ("[config][port]", ["[config][port]"]),
    ('p={"a": {"b": [1, 2]}}', ["p", "=", '{"a": {"b": [1, 2]}}']),
    ('{"a":\t1}x', ['{"a": 1}', "x"]),
    ('{"a": "}"} z', ['{"a": "}"}', "z"]),
    ("name{} = run", ["name{}", "=", "run"]),
    ("name[] = run", ["name[]", "=", "run"]),
    ("(a, b (c)) d", ["(a, b (c))", "d"]),
    ("max(a, b) now()", ["max(a, b)", "now()"]),
    ("abc!a !!key", ["abc!a", "!!key"]),
    ("-cluster- -30d", ["-cluster-", "-30d"]),
    ("push \rraw text = x", ["push", "raw text = x"]),
    ("", []),
    ("   # only", []),
]


@pytest.mark.parametrize(("text", "words"), CASES, ids=[case[0] for case in CASES])
def test_words(text: str, words: list[str]) -> None:
    line = tokenise(text)
    assert [word.text for word in line.words] == words
    assert line.fault is None


@pytest.mark.parametrize(
    ("text", "number"),
    [('print "open', 2), ("print 'open", 2), ("f (a", 2), ('{"a": 1', 11), ("[a", 11), ("a]", 6), ("{} }", 6)],
)
def test_a_fault_is_kept_for_the_moment_the_line_runs(text: str, number: int) -> None:
    fault = tokenise(text).fault
    assert fault is not None
    assert fault[0] == number


def test_an_ampersand_ends_the_command_and_keeps_the_rest() -> None:
    line = tokenise("print a & print b")
    assert [word.text for word in line.words] == ["print", "a"]
    assert line.rest == " print b"
    assert not tokenise("rest get where url = http://h?a=1&b=2").rest


def test_spans_lead_back_to_the_source() -> None:
    line = tokenise('schedule task print "a b" + 1')
    assert line.source(2) == 'print "a b" + 1'
    assert [line.text[word.start : word.end] for word in line.words][3] == '"a b"'


def test_words_that_touched_are_joined_without_a_blank() -> None:
    assert join(tokenise("http://h/x?y=1  z").words) == "http://h/x?y=1 z"


def test_balance_counts_outside_quotes() -> None:
    assert balance('{"a": "}"') == 1
    assert balance("{}]") == -1
