"""The way to a platform: web3 is imported when the first one is wanted, in a thread, since it takes a second."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgelake.errors import NotAvailableError
from edgelake.metadata.chain.options import Options, checked_url

if TYPE_CHECKING:
    from edgelake.metadata.chain.ethereum import Ethereum

_OWN = "edgelake"


async def library() -> Any:
    """The module ``ethereum``. Raises NotAvailableError when the extra of the package is not installed."""
    limit = sys.getrecursionlimit()
    try:
        return await asyncio.to_thread(import_module, "edgelake.metadata.chain.ethereum")
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == _OWN:
            raise
        raise NotAvailableError(
            f"an Ethereum platform needs the library '{missing.name}'", hint="pip install 'edgelake[ethereum]'"
        ) from None
    finally:
        # A package below web3 raises it so far that deeply nested JSON would overrun the stack, and end the process.
        sys.setrecursionlimit(limit)


async def connect(name: str, options: Options) -> Ethereum:
    """A platform that answers. Raises EdgeLakeError: 2 options, 81 provider, 209 chain or contract, 150 library."""
    checked_url(options.provider)
    platform: Ethereum = (await library()).Ethereum(name, options)
    try:
        await platform.open()
    except BaseException:
        await platform.close()
        raise
    return platform
