"""What ``run operator`` and ``run streamer`` were told."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from edgelake.errors import EdgeLakeError, error

FILE_TYPES = frozenset({"json", "sql", "gz"})
MAX_THREADS = 10
BLOCK_BYTES = 8 << 20
"""A file up to here is one transaction; a longer one is inserted in blocks of about this size."""
ROW_BYTES = 64 << 20
"""Longest row (or SQL statement) of a file."""


class OperatorConfig(Struct, frozen=True):
    """Options of ``run operator`` (spec "Ingestion", section 6).

    Attributes:
        policy, cluster, member: of the operator policy; a node without cluster runs alone.
        limit_tables: ``dbms.table``, or ``table`` in every database; empty = all.
        master, platform: where table policies go: a master node, or a blockchain.
    """

    policy: str
    watch_dir: Path
    err_dir: Path
    archive_dir: Path
    bkup_dir: Path
    distr_dir: Path
    cluster: str = ""
    member: int = 0
    create_table: bool = True
    compress_json: bool = True
    compress_sql: bool = True
    archive_json: bool = True
    archive_sql: bool = False
    limit_tables: frozenset[str] = frozenset()
    update_tsd_info: bool = False
    distributor: bool = False
    file_type: frozenset[str] = FILE_TYPES
    flush_streaming: bool = False
    threads: int = 1
    company: str = ""
    master: str = ""
    platform: str = "local"

    def check(self) -> None:
        """Raises EdgeLakeError 35 for a missing directory, 63 for one that cannot be written."""
        for name in ("watch_dir", "err_dir", "archive_dir", "bkup_dir", *(["distr_dir"] if self.distributes else [])):
            check_directory(name, getattr(self, name))

    @property
    def ledgers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Masters and blockchains that policies are sent to, beside the local file."""
        is_chain = self.platform not in ("", "local", "master")
        return ((self.master,) if self.master else (), (self.platform,) if is_chain else ())

    @property
    def distributes(self) -> bool:
        """Whether files go on to other members of the cluster: these know them by their numbers in the TSD table."""
        return self.distributor and self.update_tsd_info and bool(self.cluster and self.member)

    def allows(self, dbms: str, table: str) -> bool:
        """Whether ``limit_tables`` lets a table in."""
        return not self.limit_tables or table in self.limit_tables or f"{dbms}.{table}" in self.limit_tables

    def refusal(self, dbms: str, table: str) -> EdgeLakeError | None:
        """Error 130 for a table that ``limit_tables`` keeps out."""
        if self.allows(dbms, table):
            return None
        return error(130, f"{dbms}.{table}", hint="see limit_tables of run operator")

    def wants(self, name: str) -> bool:
        """Whether a file of the watch directory is of a type to take."""
        inner, compressed = name.removesuffix(".gz"), name.endswith(".gz")
        kind = inner.rpartition(".")[2]
        return kind in self.file_type & {"json", "sql"} and (not compressed or "gz" in self.file_type)


def check_directory(name: str, path: Path) -> None:
    """Raises EdgeLakeError 35 for a missing directory, 63 for one that cannot be written."""
    if not path.is_dir():
        raise error(35, f"{name} '{path}' does not exist", hint="create work directories")
    if not os.access(path, os.W_OK | os.X_OK):
        raise error(63, f"{name} '{path}'", hint="give the node's user write access")
