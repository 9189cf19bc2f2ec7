"""Messages of gRPC servers (spec: brokers and mapping, section 14)."""

from edgelake.inputs.grpc.client import GrpcClient
from edgelake.inputs.grpc.clients import GrpcClients
from edgelake.inputs.grpc.config import Call, Pace, ProtoFile, Server

__all__ = ["Call", "GrpcClient", "GrpcClients", "Pace", "ProtoFile", "Server"]
