"""``edgelake completion bash|zsh|fish``: what the shell completes of the program's arguments.

The text is made of the parsers of the arguments, so it knows the options that there are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from edgelake.command.console import write
from edgelake.tools.programs import Option, Part, flags_of, parts

_HOW: Final = """\
bash:  edgelake completion bash > ~/.local/share/bash-completion/completions/edgelake
zsh:   edgelake completion zsh > a folder of $fpath, as _edgelake
fish:  edgelake completion fish > ~/.config/fish/completions/edgelake.fish
"""


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser(
        "edgelake completion",
        description="What the shell completes of edgelake's arguments.",
        epilog=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("shell", choices=tuple(SHELLS), help="that reads it")
    return made


def main(arguments: Sequence[str], parsers: Mapping[str, argparse.ArgumentParser]) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    write(SHELLS[options.shell](parts(parsers)))
    return 0


def quoted(text: str) -> str:
    """One word of any of the shells."""
    return "'" + text.replace("'", "'\\''") + "'"


# ---- bash


def bash(found: Sequence[Part]) -> str:
    """A function for ``complete -F``."""
    top = " ".join([*(part.name for part in found), "-c", "--help", "--version"])
    cases = [case for part in found for case in _bash_cases(part)]
    return "\n".join(
        [
            "# bash completion of edgelake, made by: edgelake completion bash",
            "_edgelake() {",
            "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} part=${COMP_WORDS[1]}",
            "  COMPREPLY=()",
            "  if ((COMP_CWORD == 1)); then",
            f'    mapfile -t COMPREPLY < <(compgen -W {quoted(top)} -- "$current")',
            "    return",
            "  fi",
            '  case "$part $previous" in',
            *cases,
            "  esac",
            '  case "$part" in',
            *(line for part in found for line in _bash_words(part)),
            "  esac",
            "}",
            "complete -F _edgelake edgelake",
        ]
    )


def _bash_cases(part: Part) -> list[str]:
    """What follows an option that takes something."""
    lines = []
    for option in part.flags:
        if option.takes != "nothing" or option.choices:
            patterns = "|".join(quoted(f"{part.name} {flag}") for flag in option.flags)
            lines.append(f"    {patterns}) {_bash_value(option)} return ;;")
    return lines


def _bash_value(option: Option) -> str:
    if option.choices:
        return f'mapfile -t COMPREPLY < <(compgen -W {quoted(" ".join(option.choices))} -- "$current");'
    if option.takes in ("file", "folder"):
        kind = "-f" if option.takes == "file" else "-d"
        return f'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen {kind} -- "$current");'
    return ""


def _bash_words(part: Part) -> list[str]:
    """Flags, and what the operands may be."""
    lines = [f"    {part.name})", "      if [[ $current == -* ]]; then"]
    lines.append(f'        mapfile -t COMPREPLY < <(compgen -W {quoted(" ".join(flags_of(part.flags)))} -- "$current")')
    choices = " ".join(choice for option in part.operands for choice in option.choices)
    kinds = {option.takes for option in part.operands}
    lines.append("      else")
    if choices:
        lines.append(f'        mapfile -t COMPREPLY < <(compgen -W {quoted(choices)} -- "$current")')
    if kinds & {"file", "folder"}:
        kind = "-f" if "file" in kinds else "-d"
        lines.append("        compopt -o filenames 2>/dev/null")
        lines.append(f'        mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen {kind} -- "$current")')
    lines.append("        :")
    return [*lines, "      fi ;;"]


# ---- zsh


def zsh(found: Sequence[Part]) -> str:
    """A function for a folder of ``$fpath``, or to be sourced."""
    lines = [
        "#compdef edgelake",
        "# zsh completion of edgelake, made by: edgelake completion zsh",
        "_edgelake() {",
        "  local -a parts",
        "  local curcontext=$curcontext state line",
        "  parts=(",
        *(f"    {quoted(part.name + ':' + part.about.replace(':', chr(92) + ':'))}" for part in found),
        "  )",
        "  _arguments -C '(- *)--help[what there is]' '(- *)--version[of this program]' "
        "'*-c[run a command and leave]:command:' '1:part:->part' '*::argument:->argument'",
        "  case $state in",
        "    part) _describe -t parts part parts ;;",
        "    argument)",
        "      case $words[1] in",
    ]
    for part in found:
        specs = [_zsh_flag(flag, option) for option in part.flags for flag in option.flags]
        specs += [
            f"{number}:{option.shown.lower()}:{_zsh_value(option)}" for number, option in enumerate(part.operands, 1)
        ]
        lines.append(f"        {part.name}) _arguments {' '.join(map(quoted, specs))} ;;")
    lines += ["      esac ;;", "  esac", "}"]
    lines.append('if [[ $funcstack[1] == _edgelake ]]; then _edgelake "$@"; else compdef _edgelake edgelake; fi')
    return "\n".join(lines)


def _zsh_flag(flag: str, option: Option) -> str:
    about = option.about.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = "" if option.takes == "nothing" else f":{option.shown.lower()}:{_zsh_value(option)}"
    return f"{flag}[{about}]{value}"


def _zsh_value(option: Option) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    return {"file": "_files", "folder": "_files -/"}.get(option.takes, "")


# ---- fish


def fish(found: Sequence[Part]) -> str:
    """Lines for a file of ``~/.config/fish/completions``."""
    lines = [
        "# fish completion of edgelake, made by: edgelake completion fish",
        "complete -c edgelake -f",
        "complete -c edgelake -n __fish_use_subcommand -s h -l help -d 'what there is'",
        "complete -c edgelake -n __fish_use_subcommand -l version -d 'of this program'",
        "complete -c edgelake -n __fish_use_subcommand -s c -x -d 'run a command and leave'",
    ]
    for part in found:
        lines.append(f"complete -c edgelake -n __fish_use_subcommand -a {part.name} -d {_fish_quoted(part.about)}")
    for part in found:
        seen = f"complete -c edgelake -n '__fish_seen_subcommand_from {part.name}'"
        for option in part.flags:
            named = " ".join(f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in option.flags)
            lines.append(f"{seen} {named}{_fish_value(option)} -d {_fish_quoted(option.about)}")
        for option in part.operands:
            if value := _fish_value(option, of_flag=False):
                lines.append(f"{seen}{value}")
    return "\n".join(lines)


def _fish_value(option: Option, *, of_flag: bool = True) -> str:
    needed = " -x" if of_flag else ""
    if option.choices:
        return f"{needed} -a {_fish_quoted(' '.join(option.choices))}"
    if option.takes == "folder":
        return f"{needed} -a '(__fish_complete_directories)'"
    if option.takes == "file":
        return " -r -F" if of_flag else " -F"
    return needed if option.takes == "value" else ""


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: Final[dict[str, Callable[[Sequence[Part]], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
