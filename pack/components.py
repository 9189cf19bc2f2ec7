"""What a wheel is made of and needs: crates in its library, packages in its console, distributions beside it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
CONSOLE: Final = ROOT / "python/edgelake/console"
_PLATFORM: Final = "x86_64-unknown-linux-gnu"  # aarch64 links the same crates
_TEXTS: Final = ("LICEN", "COPYING", "NOTICE", "UNLICEN", "AUTHORS")
_OURS: Final = "edgelake-py"
# Forms of a licence that came before SPDX, by what classifiers and free texts say.
_OLD_FORMS: Final = {
    "Apache Software License": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Distributions whose metadata say less than their licence file, by a look at that file.
_LOOKED_AT: Final = {"apsw": "Zlib"}


@dataclass(frozen=True, slots=True)
class Component:
    """Something that others made and we ship or require.

    ``licence`` is an SPDX expression, or what its maker wrote when that is none; "" when nothing is said. ``extras``
    are those of ours that bring it; none: it is always there. ``inside`` the wheel, or installed beside it.
    """

    kind: str  # of the package URL: cargo, npm, pypi
    name: str
    version: str
    licence: str
    inside: bool
    folder: Path | None = None  # where its licence texts are
    sha: tuple[str, str] | None = None  # algorithm and hexadecimal digest of the package
    extras: frozenset[str] = frozenset()
    needs: frozenset[str] = field(default=frozenset(), compare=False)  # package URLs

    @property
    def purl(self) -> str:
        """Its package URL, by which databases of vulnerabilities know it."""
        namespace, _, name = self.name.rpartition("/")
        path = f"{quote(namespace, safe='')}/{name}" if namespace else name
        return f"pkg:{self.kind}/{path}@{self.version}"

    def texts(self) -> list[tuple[str, str]]:
        """Name and text of the licence files that its makers ship with it."""
        if self.folder is None:
            return []
        files = [f for f in sorted(self.folder.iterdir()) if f.is_file() and f.name.upper().startswith(_TEXTS)]
        return [(f.name, f.read_text(encoding="utf-8", errors="replace")) for f in files]


def crates() -> list[Component]:
    """The crates that are linked into ``edgelake._rust``: those of tests and build scripts are not."""
    asked = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", _PLATFORM]
    found = json.loads(subprocess.run(asked, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    linked = _reached(next(i for i, p in packages.items() if p["name"] == _OURS), nodes)
    locked = {(p["name"], p["version"]): p.get("checksum") for p in _lock()}
    outside = {i for i in linked if packages[i]["source"] is not None}
    return [_crate(packages[i], locked, [packages[d] for d in _linked(nodes[i]) if d in outside]) for i in outside]


def _crate(package: dict[str, Any], locked: dict[tuple[str, str], str | None], needs: Iterable[Any]) -> Component:
    checksum = locked[package["name"], package["version"]]
    return Component(
        kind="cargo",
        name=package["name"],
        version=package["version"],
        licence=(package["license"] or "").replace("/", " OR "),
        inside=True,
        folder=Path(package["manifest_path"]).parent,
        sha=("SHA-256", checksum) if checksum else None,
        needs=frozenset(f"pkg:cargo/{need['name']}@{need['version']}" for need in needs),
    )


def _reached(root: str, nodes: dict[str, Any]) -> set[str]:
    seen: set[str] = set()
    ahead = [root]
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += _linked(nodes[node])
    return seen


def _linked(node: dict[str, Any]) -> list[str]:
    """What a crate needs to run, which is neither for its tests nor for its build script."""
    return [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]


def _lock() -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return packages


def scripts() -> list[Component]:
    """The packages of npm that are bundled into the web console."""
    packages = json.loads((CONSOLE / "package-lock.json").read_text())["packages"]
    found = []
    for place, package in packages.items():
        if not place or package.get("dev"):
            continue
        algorithm, _, digest = package["integrity"].partition("-")
        folder = CONSOLE / place
        found.append(
            Component(
                kind="npm",
                name=place.rpartition("node_modules/")[2],
                version=package["version"],
                licence=package.get("license", ""),
                inside=True,
                folder=folder if folder.is_dir() else None,
                sha=(algorithm.upper().replace("SHA", "SHA-"), base64.b64decode(digest).hex()),
            )
        )
    return found


def distributions() -> list[Component]:
    """The distributions that an installation needs, in the versions that are installed here (which tests ran with).

    Those of an extra that is not installed here are left out: nothing is known of them.
    """
    brought: dict[str, set[str]] = {name: set() for name in installed_for()}
    core = frozenset(brought)
    for extra in extras():
        for name in installed_for(extra) - core:
            brought.setdefault(name, set()).add(extra)
    return [_distribution(metadata.distribution(name), brings) for name, brings in sorted(brought.items())]


def extras() -> list[str]:
    """Those of ours; without the one that measures EdgeLake, which no node needs."""
    return sorted(_project()["optional-dependencies"].keys() - {"bench"})


def installed_for(extra: str = "") -> frozenset[str]:
    """Names of the distributions installed here that EdgeLake needs, with an extra or without any."""
    project = _project()
    ahead = list(_wanted([*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())]))
    seen = set()
    while ahead:
        name, inner = ahead.pop()
        if (name, inner) in seen:
            continue
        seen.add((name, inner))
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            seen.remove((name, inner))
            continue
        ahead += _wanted(found.requires or (), inner)
    return frozenset(name for name, _ in seen)


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _wanted(requirements: Iterable[str], extras: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and extras of each requirement that holds on this machine."""
    for text in requirements:
        requirement = Requirement(text)
        contexts = [{"extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(requirement.marker.evaluate(context) for context in contexts):
            yield canonicalize_name(requirement.name), tuple(sorted(requirement.extras))


def _distribution(found: metadata.Distribution, brings: set[str]) -> Component:
    needs = {name for name, _ in _wanted(found.requires or ())} & {
        canonicalize_name(d.metadata["Name"]) for d in metadata.distributions()
    }
    return Component(
        kind="pypi",
        name=canonicalize_name(found.metadata["Name"]),
        version=found.version,
        licence=_licence(found),
        inside=False,
        extras=frozenset(brings),
        needs=frozenset(f"pkg:pypi/{name}@{metadata.version(name)}" for name in needs),
    )


def _licence(found: metadata.Distribution) -> str:
    """The SPDX expression; of older metadata, what the classifiers and the free text amount to."""
    said = _LOOKED_AT.get(found.metadata["Name"]) or _field(found, "License-Expression")
    if said:
        return said
    classified = [
        c.rpartition(" :: ")[2] for c in found.metadata.get_all("Classifier") or () if c.startswith("License :: OSI")
    ]
    known = [_OLD_FORMS[c] for c in classified if c in _OLD_FORMS]
    if known:
        return " OR ".join(dict.fromkeys(known))
    first = _field(found, "License").strip().partition("\n")[0].strip()
    return _OLD_FORMS.get(first, re.sub(r"\s+", " ", first))


def _field(found: metadata.Distribution, name: str) -> str:
    values = found.metadata.get_all(name)
    return str(values[0]) if values else ""
