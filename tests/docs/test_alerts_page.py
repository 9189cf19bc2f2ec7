"""What docs/alerts.md shows of mail works, with a mail server in the place of the one that the page names."""

from __future__ import annotations

import re
from pathlib import Path

from edgelake import Node
from edgelake.model import PROMPT
from tests.docs.test_docs import ROOT
from tests.net.smtp.servers import PASSWORD, MailServer

PAGE = (ROOT / "docs" / "alerts.md").read_text()


def shown(heading: str) -> list[str]:
    """Blocks below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


async def test_the_commands_of_mail_and_alerts_send_mails(tmp_path: Path) -> None:
    with MailServer(tmp_path, security="starttls", auth=True) as server:
        async with Node(tmp_path, caller=PROMPT) as node:

            async def run(script: str) -> None:
                path = tmp_path / "shown.al"
                path.write_text(script)
                await node.execute(f"process {path}")

            node.ctx.variables.set("mail_password", PASSWORD)
            node.ctx.variables.set("temperature", "91.5")
            here = f"host = 127.0.0.1 and ca = {server.ca} and port = {server.port}"
            (mail,) = shown("Mail")
            assert "host = mail.example.com and port = 587" in mail
            mail = mail.replace("host = mail.example.com and port = 587", here)
            await run(mail)
            first, second = server.post.next(), server.post.next()
            assert (first["To"], first["Subject"]) == ("boss@plant.example", "Motor 1")
            assert first.get_content().splitlines() == ["It is hot:", "91.5"]
            assert second["To"] == "6505551234@sms.plant.example"

            timed, streamed = shown("Alerts")
            await run(f"{mail.splitlines()[0]}\nconnect dbms plant where type = sqlite\nfree = 7.5\n{timed}{streamed}")
            await node.execute("task run where name = full")
            assert server.post.next()["Subject"] == "Disk"
            await node.ingest("plant", "motor", [{"device": "m1", "speed": 1480}, {"device": "m2", "speed": 1520}])
            await node.ctx.ingest.conditions.settled()
            assert server.post.next().get_content().splitlines() == ["m2", "1520"]
            assert server.post.mails.empty()
