"""Baseline: readings into SQLite as a Python program does it without further thought.

A program of its own, run by its path: it brings the standard library's SQLite, which no process of a node may hold,
so nothing imports it and it imports nothing of ours.
"""

import json
import sqlite3
import sys
import time


def main() -> None:
    what = json.loads(sys.argv[1])
    with open(what["source"], "rb") as source:
        lines = source.read().splitlines()
    body_rows = what["body_rows"]
    connection = sqlite3.connect(what["file"], isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE readings (timestamp TEXT, device_name TEXT, value REAL)")
    connection.execute("CREATE INDEX readings_time ON readings (timestamp)")
    begin = time.monotonic()
    for first in range(0, len(lines), body_rows):
        connection.execute("BEGIN")
        for line in lines[first : first + body_rows]:
            row = json.loads(line)
            connection.execute(
                "INSERT INTO readings VALUES (?, ?, ?)", (row["timestamp"], row["device_name"], row["value"])
            )
        connection.execute("COMMIT")
    seconds = time.monotonic() - begin
    (stored,) = connection.execute("SELECT count(*) FROM readings").fetchone()
    connection.close()
    print(json.dumps({"rows": stored, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
