"""The one-way rule: a module imports only from lines below its own (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "python" / "edgelake"

# From the top down; rooms on one line don't know each other.
LINES: list[set[str]] = [
    {"__main__", "demo", "bench"},
    {"tools"},
    {"node"},
    {"command"},
    {"net", "inputs"},
    {"query", "ingest"},
    {"store", "metadata", "identity"},
    {"service", "loop", "durable", "tls", "profiling", "peering", "processes", "_rust", "_cython"},
    {"model"},
    {"errors"},
]
LEVEL = {room: level for level, rooms in enumerate(LINES) for room in rooms}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "node"  # "edgelake" itself re-exports the node


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {f"edgelake.{alias.name}" for alias in node.names} if module == "edgelake" else {module}
    return {name for name in found if name.split(".")[0] == "edgelake"}


MODULES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.name != "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    own = room_of("edgelake." + ".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert own in LEVEL, f"{path} is in no line of the one-way rule"
    for name in imports_of(path):
        used = room_of(name)
        if used == own:
            continue
        assert used in LEVEL, f"{path} imports {name}, which is in no line"
        assert LEVEL[own] < LEVEL[used], f"{path}: {own} may not import {name}"


# Programs that no process of a node loads: they are run by their path, and may use what a node must not.
APART = {ROOT / "bench" / "naive.py"}


def test_nothing_imports_the_programs_that_stand_apart() -> None:
    apart = {"edgelake." + ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in APART}
    for path in MODULES:
        assert not imports_of(path) & apart, f"{path} imports a program that brings a second SQLite"
    for path in APART:
        assert not imports_of(path)


@pytest.mark.parametrize("path", [m for m in MODULES if m not in APART], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_second_sqlite_and_no_eval(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {a.name.split(".")[0] for a in node.names} & {"sqlite3", "aiosqlite", "pysqlite3"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile"}, f"{path}:{node.lineno} runs text as code"
