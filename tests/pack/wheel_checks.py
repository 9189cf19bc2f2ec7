"""The wheels in dist/, each as its users get it: installed alone, asked for a first answer (``make wheels-check``).

Not part of ``make test``: it needs the wheels (``make wheels``), and takes minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from pack.components import ROOT, extras
from pack.interpreters import VERSIONS, interpreter
from pack.sbom import NAME, version
from pack.wheels import DIST, MACHINES, NOTICES, checked, tag

FOREIGN = ROOT / "build/aarch64-root"
MAX_PACKAGES, MAX_BYTES = 15, 90e6
FIRST = (
    "create work directories",
    "connect dbms plant where type = sqlite",
    'stream {"speed": 12.5} where dbms = plant and table = motor',
    "flush buffers",
    'sql plant format = table "select max(speed) from motor"',
)
PROGRAM = """
import asyncio, socket, sys
from edgelake import Node

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

async def main():
    async with Node(sys.argv[1]) as node:
        await node.execute("create work directories")
        await node.execute("connect dbms plant where type = sqlite")
        await node.ingest("plant", "motor", [{"device": "m-1", "speed": 1480.5}, {"device": "m-2", "speed": None}])
        await node.execute("flush buffers")
        print([row async for row in node.query("select device, speed from plant.motor order by device")])
        await node.execute(f"run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true")

asyncio.run(main())
"""


def wheel_of(python: str, machine: str) -> Path:
    path = DIST / f"edgelake-{version()}-{tag(python, machine)}.whl"
    if not path.exists():
        pytest.skip(f"{path.name} is not in dist/: make wheels")
    return path


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", VERSIONS)
def test_a_wheel_holds_what_it_should_and_nothing_else(python: str, machine: str) -> None:
    wheel = wheel_of(python, machine)
    checked(wheel)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        info = f"edgelake-{version()}.dist-info"
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
        bill = json.loads(archive.read(f"{info}/sboms/{NAME}"))
        third_party = archive.read(f"{info}/licenses/{NOTICES}").decode()
    libraries = {name for name in names if name.endswith(".so")}
    suffix = f"cpython-{python.replace('.', '')}-{machine}-linux-gnu.so"
    assert libraries == {"edgelake/_rust.abi3.so", f"edgelake/_cython/rows.{suffix}"}
    console = {name.removeprefix("edgelake/console/") for name in names if name.startswith("edgelake/console/")}
    assert "dist/index.html" in console
    assert all(name.startswith("dist/") for name in console), sorted(console)
    assert {"edgelake/py.typed", "edgelake/_rust.pyi", f"{info}/licenses/LICENSE"} <= names
    shared = f"edgelake-{version()}.data"
    assert {name.partition("/")[0] for name in names} == {"edgelake", info, shared}
    assert f"{shared}/data/share/man/man1/edgelake.1" in names
    assert set(metadata.get_all("License-File", [])) == {"LICENSE", NOTICES}
    assert "preact" in third_party
    assert len(bill["components"]) > 100


@pytest.mark.parametrize("python", VERSIONS)
def test_installed_alone_a_node_answers(python: str, tmp_path: Path) -> None:
    wheel = wheel_of(python, "x86_64")
    made = _run([str(interpreter(python)), "-m", "venv", "venv"], tmp_path)
    assert made.returncode == 0, made.stderr
    home = tmp_path / "venv"
    _said([str(home / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", str(wheel)], tmp_path)
    _said([str(home / "bin/pip"), "check"], tmp_path)
    assert _said([str(home / "bin/edgelake"), "--version"], tmp_path) == f"EdgeLake Version: {version()}\n"
    assert "12.5" in _said([str(home / "bin/edgelake"), *_batch()], tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    rows = _said([str(home / "bin/python"), "program.py", str(tmp_path / "own")], tmp_path)
    assert rows == "[{'device': 'm-1', 'speed': 1480.5}, {'device': 'm-2', 'speed': None}]\n"
    packages, size = _installed(home / f"lib/python{python}/site-packages")
    print(f"\nCPython {python}: {len(packages)} packages, {size / 1e6:.1f} MB")
    for name, own in sorted(packages.items(), key=lambda item: -item[1]):
        print(f"  {name:20} {own / 1e6:6.1f} MB")
    assert len(packages) <= MAX_PACKAGES
    assert size <= MAX_BYTES


def test_the_wheel_of_the_other_machine_runs(tmp_path: Path) -> None:
    """On an emulated processor, with Debian's CPython for it."""
    wheel = wheel_of("3.11", "aarch64")
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-aarch64-static is missing: apt-get install qemu-user-static")
    program = FOREIGN / "usr/bin/python3.11"
    if not program.exists():
        pytest.skip(f"there is no CPython for aarch64 in {FOREIGN.relative_to(ROOT)}: make {FOREIGN.relative_to(ROOT)}")
    target = tmp_path / "packages"
    asked = ["install", "--quiet", "--target", str(target), *_platform("3.11", "aarch64"), str(wheel)]
    _said([sys.executable, "-m", "pip", *asked], tmp_path)
    foreign = [emulator, "-L", str(FOREIGN), "-E", f"PYTHONPATH={target}", str(program)]
    assert _said([*foreign, "-c", "import platform; print(platform.machine())"], tmp_path) == "aarch64\n"
    assert _said([*foreign, "-m", "edgelake", "--version"], tmp_path) == f"EdgeLake Version: {version()}\n"
    assert "12.5" in _said([*foreign, "-m", "edgelake", *_batch()], tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    assert "'speed': 1480.5" in _said([*foreign, "program.py", str(tmp_path / "own")], tmp_path)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", VERSIONS)
def test_all_extras_can_be_installed_together(python: str, machine: str, tmp_path: Path) -> None:
    wheel = wheel_of(python, machine)
    wanted = f"edgelake[{','.join(extras())}] @ {wheel.as_uri()}"
    asked = ["install", "--dry-run", "--quiet", "--report", "found.json", "--target", "x", *_platform(python, machine)]
    _said([sys.executable, "-m", "pip", *asked, wanted], tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())["install"]
    names = {one["metadata"]["name"].lower() for one in found}
    assert {"edgelake", "aiokafka", "grpcio", "obstore", "psycopg", "pyarrow", "web3", "cryptography"} <= names


def test_the_source_distribution_builds_a_wheel_by_itself(tmp_path: Path) -> None:
    """By pip alone, as where no wheel fits; a development build, which takes less time."""
    archive = DIST / f"edgelake-{version()}.tar.gz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not in dist/: make wheels")
    with tarfile.open(archive) as entries:
        names = {name.partition("/")[2] for name in entries.getnames()}
    listed = [
        "pack/install",
        "python",
        "cython",
        "rust/core",
        "rust/py",
        "bench/load",
        "Cargo.lock",
        "setup.py",
        "LICENSE",
    ]
    tracked = subprocess.run(["git", "ls-files", *listed], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(tracked.stdout.split()) <= names, sorted(set(tracked.stdout.split()) - names)
    environment = {
        "CARGO_TARGET_DIR": str(ROOT / "target/wheels"),
        "MATURIN_PEP517_ARGS": "--profile dev",
    }
    _said(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "out", str(archive)],
        tmp_path,
        timeout=1500,
        **environment,
    )
    (built,) = (tmp_path / "out").glob("edgelake-*.whl")
    with zipfile.ZipFile(built) as wheel:
        libraries = {Path(name).name.partition(".")[0] for name in wheel.namelist() if name.endswith(".so")}
    assert libraries == {"_rust", "rows"}


def _batch() -> list[str]:
    return [word for command in FIRST for word in ("-c", command)]


def _platform(python: str, machine: str) -> list[str]:
    """Options of pip for another version or machine: wheels alone."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(17, 29)] + [f"manylinux2014_{machine}"]
    named = [word for platform in platforms for word in ("--platform", platform)]
    return ["--python-version", python, "--implementation", "cp", "--only-binary", ":all:", *named]


def _installed(packages: Path) -> tuple[dict[str, int], int]:
    """Bytes of each distribution, compiled Python files left out, and of all; pip does not count."""
    sizes = {}
    for info in packages.glob("*.dist-info"):
        name = info.name.partition("-")[0]
        if name in ("pip", "setuptools"):
            continue
        files = [line.rsplit(",", 2)[0].strip('"') for line in (info / "RECORD").read_text().splitlines()]
        sizes[name] = sum(
            (packages / f).stat().st_size for f in files if not f.endswith(".pyc") and (packages / f).exists()
        )
    return sizes, sum(sizes.values())


def _run(command: list[str], cwd: Path, timeout: int = 600, **more: str) -> subprocess.CompletedProcess[str]:
    """Without what would lead to the repository or to the node of someone else."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "EDGELAKE", "VIRTUAL_ENV"))}
    environment = {**kept, "EDGELAKE_HOME": str(cwd / "node"), **more}
    return subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )


def _said(command: list[str], cwd: Path, timeout: int = 600, **more: str) -> str:
    done = _run(command, cwd, timeout, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
