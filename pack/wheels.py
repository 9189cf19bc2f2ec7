"""``python -m pack.wheels``: the source distribution, and out of it a wheel for each CPython and machine, in ``dist/``.

The Rust library keeps to the stable ABI, so it is built once a machine; the Cython modules touch every value of a row,
which the stable ABI makes several times slower, so they are compiled for each version. Zig links both against the
C library of the oldest systems that we run on, for both machines.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from pack.components import ROOT, crates, distributions, scripts
from pack.interpreters import VERSIONS, headers
from pack.licences import notices
from pack.sbom import NAME, document, version

MACHINES: Final = ("x86_64", "aarch64")
GLIBC: Final = (2, 28)  # Debian 10, Ubuntu 20.04, RHEL 8 and what came later
DIST: Final = ROOT / "dist"
BUILD: Final = ROOT / "build/wheels"
NOTICES: Final = "THIRD-PARTY-LICENSES.txt"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same parts make the same file
_COMPILED: Final = ("-O3", "-DNDEBUG", "-fwrapv", "-fPIC", "-shared", "-s")


class PackError(Exception):
    """What is missing, and how to get it."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser("python -m pack.wheels", description=__doc__)
    parser.add_argument("--machine", choices=MACHINES, action="append", help="default: all")
    parser.add_argument("--python", choices=VERSIONS, action="append", help="default: all")
    options = parser.parse_args(arguments)
    try:
        source = lay_out(source_distribution(DIST), BUILD / "source")
        extra = additions()
        for machine in options.machine or MACHINES:
            base = library(source, machine)
            for python in options.python or VERSIONS:
                modules = compiled(source, machine, python)
                wheel = assemble(base, DIST, tag(python, machine), modules | extra, licence=NOTICES)
                checked(wheel)
                print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    except (PackError, FileNotFoundError, subprocess.CalledProcessError) as problem:
        print(f"{problem}", file=sys.stderr)
        return 1
    return 0


def tag(python: str, machine: str) -> str:
    """Of the wheel: version, ABI, platform."""
    short = f"cp{python.replace('.', '')}"
    return f"{short}-{short}-manylinux_{GLIBC[0]}_{GLIBC[1]}_{machine}"


def source_distribution(folder: Path) -> Path:
    """Make the sdist: what the wheels are built from, so that it lacks nothing."""
    _maturin("sdist", "--manifest-path", "rust/py/Cargo.toml", "--out", str(folder), cwd=ROOT)
    return folder / f"edgelake-{version()}.tar.gz"


def lay_out(archive: Path, folder: Path) -> Path:
    """Unpack an sdist over what was unpacked before.

    Files that did not change keep their time, so that cargo builds only what did (the archive's own times are all the
    same). What is no longer in it goes.
    """
    wanted = set()
    with tarfile.open(archive) as entries:
        for entry in entries:
            if not entry.isfile():
                continue
            path = folder / Path(entry.name).relative_to(archive.name.removesuffix(".tar.gz"))
            if not path.resolve().is_relative_to(folder.resolve()):
                raise PackError(f"{archive}: '{entry.name}' leads out of its folder")
            wanted.add(path)
            reader = entries.extractfile(entry)
            assert reader is not None
            content = reader.read()
            if not path.exists() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        if path not in wanted:
            path.unlink()
    return folder


def library(source: Path, machine: str) -> Path:
    """A wheel with all but the Cython modules, for every CPython from 3.11 on."""
    target = f"{machine}-unknown-linux-gnu"
    _standard_library(target)
    folder = BUILD / machine
    shutil.rmtree(folder, ignore_errors=True)
    _maturin(
        *("build", "--release", "--locked", "--features", "abi3", "--zig", "--target", target),
        *("--compatibility", f"manylinux_{GLIBC[0]}_{GLIBC[1]}", "--out", str(folder)),
        cwd=source,
    )
    return next(folder.glob("*.whl"))


def _standard_library(target: str) -> None:
    """That of Rust. Raises PackError where there is none and rustup cannot bring it."""
    asked = ["rustc", "--print", "target-libdir", "--target", target]
    if Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()).is_dir():
        return
    done = subprocess.run(["rustup", "target", "add", target], check=False) if shutil.which("rustup") else None
    if done is None or done.returncode:
        raise PackError(
            f"Rust has no standard library for {target}: rustup target add {target}, or leave that machine out: "
            f"python -m pack.wheels --machine {MACHINES[0]}"
        )


def _maturin(*arguments: str, cwd: Path) -> None:
    """Run it so that it finds the zig beside this interpreter, and one folder of what cargo has built."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "CARGO_TARGET_DIR": str(ROOT / "target/wheels")}
    subprocess.run([sys.executable, "-m", "maturin", *arguments], cwd=cwd, env=environment, check=True)


def compiled(source: Path, machine: str, python: str) -> dict[str, bytes]:
    """The Cython modules, by their place in a wheel."""
    made = {}
    for pyx in sorted((source / "cython").glob("*.pyx")):
        c = BUILD / f"{pyx.stem}.c"
        if not c.exists() or c.stat().st_mtime < pyx.stat().st_mtime:
            asked = ["-3", "--directive", "freethreading_compatible=True", "--output-file", str(c), str(pyx)]
            subprocess.run([sys.executable, "-m", "cython", *asked], check=True)
        name = f"{pyx.stem}.cpython-{python.replace('.', '')}-{machine}-linux-gnu.so"
        target = f"{machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
        flags = ("-target", target, *_COMPILED, "-I", str(headers(python)), "-o", str(BUILD / name))
        subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, str(c)], check=True)
        made[f"edgelake/_cython/{name}"] = (BUILD / name).read_bytes()
    return made


def additions() -> dict[str, bytes]:
    """What comes with the software of others inside: its licences, and the bill of materials (PEP 770)."""
    inside = [*crates(), *scripts()]
    lacking = [part.name for part in inside if part.folder is None]
    if lacking:
        raise PackError(f"licences of {', '.join(lacking)} are not here: npm ci in python/edgelake/console")
    info = f"edgelake-{version()}.dist-info"
    return {
        f"{info}/licenses/{NOTICES}": notices(inside).encode(),
        f"{info}/sboms/{NAME}": document([*inside, *distributions()]).encode(),
    }


def assemble(base: Path, folder: Path, tags: str, files: Mapping[str, bytes], licence: str) -> Path:
    """A wheel with the files of another one and more, for other tags.

    Args:
        files: by their place in it.
        licence: of them, the name that its metadata shall list.
    """
    with zipfile.ZipFile(base) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    content |= files
    info = next(name.partition("/")[0] for name in content if name.endswith(".dist-info/WHEEL"))
    _edit(content, f"{info}/WHEEL", lambda lines: [*(x for x in lines if not x.startswith("Tag:")), f"Tag: {tags}"])
    _edit(content, f"{info}/METADATA", lambda lines: _with_licence(lines, licence))
    del content[f"{info}/RECORD"]
    record = [f"{name},{_digest(data)},{len(data)}" for name, data in sorted(content.items())]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{info.removesuffix('.dist-info')}-{tags}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(content, key=lambda n: (n.startswith(info), n)):  # the metadata last, as the format advises
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content[name])
    return path


def _edit(content: dict[str, bytes], name: str, change: Callable[[list[str]], Iterable[str]]) -> None:
    """Change the headers of a file of metadata; the text below them stays."""
    head, blank, body = content[name].decode().rstrip("\n").partition("\n\n")
    content[name] = ("\n".join(change(head.split("\n"))) + blank + body + "\n").encode()


def _with_licence(lines: list[str], name: str) -> list[str]:
    at = max((n for n, line in enumerate(lines) if line.startswith("License-File:")), default=len(lines) - 1) + 1
    return [*lines[:at], f"License-File: {name}", *lines[at:]]


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def checked(wheel: Path) -> None:
    """Raises PackError when a library in it needs more of the system than the name of the wheel says."""
    asked = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    said = " ".join(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split())
    found = re.search(r'platform tag: "manylinux_(\d+)_(\d+)_', said)
    if found is None or (int(found[1]), int(found[2])) > GLIBC:
        raise PackError(f"{wheel.name} does not keep what its name says: {said}")


if __name__ == "__main__":
    sys.exit(main())
