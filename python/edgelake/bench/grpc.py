"""A stream of a gRPC server to durable rows, beside a client that counts its messages and does nothing else."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgelake.bench import Settings
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import Child, free_port, node, tell
from edgelake.bench.rest import median_round, wait_for
from edgelake.bench.results import Result
from edgelake.processes import get

PROGRAM = ("-m", "edgelake.bench.grpc")
MESSAGES = 200_000
MESSAGE_BYTES = 200
ROUNDS = 5
PATH = "/bench.Readings/Watch"
PROTO = """\
syntax = "proto3";
package bench;
service Readings {
  rpc Watch (Request) returns (stream Reading);
}
message Request {}
message Reading {
  int64 time_us = 1;
  int32 n = 2;
  double v = 3;
  string note = 4;
}
"""


def run(settings: Settings) -> list[Result]:
    messages = settings.rows(MESSAGES)
    pairs = []
    for _ in range(settings.rounds(ROUNDS)):
        with settings.folder("grpc") as folder:
            bare = messages / counted_seconds(messages)
            pairs.append((messages / stored_seconds(Path(folder), messages), bare))
        settings.say(f"stream: {pairs[-1][0]:,.0f} rows/s, grpcio alone {bare:,.0f}")
    figure, baseline = median_round(pairs)
    return [measured("grpc", "grpc-stream", figure, baseline, rounds=pairs, message_bytes=MESSAGE_BYTES)]


def stored_seconds(home: Path, messages: int) -> float:
    """From the call's arrival at the server until count(*) shows all."""
    (home / "readings.proto").write_text(PROTO)
    server, port = _server(messages)
    try:
        with node(home / "node", ["connect dbms bench where type = sqlite"]) as at:
            line = (
                f"run grpc client where name = bench and ip = 127.0.0.1 and port = {port} and grpc_dir = {home} "
                f"and proto = readings and service = Readings and function = Watch and limit = {messages} "
                "and dbms = bench and table = readings"
            )
            get(at.port, {"command": line}, method="POST")
            return wait_for(at, messages) - float(server.line()["begin"])
    finally:
        server.end()


def counted_seconds(messages: int) -> float:
    """From the call's arrival at the server until a bare client has counted the last message."""
    server, port = _server(messages)
    client = Child(PROGRAM, {"count": port, "messages": messages})
    try:
        return float(client.line()["end"]) - float(server.line()["begin"])
    finally:
        client.end()
        server.end()


def _server(messages: int) -> tuple[Child, int]:
    port = free_port()
    server = Child(PROGRAM, {"serve": port, "messages": messages})
    server.line()
    return server, port


# ---- the helpers


def reading(n: int) -> bytes:
    """A message of ``MESSAGE_BYTES``, encoded by hand: the server is to cost as little as it can."""
    head = b"\x08" + _varint(1_700_000_000_000_000 + n) + b"\x10" + _varint(n) + b"\x19" + struct.pack("<d", n / 7)
    note = MESSAGE_BYTES - len(head) - 3
    return head + b"\x22" + _varint(note) + b"x" * note


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def serve(port: int, messages: int) -> None:
    import grpc

    ready = [reading(n) for n in range(1, messages + 1)]

    def watch(request: bytes, context: Any) -> Iterator[bytes]:
        tell(begin=time.monotonic())
        yield from ready

    handlers = {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Readings", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    tell(port=port)
    server.wait_for_termination()


def count(port: int, messages: int) -> float:
    """When the last message had come (monotonic clock)."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        seen = 0
        for _ in channel.unary_stream(PATH)(b""):
            seen += 1
        assert seen == messages
        return time.monotonic()


def main() -> None:
    what = json.loads(sys.argv[1])
    if "serve" in what:
        serve(what["serve"], what["messages"])
    else:
        tell(end=count(what["count"], what["messages"]))


if __name__ == "__main__":
    main()
