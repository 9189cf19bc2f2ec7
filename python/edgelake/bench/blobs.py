"""A file of 1 GiB in over REST, to a folder and to object storage."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edgelake.bench import FULL_ROWS, Settings, gathered
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, accepts, free_port, node, peak_resident_mb, reset_peak, resident_mb
from edgelake.bench.rest import median_round
from edgelake.bench.results import Result
from edgelake.processes import AGENT, STOP_SECONDS, NodeProcess

FILE_MIB: Final = 1024
ROUNDS: Final = 3
LIMIT_S: Final = 300.0
BUCKET: Final = "bench"
TABLE: Final = "dbms = bench and table = film"
NGINX: Final = """\
daemon off;
pid {home}/pid;
error_log {home}/error.log;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {home}/kept;
    location / {{ dav_methods PUT; }}
  }}
}}
"""


def run(settings: Settings) -> list[Result]:
    parts = ((to_folder, ("folder", "folder-memory")), (to_bucket, ("bucket", "bucket-memory")))
    return gathered(settings, *(part for part, keys in parts if settings.wants(*keys)))


def to_folder(settings: Settings) -> list[Result]:
    with settings.folder("blobs") as folder:
        home = Path(folder)
        file, mib = _make_file(home, settings)
        script = ("create work directories", "run blobs archiver where folder = true")
        with _nginx(home / "nginx") as (address, kept), node(home / "node", script) as ours:

            def baseline() -> None:
                _curl("-T", str(file), f"{address}/film")
                _sync(kept / "film")
                subprocess.run(["md5sum", str(kept / "film")], check=True, stdout=subprocess.DEVNULL)
                (kept / "film").unlink()

            return _compared(settings, "folder", mib, (ours, lambda: _upload(ours, file)), baseline)


def to_bucket(settings: Settings) -> list[Result]:
    with settings.folder("blobs") as folder, _s3(Path(folder)) as endpoint:
        home = Path(folder)
        file, mib = _make_file(home, settings)
        keys = "access_key = key and secret_key = secret"
        script = (
            "create work directories",
            f"connect dbms blobs_bench where type = bucket and provider = s3 and endpoint = {endpoint} and "
            f"connection = {BUCKET} and {keys}",
            "run blobs archiver where dbms = true",
        )
        with node(home / "node", script) as ours:

            def figure() -> None:
                done = _archived(ours)
                _upload(ours, file)
                _until(lambda: _archived(ours) > done, "the file does not come to the bucket")

            return _compared(settings, "bucket", mib, (ours, figure), lambda: _put_alone(endpoint, file))


def _compared(
    settings: Settings, key: str, mib: int, ours: tuple[NodeProcess, Callable[[], Any]], baseline: Callable[[], Any]
) -> list[Result]:
    """MiB/s of both, in turn, and how much memory the node took for it."""
    at, figure = ours
    before = resident_mb(at.process.pid)
    reset_peak(at.process.pid)
    pairs: list[tuple[float, float]] = []
    for _ in range(settings.rounds(ROUNDS)):
        pairs.append((mib / _seconds(figure), mib / _seconds(baseline)))
        grown = peak_resident_mb(at.process.pid) - before
        settings.say(f"{key}: {pairs[-1][0]:,.0f} MiB/s, baseline {pairs[-1][1]:,.0f} MiB/s, RSS +{grown:.0f} MB")
        _curl("-X", "POST", "-H", f"command: file remove where {TABLE}", f"http://{at.address}")
    middle = median_round(pairs)
    return [
        measured("blobs", key, *middle, pairs=pairs, mib=mib),
        measured("blobs", f"{key}-memory", peak_resident_mb(at.process.pid) - before),
    ]


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _make_file(home: Path, settings: Settings) -> tuple[Path, int]:
    """A file whose blocks differ, and its size in MiB."""
    mib = max(FILE_MIB * settings.rows(FULL_ROWS) // FULL_ROWS, 1)
    rest = os.urandom((1 << 20) - 2)
    with (home / "film.mp4").open("wb") as file:
        for number in range(mib):
            file.write(number.to_bytes(2) + rest)
        os.fsync(file.fileno())
    return home / "film.mp4", mib


def _upload(to: NodeProcess, file: Path) -> str:
    """Returns the id of the blob, which is durable then."""
    command = f"command: file store where {TABLE} and dest = film.mp4"
    kind = "Content-Type: application/octet-stream"
    return _curl("-X", "POST", "-H", command, "-H", kind, "-T", str(file), f"http://{to.address}").decode()


def _curl(*words: str) -> bytes:
    done = subprocess.run(
        ["curl", "-sS", "--fail-with-body", "-A", AGENT, "-H", "Expect:", *words], capture_output=True, check=False
    )
    if done.returncode:
        raise BenchError(f"curl {words[-1]}: {done.stderr.decode()} {done.stdout[:500].decode(errors='replace')}")
    return done.stdout


def _archived(at: NodeProcess) -> int:
    return int(json.loads(at.command("get blobs archiver where format = json"))["blobs"])


def _put_alone(endpoint: str, file: Path) -> None:
    """The library that the node uses, in this process, with as many parts at once."""
    import obstore
    from obstore.store import S3Store

    from edgelake.ingest.blobs.bucket import PART_BYTES, PARTS_AT_ONCE

    store = S3Store(
        BUCKET,
        endpoint=endpoint,
        access_key_id="key",
        secret_access_key="secret",
        region="us-east-1",
        client_options={"allow_http": True},
    )
    obstore.put(store, "film", file, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
    obstore.delete(store, "film")


@contextmanager
def _nginx(home: Path) -> Iterator[tuple[str, Path]]:
    """An nginx that takes PUT: its address, and the folder of its files."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise BenchError("nginx, which this bench compares with, is missing: apt-get install nginx-light")
    (home / "kept").mkdir(parents=True)
    port = free_port()
    user = f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""  # else its worker cannot write here
    (home / "nginx.conf").write_text(user + NGINX.format(home=home, port=port))
    with _process([program, "-p", str(home), "-c", str(home / "nginx.conf")], home, port):
        yield f"http://127.0.0.1:{port}", home / "kept"


@contextmanager
def _s3(home: Path) -> Iterator[str]:
    """An S3 server with a bucket: its address."""
    port = free_port()
    with _process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], home, port):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request")
        urllib.request.urlopen(request, timeout=30).close()
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _process(command: list[str], home: Path, port: int) -> Iterator[None]:
    log = home / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _until(lambda: accepts(port), f"{command[0]} does not answer", log)
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _until(holds: Callable[[], bool], what: str, log: Path | None = None) -> None:
    ends = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > ends:
            raise BenchError(f"{what}: {log.read_text(errors='replace')[-500:] if log else ''}")
        time.sleep(0.05)  # asking is work that is measured, too


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
