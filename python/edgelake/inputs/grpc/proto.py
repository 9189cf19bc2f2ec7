"""Definitions at run time: a .proto file compiled in memory, the function that is called, its request.

A module of nodes that have such a client: it loads protobuf.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from edgelake.errors import CommandError, ServiceError, error
from edgelake.inputs.grpc.config import Call, ProtoFile

COMPILE_S = 30.0
LIMIT_BYTES = 16 << 20  # of a compiled definition

_TYPED = {"int": int, "float": float, "str": str}
_FLAGS = {"true": True, "false": False}


# ---- compiling


def compile_proto(file: ProtoFile) -> bytes:
    """A .proto file and what it imports, as a serialised FileDescriptorSet; nothing is written. Blocks.

    protoc runs in a process of its own: it prints, and a file that breaks it must not break the node.

    Raises CommandError for what it refuses, EdgeLakeError (12, 78), ServiceError when it cannot be run.
    """
    path = file.path
    if not path.resolve().is_relative_to(file.directory.resolve()):
        raise error(78, f"proto = {file.name}: not below {file.directory}")
    if not path.is_file():
        raise error(12, f"{path}", hint="grpc_dir and proto name the .proto file")
    command = (sys.executable, "-m", "grpc_tools.protoc", f"-I{file.directory}", "--include_imports")
    # protoc opens the file that it writes, which works for a pipe, and not for the socket that uvloop takes for one.
    pipe = "--descriptor_set_out=/dev/stdout"
    try:
        done = subprocess.run(
            (*command, pipe, str(path)), stdin=subprocess.DEVNULL, capture_output=True, timeout=COMPILE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{path}: protoc does not end ({COMPILE_S:g} seconds)") from None
    if done.returncode != 0:
        text = done.stderr.decode(errors="replace").strip()[:1000].replace("\n", "; ")
        raise CommandError(f"{path} does not compile: {text or f'protoc ended with {done.returncode}'}")
    if len(done.stdout) > LIMIT_BYTES:
        raise CommandError(f"{path}: a definition of {len(done.stdout):,} bytes; {LIMIT_BYTES:,} are the most")
    return done.stdout


# ---- what is called


@dataclass(frozen=True, slots=True)
class Method:
    """A function of a server, ready to be called.

    Attributes:
        path: as it stands on the wire.
        streams: the server sends many replies.
        request: the serialised request.
        request_type, response_type: full names.
        descriptors: of the response type, serialised.
    """

    path: str
    streams: bool
    request: bytes
    request_type: str
    response_type: str
    descriptors: bytes


def method_of(descriptors: bytes, call: Call) -> Method:
    """Raises CommandError for a definition, a name or a value that does not fit."""
    pool = _pool(descriptors)
    service = _service(pool, descriptors, call.service)
    found = service.methods_by_name.get(call.function)
    if found is None:
        raise CommandError(
            f"service {service.full_name} has no function '{call.function}'",
            hint=f"it has: {_listed(service.methods_by_name)}",
        )
    if found.client_streaming:
        raise CommandError(f"{service.full_name}.{call.function} takes a stream of requests: it cannot be called here")
    for option, wanted, kind in (
        ("request", call.request, found.input_type),
        ("response", call.response, found.output_type),
    ):
        if wanted and wanted not in (kind.name, kind.full_name):
            raise CommandError(
                f"{option} = {wanted}: {service.full_name}.{call.function} has the {option} {kind.full_name}",
                hint=f"write {option} = {kind.name}",
            )
    return Method(
        f"/{service.full_name}/{found.name}",
        bool(found.server_streaming),
        request_of(found.input_type, call.value),
        found.input_type.full_name,
        found.output_type.full_name,
        descriptors,
    )


def _pool(descriptors: bytes) -> Any:
    pool = descriptor_pool.DescriptorPool()
    try:
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
            pool.Add(file)
    except Exception as problem:  # noqa: BLE001 - protobuf raises what its implementation likes
        raise CommandError(f"the definition cannot be used: {problem}") from None
    return pool


def services_in(descriptors: bytes) -> list[str]:
    """Full names of the services of a definition."""
    return [name for name, _ in _services(descriptors)]


def functions_in(descriptors: bytes) -> list[tuple[str, str, str, str, str]]:
    """Service, function, request, response, and which of the two are streams."""
    return [
        (
            name,
            method.name,
            method.input_type.lstrip("."),
            method.output_type.lstrip("."),
            " and ".join(
                word
                for word, is_one in (("request", method.client_streaming), ("response", method.server_streaming))
                if is_one
            ),
        )
        for name, service in _services(descriptors)
        for method in service.method
    ]


def _services(descriptors: bytes) -> Iterator[tuple[str, Any]]:
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        for service in file.service:
            yield f"{file.package}.{service.name}".lstrip("."), service


def _service(pool: Any, descriptors: bytes, name: str) -> Any:
    known = services_in(descriptors)
    fitting = [full for full in known if name in (full, full.rpartition(".")[2])]
    if len(fitting) != 1:
        reason = "several services have this name" if fitting else "no such service"
        raise CommandError(f"service = {name}: {reason}", hint=f"the definition has: {_listed(known)}")
    return pool.FindServiceByName(fitting[0])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:20]) or "none"


# ---- the request


def request_of(kind: Any, value: Sequence[tuple[str, str]]) -> bytes:
    """A request with these fields. A dot in a name goes into a message; a name that comes again fills a list.

    Raises CommandError for a field that isn't there and a value of another type.
    """
    filled: dict[str, Any] = {}
    for name, text in value:
        *parents, last = name.split(".")
        inner, message = filled, kind
        for parent in parents:
            field = _field(message, parent, name)
            if field.message_type is None or field.is_repeated:
                raise CommandError(f"value: {name}: {parent} is no message in {message.full_name}")
            inner, message = inner.setdefault(parent, {}), field.message_type
        field = _field(message, last, name)
        given = _typed(name, text, field)
        if field.is_repeated:
            inner.setdefault(last, []).append(given)
        elif last in inner:
            raise CommandError(f"value: {name} stands twice")
        else:
            inner[last] = given
    request = message_factory.GetMessageClass(kind)()
    try:
        json_format.ParseDict(filled, request)
    except json_format.ParseError as problem:
        text = " ".join(str(problem).split())
        raise CommandError(f"value: {text}", hint="write key = 5.int, .float, .bool or .str for another type") from None
    made: bytes = request.SerializeToString()
    return made


def _field(message: Any, name: str, shown: str) -> Any:
    field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
    if field is None:
        known = _listed(message.fields_by_name)
        raise CommandError(f"value: {message.full_name} has no field '{shown}'", hint=f"it has: {known}")
    return field


def _typed(name: str, text: str, field: Any) -> Any:
    """A value as JSON knows it: by its suffix, else by the type of its field."""
    plain, dot, suffix = text.rpartition(".")
    if dot and suffix in _TYPED:
        try:
            given = _TYPED[suffix](plain)
        except ValueError:
            raise CommandError(f"value: {name} = {text}: '{plain}' is no {suffix}") from None
    elif dot and suffix == "bool":
        given = _flag(name, plain)
    elif field.type == field.TYPE_BOOL:
        given = _flag(name, text)
    else:
        given = text
    if field.type == field.TYPE_BYTES and isinstance(given, str):
        return base64.b64encode(given.encode()).decode()
    return given


def _flag(name: str, text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise CommandError(f"value: {name} = {text}: true or false is needed")
    return _FLAGS[text.lower()]
