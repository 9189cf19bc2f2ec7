"""Helper process: granian embedded as in the node, with a handler that reads the body and answers at once."""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from edgelake.bench.processes import tell
from edgelake.net.rest.config import RestConfig
from edgelake.net.rest.exchange import Exchange, Scope
from edgelake.net.rest.listener import Listener
from edgelake.net.rest.replies import JSON_HEADERS, STORED

PROGRAM = ("-m", "edgelake.bench.bare")


async def handle(scope: Scope, proto: Exchange) -> None:
    await proto()
    proto.response_bytes(200, JSON_HEADERS, STORED)


async def serve(port: int) -> None:
    listener = Listener(RestConfig(internal_ip="127.0.0.1", internal_port=port, bind=True), handle)
    await listener.start()
    tell(port=listener.port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])["port"]))
