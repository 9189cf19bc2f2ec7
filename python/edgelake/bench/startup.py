"""Start to ready, and the memory of an idle node."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from edgelake.bench import Settings
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import node, resident_mb
from edgelake.bench.results import Result

RUNS = 5
SETTLE_S = 1.0

OPERATOR = (
    "create work directories",
    "connect dbms plant where type = sqlite",
    "connect dbms almgm where type = sqlite",
    "create table tsd_info where dbms = almgm",
    "group = create policy cluster where name = bench-cluster and company = bench",
    "blockchain insert where policy = !group and local = true",
    "group_id = blockchain get cluster bring.first [cluster][id]",
    "own = create policy operator where name = bench-operator and company = bench and cluster = !group_id "
    "and ip = 127.0.0.1 and port = 32148",
    "blockchain insert where policy = !own and local = true",
    "operator_id = blockchain get operator bring.first [operator][id]",
    "run streamer",
    "run operator where policy = !operator_id and create_table = true and update_tsd_info = true "
    "and archive_json = true and compress_json = true",
)


def run(settings: Settings) -> list[Result]:
    found: list[Result] = []
    for suffix, script in (("", ()), ("-operator", OPERATOR)):
        if settings.wants(f"ready{suffix}", f"idle{suffix}"):
            found += _of_script(settings, suffix, script)
    return found


def _of_script(settings: Settings, suffix: str, script: Sequence[str]) -> list[Result]:
    seconds: list[float] = []
    resident: list[float] = []
    with settings.folder("startup") as folder:
        runs = settings.rounds(RUNS)
        with node(Path(folder) / "first", script):
            pass  # compiles modules, fills the system's cache
        for at in range(runs):
            with node(Path(folder) / str(at), script) as made:
                seconds.append(made.ready_seconds)
                time.sleep(SETTLE_S)
                resident.append(resident_mb(made.process.pid))
            settings.say(
                f"start {at + 1} of {runs}{suffix.replace('-', ', ')}: {seconds[-1]:.2f} s, {resident[-1]:.0f} MB"
            )
    return [
        measured("startup", f"ready{suffix}", statistics.median(seconds), runs=seconds),
        measured("startup", f"idle{suffix}", statistics.median(resident), runs=resident),
    ]
