"""``/v1/complete``: what may stand at the end of a command line."""

from __future__ import annotations

from typing import Final

from edgelake.command.api.routes import Call, json_reply
from edgelake.command.suggestions import Suggestions
from edgelake.net.rest.api import ApiReply

LONGEST_LINE: Final = 10_000


async def complete(call: Call) -> ApiReply:
    """Words, each with a remark; ``start``: where the word begins that they stand for."""
    line, after = (call.values[name][:LONGEST_LINE] for name in ("line", "after"))
    found = Suggestions(call.ctx).offered(line, after)
    shown = [{"word": word, "about": about} for word, about in found.words]
    return json_reply({"start": len(line) - found.typed, "words": shown, "more": found.more})
