"""Blobs in object storage: Amazon S3 and what speaks its API, Azure, Google, or a directory.

Key of an object: ``<dbms>/<table>/<hash>/<bytes>.<type>``, with ``.gz`` when it was compressed; before the bytes stands
``<md5>-`` where that was noted, for a hash that may say nothing of the content. md5 and bytes are of the content alone.
So a listing tells what is needed to check it, with every provider.
Source: spec "Ingestion and storage", section 3 (type bucket); the library is obstore (extra ``blobs``).
"""

from __future__ import annotations

import importlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from edgelake.durable import make_folder, sync_directory
from edgelake.errors import CommandError, ObjectStorageError
from edgelake.ingest.blobs.arrival import Arrival, Reader
from edgelake.ingest.blobs.content import Content
from edgelake.ingest.blobs.folder import PACKED_TYPES
from edgelake.ingest.blobs.names import Blob, BlobName, Wanted
from edgelake.ingest.blobs.spool import Spool

_KIND: Final = "bucket"
PROVIDERS: Final = ("s3", "azure", "gcs", "file")
REGION: Final = "us-east-1"
"""Of S3 where none is named."""

PART_BYTES: Final = 5 << 20
PARTS_AT_ONCE: Final = 2
_TIMES: Final = {"connect_timeout": "5s", "timeout": "60s"}
_RETRIES: Final = {"max_retries": 2, "retry_timeout": timedelta(seconds=15)}
_OBJECT: Final = re.compile(r"(?:([0-9a-f]{32})-)?(\d{1,18})((?:\.\w{1,16})?)(\.\.gz|\.gz)?")
_SAID: Final = re.compile(r"<Code>(\w+)</Code>\s*<Message>([^<]*)")
WRONG_KEYS: Final = re.compile(r"AccessKey|Signature|AccessDenied")
_NO_BUCKET: Final = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")


@dataclass(frozen=True, slots=True, repr=False)
class BucketConfig:
    """Options of ``connect dbms blobs_<dbms> where type = bucket``.

    Attributes:
        bucket: of S3 and Google, container of Azure.
        endpoint: address of the service; absent = the provider's own. The directory for ``file``.
        access_key: of S3; account of Azure.
        secret_key: of S3, account key of Azure, service account (JSON) of Google.
    """

    provider: str
    bucket: str
    endpoint: str = ""
    access_key: str = ""
    secret_key: str = ""
    region: str = ""

    def check(self) -> None:
        """Raises CommandError."""
        if self.provider not in PROVIDERS:
            raise CommandError(f"provider = {self.provider or 'nothing'}", hint=f"one of: {', '.join(PROVIDERS)}")
        if self.provider == "file" and not self.endpoint:
            raise CommandError("a directory is needed", hint="endpoint = <directory>")
        if self.provider != "file" and not self.bucket:
            raise CommandError("a bucket is needed", hint="connection = <name of the bucket>")

    @property
    def storage(self) -> str:
        """Where blobs go, as ``get databases`` shows it."""
        return self.endpoint if self.provider == "file" else f"{self.provider}://{self.bucket}"


class Storage:
    """A bucket of a service. All calls are for threads, not for the loop; they raise ObjectStorageError."""

    missing_hint = "create the bucket, or name another: connection = <bucket>"

    def __init__(self, config: BucketConfig, *, whole_service: bool = False) -> None:
        """It asks the service for nothing. Raises CommandError for wrong options, and where obstore is missing.

        ``whole_service``: of S3, addresses without the bucket.
        """
        config.check()
        self.config = config
        self._calls = _library("obstore")
        with self._told():
            self._store = _store(config, whole_service=whole_service)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the library raises, in words that say where and what to do; without the keys."""
        exceptions = _library("obstore.exceptions")
        where = f"{self.config.storage}{f' at {self.config.endpoint}' if self.config.endpoint else ''}"
        try:
            yield
        except (exceptions.BaseError, FileNotFoundError) as cause:  # which of the two depends on the call
            reason = self._reason(cause)
            if isinstance(cause, exceptions.NotFoundError | FileNotFoundError) and not _NO_BUCKET.search(reason):
                raise FileNotFoundError(reason) from cause
            if _NO_BUCKET.search(reason):
                hint = self.missing_hint
            elif WRONG_KEYS.search(reason) or isinstance(
                cause, exceptions.UnauthenticatedError | exceptions.PermissionDeniedError
            ):
                hint = "check access_key, secret_key and the bucket's policy"
            else:
                hint = "is the service up, and its address right?"
            raise ObjectStorageError(f"{where}: {reason}", hint=hint) from cause

    def _reason(self, cause: Exception) -> str:
        """What the service said, else the first part of the library's text, which nests its causes in Rust's forms."""
        text = said_by_service(str(cause).partition("\n\nDebug source")[0])
        for secret in (self.config.secret_key, self.config.access_key):
            text = text.replace(secret, "****") if secret else text
        return text[:300]


class Bucket(Storage):
    """A place of blobs."""

    kind = _KIND

    def reach(self) -> None:
        """Ask for something. Raises ObjectStorageError when the service cannot be used."""
        with self._told():
            next(iter(self._calls.list(self._store, "edgelake/probe", chunk_size=1)), None)

    # ---- what is there

    def find(self, wanted: Wanted) -> list[Blob]:
        prefix = f"{wanted.dbms}/{wanted.table}"
        if by_hash := wanted.hash or wanted.id.partition(".")[0]:
            prefix = f"{prefix}/{by_hash.lower()}"
        found = [blob for blob in self._listed(prefix) if wanted.fits(blob.name.id, blob.day)]
        return sorted(found, key=lambda blob: (blob.day, blob.name.id))

    def count(self) -> Counter[tuple[str, str]]:
        return Counter((blob.name.dbms, blob.name.table) for blob in self._listed(None))

    def all(self, dbms: str) -> Iterator[Blob]:
        return self._listed(dbms)

    def _listed(self, prefix: str | None) -> Iterator[Blob]:
        with self._told():
            for group in self._calls.list(self._store, prefix):
                for one in group:
                    if (blob := _blob(one)) is not None:
                        yield blob

    # ---- in and out

    def store(self, arrival: Arrival, *, compress: bool) -> None:
        """Put a content; there on return. One that is there already is put anew: it is of today.

        It is checked as its parts go up. The object appears when the last one is there, which a damaged content never
        gets to: the library takes back what has gone up.
        """
        name = arrival.name
        compress = compress and name.type not in PACKED_TYPES
        key = _key(name, arrival.known, packed=compress)
        with arrival.reading() as content, self._told():
            self._calls.put(
                self._store,
                key,
                _packed(content) if compress else content,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            if self.config.provider == "file":
                _sync(Path(self.config.endpoint), key)
        for twin in self.find(Wanted(name.dbms, name.table, name.id)):
            if twin.where != key:
                self.remove(twin)

    def fetch(self, blob: Blob, spool: Spool) -> Path:
        """A file with the content, checked. Raises BlobDamagedError, FileNotFoundError."""
        content, packed = _content(blob.where)
        return spool.fill(blob.name, content, lambda: self._pieces(blob, packed=packed))

    def _pieces(self, blob: Blob, *, packed: bool) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(wbits=31) if packed else None
        with self._told():
            for piece in self._calls.get(self._store, blob.where).stream(PART_BYTES):
                rest = piece
                while unpacker and rest:
                    try:
                        yield unpacker.decompress(rest, PART_BYTES)
                    except zlib.error:
                        return  # what is missing shows in the length
                    rest = unpacker.unconsumed_tail
                if rest:
                    yield rest

    def remove(self, blob: Blob) -> None:
        try:
            with self._told():
                changed: datetime = self._calls.head(self._store, blob.where)["last_modified"]
                if _day(changed) == blob.day:
                    self._calls.delete(self._store, blob.where)
        except FileNotFoundError:
            return


def said_by_service(text: str) -> str:
    """Code and message of an answer in XML; else the text, on one line."""
    said = _SAID.search(text)
    return f"{said[1]}: {said[2]}" if said else " ".join(text.split())


def _library(name: str) -> Any:
    """A module of the library, imported with the first bucket. Raises CommandError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise CommandError(
            f"object storage needs the library '{missing.name}'", hint="pip install 'edgelake[blobs]'"
        ) from missing


def _store(config: BucketConfig, *, whole_service: bool) -> Any:
    store = _library("obstore.store")
    options = {**_TIMES, "allow_http": config.endpoint.startswith("http://")}
    endpoint = {"endpoint": config.endpoint} if config.endpoint else {}
    more = {"client_options": options, "retry_config": _RETRIES}
    match config.provider:
        case "s3":
            keys = {"access_key_id": config.access_key, "secret_access_key": config.secret_key}
            keys = keys if config.access_key else {}
            place = {"region": config.region or REGION, "virtual_hosted_style_request": whole_service, **endpoint}
            return store.S3Store(config.bucket, **place, **keys, **more)
        case "azure":
            keys = {"account_name": config.access_key, "account_key": config.secret_key}
            keys = {key: value for key, value in keys.items() if value}
            return store.AzureStore(config.bucket, **endpoint, **keys, **more)
        case "gcs":
            keys = {"service_account_key": config.secret_key} if config.secret_key else {}
            base = {"base_url": config.endpoint} if config.endpoint else {}
            return store.GCSStore(config.bucket, **base, **keys, **more)
        case _:
            make_folder(Path(config.endpoint))
            return store.LocalStore(config.endpoint)


def _key(name: BlobName, content: Content, *, packed: bool) -> str:
    kind = f".{name.type}" if name.type else ""
    end = "" if not packed else ".gz" if kind else "..gz"
    noted = f"{content.md5}-" if content.md5 else ""
    return f"{name.dbms}/{name.table}/{name.hash}/{noted}{content.bytes}{kind}{end}"


def _content(key: str) -> tuple[Content, bool]:
    """What the key says of its content, and whether it is compressed."""
    found = _OBJECT.fullmatch(key.rpartition("/")[2])
    assert found is not None, key
    return Content(int(found[2]), found[1] or ""), bool(found[4])


def _blob(listed: Any) -> Blob | None:
    """None for an object that is no blob."""
    parts = listed["path"].split("/")
    found = _OBJECT.fullmatch(parts[-1]) if len(parts) == 4 else None
    name = BlobName.parse(f"{parts[0]}.{parts[1]}.{parts[2]}{found[3]}") if found is not None else None
    if name is None:
        return None
    return Blob(name, _day(listed["last_modified"]), listed["size"], _KIND, listed["path"])


def _day(changed: datetime) -> str:
    return changed.astimezone(UTC).strftime("%y%m%d")


def _packed(content: Reader) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    for piece in content.pieces():
        if out := packer.compress(piece):
            yield out
    yield packer.flush()


def _sync(directory: Path, key: str) -> None:
    path = directory / key
    with path.open("rb") as file:
        os.fsync(file.fileno())
    for folder in path.parents:
        sync_directory(folder)
        if folder == directory:
            break
