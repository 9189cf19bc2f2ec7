"""``/v1/complete``: what may stand at the end of a command line."""

from __future__ import annotations

from typing import Final

from edgelake.command.api.routes import Call, json_reply
from edgelake.command.suggestions import Suggestions
from edgelake.net.rest.api import ApiReply

LONGEST_LINE: Final = 10_000
MOST: Final = 200


async def complete(call: Call) -> ApiReply:
    """Words, each with the first line of its help; ``start``: where the word begins that they stand for."""
    line = call.values["line"][:LONGEST_LINE]
    found = Suggestions(call.ctx)
    last, words = found.at(line)
    start = len(line) - len(last)
    shown = [{"word": word, "about": found.explained(line[:start], word)} for word in words[:MOST]]
    return json_reply({"start": start, "words": shown, "more": max(len(words) - MOST, 0)})
