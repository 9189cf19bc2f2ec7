"""By the system calls of a serving process: no acknowledgement before the fdatasync that covers it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.ingest.test_crash import ENVIRONMENT, ROOT

ROWS = 200
CALLS = "trace=write,writev,pwrite64,fsync,fdatasync"
LINE = re.compile(r"^(?P<thread>\d+) +(?P<rest>.*)$")
UNFINISHED = " <unfinished ...>"
RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(?P<rest>.*)$")


def strace() -> list[str]:
    """The tracer's command. A machine without it proves nothing, so the test fails there."""
    tool = shutil.which("strace")
    assert tool is not None, "strace is not installed: make test-tools"
    tried = subprocess.run([tool, "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, f"this system lets no process be traced: {tried.stderr.strip()}"
    return [tool, "-f", "-y", "-s", "1000000", "-e", CALLS]


def acknowledged_early(folder: Path, *options: str) -> set[int]:
    """Trace a process that acknowledges rows; those whose acknowledgement began before their sync had ended."""
    trace = folder / "trace"
    (folder / "home").mkdir()
    command = [sys.executable, "-m", "tests.ingest.acknowledging", str(folder / "home"), "0", str(ROWS), *options]
    subprocess.run(
        [*strace(), "-o", str(trace), *command], env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, check=True
    )
    written: dict[int, set[int]] = {}  # rows that a thread has written and not synced, by thread
    begun: dict[int, str] = {}
    synced: set[int] = set()
    acknowledged: set[int] = set()
    early: set[int] = set()
    for line in trace.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if found is None:
            continue
        thread, call = int(found["thread"]), found["rest"]
        # An acknowledgement counts from where its call begins, everything else from where its call has ended.
        if call.startswith("write(1<"):
            rows = set(map(int, re.findall(r"ack-(\d+)\.", call)))
            acknowledged |= rows
            early |= rows - synced
            continue
        if call.endswith(UNFINISHED):
            begun[thread] = call.removesuffix(UNFINISHED)
            continue
        if resumed := RESUMED.match(call):
            call = begun.pop(thread, "") + resumed["rest"]
        if ".journal>" not in call:
            continue
        if call.startswith(("fdatasync", "fsync")):
            if call.rstrip().endswith("= 0"):
                synced |= written.pop(thread, set())
        else:
            written.setdefault(thread, set()).update(map(int, re.findall(r"row-(\d+)\.", call)))
    assert acknowledged == set(range(ROWS))
    return early


def test_no_acknowledgement_precedes_the_sync_that_covers_it(tmp_path: Path) -> None:
    assert acknowledged_early(tmp_path) == set()


def test_the_trace_shows_acknowledgements_that_do_not_wait(tmp_path: Path) -> None:
    assert acknowledged_early(tmp_path, "memory")


BLOBS = """
import json, sys
from edgelake._rust import MappingProgram
schema = {"file": {"blob": True, "bring": "[x]", "type": "varchar"}}
program = MappingProgram(json.dumps({"topics": [{"name": "t", "policies": [
    {"mapping": {"id": "p", "dbms": "plant", "table": "photo", "schema": schema}}]}]}))
for turn in ("first", "again"):
    program.map(b'{"x": "picture"}', "t", blobs_dir=sys.argv[1])
    print(turn, flush=True)
"""


def test_a_content_that_another_row_has_brought_is_synced_again_before_its_own_row(tmp_path: Path) -> None:
    """The other row's thread may not have come to its sync yet."""
    folder, trace = tmp_path / "blobs", tmp_path / "trace"
    folder.mkdir()
    command = [sys.executable, "-c", BLOBS, str(folder)]
    subprocess.run(
        [*strace(), "-o", str(trace), *command], env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, check=True
    )
    (kept,) = folder.iterdir()
    _, _, after = trace.read_text(errors="replace").partition('"first')
    calls, _, _ = after.partition('"again')
    synced = re.findall(r"f(?:data)?sync\(\d+<([^>]+)>\) += 0", calls)
    assert synced == [str(kept), str(folder)]
