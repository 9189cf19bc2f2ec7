"""Which files other nodes get here and put here. Source: network protocol, section 11."""

from __future__ import annotations

from pathlib import Path

from edgelake.command import transfer
from edgelake.command.context import Context
from edgelake.command.peerfiles import PEER_FILES, Allowed, PeerFiles
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.model import CommandClass, Reply, Table


def files_of(ctx: Context) -> PeerFiles:
    """The node's part for files of other nodes."""
    found: PeerFiles = ctx.parts[PEER_FILES]
    return found


@command(
    "set peer files",
    cls=CommandClass.ADMIN,
    topics=("network", "files", "configuration"),
    examples=(
        "set peer files where watch_dir = true",
        "set peer files where read = !archive_dir and write = (data/in, data/more) and watch_dir = true",
    ),
)
async def set_peer_files(
    ctx: Context, *, read: list[str] | None = None, write: list[str] | None = None, watch_dir: bool = False
) -> Reply:
    """Which files other nodes get and put: nothing that is not named here.

    read, write: directories below which ``file get`` and ``file copy`` of other nodes work. watch_dir: whether they put
    data files into the watch directory. Keys, the ledger and databases stay closed.
    """
    if not (read or write or watch_dir):
        raise CommandError("nothing is opened", hint="reset peer files closes everything")
    files_of(ctx).allowed = Allowed(_folders(ctx, read or []), _folders(ctx, write or []), watch_dir)
    return Reply.done()


def _folders(ctx: Context, texts: list[str]) -> tuple[Path, ...]:
    found = tuple(transfer.usable(ctx, text) for text in texts)
    for folder in found:
        if not folder.is_dir():
            raise error(35, f"'{folder}' is not a directory", hint="create it first")
    return found


@command(
    "reset peer files",
    cls=CommandClass.ADMIN,
    topics=("network", "files", "configuration"),
    examples=("reset peer files",),
)
async def reset_peer_files(ctx: Context) -> Reply:
    """Other nodes get no files here and put none."""
    files_of(ctx).allowed = Allowed()
    return Reply.done()


@command("get peer files", cls=CommandClass.ADMIN, topics=("network", "files"), examples=("get peer files",))
async def get_peer_files(ctx: Context) -> Reply:
    """What is open to other nodes for files."""
    allowed = files_of(ctx).allowed
    rows = [("read", str(path)) for path in allowed.read] + [("write", str(path)) for path in allowed.write]
    rows.append(("watch_dir", "true" if allowed.watch_dir else "false"))
    data = {
        "read": [str(path) for path in allowed.read],
        "write": [str(path) for path in allowed.write],
        "watch_dir": allowed.watch_dir,
    }
    return Reply.of_table(Table(("What", "Directory"), rows), data=data)
