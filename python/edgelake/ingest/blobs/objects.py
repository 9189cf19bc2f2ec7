"""Buckets and their objects by name, as the commands ``bucket ...`` see them: any key, any content.

obstore works on the objects of a bucket that is there. Buckets themselves are made, removed and listed by addresses of
S3 that it signs (``signed``); the caller sends the requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from edgelake.errors import CommandError, NotAvailableError, ObjectStorageError, error
from edgelake.ingest.blobs.bucket import (
    PART_BYTES,
    PARTS_AT_ONCE,
    REGION,
    WRONG_KEYS,
    BucketConfig,
    Storage,
    said_by_service,
)

SERVICES: Final = {"s3": "s3", "aws": "s3", "minio": "s3", "akave": "s3", "azure": "azure", "gcs": "gcs"}
"""Providers by their names; several speak the API of S3."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LISTED: Final = re.compile(r"<Bucket>.*?<Name>([^<]*)</Name>.*?</Bucket>", re.DOTALL)
PAGE: Final = 1000
"""Objects that are listed, or deleted, by one request."""

_SIGNED_FOR: Final = timedelta(minutes=1)
_AWS: Final = "https://s3.{}.amazonaws.com"
_LOCATION: Final = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
)


@dataclass(frozen=True, slots=True, repr=False)
class Group:
    """A service and the keys to it, under the name that ``bucket provider connect`` gives.

    Attributes:
        provider: as it was named.
        config: without a bucket.
    """

    name: str
    provider: str
    config: BucketConfig

    @classmethod
    def of(cls, name: str, provider: str, config: BucketConfig) -> Group:
        """``config``: without provider and bucket. Raises CommandError."""
        if provider not in SERVICES:
            raise CommandError(f"provider = {provider or 'nothing'}", hint=f"one of: {', '.join(SERVICES)}")
        if bool(config.access_key) != bool(config.secret_key) and SERVICES[provider] != "gcs":
            raise CommandError("one key is missing", hint="access_key = ... and secret_key = ...")
        return cls(name, provider, replace(config, provider=SERVICES[provider]))

    def bucket(self, name: str) -> Objects:
        """Raises CommandError for a name that no service takes."""
        if not _NAME.fullmatch(name):
            raise CommandError(
                f"'{name[:100]}' is no name of a bucket", hint="3 to 63 lower-case letters, digits, '-' and '.'"
            )
        return Objects(replace(self.config, bucket=name))

    def signed(self, method: Literal["GET", "PUT", "DELETE"], bucket: str = "") -> tuple[str, bytes]:
        """Address and body of a request for a bucket, or for the list of all. Raises NotAvailableError, CommandError.

        In threads: signing may ask the machine for its keys.
        """
        if self.config.provider != "s3":
            raise NotAvailableError(
                f"buckets of {self.provider} are made, dropped and listed by the provider's own tools",
                hint="their files are reached: get bucket files, bucket file upload",
            )
        region = self.config.region or REGION
        elsewhere = method == "PUT" and region != REGION and not self.config.endpoint
        body = _LOCATION.format(region).encode() if elsewhere else b""
        if bucket:
            return self.bucket(bucket).address(method), body
        service = self.config.endpoint or _AWS.format(region)
        return Objects(replace(self.config, bucket="all", endpoint=service), whole_service=True).address(method), body


def names_listed(answer: str) -> list[str]:
    """Buckets of the answer to a signed GET."""
    return sorted(_LISTED.findall(answer))


def refusal(group: Group, what: str, reason: str) -> ObjectStorageError:
    """Of a signed request that failed; ``reason`` may have the service's XML."""
    where = f"{what}: {group.config.endpoint or group.provider}"
    said = said_by_service(reason)
    if "BucketNotEmpty" in said:
        hint = "remove the files with it: delete_all = true"
    elif "BucketAlready" in said:
        hint = "it is there; to make one, another name is needed"
    elif "NoSuchBucket" in said:
        hint = "get bucket names where group = <group>"
    elif WRONG_KEYS.search(said):
        hint = "check access_key, secret_key and what they allow"
    else:
        hint = "is the service up, and its address right? bucket provider connect"
    return ObjectStorageError(f"{where}: {said[:300]}", hint=hint)


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """An object in a list."""

    key: str
    size_bytes: int
    changed: datetime
    etag: str


class Objects(Storage):
    """The objects of a bucket. All calls are for threads; they raise ObjectStorageError, and 78 for a missing key."""

    missing_hint = "bucket create where group = <group> and name = <bucket>"

    def address(self, method: Literal["GET", "PUT", "DELETE"]) -> str:
        """Of the bucket itself, signed for a minute."""
        with self._told():
            return str(self._calls.sign(self._store, method, "", _SIGNED_FOR))

    def rows(self, prefix: str = "") -> Iterator[ObjectRow]:
        """Objects whose keys begin with ``prefix``."""
        for page in self._pages(prefix):
            yield from page

    def _pages(self, prefix: str) -> Iterator[list[ObjectRow]]:
        folder = prefix.rpartition("/")[0] or None  # the library lists whole folders only
        with self._told():
            for page in self._calls.list(self._store, folder, chunk_size=PAGE):
                yield [_row(one) for one in page if one["path"].startswith(prefix)]

    def row(self, key: str) -> ObjectRow:
        try:
            with self._told():
                return _row(self._calls.head(self._store, key))
        except FileNotFoundError:
            raise self._no_object(key) from None

    def put(self, key: str, source: Path) -> None:
        """Keep a file's content, in bounded memory; there on return."""
        with self._told():
            self._calls.put(self._store, key, source, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def pieces(self, key: str) -> Iterator[bytes]:
        try:
            with self._told():
                for piece in self._calls.get(self._store, key).stream(PART_BYTES):
                    yield bytes(piece)
        except FileNotFoundError:
            raise self._no_object(key) from None

    def delete(self, key: str) -> None:
        """One that is there."""
        self.row(key)
        with self._told():
            self._calls.delete(self._store, key)

    def delete_all(self, prefix: str = "") -> int:
        """Those whose keys begin with ``prefix``; how many."""
        gone = 0
        for page in self._pages(prefix):
            with self._told():
                if page:
                    self._calls.delete(self._store, [row.key for row in page])
            gone += len(page)
        return gone

    def _no_object(self, key: str) -> Exception:
        return error(78, f"{self.config.storage} has no file '{key[:200]}'", hint="see: get bucket files")


def _row(listed: Any) -> ObjectRow:
    return ObjectRow(listed["path"], listed["size"], listed["last_modified"], (listed.get("e_tag") or "").strip('"'))
