"""The page on Ethereum: its scripts run as they are written, on a chain."""

from __future__ import annotations

import re
from pathlib import Path

from edgelake import Node
from edgelake.model import PROMPT
from tests.chain.anvil import Anvil
from tests.docs.test_docs import ROOT

_FENCE = re.compile(r"^```script\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def test_the_scripts_of_the_page_run(chain: Anvil, tmp_path: Path) -> None:
    scripts = _FENCE.findall((ROOT / "docs" / "ethereum.md").read_text())
    assert len(scripts) == 4
    shown: list[str] = []
    async with Node(tmp_path, caller=PROMPT) as node:
        node.ctx.console = lambda text, end="\n": shown.append(text)
        await node.execute("create work directories")
        for number, text in enumerate(scripts):
            script = tmp_path / f"{number}.al"
            script.write_text(text.replace("http://127.0.0.1:8545", chain.url))
            await node.execute(f"process {script}")
        platform = node.ctx.parts["platforms"].get("ethereum")
        kinds = [next(iter(policy)) for policy in (await platform.pull()).policies]
    output = "\n".join(shown)
    assert sorted(kinds) == ["cluster", "operator"]
    assert "goodbye" in output
    assert "Running" in output
    assert node.ctx.variables.get("contract") in output
