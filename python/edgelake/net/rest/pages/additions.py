"""What a request or a policy adds to a page: ``{"head": {"include": [...], "style": {...}}, "body": {...}}``.

``include`` is markup, put in as it is: the policy of the page (see ``page``) keeps scripts and other addresses out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelake.errors import CommandError

_RULE = re.compile(r"[^{}<;\\]{1,200}")


@dataclass(frozen=True, slots=True)
class Additions:
    """Markup for the head of a page and the begin of its body."""

    head: str = ""
    body: str = ""

    @property
    def has_title(self) -> bool:
        return "<title" in self.head.lower()


NO_ADDITIONS = Additions()


def additions(text: str) -> Additions:
    """Additions of the header ``html`` or of a policy's text; ``^`` stands for a double quote. Raises CommandError."""
    if not text:
        return NO_ADDITIONS
    try:
        found = json.loads(text.replace("^", '"') if "^" in text and '"' not in text else text)
    except (ValueError, RecursionError) as wrong:
        raise CommandError(f"html: {wrong}", hint='write {"head": {"include": [...]}, "body": {...}}') from wrong
    if isinstance(found, list):
        if len(found) != 1:
            raise CommandError(f"html: {len(found)} policies instead of one", hint="narrow the condition")
        found = found[0]
    if isinstance(found, dict) and isinstance(found.get("html"), dict):
        found = found["html"]
    if not isinstance(found, dict) or not {"head", "body"} & found.keys():
        raise CommandError(
            "html has neither 'head' nor 'body'", hint='write {"head": {"include": [...]}, "body": {...}}'
        )
    return Additions(_part(found, "head"), _part(found, "body"))


def _part(found: Mapping[str, Any], name: str) -> str:
    part = found.get(name)
    if part is None:
        return ""
    if isinstance(part, str | list):
        part = {"include": part}
    if not isinstance(part, dict):
        raise CommandError(f"html: '{name}' is no object with include and style")
    include = part.get("include", [])
    pieces = [include] if isinstance(include, str) else include
    style = part.get("style", {})
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
        raise CommandError(f"html: include of '{name}' is no list of texts")
    if not isinstance(style, dict) or not all(isinstance(rules, dict) for rules in style.values()):
        raise CommandError(f"html: style of '{name}' is no object of objects")
    return (f"<style>{_css(style)}</style>" if style else "") + "\n".join(pieces)


def _css(style: Mapping[str, Mapping[str, Any]]) -> str:
    """Rules of a style; a name or value that would end its rule or the sheet is refused."""
    rules = []
    for selector, properties in style.items():
        pairs = []
        for name, value in properties.items():
            shown = str(value).strip().rstrip(";")
            if not all(_RULE.fullmatch(part) for part in (selector, str(name), shown)):
                raise CommandError(f"html: style '{selector[:60]}': '{name}' is no plain rule")
            pairs.append(f"{name}:{shown}")
        rules.append(f"{selector}{{{';'.join(pairs)}}}")
    return "\n".join(rules)
