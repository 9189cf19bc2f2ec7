"""Tables are printed byte for byte as the reference prints them: its replies stand in golden/."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelake.command.render import reply_text, reply_value, table_text, to_json
from edgelake.model import Reply, Table

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.txt"))


def is_rule(line: str) -> bool:
    text = line.strip()
    return text.endswith("|") and "-|" in text and set(text) <= {"-", "|"}


def tables_of(text: str) -> list[tuple[Table, str]]:
    """Every table of a reply as data, with the text it was printed as (without its leading break and header)."""
    lines = text.split("\r\n")
    found = []
    for at, rule in enumerate(lines):
        if not is_rule(rule):
            continue
        indent = len(rule) - len(rule.lstrip())
        widths = [len(column) for column in rule[indent:].split("|")[:-1]]
        total = len(rule)

        def cells(line: str, widths: list[int] = widths, indent: int = indent) -> list[str]:
            starts = [indent + sum(widths[:i]) + i for i in range(len(widths))]
            return [line[start : start + width] for start, width in zip(starts, widths, strict=True)]

        top = at - 1
        while top > 0 and len(lines[top - 1]) == total and lines[top - 1].endswith(" "):
            top -= 1
        end = at + 1
        while end < len(lines) and len(lines[end]) == total and lines[end].endswith("|"):
            end += 1
        parts = [cells(line) for line in lines[top:at]]
        titles = ["\n".join(part.rstrip() for part in column) for column in zip(*parts, strict=True)]
        titles = [title if title.strip() else " " for title in titles]
        rows = [[cell_data(cell) for cell in cells(line)] for line in lines[at + 1 : end]]
        found.append((Table(titles, rows, indent=indent), "\r\n".join(["", *lines[top:end], ""])))
    return found


def cell_data(cell: str) -> str:
    """Text of a cell; cells that their command centred by itself keep their blanks."""
    return cell.strip() if cell.strip() not in ("+", "V", "-") else cell.rstrip()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_table_is_printed_as_the_reference_prints_it(path: Path) -> None:
    found = tables_of(path.read_bytes().decode())
    assert found
    for table, printed in found:
        assert table_text(table) == printed


def test_a_header_stands_above_the_titles_and_long_cells_go_on_below() -> None:
    printed = table_text(Table(("A", "B"), [("x" * 7, 1234), (None, True)], header="Head"), width=5)
    assert printed == "\r\nHead\r\nA     B     \r\n-----|-----|\r\nxxxxx|1,234|\r\nxx   |     |\r\n     |True |\r\n"


def test_a_table_without_rows_shows_its_titles() -> None:
    assert table_text(Table(("Key", "Value"), [])) == "\r\nKey Value \r\n---|-----|\r\n"


def test_json_is_one_line_for_rest_and_variables_and_pretty_on_the_terminal() -> None:
    reply = Reply.of_data({"a": [1, True], "b": None})
    assert reply_value(reply) == '{"a": [1, true], "b": null}'
    assert reply_text(reply) == '{"a": [1, true], "b": null}'
    assert to_json(reply.data, pretty=True).startswith('{\n    "a": [')


def test_format_json_chooses_data_over_the_table() -> None:
    reply = Reply.of_table(Table(("A",), [(1,)]), data=[{"A": 1}])
    assert reply_text(reply).startswith("\r\nA")
    reply.json_wanted = True
    assert reply_text(reply) == '[{"A": 1}]'
