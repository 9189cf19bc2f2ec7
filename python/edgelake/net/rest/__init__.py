"""The REST server: commands and readings over HTTP. Spec: "REST API"."""

from edgelake.net.rest.config import BodyLimits, RestConfig
from edgelake.net.rest.hooks import PostData, PutFile, RestHooks
from edgelake.net.rest.server import RestServer

__all__ = ["BodyLimits", "PostData", "PutFile", "RestConfig", "RestHooks", "RestServer"]
