"""Messages between nodes: sockets, jobs that wait for replies, and what a node does with a message."""

from edgelake.net.peer.config import PeerConfig
from edgelake.net.peer.dispatch import Answer, Dispatch, Files, Hooks
from edgelake.net.peer.service import PeerServer

__all__ = ["Answer", "Dispatch", "Files", "Hooks", "PeerConfig", "PeerServer"]
