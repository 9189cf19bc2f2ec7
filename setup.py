"""Build EdgeLake: the Cython modules first, then the Rust module and the wheel by maturin.

Two roles:

* ``python setup.py build_ext --inplace`` compiles ``cython/*.pyx`` into ``python/edgelake/_cython/``.
* ``pyproject.toml`` names this module as the PEP 517/660 build backend. Its hooks compile the Cython
  modules and leave everything else to maturin.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import maturin
from maturin import (  # the hooks that maturin already does right
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

PYX = sorted(Path("cython").glob("*.pyx"))
OUT = Path("python/edgelake/_cython")


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    compile_cython()
    return str(maturin.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    compile_cython()
    return str(maturin.build_editable(wheel_directory, config_settings, metadata_directory))


def compile_cython() -> None:
    """Compile in place; drop modules of another interpreter or without a source, which the wheel would ship."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    wanted = {p.stem + suffix for p in PYX}
    for built in OUT.glob("*.so"):
        if built.name not in wanted:
            built.unlink()
    subprocess.run([sys.executable, __file__, "build_ext", "--inplace"], check=True)


def main() -> None:
    from Cython.Build import cythonize
    from setuptools import Extension, setup

    setup(
        name="edgelake",
        packages=[],
        package_dir={"": "python"},
        ext_modules=cythonize(
            [Extension(f"edgelake._cython.{p.stem}", [str(p)]) for p in PYX],
            build_dir="build/cython",
            compiler_directives={"language_level": 3, "freethreading_compatible": True},
        ),
    )


if __name__ == "__main__":
    main()
