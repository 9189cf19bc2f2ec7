"""A gRPC server in a process of its own: ``python server.py '{"port": 50051, ...}'``. It prints a line when it serves.

Options: start (first number of every stream), pause_s (between messages), reflection, delay_s (of unary replies),
ca, cert, key (TLS; with ca, of clients with a certificate only), broken (every call fails).
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grpc_reflection.v1alpha import reflection

import grpc

OPTIONS: dict[str, Any] = {"start": 1, "pause_s": 0.0, "reflection": True, "delay_s": 0.0, "broken": False}


class Sensors:
    def __init__(self, messages: Any) -> None:
        self.messages = messages

    def _reading(self, request: Any, n: int) -> Any:
        reading = self.messages.Reading(device_id=request.filter, n=n, big=2**60 + n, value=n / 2, on=n % 2 == 1)
        reading.taken_at.FromMicroseconds(1_700_000_000_000_000 + n)
        return reading

    def Read(self, request: Any, context: Any) -> Any:
        if OPTIONS["broken"]:
            context.abort(grpc.StatusCode.INTERNAL, "the sensor is broken")
        time.sleep(OPTIONS["delay_s"])
        reading = self._reading(request, request.count)
        reading.told = " ".join(str(request).split())
        return reading

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:
        if OPTIONS["broken"]:
            context.abort(grpc.StatusCode.INTERNAL, "the sensor is broken")
        first = request.first or OPTIONS["start"]
        for n in range(first, first + request.count) if request.count else itertools.count(first):
            if not context.is_active():
                return
            yield self._reading(request, n)
            if OPTIONS["pause_s"]:
                time.sleep(OPTIONS["pause_s"])
        while request.hold and context.is_active():
            time.sleep(0.02)

    def Upload(self, requests: Iterator[Any], context: Any) -> Any:
        return self.messages.Request(count=sum(1 for _ in requests))

    def Texts(self, request: Any, context: Any) -> Any:
        return self.messages.TextsReply(serialized_data=[json.dumps({"n": n}) for n in range(request.count)])


def main() -> None:
    OPTIONS.update(json.loads(sys.argv[1]))
    messages, services = grpc.protos_and_services("sensors.proto")
    server = grpc.server(ThreadPoolExecutor(8))
    services.add_SensorsServicer_to_server(Sensors(messages), server)
    if OPTIONS["reflection"]:
        names = [messages.DESCRIPTOR.services_by_name["Sensors"].full_name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
    address = f"127.0.0.1:{OPTIONS['port']}"
    if "cert" in OPTIONS:
        ca = Path(OPTIONS["ca"]).read_bytes() if "ca" in OPTIONS else None
        pair = (Path(OPTIONS["key"]).read_bytes(), Path(OPTIONS["cert"]).read_bytes())
        server.add_secure_port(address, grpc.ssl_server_credentials([pair], ca, ca is not None))
    else:
        server.add_insecure_port(address)
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
