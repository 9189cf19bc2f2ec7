"""To which nodes ``run client`` sends: every form of a destination, resolved to ``ip:port``.

Source: spec "Command language", section 10.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from edgelake.command.grammar import Resolver
from edgelake.command.kinds import to_ip_port
from edgelake.errors import EdgeLakeError, error

DEFAULT_TIMEOUT_S = 20.0
MAX_PEERS = 10_000

SelectText = Callable[[str], str]
"""Answers a ``blockchain get`` with its text: addresses with commas between."""

Operators = Callable[[str, str, str], Sequence[str]]
"""The addresses of the operators that hold data of (company, dbms, table); empty text stands for any."""

_OPTION = re.compile(r"(subset|timeout|named)\s*=\s*(.*)", re.DOTALL)
_BRING = re.compile(r"(?<![^\s)\]}])bring(?=[.\s]|$)")
_PAIR = re.compile(r"(company|dbms|table)\s*=\s*(\S+)")
_ROUTED = re.compile(r"(company|dbms|table)\s*=")
_WHOLE = re.compile(r"blockchain\s+get\s")
_POLICIES = re.compile(r"\(|[A-Za-z_*][\w*]*(\s+(where|bring)\b|\s*$)|\w+\s+bring\.")
_REFERENCE = re.compile(r"!\S+")
_VARIABLE = re.compile(r"""("[^"]*"|'[^']*')|(!\w[\w.]*)""")
_OPENING, _CLOSING = "([{", ")]}"


class Destination(Struct, frozen=True):
    """Where a command goes.

    Attributes:
        peers: ``ip:port``, each once, in the order written.
        by_query: written ``()``: the operators that hold the table of the query.
        subset: the replies of some peers are enough.
        named: each reply stands under the address of its node, that of a single one, too.
    """

    peers: tuple[str, ...] = ()
    by_query: bool = False
    subset: bool = False
    timeout_s: float = DEFAULT_TIMEOUT_S
    named: bool = False


def resolve(text: str, variables: Resolver, select: SelectText, operators: Operators) -> Destination:
    """A destination as written: ``ip:port``, ``ip port``, ``!variable`` or a list in parentheses.

    Raises EdgeLakeError: 155 when it names no node, 2 for a wrong option, and what ``select`` raises.
    """
    written = text.strip()
    if _REFERENCE.fullmatch(written):
        written = str(variables.translate(written)).strip()
    if not written:
        raise _unknown(text, "it is empty or an unset variable")
    if not (written.startswith("(") and written.endswith(")")):
        return Destination(_distinct(_addresses(written, variables), text))
    parts, options = _options(_split(written[1:-1]))
    if not parts:
        return replace(options, by_query=True)
    listed = ", ".join(parts)
    if _ROUTED.match(listed):
        found = list(operators(*_routed(listed, variables)))
    elif _WHOLE.match(listed) or all(_POLICIES.match(part) for part in parts):
        found = _selected(parts, variables, select)
    else:
        found = [address for part in parts for address in _addresses(part, variables)]
    return replace(options, peers=_distinct(found, text))


def _options(parts: list[str]) -> tuple[list[str], Destination]:
    """The parts without options, and the options. Raises EdgeLakeError (2)."""
    kept, options = [], Destination()
    for part in parts:
        option = _OPTION.fullmatch(part)
        if option is None:
            kept.append(part)
        elif option[1] == "timeout":
            if not re.fullmatch(r"\d{1,6}", option[2], re.ASCII) or int(option[2]) == 0:
                raise error(2, f"timeout = {option[2]}", hint="give seconds, such as 20")
            options = replace(options, timeout_s=float(option[2]))
        elif (value := option[2].lower()) not in ("true", "false"):
            raise error(2, f"{option[1]} = {option[2]}", hint="use true or false")
        elif option[1] == "subset":
            options = replace(options, subset=value == "true")
        else:
            options = replace(options, named=value == "true")
    return kept, options


def _routed(text: str, variables: Resolver) -> tuple[str, str, str]:
    """Company, database and table of ``dbms = d and table = t``. Raises EdgeLakeError (2)."""
    values = {"company": "", "dbms": "", "table": ""}
    for clause in re.split(r"\s+and\s+|\s*,\s*", text):
        pair = _PAIR.fullmatch(clause.strip())
        if pair is None:
            raise error(2, f"'{clause}' in a destination", hint="write (dbms = d and table = t)")
        values[pair[1]] = str(variables.translate(pair[2])).strip("'\"")
    return values["company"], values["dbms"], values["table"]


def _selected(parts: list[str], variables: Resolver, select: SelectText) -> list[str]:
    """The addresses of the policies that a selection, whole or in short form, gives."""
    if len(parts) > 1 and all(re.fullmatch(r"\w+", part) for part in parts):
        command = f"({', '.join(parts)})"
    else:
        command = ", ".join(parts)
    command = _VARIABLE.sub(lambda found: found[1] or _value(found[2], variables), command)
    if not command.startswith("blockchain"):
        command = f"blockchain get {command}"
    if not _BRING.search(command):
        command += " bring.ip_port"
    return [part for part in _split(select(command)) if part]


def _value(reference: str, variables: Resolver) -> str:
    value = str(variables.translate(reference))
    return f'"{value}"' if re.search(r"[\s,()]", value) or not value else value


def _addresses(text: str, variables: Resolver) -> list[str]:
    """Addresses of one entry; a variable may hold several."""
    if _REFERENCE.fullmatch(text):
        text = str(variables.translate(text)).strip()
        text = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    found = []
    for part in text.split(","):
        words = [str(variables.translate(word)) for word in part.split()]
        found.append(":".join(words) if len(words) == 2 else part.strip())
    return found


def _distinct(addresses: list[str], written: str) -> tuple[str, ...]:
    """Each address once. Raises EdgeLakeError (155) for none, for too many, and for what is no address."""
    found: dict[str, None] = {}
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            found[to_ip_port(f"127.0.0.1:{port}" if host.lower() == "localhost" else address)] = None
        except ValueError as fault:
            raise _unknown(written, f"'{address}' {fault}") from None
    if not found:
        raise _unknown(written, "no node is known for it")
    if len(found) > MAX_PEERS:
        raise _unknown(written, f"it names {len(found)} nodes, more than {MAX_PEERS}")
    return tuple(found)


def _unknown(written: str, why: str) -> EdgeLakeError:
    return error(155, f"'{written.strip()}': {why}", hint="use ip:port, or a selection such as (operator where ..)")


def _split(text: str) -> list[str]:
    """Parts between commas outside quotes and brackets, without blanks around; none of a blank text."""
    parts, depth, quote, start = [], 0, "", 0
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return parts if parts != [""] else []
