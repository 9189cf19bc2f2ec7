"""What the documentation shows works: its blocks run, its links lead somewhere, the command reference is current."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.command.reference import reference
from edgelake.command.registry import Registry
from edgelake.model import PROMPT

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str | None]]:
    """Scripts of a page in their order, each with the output that the page shows behind it."""
    fences = _FENCE.findall(page.read_text())
    return [
        (text, fences[at + 1][1] if at + 1 < len(fences) and fences[at + 1][0] == "output" else None)
        for at, (kind, text) in enumerate(fences)
        if kind == "edgelake"
    ]


_BROKER_PORT = re.compile(r"\b3245[0-9]\b")


def with_free_ports(text: str, ports: dict[str, str]) -> str:
    """Ports that brokers of the pages listen on, replaced: other runs may be under way."""
    return _BROKER_PORT.sub(lambda found: ports.setdefault(found[0], str(free_port())), text)


def named(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


SHOWN = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", SHOWN, ids=named(SHOWN))
def test_the_scripts_of_a_page_run_and_print_what_it_says(page: Path, tmp_path: Path) -> None:
    ports: dict[str, str] = {}

    async def scenario() -> None:
        async with Node(tmp_path, caller=PROMPT) as node:
            for number, (text, output) in enumerate(blocks(page)):
                shown: list[str] = []
                node.ctx.console = lambda text, end="\n", shown=shown: shown.append(
                    text.rstrip("\n") + end if end else text
                )
                script = tmp_path / f"{number}.al"
                script.write_text(with_free_ports(text, ports))
                await node.execute(f"process {script}")
                if output is not None:
                    assert "".join(shown).replace("\r\n", "\n").strip() == output.strip(), text

    asyncio.run(scenario())


def test_the_page_of_the_language_has_scripts() -> None:
    assert ROOT / "docs" / "command-language.md" in SHOWN


def test_the_command_reference_is_current() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == reference(Registry.discover()), "run: make docs"


def anchors(page: Path) -> set[str]:
    """Headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", _FENCE.sub("", page.read_text())):
        if "://" in target:
            continue
        other = page.parent / target if target else page
        assert other.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(other), f"{target} has no heading #{anchor}"
