"""A PostgreSQL server for benches and tests, with data in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edgelake.bench.processes import BenchError, free_port
from edgelake.store.server import Server

_BIN: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
OWNER: Final = "postgres"
"""The server does not run as root: its account takes over there."""

USER: Final = "test"
PASSWORD: Final = "s3cret"


def program(name: str) -> str:
    """Raises FileNotFoundError when PostgreSQL is not installed (``make test`` does that)."""
    found = shutil.which(name, path=os.pathsep.join([*map(str, _BIN), os.environ.get("PATH", "")]))
    if found is None:
        raise FileNotFoundError(f"{name} is missing: apt-get install postgresql")
    return found


class PostgresServer:
    """Started at once; ``crash`` and ``start`` as often as a test likes."""

    def __init__(self) -> None:
        # Not beneath pytest's folder, which is its user's alone: the account of the server cannot look into it.
        self._folder = folder = Path(tempfile.mkdtemp(prefix="edgelake-postgres-"))
        self._data = folder / "data"
        self.port = free_port()
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, OWNER)
            self._as = {"user": OWNER, "group": OWNER, "extra_groups": [], "cwd": folder}
        login = ("-A", "scram-sha-256", "-U", USER, f"--pwfile={self._secret()}")
        self._run("initdb", "-D", str(self._data), *login, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.start()

    def server(self, **changes: Any) -> Server:
        return replace(Server(port=self.port, user=USER, password=PASSWORD), **changes)

    @property
    def login(self) -> dict[str, Any]:
        """For clients of their own."""
        return {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}

    @property
    def clause(self) -> str:
        """Keys of ``connect dbms``."""
        return f"type = psql and ip = 127.0.0.1 and port = {self.port} and user = {USER} and password = {PASSWORD}"

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_connections=60"
        self._run("pg_ctl", "-D", str(self._data), "-o", options, "-l", str(self._folder / "log"), "-w", "start")

    def stop(self) -> None:
        """End it for good; its data goes."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def crash(self) -> None:
        """End it as a power failure would: no process of it gets to say anything."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def sql(self, text: str, dbms: str = "postgres", *, limit_s: float = 30) -> str:
        """Run SQL with the server's own client; fields parted by ``|``."""
        return self._client(dbms, "-c", text, limit_s=limit_s)

    def run(self, script: Path, dbms: str) -> None:
        """Run a script of the server's own client, to its first failure."""
        self._client(dbms, "-v", "ON_ERROR_STOP=1", "-f", str(script), limit_s=600)

    def _client(self, dbms: str, *arguments: str, limit_s: float = 30) -> str:
        login = ("-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", dbms)
        done = subprocess.run(
            [program("psql"), *login, "-Atq", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGPASSWORD": PASSWORD, "PGTZ": "UTC"},
            timeout=limit_s,
        )
        if done.returncode:
            raise BenchError(done.stderr)
        return done.stdout.strip()

    def _secret(self) -> Path:
        path = self._folder / "password"
        path.write_text(PASSWORD)
        if self._as:
            shutil.chown(path, OWNER)
        return path

    def _run(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.out").open("ab") as out:
            done = subprocess.run(
                [program(name), *arguments], stdout=out, stderr=out, check=False, timeout=90, **self._as
            )
        if done.returncode:
            raise BenchError((self._folder / f"{name}.out").read_text())
