"""``python -m pack.licences``: whether everything that we ship or require may be used as we say; else exit code 1.

Also the texts that come with a wheel: licences that ask to be shipped with what is under them.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from license_expression import ExpressionError, LicenseExpression, LicenseWithExceptionSymbol, get_spdx_licensing

from pack.components import Component, crates, distributions, scripts

# Licences under which something may be inside a wheel that is itself under Apache-2.0.
INSIDE: Final = frozenset(
    (
        "Apache-2.0",
        "MIT",
        "MIT-0",
        "ISC",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "0BSD",
        "Zlib",
        "Unlicense",
        "CC0-1.0",
        "Unicode-3.0",
    )
)
# Distributions beside it are taken as their makers publish them, unchanged: a weak copyleft is fine for these, too.
BESIDE: Final = INSIDE | {"PSF-2.0", "CNRI-Python", "MPL-2.0", "LGPL-3.0-only"}
_SPDX: Final = get_spdx_licensing()


def main() -> int:
    """Returns the exit code."""
    wrong = refused([*crates(), *scripts(), *distributions()])
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print(
            "See pack/licences.py: what is allowed; pack/components.py: where a look at a licence file is noted.",
            file=sys.stderr,
        )
    return bool(wrong)


def refused(components: Iterable[Component]) -> list[str]:
    """A line for each component whose licence does not allow what we do with it."""
    lines = []
    for component in sorted(components, key=lambda c: c.purl):
        licence = component.licence
        if not permitted(licence, INSIDE if component.inside else BESIDE):
            lines.append(f"{component.purl}: '{licence or 'no licence is named'}' is not among the licences allowed")
    return lines


def permitted(licence: str, allowed: frozenset[str]) -> bool:
    """Whether one way to read an SPDX expression has only licences that are allowed; no for what is none."""
    if not licence:
        return False
    try:
        parsed = _SPDX.parse(licence, validate=False)
    except ExpressionError:
        return False
    return parsed is not None and _holds(parsed, allowed)


def _holds(part: LicenseExpression, allowed: frozenset[str]) -> bool:
    if isinstance(part, _SPDX.OR):
        return any(_holds(choice, allowed) for choice in part.args)
    if isinstance(part, _SPDX.AND):
        return all(_holds(each, allowed) for each in part.args)
    if isinstance(part, LicenseWithExceptionSymbol):
        return str(part) in allowed or part.license_symbol.key in allowed  # an exception only allows more
    return str(part.key) in allowed


def notices(components: Iterable[Component]) -> str:
    """The licence texts of what is inside a wheel; one that several components ship word for word stands once."""
    users: defaultdict[str, list[str]] = defaultdict(list)
    for component in sorted(components, key=lambda c: (c.name, c.version)):
        texts = component.texts()
        said = f"{component.name} {component.version} ({component.licence})"
        if not texts:
            users[f"(No licence file is shipped with it; its metadata name {component.licence}.)"].append(said)
        for _, text in texts:
            body = "\n".join(line.rstrip() for line in text.strip().splitlines())
            if said not in users[body]:
                users[body].append(said)
    rule = "=" * 79
    parts = [
        "Software of others inside this wheel: crates in edgelake/_rust, packages in edgelake/console.\n"
        "Each text below applies to what is listed above it.\n"
    ]
    parts += [f"{rule}\n" + "\n".join(names) + f"\n{rule}\n{text}\n" for text, names in users.items()]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
