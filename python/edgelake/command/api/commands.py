"""``/v1/command``: any command of the language, for this node or others."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from edgelake.command.api.routes import Call, ParameterError, json_reply
from edgelake.command.render import reply_text
from edgelake.errors import TimeoutExpiredError
from edgelake.model import Reply
from edgelake.net.rest.api import ApiReply

LONGEST_S = 20


async def command(call: Call) -> ApiReply:
    """Run it with the classes of the caller. Raises EdgeLakeError."""
    values = call.values
    line, destination = values["command"], values["destination"]
    if "\n" in line or "\r" in line or "\n" in destination or ")" in destination:
        raise ParameterError("a command is one line, a destination one address or selection")
    if destination:
        added = ", subset = true" if values["subset"] else ""
        line = f"run client ({destination}{added}) {line}"
    begun, limit_s = time.monotonic(), values["timeout"] or LONGEST_S
    try:
        async with asyncio.timeout(limit_s):
            reply = await call.ctx.execute(line)
            result = await (_text(reply) if values["format"] == "text" else _result(reply))
    except TimeoutError:
        raise TimeoutExpiredError(f"no reply within {limit_s} s", hint="timeout = seconds") from None
    return json_reply({"result": result, "elapsed_ms": round((time.monotonic() - begun) * 1000, 3)})


async def _text(reply: Reply) -> str:
    """As the prompt shows it."""
    if reply.stream is None:
        return reply_text(reply)
    return b"".join([piece async for piece in reply.stream]).decode(errors="replace")


async def _result(reply: Reply) -> Any:
    """Data where there is some; a text that is JSON as such."""
    if reply.has_data:
        return reply.data
    if reply.stream is None:
        return reply_text(reply)
    text = b"".join([piece async for piece in reply.stream])
    try:
        return msgspec.json.decode(text) if text[:1] in (b"{", b"[") else text.decode(errors="replace")
    except msgspec.DecodeError:
        return text.decode(errors="replace")
