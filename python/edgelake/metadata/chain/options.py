"""How a platform is reached, and how that is shown: keys and tokens never are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from edgelake.errors import CommandError


@dataclass(frozen=True, slots=True)
class Options:
    """What ``blockchain connect to`` and ``blockchain set account info`` take.

    Attributes:
        gas_read, gas_write: gas limits of calls and of transactions; None = as the chain estimates.
        chain_id: refuse a provider of another chain; None = take the provider's.
        network: a label of the user's, not sent anywhere.
    """

    provider: str = field(default="", repr=False)
    contract: str = ""
    public_key: str = ""
    private_key: str = field(default="", repr=False)
    gas_read: int | None = None
    gas_write: int | None = None
    chain_id: int | None = None
    network: str = ""

    def merged(self, later: Options) -> Options:
        """These options, with what a later command gives."""
        given = {name: value for name in self.__slots__ if (value := getattr(later, name)) not in ("", None)}
        if later.private_key and not later.public_key:
            given["public_key"] = ""  # an earlier one belongs to the earlier private key
        return replace(self, **given)


def checked_url(url: str) -> str:
    """The address of a provider. Raises CommandError when it is none, without repeating what may be a key in it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CommandError("the provider's address can't be read", hint="write https://host[:port]/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise CommandError(
            f"a provider of the kind '{parts.scheme or url[:12]}' can't be used", hint="write https://host[:port]/path"
        )
    return url


def shown_url(url: str) -> str:
    """An address for people: providers carry their access key in the path, the query or before the host."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    hidden = parts.path.strip("/") or parts.query or parts.username
    return f"{parts.scheme}://{host}{port}" + ("/****" if hidden else "")
