"""Certificates of servers: files that are named, found in the directory of PEM files, or made.

Spec: services and status, section 2; "REST API", section 13.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from edgelake import _rust
from edgelake.errors import ServiceError

log = logging.getLogger(__name__)

OWN = "self-signed"
VALID_YEARS = 10
LOOK_S = 1.0


class TlsFiles(Struct, frozen=True):
    """PEM files of a server: certificate (chain) and its key in PKCS#8."""

    certificate: Path
    key: Path
    authority: Path | None = None


def named(certificate: Path, key: Path) -> TlsFiles:
    """Files that the user names. Raises ServiceError when one is missing or the key is in another form."""
    _need(certificate, key)
    return TlsFiles(certificate, key)


def of_organisations(pem_dir: Path, ca_org: str, server_org: str) -> TlsFiles:
    """The files of the reference's naming. Raises ServiceError when one is missing."""
    server, authority = _slug(server_org), _slug(ca_org)
    certificate = pem_dir / f"server-{server}-public-key.crt"
    key = pem_dir / f"server-{server}-private-key.key"
    ca = pem_dir / f"ca-{authority}-public-key.crt"
    _need(certificate, key)
    if not ca.is_file():
        raise _missing(ca)
    return TlsFiles(certificate, key, ca)


def found_or_made(pem_dir: Path, names: Sequence[str]) -> TlsFiles:
    """The only server certificate of ``pem_dir``; without one, a self-signed certificate is made there."""
    servers = [p for p in sorted(pem_dir.glob("server-*-public-key.crt")) if OWN not in p.name]
    if len(servers) == 1:
        certificate = servers[0]
        key = certificate.with_name(certificate.name.removesuffix("-public-key.crt") + "-private-key.key")
        _need(certificate, key)
        return TlsFiles(certificate, key)
    if servers:
        raise ServiceError(
            f"SSL Connection: {len(servers)} server certificates in {pem_dir}",
            hint="name one with server_org, or with cert and key",
        )
    return self_signed(pem_dir, names)


def self_signed(pem_dir: Path, names: Sequence[str]) -> TlsFiles:
    """The self-signed certificate of ``pem_dir``, made at the first call; its fingerprint is logged.

    Args:
        names: host names and addresses it is good for.
    Raises: ServiceError when the directory cannot be written.
    """
    files = TlsFiles(pem_dir / f"server-{OWN}-public-key.crt", pem_dir / f"server-{OWN}-private-key.key")
    if not (files.certificate.is_file() and files.key.is_file()):
        year = datetime.now(UTC).year
        certificate, key = _rust.self_signed_certificate(list(dict.fromkeys(names)), year - 1, year + VALID_YEARS)
        try:
            pem_dir.mkdir(parents=True, exist_ok=True)
            files.key.unlink(missing_ok=True)
            secret = os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # never readable by others
            with open(secret, "w") as out:
                out.write(key)
            files.certificate.write_text(certificate)
        except OSError as problem:
            raise ServiceError(f"SSL Connection: cannot write to {pem_dir}: {problem.strerror}") from problem
    log.warning("TLS with a self-signed certificate; SHA-256 fingerprint %s", fingerprint(files.certificate))
    return files


class Watched:
    """The certificate and key of a server that runs: whether the files have changed, and can be used."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen = self._stamp()
        self.fingerprint = ""

    def have_changed(self) -> bool:
        """Whether they have, since this was asked last."""
        before, self._seen = self._seen, self._stamp()
        return self._seen != before and None not in self._seen

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        found: list[tuple[int, int, int] | None] = []
        for path in (self._certificate, self._key):
            try:
                about = path.stat()
                found.append((about.st_mtime_ns, about.st_size, about.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)

    async def check(self) -> None:
        """Raises ServiceError unless the files are a certificate and its key."""
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        _need(self._certificate, self._key)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self.fingerprint = fingerprint(self._certificate)
        except (OSError, ValueError) as problem:
            raise ServiceError(
                f"SSL Connection: {self._certificate} and {self._key}: {problem}",
                hint="the certificate and the key that belongs to it, both in PEM form",
            ) from problem


class Renewal:
    """Looks at the files of a server that runs, each second, and has them taken anew when they have changed.

    Args:
        renew: take the files; raises ServiceError for what cannot be used. It is logged, and the old one stays.
    """

    def __init__(self, name: str, files: Sequence[Path], renew: Callable[[], Awaitable[None]]) -> None:
        self._name, self._renew = name, renew
        self._watched = Watched(files[0], files[1])
        self._task = asyncio.create_task(self._look(), name=f"certificate of the {name}")

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._task.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if await asyncio.to_thread(self._watched.have_changed):
                try:
                    await self._renew()
                except ServiceError as problem:
                    log.error("%s: the certificate cannot be renewed, the old one stays: %s", self._name, problem)


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the certificate, as browsers show it."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def _slug(organisation: str) -> str:
    return organisation.strip().lower().replace(" ", "-")


def _missing(path: Path) -> ServiceError:
    return ServiceError(f"SSL Connection: Missing file for ssl process: {path}")


def _need(certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        if not path.is_file():
            raise _missing(path)
    if "BEGIN PRIVATE KEY" not in key.read_text(errors="replace"):
        raise ServiceError(
            f"SSL Connection: the key {key} is not in PKCS#8", hint="convert it: openssl pkcs8 -topk8 -nocrypt"
        )
