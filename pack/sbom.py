"""``python -m pack.sbom FILE``: a bill of materials, CycloneDX 1.6 as JSON.

It names what is inside a wheel (crates, packages of the console) and what an installation needs beside it. Each wheel
has it in ``.dist-info/sboms`` (PEP 770).
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import tomllib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component as Entry
from cyclonedx.model.component import ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from pack.components import ROOT, Component, crates, distributions, scripts

NAME: Final = "edgelake.cdx.json"


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document([*crates(), *scripts(), *distributions()]))
    print(path)
    return 0


def version() -> str:
    """Of EdgeLake."""
    return str(tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"])


def document(components: Iterable[Component]) -> str:
    """The bill, the same for the same components: its serial number comes of what it says."""
    found = sorted(components, key=lambda c: c.purl)
    ours = Entry(
        name="edgelake",
        version=version(),
        type=ComponentType.APPLICATION,
        bom_ref="edgelake",
        purl=PackageURL("pypi", name="edgelake", version=version()),
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    said = "\n".join(f"{c.purl} {c.licence} {c.inside} {sorted(c.extras)}" for c in found)
    bill = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, said))
    bill.metadata.component = ours
    bill.metadata.timestamp = _moment()
    entries = {c.purl: _entry(c) for c in found}
    for component in found:
        bill.components.add(entries[component.purl])
        needed = [entries[need] for need in sorted(component.needs) if need in entries]
        bill.register_dependency(entries[component.purl], needed)
    inner = {need for c in found for need in c.needs}
    bill.register_dependency(ours, [entry for purl, entry in entries.items() if purl not in inner])
    return json.dumps(json.loads(JsonV1Dot6(bill).output_as_string()), indent=1, sort_keys=True) + "\n"


def _entry(component: Component) -> Entry:
    where = "in the wheel" if component.inside else "installed beside it"
    group, _, name = component.name.rpartition("/")
    return Entry(
        name=name,
        group=group or None,
        version=component.version,
        type=ComponentType.LIBRARY,
        bom_ref=component.purl,
        purl=PackageURL.from_string(component.purl),
        scope=ComponentScope.OPTIONAL if component.extras else ComponentScope.REQUIRED,
        licenses=[LicenseFactory().make_from_string(component.licence)] if component.licence else None,
        hashes=[HashType(alg=HashAlgorithm(component.sha[0]), content=component.sha[1])] if component.sha else None,
        properties=[
            Property(name="edgelake:place", value=where),
            *[Property(name="edgelake:extra", value=extra) for extra in sorted(component.extras)],
        ],
    )


def _moment() -> datetime.datetime:
    """Now, or the moment that a reproducible build names."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdigit():
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
