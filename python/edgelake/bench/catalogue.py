"""What the benches measure, beside which baseline, and the bar each figure has to meet.

One table for ``edgelake bench --help``, the results and the tests. A bench is the module ``edgelake.bench.<name>``
with ``run(settings) -> list[Result]``; it makes its results with ``measured``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelake.bench.results import Better, Result


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure.

    Attributes:
        what: what is measured.
        bar: of figure / baseline; of the figure itself where there is no baseline.
        baseline: what it is compared with, in the same run; "" = nothing.
    """

    what: str
    unit: str
    bar: float
    better: Better
    baseline: str = ""

    @property
    def bar_text(self) -> str:
        sign = ">=" if self.better == "higher" else "<="
        if not self.baseline:
            return f"{sign} {self.bar:g} {self.unit}"
        return f"{sign} {self.bar:g}x the {'speed' if self.better == 'higher' else 'time'} of {self.baseline}"


@dataclass(frozen=True, slots=True)
class Bench:
    about: str
    measures: dict[str, Measure]


NATIVE = "a minimal native loop on one core"

MOSQUITTO = "mosquitto"

FAN_OUT = {
    f"fan-out-{qos}-{size}-{publishers}-{subscribers}": (qos, size, publishers, subscribers)
    for qos in (0, 1, 2)
    for size in (64, 256)
    for publishers in (1, 8)
    for subscribers in (1, 8)
}
"""Key: QoS, bytes of the payload, publishers, subscribers that get all."""

FAN_OUT_BARS = {0: 1.5, 1: 2.0, 2: 2.0}

DISTURBANCES = {"storm": 5000, "stalled": 20_000_000, "claims": 100}
"""What a bystander has beside him: connections, bytes a second for who reads nothing, claims of 256 MB."""


def _fan_out() -> dict[str, Measure]:
    return {
        key: Measure(
            f"QoS {qos}, {size} B, {publishers} to {subscribers}, delivered",
            "messages/s",
            FAN_OUT_BARS[qos],
            "higher",
            MOSQUITTO,
        )
        for key, (qos, size, publishers, subscribers) in FAN_OUT.items()
    }


def _bystander() -> dict[str, Measure]:
    while_what = {
        "storm": "while 5,000 clients connect",
        "stalled": "while a subscriber with 20 MB/s reads nothing",
        "claims": "while 100 clients announce 256 MB each",
    }
    made = {}
    for key, text in while_what.items():
        beside = "itself in quiet times two, or of mosquitto beside the same"
        made[key] = Measure(f"a bystander's PUBACK, p99, {text}", "us", 1.0, "lower", beside)
        made[f"{key}-memory"] = Measure(f"RSS that the node grows by {text}", "MB", 60, "lower")
    return made


def _ceilings() -> dict[str, Measure]:
    what = {"0": "QoS 0, delivered", "1": "QoS 1, delivered", "2": "QoS 2, delivered", "ack": "QoS 1, acknowledged"}
    return {
        f"ceiling-{name}": Measure(
            f"the generator with a server that does nothing: {text}",
            "messages/s",
            1.0,
            "higher",
            "the most that was measured with it",
        )
        for name, text in what.items()
    }


MQTT = Bench(
    "the message broker, and messages of another broker",
    {
        **_fan_out(),
        "ack": Measure(
            "QoS 1, 64 B, 8 publishers, no subscriber, acknowledged", "messages/s", 4.0, "higher", MOSQUITTO
        ),
        "durable-1000": Measure(
            "QoS 1 to a durable row of 3 columns, 8 publishers, 1,000 in flight each",
            "messages/s",
            4.0,
            "higher",
            "mosquitto's fan-out of the same",
        ),
        "durable-100": Measure(
            "QoS 1 to a durable row of 3 columns, 8 publishers, 100 in flight each",
            "messages/s",
            1.5,
            "higher",
            "mosquitto's fan-out of the same",
        ),
        "durable-one": Measure(
            "QoS 1 to a durable row, one in flight, p50", "us", 1.0, "lower", "an append with fdatasync, and 100 us"
        ),
        "latency": Measure(
            "PUBACK at 2,000 messages/s of 8 publishers, p99", "us", 1.0, "lower", "mosquitto with TCP_NODELAY"
        ),
        **_bystander(),
        "crowd": Measure("RSS of a connection with a subscription that does nothing", "KB", 2.0, "lower"),
        "external-0": Measure(
            "QoS 0 from mosquitto to durable rows", "messages/s", 0.85, "higher", "aiomqtt that only receives"
        ),
        "external-1": Measure(
            "QoS 1 from mosquitto to durable rows", "messages/s", 0.85, "higher", "aiomqtt that only receives"
        ),
        **_ceilings(),
    },
)


BENCHES: dict[str, Bench] = {
    "startup": Bench(
        "a node that starts and then has nothing to do",
        {
            "ready": Measure("start to ready, REST server", "s", 0.5, "lower"),
            "idle": Measure("idle RSS, REST server", "MB", 60, "lower"),
            "ready-operator": Measure("start to ready, REST server and operator", "s", 0.5, "lower"),
            "idle-operator": Measure("idle RSS, REST server and operator", "MB", 60, "lower"),
        },
    ),
    "rows": Bench(
        "rows of a Python program, to payloads of the journal and back: 200,000 rows",
        {
            "records": Measure("records to a payload", "rows/s", 3.0, "higher", "json.dumps of each"),
            "records-locked": Measure(
                "records to columns, which is the part on the event loop", "rows/s", 0.7, "higher", "msgspec, to JSON"
            ),
            "arrays": Measure("numpy arrays to a payload", "rows/s", 5.0, "higher", "json.dumps value by value"),
            "back": Measure("columns to records", "rows/s", 1.2, "higher", "dict(zip(...)) of each row"),
        },
    ),
    "ingest": Bench(
        "readings in from a Python program: 1,000,000 rows of workload W",
        {
            "library": Measure(
                "W from memory to committed rows, each body durable before it is acknowledged",
                "rows/s",
                1.5,
                "higher",
                NATIVE,
            ),
            "library-single": Measure(
                "single rows, 64 unanswered at a time, each durable, until all are committed",
                "rows/s",
                0.2,
                "higher",
                "an asyncio program that writes and syncs what has queued up",
            ),
        },
    ),
    "rest": Bench(
        "readings in over REST: 1,000,000 rows of workload W",
        {
            "stream": Measure("W by REST, 8 connections, until count(*) shows all", "rows/s", 1.0, "higher", NATIVE),
            "stream-naive": Measure(
                "W by REST, 8 connections, until count(*) shows all",
                "rows/s",
                3.0,
                "higher",
                "json.loads and one sqlite3 execute a row",
            ),
            "single": Measure(
                "single-row PUTs, 64 connections, each durable",
                "requests/s",
                0.5,
                "higher",
                "granian with a handler that only reads the body",
            ),
            "memory": Measure("RSS while W arrives 10x faster than it is stored", "MB", 256, "lower"),
            "memory-lost": Measure("acknowledged rows lost meanwhile", "rows", 0, "lower"),
        },
    ),
    "console": Bench(
        "the web console, in Chromium, and what its listeners cost",
        {
            "paint": Measure("first paint of the console in a fresh browser", "s", 0.5, "lower"),
            "paint-requests": Measure("requests until then", "requests", 10, "lower"),
            "listeners": Measure(
                "W by REST with 50 listeners to the events, until count(*) shows all",
                "rows/s",
                0.95,
                "higher",
                "the same node without them",
            ),
        },
    ),
    "blobs": Bench(
        "a file of 1 GiB in over REST",
        {
            "folder": Measure(
                "1 GiB by REST to a folder, durable and hashed",
                "MiB/s",
                0.6,
                "higher",
                "curl PUT to nginx, an fsync of the file and md5sum of it",
            ),
            "folder-memory": Measure("RSS that the node grows by meanwhile", "MB", 64, "lower"),
            "bucket": Measure("1 GiB by REST until an S3 server has it", "MiB/s", 0.6, "higher", "obstore alone"),
            "bucket-memory": Measure("RSS that the node grows by meanwhile", "MB", 64, "lower"),
        },
    ),
    "postgres": Bench(
        "workload W into a PostgreSQL server, and questions to 5,000,000 rows there",
        {
            "postgres": Measure(
                "W by REST in bodies of 1,000 rows into PostgreSQL, until count(*) shows all",
                "rows/s",
                0.75,
                "higher",
                "psql \\copy of the same rows into the same table, 10,000 at a time",
            ),
            "aggregate": Measure(
                "count, min, max, avg of 5 M rows", "ms", 4, "lower", "the same by the server alone, asked by psql"
            ),
            "grouped": Measure(
                "count, sum, avg of 5 M rows by 1,000 devices", "ms", 4, "lower", "the same by the server alone"
            ),
            "increments": Measure(
                "increments(hour, 1) with min, max, avg over 5 M rows",
                "ms",
                4,
                "lower",
                "the same by the server alone",
            ),
        },
    ),
    "query": Bench(
        "questions over REST to a table of 5,000,000 rows",
        {
            "plain": Measure(
                "count, min, max, avg over 5 M rows", "s", 1.1, "lower", "the same SQL typed into apsw by hand"
            ),
            "increments": Measure(
                "count, min, max, avg by minute over 5 M rows", "s", 0.6, "lower", "apsw, GROUP BY timestamp / 60000000"
            ),
            "select": Measure(
                "1 M rows as JSON", "s", 1.0, "lower", "apsw fetch and msgspec encode in one process, times as numbers"
            ),
            "select-memory": Measure("RSS that the node grows by meanwhile", "MB", 50, "lower"),
        },
    ),
    "api": Bench(
        "the public API: answers, scrapes, names",
        {
            "sql-csv": Measure("/v1/sql, 1 M rows as CSV", "s", 1.0, "lower", "apsw and csv.writer by hand"),
            "sql-arrow": Measure("/v1/sql, 1 M rows as an Arrow stream", "s", 1.0, "lower", "apsw and pyarrow by hand"),
            "metrics": Measure("a scrape of /metrics under full ingestion, p50", "ms", 10.0, "lower"),
            "authenticated": Measure("a request with a password", "us", 1.1, "lower", "the same without a name"),
        },
    ),
    "metadata": Bench(
        "100,000 policies in the local ledger, and a master with 50 nodes",
        {
            "load": Measure("100,000 policies from the file into memory", "s", 2.0, "lower"),
            "get": Measure("blockchain get operator where ..., up to 10 of 100,000, p99", "ms", 1.0, "lower"),
            "insert": Measure("one policy more beside 100,000, durable", "ms", 10.0, "lower"),
            "insert-held": Measure("the event loop held by that, p99.9", "ms", 5.0, "lower"),
            "sync": Measure(
                "payload on the links of one changed policy of 500 B to 50 nodes of ours", "KB", 50.0, "lower"
            ),
        },
    ),
    "network": Bench(
        "nodes that talk to each other",
        {
            "trip-blocks": Measure(
                "run client (peer) get status in blocks, p50", "us", 1.5, "lower", "a bare echo, a connection each way"
            ),
            "trip-link": Measure(
                "run client (peer) get status on a kept connection, p50",
                "us",
                2.0,
                "lower",
                "a bare echo on a kept one",
            ),
            "aggregate": Measure(
                "count, min, max, avg over two operators with 5 M rows each",
                "s",
                1.0,
                "lower",
                "the slower operator's part times 1.1, and 5 ms",
            ),
            "rows": Measure(
                "1 M rows of two operators as JSON over REST", "s", 1.5, "lower", "one node that has them all"
            ),
            "rows-memory": Measure("the largest of these nodes meanwhile, RSS", "MB", 100, "lower"),
            "fan-blocks": Measure("a query over 200 operators beside one over one, in blocks", "ms", 50, "lower"),
            "fan-link": Measure("a query over 200 operators beside one over one, kept connections", "ms", 10, "lower"),
        },
    ),
    "cluster": Bench(
        "a cluster of two members on one machine, workload W put to one of them",
        {
            "lag": Measure(
                "offered 40 % of what one node alone takes: acknowledged until the other member has it, p99",
                "s",
                1.0,
                "lower",
            ),
            "entry": Measure(
                "offered all it takes: acknowledged at the entry", "rows/s", 0.45, "higher", "one node alone"
            ),
            "entry-behind": Measure("from the last acknowledgement until the other member has all", "s", 2.0, "lower"),
        },
    ),
    "mqtt": MQTT,
    "grpc": Bench(
        "replies of gRPC servers",
        {
            "grpc-stream": Measure(
                "a stream of messages of 200 B to durable rows of 4 columns, until count(*) shows all",
                "rows/s",
                0.7,
                "higher",
                "a bare grpcio client that counts them",
            ),
        },
    ),
    "kafka": Bench(
        "a topic of Apache Kafka",
        {
            "kafka-topic": Measure(
                "a topic of 1,000,000 messages, each a row of workload W, to durable rows, until count(*) shows all",
                "rows/s",
                0.7,
                "higher",
                "aiokafka that consumes and counts them",
            ),
        },
    ),
}


def measured(bench: str, key: str, figure: float, baseline: float | None = None, **notes: Any) -> Result:
    """The result of a measure of the table; notes are further figures, kept in the JSON."""
    measure = BENCHES[bench].measures[key]
    return Result(
        measure.what,
        figure,
        measure.unit,
        measure.bar,
        measure.better,
        baseline,
        measure.baseline,
        notes,
        bench,
        key,
    )


def failed(bench: str, key: str, reason: str) -> Result:
    """Stands where a measure gave no figure."""
    result = measured(bench, key, 0.0)
    result.failure = reason
    return result
