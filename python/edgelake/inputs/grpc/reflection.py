"""What a server tells of itself: its services, and their definitions (gRPC server reflection)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

import grpc
from edgelake.errors import ServiceError
from edgelake.inputs.grpc.proto import LIMIT_BYTES

# The two versions differ in their names only.
_PATHS = tuple(f"/grpc.reflection.{v}.ServerReflection/ServerReflectionInfo" for v in ("v1", "v1alpha"))
_OWN = "grpc.reflection."
_MOST_FILES = 1000

_Request = reflection_pb2.ServerReflectionRequest


class Reflection:
    """Asks a server about itself. Its methods block.

    Raises of every method: grpc.RpcError; ServiceError for a server without reflection, or one that makes no sense.
    """

    def __init__(self, channel: Any, timeout_s: float) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        self._path = _PATHS[0]

    def services(self) -> list[str]:
        """Full names, without that of the reflection itself."""
        (answer,) = self._ask(_Request(list_services=""))
        names = [service.name for service in answer.list_services_response.service]
        return sorted(name for name in names if not name.startswith(_OWN))

    def descriptors(self, service: str) -> bytes:
        """The definition of a service and all that it needs, as a serialised FileDescriptorSet.

        ``service`` may stand without its package.
        """
        names = [name for name in self.services() if service in (name, name.rpartition(".")[2])]
        if len(names) != 1:
            reason = "several services are called" if names else "there is no service"
            known = ", ".join(self.services()[:20]) or "none"
            raise ServiceError(f"{reason} '{service}'", hint=f"the server has: {known}")
        files: dict[str, Any] = {}
        self._add(files, _Request(file_containing_symbol=names[0]))
        while missing := [need for file in files.values() for need in file.dependency if need not in files]:
            if len(files) + len(missing) > _MOST_FILES:
                raise ServiceError(f"the definition of '{service}' has too many files")
            self._add(files, *(_Request(file_by_filename=name) for name in dict.fromkeys(missing)))
        made = descriptor_pb2.FileDescriptorSet(file=_in_order(files)).SerializeToString()
        if len(made) > LIMIT_BYTES:
            raise ServiceError(f"the definition of '{service}' has {len(made):,} bytes")
        return bytes(made)

    def _add(self, files: dict[str, Any], *requests: Any) -> None:
        for request, answer in zip(requests, self._ask(*requests), strict=True):
            found = [
                descriptor_pb2.FileDescriptorProto.FromString(one)
                for one in answer.file_descriptor_response.file_descriptor_proto
            ]
            if not found or (request.file_by_filename and request.file_by_filename not in {one.name for one in found}):
                wanted = request.file_by_filename or request.file_containing_symbol
                raise ServiceError(f"reflection does not know {wanted}")
            files.update((one.name, one) for one in found)

    def _ask(self, *requests: Any) -> list[Any]:
        try:
            return self._answers(requests)
        except grpc.RpcError as problem:
            if problem.code() != grpc.StatusCode.UNIMPLEMENTED:
                raise
            if self._path == _PATHS[-1]:
                hint = "name the definition: grpc_dir and proto"
                raise ServiceError("the server has no reflection", hint=hint) from None
        self._path = _PATHS[-1]
        return self._ask(*requests)

    def _answers(self, requests: tuple[Any, ...]) -> list[Any]:
        call = self._channel.stream_stream(
            self._path,
            request_serializer=_Request.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answers = list(call(iter(requests), timeout=self._timeout_s))
        for answer in answers:
            if answer.HasField("error_response"):
                raise ServiceError(f"reflection: {answer.error_response.error_message}")
        if len(answers) != len(requests):
            raise ServiceError("reflection left questions open")
        return answers


def _in_order(files: dict[str, Any]) -> Iterator[Any]:
    """Each file behind those it needs. A circle, which protobuf forbids, comes out in any order."""
    done: set[str] = set()
    for start in files:
        way = [start]
        while way:
            name = way[-1]
            done_before = name in done
            open_ones = [need for need in files[name].dependency if need not in done and need not in way]
            if open_ones and not done_before:
                way.append(open_ones[0])
                continue
            way.pop()
            if not done_before:
                done.add(name)
                yield files[name]
