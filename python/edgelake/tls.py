"""TLS of connections that the node opens."""

from __future__ import annotations

import ssl

from msgspec import Struct

from edgelake.errors import CommandError


class Tls(Struct, frozen=True):
    """Files in PEM form; the system's authorities without ``ca``, no certificate of our own without ``cert``."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """Raises CommandError for a file that is missing or not what it should be."""
        if bool(self.cert) != bool(self.key):
            raise CommandError("cert and key are needed together")
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
        except OSError as problem:  # ssl.SSLError is one
            named = ", ".join(filter(None, (self.ca, self.cert, self.key)))
            raise CommandError(
                f"TLS files ({named}): {problem}", hint="ca, cert and key are files in PEM form"
            ) from None
        return context
