"""Rows that name a mapping policy as their instructions: PUT with the header ``instructions``, files by their name.

With a schema that lists the columns, the table gets its columns and types from there; the policy is applied when a row
has an attribute that the schema lacks, otherwise the rows are taken as mapped already. With ``*`` in the schema the
columns come from the data. What comes out are rows of the table itself, and they are what the journal keeps: a replay
after a change of the policy stores what was acknowledged.
Source: spec "Ingestion", section 7.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelake import _rust
from edgelake._rust import MappingProgram, Rows
from edgelake.errors import error
from edgelake.ingest.streaming import MappedRows
from edgelake.inputs.mapped import imported_by

TOPIC = "rows"
KNOWN_PROGRAMS = 1024


class Instructions:
    """Maps payloads by policies; the ``map_rows`` of ingestion.

    Args:
        policy: the policy of an id, or None.
        timezone: of times that name no zone; None = the machine's.
        blobs_dir: for the contents of blob columns.
        act: takes commands out of scripts, with what they saw (JSON).
    """

    def __init__(
        self,
        policy: Callable[[str], Any],
        *,
        timezone: str | None = None,
        blobs_dir: Callable[[], Path | None] = lambda: None,
        act: Callable[[str, str], None] = lambda command, seen: None,
    ) -> None:
        self._act = act
        self._policy = policy
        self._blobs_dir = blobs_dir
        self._timezone = timezone
        self._programs: dict[tuple[str, str, str], tuple[Any, MappingProgram]] = {}

    async def __call__(self, dbms: str, table: str, payload: bytes, instructions: str) -> MappedRows:
        """The rows of a payload for a table.

        Raises PayloadError for what is no rows, EdgeLakeError 113 without such a mapping policy, 124 or 188 for one
        that cannot be compiled.
        """
        policy = self._policy(instructions)
        body = policy.get("mapping") if isinstance(policy, dict) else None
        if not isinstance(body, dict) or not isinstance(body.get("schema"), dict):
            raise error(113, f"no mapping policy with id = {instructions}", hint="blockchain get mapping")
        schema: dict[str, Any] = body["schema"]
        rows = Rows.parse(payload)
        program = self._program(dbms, table, instructions, policy)
        known = {_rust.sanitize_name(name) for name in schema}
        declared = program.declared() if "*" not in schema else []
        if "*" not in schema and known.issuperset(rows.names()):
            return MappedRows(None, declared)
        lines = _rust.json_lines(payload).splitlines()
        targets, rejected, commands = program.map(
            b"[" + b",".join(lines) + b"]",
            TOPIC,
            now_us=time.time_ns() // 1000,
            timezone=self._timezone,
            blobs_dir=self._blobs_dir(),
        )
        mapped = targets[0][5] if targets else Rows.from_columns([])  # the program has one target
        kept_out = [(lines[element - 1], reason) for element, _, reason in rejected if element <= len(lines)]
        for command, seen in commands:
            self._act(command, seen)
        return MappedRows(mapped, declared, kept_out)

    def _program(self, dbms: str, table: str, instructions: str, policy: Any) -> MappingProgram:
        """The compiled policy, with the table that the rows are for in place of what it says itself."""
        key = (dbms, table, instructions)
        known = self._programs.get(key)
        if known is not None and known[0] is policy:
            return known[1]
        body = {**policy["mapping"], "id": instructions, "dbms": dbms, "table": table, "source": None}
        topic = {"name": TOPIC, "policies": [{"mapping": body}]}
        imported = imported_by([policy], self._policy)
        program = MappingProgram(json.dumps({"topics": [topic], "imported": imported}))
        if len(self._programs) >= KNOWN_PROGRAMS:
            self._programs.clear()
        self._programs[key] = (policy, program)
        return program
