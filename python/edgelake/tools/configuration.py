"""A node's configuration in TOML: each section is a command of the language, its keys are the command's options.

So the file has the options, names and help of docs/commands.md, and nothing of its own to learn.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgelake.command.grammar import Grammar
from edgelake.command.logs import mask
from edgelake.command.registry import Command, Registry
from edgelake.command.tokenizer import tokenise
from edgelake.command.variables import Variables
from edgelake.errors import CommandError, EdgeLakeError

NAME: Final = "edgelake.toml"
PREFIX: Final = "EDGELAKE_"
"""Of variables of the environment: ``EDGELAKE_REST_EXTERNAL_PORT`` stands above ``external_port`` of ``[rest]``."""

SECTIONS: Final[dict[str, str]] = {
    "scheduler": "run scheduler 1",
    "tcp": "run tcp server",
    "sync": "run blockchain sync",
    "streamer": "run streamer",
    "archiver": "run blobs archiver",
    "operator": "run operator",
    "publisher": "run publisher",
    "distributor": "run data distributor",
    "consumer": "run data consumer",
    "smtp": "run smtp client",
    "broker": "run message broker",
    "rest": "run rest server",
}
"""One table each, in the order in which a node begins them: what feeds rows comes behind what takes them."""

LISTS: Final[dict[str, str]] = {
    "message_clients": "run msg client",
    "kafka": "run kafka consumer",
    "grpc": "run grpc client",
}
"""Any number each: ``[[kafka]]``."""

NODE_KEYS: Final = ("name", "home")
COMMAND_KEYS: Final = ("before", "after")
PLAIN: Final = ("node", "variables", "databases", "commands")


class ConfigurationError(EdgeLakeError):
    """What is wrong, and in which line of which file."""

    code = "configuration"
    text = "Error in the configuration"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: a line of the file, a variable of the environment, or nowhere (a default)."""

    text: str


@dataclass
class Configuration:
    """What a file says.

    Attributes:
        values: by section (``rest``, ``databases.plant``, ``kafka[0]``) and key, the environment laid over.
        origins: of the values.
        home: the node's folder; None = as without a file.
    """

    path: Path
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: dict[tuple[str, str], Origin] = field(default_factory=dict)
    home: Path | None = None


def read(path: Path, environment: Mapping[str, str]) -> Configuration:
    """Read and check a file. Raises ConfigurationError."""
    try:
        text = path.read_text()
        found = tomllib.loads(text)
    except OSError as problem:
        raise ConfigurationError(f"{path}: {problem.strerror}", hint="edgelake init makes one") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path}: {problem}") from problem
    made = Configuration(path)
    _known(found, (*PLAIN, *SECTIONS, *LISTS), path, text, "")
    for section, values in _sections(found, path):
        made.values[section] = dict(values)
        for key in values:
            made.origins[section, key] = Origin(f"{path.name}:{_line_of(text, section, key)}")
    _from_environment(made, environment)
    _check(made, text)
    home = made.values.get("node", {}).get("home")
    made.home = None if home is None else (path.parent / Path(str(home)).expanduser()).absolute()
    return made


def _sections(found: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in found.items():
        if name == "databases":
            parts = [(f"{name}.{key}", table) for key, table in _table(name, value, path).items()]
        elif name in LISTS:
            if not isinstance(value, list):
                raise ConfigurationError(f"{path}: {name} is a list", hint=f"[[{name}]]")
            parts = [(f"{name}[{number}]", table) for number, table in enumerate(value)]
        else:
            parts = [(name, value)]
        for section, table in parts:
            yield section, _table(section, table, path)


def _table(name: str, value: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: {name} is a table", hint=f"[{name}]")
    return value


def _from_environment(made: Configuration, environment: Mapping[str, str]) -> None:
    """Values of variables like ``EDGELAKE_REST_TIMEOUT``, for sections of which there is one."""
    for name, text in environment.items():
        section, _, key = name.removeprefix(PREFIX).lower().partition("_")
        if not name.startswith(PREFIX) or not key or section not in (*SECTIONS, "node"):
            continue
        made.values.setdefault(section, {})[key] = _scalar(text)
        made.origins[section, key] = Origin(f"environment {name}")


def _scalar(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


# ---- checks


def _check(made: Configuration, text: str) -> None:
    """Raises ConfigurationError for the first key or value that is none."""
    registry = Registry.discover()
    for section, values in made.values.items():
        if section == "variables":
            continue
        if section in ("node", "commands"):
            _known(values, NODE_KEYS if section == "node" else COMMAND_KEYS, made.path, text, section)
            continue
        entry = _entry(registry, section)
        if not entry.grammar.open_keys:
            _known(values, tuple(entry.grammar.keys), made.path, text, section)
        try:
            _parsed(entry.grammar, command_of(section, values, made.path.parent), entry.phrase)
        except CommandError as problem:
            where = ", ".join(f"{key}: {made.origins[section, key].text}" for key in values) or made.path.name
            raise ConfigurationError(
                f"[{section}]: {mask(problem.detail)}", hint=f"{problem.hint or f'help {entry.phrase}'}; {where}"
            ) from None


def _known(values: Mapping[str, Any], known: tuple[str, ...], path: Path, text: str, section: str) -> None:
    for key in values:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, 1)
        line = _line_of(text, section, key)
        place = f"{path}, line {line}" if line else str(path)
        what = f"[{section}] has no option '{key}'" if section else f"there is no section '{key}'"
        hint = f"did you mean '{near[0]}'?" if near else f"one of: {', '.join(known)}"
        raise ConfigurationError(f"{place}: {what}", hint=hint)


def _entry(registry: Registry, section: str) -> Command:
    match = registry.match(tokenise(_phrase(section)).words)
    assert match is not None, section
    return match.command


def _parsed(grammar: Grammar, line: str, phrase: str) -> None:
    words = tokenise(line)
    if words.fault is not None:
        raise CommandError(words.fault[1])
    grammar.parse(words, len(phrase.split()), Variables())


def _line_of(text: str, section: str, key: str) -> int:
    """The line of a key, as far as one finds it without a parser that keeps places; 0 = not found."""
    name, _, rest = section.partition("[")
    wanted = int(rest[:-1]) if rest else 0
    at, seen = "", -1
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if header := re.match(r"\[\[?\s*([^\[\]]+?)\s*\]", bare):
            at = header[1].replace('"', "").replace(" ", "")
            seen += at == name
            if not section and at.partition(".")[0] == key:
                return number
        elif at == name and (not rest or seen == wanted) and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*=", bare):
            return number
    return 0


# ---- commands


def commands(made: Configuration) -> list[str]:
    """What the node runs when it starts. Raises ConfigurationError for a secret that is not there."""
    folder, values = made.path.parent, made.values
    lines = ["create work directories"]
    if name := values.get("node", {}).get("name"):
        lines.append(f"set node name {_text(name, folder)}")
    lines += [f"{key} = {_text(value, folder)}" for key, value in values.get("variables", {}).items()]
    lines += [command_of(section, values[section], folder) for section in values if section.startswith("databases.")]
    own = values.get("commands", {})
    lines += own.get("before", ())
    lines += [command_of(section, values[section], folder) for section in SECTIONS if section in values]
    for name in LISTS:
        lines += [command_of(section, values[section], folder) for section in values if section.startswith(f"{name}[")]
    return [*lines, *own.get("after", ())]


def command_of(section: str, values: Mapping[str, Any], folder: Path) -> str:
    """The command of a section. Raises ConfigurationError."""
    pairs = [pair for key, value in values.items() for pair in _pairs(key, value, folder)]
    return f"{_phrase(section)} where {' and '.join(pairs)}" if pairs else _phrase(section)


def _phrase(section: str) -> str:
    if section.startswith("databases."):
        return f"connect dbms {section.partition('.')[2]}"
    return LISTS.get(section.partition("[")[0], "") or SECTIONS[section]


def _pairs(key: str, value: Any, folder: Path) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        yield f"{key} = {_text(one, folder)}"


def _text(value: Any, folder: Path) -> str:
    """A value as the language writes it; ``{env = "NAME"}`` and ``{file = "path"}`` stand for a secret."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        if len(value) == 1 and {"env", "file"} & value.keys():
            return _quoted(_secret(value, folder))
        return f"({' and '.join(pair for key, one in value.items() for pair in _pairs(key, one, folder))})"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    if not re.search(r"[\"\n\r]", text):
        return f'"{text}"'
    if not re.search(r"['\n\r]", text):
        return f"'{text}'"
    raise ConfigurationError("a value has both kinds of quotes, or a line break", hint="put it into a script")


def _secret(value: Mapping[str, Any], folder: Path) -> str:
    if "env" in value:
        found = os.environ.get(str(value["env"]))
        if found is None:
            raise ConfigurationError(f"the environment has no {value['env']}")
        return found
    path = folder / Path(str(value["file"])).expanduser()
    try:
        return path.read_text().strip()
    except OSError as problem:
        raise ConfigurationError(f"{path}: {problem.strerror}") from problem


def defaults_of(section: str, registry: Registry) -> dict[str, Any]:
    """Options of a section's command that have a default."""
    entry = _entry(registry, section)
    by_name = {param.name: key for key, param in entry.grammar.keys.items()}
    signature = inspect.signature(entry.handler)
    return {
        by_name[name]: one.default
        for name, one in signature.parameters.items()
        if name in by_name and one.default is not one.empty
    }
