"""Face of the Rust module (rust/py)."""

from collections.abc import Sequence
from os import PathLike
from typing import Final, Literal, Self, final

from typing_extensions import Buffer

BUILD_PROFILE: Final[Literal["dev", "release"]]
VERSION: Final[str]

# -- benches -----------------------------------------------------------------------------------------------------------

def workload_body(first: int, rows: int) -> bytes:
    """Rows ``first .. first + rows`` of workload W, newline-separated."""

def load_put(
    address: str,
    head: str,
    *,
    rows: int,
    rows_per_body: int,
    connections: int,
    limit_s: float,
    first: int = 0,
) -> dict[str, int | float | str]:
    """PUT workload W over kept connections. ``head``: header lines, each ended by CR LF."""

def load_mqtt_flow(
    address: str,
    topic: str,
    *,
    version: int,
    publishers: int,
    subscribers: int,
    qos: int,
    payload_bytes: int,
    window: int,
    messages: int,
    limit_s: float,
) -> dict[str, int | float]:
    """``messages`` of each publisher to every subscriber: ``seconds``, ``acknowledged``, ``delivered``.

    ``window``: messages that a publisher may have on the way. Raises OSError for a message that is lost, doubled or
    out of order.
    """

def load_mqtt_pace(
    address: str,
    topic: str,
    *,
    version: int,
    publishers: int,
    rate: int,
    messages: int,
    payload_bytes: int,
    disturbance: Literal["none", "storm", "stalled", "claims"] = "none",
    amount: int = 0,
) -> dict[str, float]:
    """Latency of PUBACKs from the scheduled time on: ``p50_us``, ``p99_us``, ``most_us``, ``disturbance_s``.

    ``rate``: messages a second of all publishers; 0 = one publisher, one message after the other. ``amount``: of
    connections (storm, claims), of bytes a second for who does not read (stalled).
    """

@final
class MqttCrowd:
    """Connections that are held until this is dropped."""

    def __new__(cls, address: str, count: int, *, version: int, subscribe: bool, limit_s: float) -> Self: ...
    @property
    def seconds(self) -> float:
        """Until all were open."""

def load_mqtt_sink(address: str) -> None:
    """Serve as a broker that only acknowledges and hands on, until the process ends."""

# --- directory notifications

@final
class DirectoryWatch:
    """Notifications of one directory: wait on ``fileno()``, then ``read()``. Linux only; elsewhere OSError."""

    def __new__(cls, directory: str | PathLike[str]) -> Self: ...
    def fileno(self) -> int: ...
    def read(self) -> list[tuple[Literal["written", "moved in", "created", "open", "gone", "lost"], str]]:
        """(change, name of the entry) since the last call. Never waits."""
    def close(self) -> None: ...

# -- rows --------------------------------------------------------------------------------------------------------------

_Schema = list[tuple[str, str, bool]]
"""Columns of a table: (name, kind, default now)."""

@final
class Aggregated:
    """What a batch changes in the time intervals of one value column.

    ``time`` is the name of the time column, or the time of all rows in microseconds; ``known`` are the intervals that
    were kept so far, as (start, text); ``tolerance`` in percent asks for run-length encoding. Raises ValueError for a
    text that is no interval.
    """

    def __new__(
        cls,
        rows: Rows,
        time: int | str,
        value: str,
        known: Sequence[tuple[int, str]],
        *,
        interval_us: int,
        keep: int,
        tolerance: float | None = None,
    ) -> Self: ...
    @property
    def oldest_us(self) -> int:
        """Start of the first interval that is kept."""

    @property
    def kept(self) -> list[tuple[int, str]]:
        """Intervals that are kept and changed."""

    @property
    def entries(self) -> list[tuple[int, bool, str]]:
        """Rows for the derived table: (start of the interval, whether the next batch may change it, text)."""

    @property
    def unused(self) -> list[int]:
        """Rows (from 0) that have no time or no number."""

def derived_rows(entries: Sequence[tuple[str, str]], bounds: bool) -> Rows:
    """Rows of a derived table out of (value column, text of an entry); ``bounds``: with the lowest and the highest."""

def interval_values(text: str) -> tuple[int, float | None, float | None, float, int, int]:
    """(count, lowest, highest, average, first and last time in microseconds) of the text of an interval."""

@final
class Rows:
    """Rows as typed columns."""

    @staticmethod
    def parse(payload: bytes, schema: _Schema | None = None, timezone: str | None = None) -> Rows:
        """Rows of a payload: an object, a list of objects, or objects one after another.

        ``timezone`` is of times that name none; absent = the machine's. Raises PayloadError.
        """

    @staticmethod
    def from_columns(
        columns: Sequence[tuple[str, str, Buffer, Buffer | None, Buffer | None]], timezone: str | None = None
    ) -> Rows:
        """Rows of columns that are memory already: (name, kind, values, ends, nulls).

        Kinds are numpy's (``dtype.str`` without the byte order): b1, i1 to u8, f4, f8, M8[unit], U<n>, S<n>; and
        ``text`` and ``json``, whose values stand end to end and end at ``ends`` (eight bytes each). ``nulls`` has a
        byte a row, not 0 for null. All in this machine's byte order. Raises PayloadError.
        """

    def __len__(self) -> int: ...
    def names(self) -> list[str]: ...
    def infer(self) -> _Schema:
        """Schema of a new table that takes these rows."""

    def changes(self, schema: _Schema) -> _Schema:
        """Columns to add to a table or to retype so that every value fits."""

    def fit(self, schema: _Schema, now_us: int) -> tuple[Rows, list[tuple[int, str]]]:
        """Exactly the schema's columns, sorted by time; and the rows (from 0) that don't fit, with the reason."""

    def take(self, numbers: list[int]) -> Rows:
        """The rows of these numbers (from 0), in this order. Raises ValueError."""

    def to_list(self) -> list[dict[str, bool | int | float | str | None]]:
        """Python values row by row; times as microseconds."""

    def to_json_lines(self, first: int = 0, last: int | None = None) -> bytes:
        """Rows ``first .. last``, one JSON object a line; nulls are left out except in the first."""

@final
class PayloadSplitter:
    """Cuts a stream of rows into payloads of whole rows for ``Rows.parse``; holds a block and a row at most.

    The stream is an object, a list of objects, or objects one after another. Up to ``block_bytes`` it comes out as it
    came in, so that nearly JSON may be mended; a longer one has to be JSON as far as quotes and brackets go.
    """

    def __new__(cls, *, block_bytes: int, row_bytes: int, skip_rows: int = 0) -> Self:
        """``skip_rows``: rows at the start that are left out."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Blocks that the next bytes completed.

        Raises PayloadError for what cannot be cut, RowTooLongError above ``row_bytes``; blocks before the fault come
        first, then the next call raises.
        """

    def finish(self) -> list[bytes]:
        """The last block; nothing for a blank stream. Raises as ``feed``."""

    @property
    def rows(self) -> int:
        """Rows that ended so far, skipped ones too; 0 while the stream is short."""

@final
class PayloadCheck:
    """Looks through a stream of rows: each is parsed, none is kept."""

    def __new__(cls, *, block_bytes: int, row_bytes: int, infer: bool = False, timezone: str | None = None) -> Self: ...
    def feed(self, piece: bytes) -> None:
        """Raises PayloadError and RowTooLongError, with the row and the place in the stream."""

    def finish(self) -> tuple[int, _Schema]:
        """Rows (0 for a blank stream), and with ``infer`` the schema of a new table that takes them."""

def pick_rows(payload: bytes, numbers: list[int]) -> bytes:
    """Rows of a payload as they stand in it, a line end behind each; ``numbers`` count from 0 and ascend."""

def sanitize_name(name: str) -> str: ...
def json_lines(payload: bytes) -> bytes:
    """The rows of a payload that ``Rows.parse`` takes, one JSON object a line, otherwise as they came."""

def payload_hash(dbms: str, table: str, data: bytes) -> str:
    """md5 over ``<dbms>.<table>`` and the data, as hex."""

def storage_bytes(text: str) -> int | None:
    """Bytes of ``10000``, ``2KB``, ``1MB`` ...; None for anything else."""

def parse_file_name(name: str) -> dict[str, str | int | None]:
    """Fields of a data file's name. Raises ValueError with the reason."""

def partition_of(interval: str, column: str, table: str, us: int) -> tuple[str, int, int]:
    """(physical name, start, end) of the partition that holds an instant; microseconds, half-open."""

def parse_time(text: str, timezone: str | None = None) -> int | None:
    """Microseconds UTC of a timestamp text or epoch digits."""

def format_time(us: int) -> str:
    """``2025-01-01T00:00:00.000000Z``."""

# --- store

def add_functions(pointer: int) -> None:
    """Give a connection of apsw the function ``content_hash(half, value, ...)``: 32 bits of a hash of the values.

    ``half`` 0 or 1 of its 64 bits. The same on every machine and for whole numbers of any kind.
    """

def sqlite_ready() -> bool:
    """Whether apsw's SQLite interface has been handed over (``store.engine.load_native``)."""

@final
class BatchTable:
    """The virtual table ``edgelake_batch`` (columns c0..c1999, rowid) of one connection.

    ``load`` a batch, ``take`` windows of it, read each by SQL, ``clear``. For the connection's thread only.
    """

    def __new__(cls, pointer: int) -> Self:
        """``pointer``: ``apsw.Connection.sqlite3_pointer()``. Raises RuntimeError before ``load_native``."""
    def load(self, rows: Rows, *, key: int | None = None, fill_us: int = 0) -> None:
        """Make ``rows`` the batch, ordered by column number ``key`` (a null counts as ``fill_us``)."""
    def next_key(self) -> int | None:
        """Key of the first row that no window has shown; None at the end."""
    def take(self, first_row_id: int, *, end_us: int | None = None, limit: int | None = None) -> int:
        """Show the rows from there up to key ``end_us`` (None = all), ``limit`` at most; how many.

        Their rowids count from ``first_row_id``.
        """
    def clear(self) -> None:
        """Show nothing, free the batch."""

@final
class CopyBatch:
    """Rows as PostgreSQL's binary COPY data, window by window."""

    def __new__(cls, rows: Rows, *, key: int | None = None, fill_us: int = 0) -> Self:
        """Ordered by column number ``key``; a null counts as ``fill_us``."""
    def next_key(self) -> int | None:
        """Key of the first row that no window has shown; None at the end."""
    def take(self, *, end_us: int | None = None) -> int:
        """Make the rows from there up to key ``end_us`` (None = all) the window; how many."""
    def piece(self, types: Sequence[str], automatic: tuple[int, int, str, int] | None = None) -> bytes | None:
        """The next megabyte of the window's COPY data; None at its end.

        Args:
            types: of the columns: boolean, integer, bigint, double precision, numeric, text, timestamp.
            automatic: (first row id, batch time in us, TSD name, TSD id), four columns that stand first; None = none.

        Raises ValueError for a value that its column cannot take.
        """

@final
class RemoteTables:
    """Tables of a database server for one connection: ``CREATE VIRTUAL TABLE name USING edgelake_remote``."""

    def __new__(
        cls,
        pointer: int,
        source: object,
        tables: Sequence[tuple[str, str, Sequence[tuple[str, bool, str]], int | None]],
    ) -> Self:
        """Make the module known to a connection.

        Args:
            pointer: ``apsw.Connection.sqlite3_pointer()``.
            source: ``scan(schema, table, columns, conditions, order)`` gives an object with ``read() -> bytes`` (COPY
                data, empty at the end) and ``close()``. A condition is (column, operator, value); rows that do not
                satisfy one may come along. order: (column, descending), to be kept, or None; and
                ``count(schema, table)``.
            tables: (schema, name, columns: (name, is text, wire type), number of the column of whole numbers that tells
                rows apart, without which every scan reads all rows).
        """

def bench_native_loop(pointer: int, payload_bodies: list[bytes], table: str) -> int:
    """Baseline of the benches: serde, bind and step, a transaction per body. Returns the rows inserted."""

# -- queries -----------------------------------------------------------------------------------------------------------

_Parameter = bool | int | float | str | bytes | None
_Column = tuple[str, str, Literal["?", "q", "d", "O"], bytes | list[int | float | str | bytes | None], bytes | None]
"""A column of a block: (title, kind, code, values, nulls).

code ``?``: bytes of truth values; ``q``: 64-bit integers (times: microseconds UTC), ``d``: doubles, both in the
machine's byte order; ``O``: a list. nulls: a byte a row, 1 = null (its value is 0 or NaN); None = no row is null.
"""

@final
class GroupScan:
    """Rows of scans, grouped in native code.

    Scans may run at once in several threads, each on a connection of its own. A failed scan adds nothing. Result:
    the keys, then the aggregates, one row a group, in the order of the keys.
    """

    def __new__(cls, spec_json: str, *, limit_bytes: int = 268435456) -> Self:
        """``spec_json``: GroupSpec of rust/core (query/spec.rs). ``limit_bytes`` bounds the groups of all its scans.

        Raises ValueError, QueryError.
        """
    def scan(self, pointer: int, sql: str, values: Sequence[_Parameter] = ...) -> int:
        """Group the rows of a SELECT; how many. Without the interpreter's lock.

        Args:
            pointer: ``apsw.Connection.sqlite3_pointer()`` of a connection that stays open and unused until the
                return; ``interrupt()`` on it ends the scan.

        Raises: DatabaseError, QueryStoppedError, QueryTooLargeError, QueryError.
        """
    def scan_gathered(self, pointer: int, sql: str) -> bool:
        """Take in what a database server has grouped; False, and nothing is taken, where a sum is not exact.

        The columns of ``sql``: the keys (any time in it for a bucket), the number of rows, then for each column that
        aggregates read, in their order: values that are not null; of a sum eight whole numbers (high and low 32 bits
        of the whole ones, of the floats in units of 2^-20, of what is left in units of 2^-82; the number of floats;
        not 0 = not exact); minimum; maximum; a value that is to be counted once.

        Raises as ``scan`` does.
        """
    def merge(self, other: GroupScan) -> None:
        """Take the groups of another one of the same spec, which ends it. Raises QueryError, QueryTooLargeError."""
    def finish(self) -> Rows:
        """The result, columns ``c0``, ``c1`` ...; the object is of no use afterwards. Raises QueryError."""
    def __len__(self) -> int:
        """Groups so far."""

@final
class RowReader:
    """The rows of a SELECT, as text (``next``) or as columns (``block``), piece by piece, in bounded memory."""

    def __new__(
        cls,
        pointer: int,
        sql: str,
        render_json: str,
        values: Sequence[_Parameter] = ...,
        *,
        elapsed_s: float = 0.0,
        now_us: int | None = None,
    ) -> Self:
        """Prepare the statement.

        Args:
            pointer: ``apsw.Connection.sqlite3_pointer()`` of a connection that stays open until the end or ``close``,
                and that nobody uses while a call runs; ``interrupt()`` on it ends the reading.
            render_json: Render of rust/core (query/spec.rs).
            elapsed_s: what the statement has taken before, for its statistics.
            now_us: ``now()`` in casts; None = the time of the call.

        Raises: ValueError, DatabaseError, EdgeLakeError 194 for a cast that reads a column which is not there.
        """
    def next(self, max_bytes: int = 262144) -> bytes | None:
        """The next piece of the text, about ``max_bytes`` long; None after the last.

        Raises: DatabaseError, QueryStoppedError, QueryTooLargeError, EdgeLakeError 194.
        """
    def block(self, max_rows: int) -> list[_Column] | None:
        """The next rows as columns; None after the last. Raises as ``next``. Not to be mixed with ``next``."""
    @property
    def rows(self) -> int:
        """Rows given so far."""
    def close(self) -> None:
        """End the statement. Nothing comes after it."""

# -- TLS ---------------------------------------------------------------------------------------------------------------

def self_signed_certificate(names: list[str], first_year: int, last_year: int) -> tuple[str, str]:
    """(certificate, key) as PEM, valid between two first of January; the key in PKCS#8.

    Raises ValueError for a name that cannot stand in a certificate.
    """

# -- pipeline ----------------------------------------------------------------------------------------------------------

@final
class FlushPart:
    """Rows of one origin."""

    @property
    def rows(self) -> Rows: ...
    @property
    def source(self) -> str: ...
    @property
    def instructions(self) -> str: ...
    @property
    def first(self) -> int:
        """Journal position of its first record."""
    @property
    def last(self) -> int: ...
    @property
    def arrival_us(self) -> int:
        """Arrival of its first record."""

@final
class Flush:
    """Rows of a table for its database; it ends with ``committed`` or ``put_back``."""

    @property
    def parts(self) -> list[FlushPart]: ...
    @property
    def table(self) -> str: ...
    @property
    def first(self) -> int:
        """Journal position of the first record."""
    @property
    def last(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def payload_bytes(self) -> int: ...
    @property
    def immediate(self) -> bool:
        """Submitters wait for the commit."""
    @property
    def unread(self) -> list[tuple[bytes, str]]:
        """Payloads that do not become rows any more, with the reason."""

@final
class FileBatch:
    """Rows that nobody stores, for a file; it ends with ``filed`` or ``unfiled``."""

    @property
    def dbms(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def instructions(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def arrival_us(self) -> int: ...
    @property
    def rows(self) -> int: ...

@final
class Content:
    """Journal records as JSON lines, piece by piece. Raises JournalError when they cannot be read."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...

@final
class Pipeline:
    """Parse, journal, acknowledge, buffer, hand over (design, section 3)."""

    def __new__(
        cls,
        directory: str | PathLike[str],
        *,
        timezone: str | None = None,
        workers: int = 2,
        limit_bytes: int = 67108864,
        segment_bytes: int = 67108864,
        journal_limit_bytes: int = 1073741824,
        sync_delay_us: int = 0,
    ) -> Self:
        """``limit_bytes`` bounds what is in memory; ``sync_delay_us`` slows each sync down (benches, tests).

        Raises JournalError when the journal can't be opened, StorageFullError without room.
        """
    def fileno(self) -> int:
        """Becomes readable when there are completions."""
    def submit(self, dbms: str, table: str, payload: bytes, source: str = "0", instructions: str = "0") -> int:
        """Ticket under which the outcome is told. Raises PayloadError, OverloadedError, JournalError."""
    def submit_rows(
        self,
        dbms: str,
        table: str,
        rows: Rows,
        declared: _Schema = ...,
        source: str = "0",
        instructions: str = "0",
    ) -> int:
        """As ``submit``, for rows that a mapping made; they are not parsed again. ``declared``: see ``declare``."""
    def declare(self, dbms: str, table: str, columns: _Schema) -> None:
        """Types that the table gets for columns that it does not have yet, whatever their first values look like.

        The journal keeps them with the rows; the first declaration of a column counts.
        """
    def declared(self, dbms: str, table: str) -> _Schema: ...
    def completions(self) -> list[tuple[int, int, int, str, BaseException | None]]:
        """(ticket, rows stored, rows rejected, reason of the first, error) of what ended since the last call.

        Ticket 0: there is room again, after ``has_room`` was False.
        """
    def has_room(self, payload_bytes: int = 0) -> bool:
        """Whether a payload of this size would be taken. If not, completions tell when there is more room."""
    def position(self, source: str) -> int | None:
        """Where reading a source goes on: the first message that is not in; None when nothing of it has come in."""
    def hurry(self) -> None:
        """Make everything due; those who wait in ``take`` and ``take_file`` return at once."""
    def set_schema(self, dbms: str, table: str, schema: _Schema | None) -> None: ...
    def set_threshold(self, dbms: str, table: str, threshold: tuple[float, int, bool] | None) -> None:
        """(age in seconds, bytes, stored before the acknowledgement), for the next buffer.

        An empty table means the database, an empty dbms the node; None removes the entry.
        """
    def set_level(self, dbms: str, table: str, level: str | None) -> None: ...
    def add_condition(
        self, dbms: str, table: str, id: int, condition: str, command: str | None = None, limit: int | None = None
    ) -> None:
        """Look at every row of a table before it is buffered, behind the conditions that are there.

        Rows that fulfil it are dropped (``command`` None), or the command waits for ``take_actions``; ``limit`` times
        at most. Completions tell of waiting commands under the ticket 2**48 - 1. Raises EdgeLakeError 124.
        """
    def remove_condition(self, dbms: str, table: str, id: int) -> None: ...
    def act(self, command: str, seen: str) -> None:
        """Queue a command out of a script of a policy, with what it saw (JSON)."""
    def take_actions(self) -> tuple[list[tuple[str, str, str, str]], int]:
        """(command, dbms, table, row as JSON) since the last call, and how many were dropped."""
    def attach(
        self,
        dbms: str,
        watermarks: dict[str, int],
        unarchived: list[tuple[str, int, int, str, str]] = ...,
    ) -> list[int]:
        """Somebody stores this database.

        Args:
            watermarks: last position committed, by table.
            unarchived: (table, first position, last, source, instructions) of batches to hold until ``archived``.
        Returns: rows of each unarchived batch that the journal has. Raises JournalError.
        """
    def detach(self, dbms: str) -> None: ...
    def set_by_origin(self, on: bool) -> None:
        """Whether an operator books what is flushed: flushes have a part for each origin then, otherwise one in all."""
    def unreserve(self) -> None:
        """The operator that rows of an earlier run wait for can book them now."""
    def take(self, dbms: str, timeout_s: float) -> Flush | None:
        """Rows that are due; waits for them, without the interpreter's lock."""
    def committed(self, flush: Flush, parts: list[tuple[list[tuple[int, str]], bool]]) -> None:
        """Of each part: the rows kept out (number, reason), and whether its records are held until ``archived``."""
    def put_back(self, flush: Flush) -> None: ...
    def synced(self, dbms: str) -> None:
        """What is committed is on the database's disk: frees journal segments."""
    def flush_all(self) -> int:
        """Make everything due; completions tell under the returned number when what is here is stored."""
    def held(self, dbms: str, table: str, first: int) -> Content | None:
        """The rows of a batch that is held."""
    def archived(self, dbms: str, table: str, first: int) -> None: ...
    def set_filing(self, on: bool) -> None:
        """Whether rows that nobody stores become files."""
    def expect(self, dbms: str, on: bool) -> None:
        """Whether a database is about to be attached: its rows become no files meanwhile."""
    def take_file(self, timeout_s: float) -> FileBatch | None: ...
    def content(self, batch: FileBatch) -> Content: ...
    def filed(self, batch: FileBatch) -> None:
        """The file is durable; returns when the journal knows. Raises JournalError, StorageFullError."""
    def unfiled(self, batch: FileBatch) -> None: ...
    def pending(self, dbms: str) -> int:
        """Rows accepted and not yet committed."""
    def occupied_bytes(self) -> int:
        """Memory of payloads and rows between ``submit`` and commit."""
    def journal_bytes(self) -> int: ...
    def stats(self) -> list[dict[str, str | int]]:
        """Counters of every table; rows + recovered = stored + rejected + pending."""
    def close(self) -> None: ...

# --- mapping

def check_condition(text: str) -> None:
    """Raises EdgeLakeError 124 for what is no condition."""

@final
class MappingProgram:
    """Topics of a message client and what is done with their messages, compiled (spec: brokers and mapping)."""

    def __new__(cls, spec_json: str) -> Self:
        """From ``{"topics": [...]}``. Raises EdgeLakeError (124, 188, 6)."""
    def topic(self, name: str) -> int | None:
        """Number of the topic that takes a message; an empty name is the first topic."""
    def declared(self, number: int = 0) -> _Schema:
        """Columns that the policies of a topic list, with their types."""
    def map(
        self,
        payload: bytes,
        topic: str = "",
        *,
        now_us: int = 0,
        timezone: str | None = None,
        blobs_dir: str | PathLike[str] | None = None,
    ) -> tuple[
        list[tuple[str, str, str, str, list[tuple[str, str, bool]], Rows]],
        list[tuple[int, int, str]],
        list[tuple[str, str]],
    ]:
        """Targets (dbms, table, source, instructions, declared columns, rows), what was rejected (element from 1,
        number, reason), and commands out of scripts with what they saw (JSON).

        Args:
            timezone: of times without one; None = the machine's.
            blobs_dir: for the contents of blob columns; they are on disk on return.

        Raises EdgeLakeError (299 not rows, 159 unknown topic).
        """

_Counters = tuple[int, int, int, int, int, str]
"""(messages, success, errors, last message, last error, its text); times in Unix microseconds, 0 = never"""

@final
class ReadMessages:
    """Messages as they were read from logs, such as Kafka's partitions; taken over from Python once."""

    def __new__(cls, parts: Sequence[tuple[str, str, Sequence[bytes | None], int]]) -> Self:
        """Topic, name of the source, its values in their order, and where reading it goes on behind them."""
    @property
    def bytes(self) -> int:
        """Of all values."""
    def __len__(self) -> int: ...

@final
class MessageClients:
    """The message clients of a node: topics, how their messages are mapped, and what came.

    The messages of the node's own broker come here without Python; what other entries have is handed to ``submit``.
    """

    def __new__(cls, *, timezone: str | None = None) -> Self: ...
    def add(
        self,
        id: int,
        broker: str,
        spec_json: str,
        *,
        err_dir: str | PathLike[str] | None = None,
        log_dir: str | PathLike[str] | None = None,
        blobs_dir: str | PathLike[str] | None = None,
    ) -> None:
        """A client, or a new one in its place. ``err_dir``: for raw messages that fail; ``log_dir``: messages are only
        logged there (with ``"only_log": true`` in the specification); ``blobs_dir``: for contents of blob columns.

        Raises EdgeLakeError (124, 188, 6).
        """
    def update(self, id: int, spec_json: str) -> bool:
        """Other mappings of the same topics, from the next message on; the counters go on. Raises as ``add``."""
    def remove(self, id: int) -> bool: ...
    def topic(self, id: int, name: str) -> int | None:
        """Number of the client's topic that takes a message; an empty name is the first topic."""
    def takers(self, broker: str, topic: str) -> list[int]:
        """Ids of the clients of a broker that take a topic."""
    def submit(
        self, pipeline: Pipeline, messages: Sequence[tuple[str, bytes]], client: int | None = None
    ) -> tuple[list[int], list[tuple[int, int, int, str]]]:
        """Map messages that came together, by a client or by those of the broker 'local'.

        Returns: tickets under which the pipeline tells when their rows are kept, one for each table; and what was not
            mapped: (message from 0, element from 1 or 0 = the whole, number, reason).
        Raises OverloadedError (nothing was taken).
        """
    def submit_read(
        self, pipeline: Pipeline, read: ReadMessages, client: int
    ) -> tuple[list[int], list[tuple[int, int, int, str]]]:
        """As ``submit``, for messages of a client; the journal keeps with their rows how far the sources are read
        (``Pipeline.position``): after a crash both are there or neither is."""
    def counters(self, id: int) -> tuple[_Counters, list[_Counters]]:
        """Of the client, and of its topics. Raises KeyError."""
    def refuse(self, id: int, topic: int | None, reason: str) -> None:
        """Count a message that was refused before it was mapped."""
    @property
    def threads(self) -> int | None:
        """Threads that map large rounds of the node's own broker; None = as its command says."""
    @threads.setter
    def threads(self, threads: int | None) -> None: ...
    def take_faults(self) -> tuple[list[tuple[int, str, bytes, int, str]], int]:
        """(client, topic, first bytes, number, reason) of messages that failed since the last call: the first ones,
        and how many more there were."""
    def take_topics(self) -> tuple[list[tuple[int, str, str]], int]:
        """(client, database, topic) of dynamic topics that brought their first row since the last call, and how many
        messages were too large, or of too many topics, to be told of."""
    def collect_latest(self, on: bool) -> None:
        """Whether the last messages of dynamic topics are collected from now on."""
    def take_latest(self) -> list[tuple[int, str, str, bytes, int]]:
        """(client, database, topic, message, its arrival in microseconds): the last of each topic that said something
        since the last call."""
    def set_rule(
        self,
        name: str,
        dbms: str,
        table: str,
        *,
        ip: str | None = None,
        port: int | None = None,
        header: str | None = None,
        format: Literal["bsd", "ietf", "plain"] = "plain",
        extend_ip: bool = False,
        topic: str | None = None,
        included: bool = False,
    ) -> None:
        """What becomes of lines on the broker's port that are no MQTT; replaces the rule of this name."""
    def remove_rule(self, name: str) -> bool: ...
    def flush_log(self) -> None:
        """Returns when logged messages are in their files."""
    def take_log_error(self) -> str: ...

@final
class ProtoDecoder:
    """Decodes protobuf messages of a type that is known at run time only."""

    def __new__(
        cls, descriptors: bytes, message: str, added: list[tuple[str, str]] = ..., *, defaults: bool = False
    ) -> Self:
        """``descriptors``: a serialised FileDescriptorSet; ``message``: full name of a type in it; ``added``: keys and
        values that every object gets; ``defaults``: fields that are zero or empty are there, too. Raises ValueError."""
    def decode(self, messages: list[bytes]) -> tuple[bytes, int, int, str]:
        """A JSON list of objects (protobuf's JSON form), how many they are, how many messages could not be decoded,
        and what was wrong with the first of them. A message of one field that an object or JSON text is brings what
        the field holds."""

# --- queries: planner

_Table = tuple[str, str, list[tuple[str, str, str | None]], list[tuple[str, str, int, int]], bool, str | None]
"""(dbms, name, [(column, kind, stored name or None for null)], [(partition, column, start, end)], made by the node,
stored name of the column that has an index)"""

def statement_word(sql: str) -> str:
    """First word of a statement in lower case."""

def change_statement(sql: str, table: _Table, *, now_us: int, timezone: str | None = None) -> str:
    """An UPDATE or DELETE with the times in it as the table keeps them; other statements as they are. QueryError."""

def time_expression(text: str, *, now_us: int, timezone: str | None = None) -> int:
    """Microseconds UTC of ``now() - 3 days``, ``'2025-01-31 10:00:00'`` ... Raises QueryError."""

def time_text(us: int, *, timezone: str | None = None, iso: bool = False) -> str:
    """``2025-01-31 10:00:00.000000`` in a zone; ``iso`` with T and Z. Raises QueryError for an unknown zone."""

@final
class Select:
    """A select of the dialect, read. Raises QueryError (46), EdgeLakeError (195)."""

    def __new__(cls, sql: str) -> Self: ...
    @property
    def tables(self) -> list[tuple[str, str]]:
        """(dbms or empty, table) of every table that it names."""
    def plan(
        self,
        tables: list[_Table],
        *,
        dbms: str,
        now_us: int,
        included: list[_Table] = ...,
        extend: list[tuple[str, str, str, str, list[str]]] = ...,
        timezone: str | None = None,
        reference_order: bool = False,
        leading: tuple[int | None] | None = None,
        also: str | None = None,
        on_server: bool = False,
        part: Literal["whole", "leaf", "query"] = "whole",
    ) -> Plan:
        """The plan over ``tables``: those of ``Select.tables``, in their order.

        ``extend``: (title, ``table``, ``dbms`` or ``text``, the text, kind, casts). ``timezone``: of times that name
        none; None = the machine's. ``leading``: what a plan of the kind ``leading`` found, None in it = no row.
        ``also``: a condition beside that of the statement, on the rows of each table. ``on_server``: a database server
        may group them (``Plan.server_scans``).
        Raises QueryError, EdgeLakeError (195, 296).
        """

@final
class Plan:
    """What is to be done for a select."""

    @property
    def kind(self) -> Literal["leading", "rows", "groups", "engine", "network", "elsewhere"]: ...
    @property
    def sql(self) -> str:
        """The statement; of groups, the one over ``edgelake_batch``."""
    @property
    def scans(self) -> list[tuple[str, str, str, str | None, tuple[str, int, int] | None]]:
        """(dbms, physical table, statement, the same between two row ids, span) of groups.

        The span is the column that has an index, with the first and the last value that the condition lets through.
        """
    @property
    def network(self) -> tuple[str, str, tuple[int | None, int] | None] | None:
        """Of the kind ``network``: statement for other nodes, kinds of its columns as JSON; limit and offset of rows
        that are passed on, None where ``sql`` puts them together."""
    @property
    def server_scans(self) -> list[str | None]:
        """Of each scan, how a server is to read it: JSON (ServerScan of rust/core); None where it cannot."""
    @property
    def reason(self) -> str:
        """Of the kind ``elsewhere``: why one node has to run the statement (``sql``) as a whole."""
    @property
    def group_spec(self) -> str:
        """For GroupScan and PeerMerge."""
    @property
    def outputs(self) -> str:
        """Columns of the answer, for RowReader: JSON; empty where the engine's statement tells them."""
    @property
    def per_column_limit(self) -> tuple[int, int] | None: ...
    @property
    def dbms(self) -> str: ...
    @property
    def attached(self) -> list[str]:
        """Databases that are read along, by their names."""
    @property
    def increments(self) -> tuple[str, int] | None: ...
    @property
    def warnings(self) -> list[str]: ...

@final
class PeerMerge:
    """Rows of other nodes, put together: printed as they come (``render``), grouped (``group_spec``), or kept."""

    def __new__(
        cls,
        kinds_json: str,
        *,
        group_spec: str = "",
        render: str = "",
        limit: int | None = None,
        offset: int = 0,
        limit_bytes: int = 268_435_456,
    ) -> Self: ...
    def add(self, messages: list[PeerMessage]) -> bytes:
        """Take rows; the text that they become, where they are printed. Raises QueryError."""
    @property
    def rows(self) -> int: ...
    @property
    def held_bytes(self) -> int:
        """Memory of the rows that are kept, about."""
    @property
    def is_full(self) -> bool:
        """Whether more rows change nothing."""
    def end(self, elapsed_s: int, target_nodes: int, participating_nodes: int) -> bytes:
        """What stands behind the printed rows."""
    def take(self) -> Rows:
        """The rows or groups as a batch with the columns c0, c1 ...; they are gone from here. Raises QueryError."""

# -- broker ------------------------------------------------------------------------------------------------------------

@final
class MqttAcl:
    """Rights of clients: rules in order, the first that fits decides; none fits = denied."""

    def __new__(cls, rules: list[tuple[str, str]] | None = None) -> Self:
        """``rules``: (topic filter with ``%u`` and ``%c``; read, write, readwrite or deny); None = all is allowed."""

@final
class MqttBroker:
    """MQTT broker on its own thread and sockets, until ``stop``."""

    def __new__(
        cls,
        listeners: list[tuple[str, int, bool, bool]],
        *,
        certificate: bytes | None = None,
        key: bytes | None = None,
        client_authority: bytes | None = None,
        directory: str | PathLike[str] | None = None,
        clients: MessageClients | None = None,
        pipeline: Pipeline | None = None,
        threads: int = 0,
        anonymous_local: bool = True,
        anonymous_remote: bool = True,
        anonymous_acl: MqttAcl | None = None,
        foreign_pages: bool = False,
        version: str = "",
        keep_alive_max_s: int = 0,
        packet_max_bytes: int = 16777216,
        connections_max: int = 100000,
        session_expiry_max_s: int = 4294967295,
        queue_messages: int = 100000,
        queue_bytes: int = 33554432,
        queue_total_bytes: int = 134217728,
        sys_interval_s: int = 10,
        connect_timeout_s: float = 10.0,
    ) -> Self:
        """Bind and serve.

        Args:
            listeners: (ip, port, WebSocket, TLS); port 0 = any.
            certificate, key, client_authority: PEM; with an authority, clients have to show a certificate of it.
            directory: what has to survive the process; None = nothing does.
            clients, pipeline: where messages of their topics become rows; ``threads`` map large groups of them.

        Raises AddressInUseError, ServiceError (certificate, address), JournalError, StorageFullError.
        """
    def fileno(self) -> int:
        """Becomes readable when there is something to take, or when the broker has ended."""
    def drain(self) -> None:
        """To be called when ``fileno`` is readable, before the ``take_...`` calls."""
    def addresses(self) -> list[tuple[str, int]]:
        """(ip, port) of each listener."""
    def ended(self) -> str | None:
        """None while it runs; what ended it, or "" after ``stop``."""
    def stop(self) -> None:
        """Tell the clients, keep what was received, close. Waits up to some seconds. Idempotent."""
    def take_logins(self) -> list[tuple[int, str, str | None, bytes | None, str, str, str | None]]:
        """(ticket, client id, user, password, ip, transport, common name of the client's certificate)"""
    def grant(self, ticket: int, user: str | None, acl: MqttAcl) -> None:
        """Accept a login."""
    def refuse(self, ticket: int, reason: int) -> None:
        """Refuse a login with a reason code of MQTT 5."""
    def take_reports(self) -> list[tuple[str, str]]:
        """(debug, warning or error; text for the log)"""
    def renew(self, certificate: bytes, key: bytes, client_authority: bytes | None = None) -> None:
        """Show another certificate from now on. Raises ServiceError for what cannot be used; the old one then stays."""
    def set_debug(self, on: bool) -> None:
        """Report connections that come and go."""
    def set_anonymous(self, local: bool, remote: bool) -> None:
        """Whether clients of this machine and of others need no name from now on."""
    def stats(self) -> dict[str, int]:
        """Counters, and figures of now."""
    def events(self) -> list[tuple[str, str, int, int, int, int, int, str]]:
        """(ip, packet, successes, last Unix ms, failures, last Unix ms, reason code, its text)"""
    def clients(self, limit: int) -> list[tuple[str, str | None, str, str | None, int, int, int, int]]:
        """(client id, user, version, ip:port, subscriptions, queued, in flight, session expiry in seconds)"""
    def disconnect(self, client_id: str, reason: int) -> None:
        """Close the connection of a client, if it has one."""
    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> int:
        """Publish a message of the node; returns a ticket for ``take_published``. Raises ValueError for a wrong qos."""
    def take_published(self) -> list[tuple[int, int, str | None]]:
        """(ticket, sessions reached, why it could not be kept), when what is kept of it is durable."""

# -- peers -------------------------------------------------------------------------------------------------------------

@final
class PeerMessage:
    """A whole message of another node, or one block of a file that it sends."""

    @property
    def command(self) -> str:
        """TABs as they came."""

    @property
    def authentication(self) -> bytes:
        """What its first block says about who sends it."""

    @property
    def data(self) -> bytes: ...
    @property
    def is_complete(self) -> bool:
        """Nothing of this message follows."""

    @property
    def error(self) -> int: ...
    @property
    def generic_flag(self) -> int: ...
    @property
    def has_rows(self) -> bool: ...
    @property
    def size_bytes(self) -> int:
        """Of the text and the rows."""

    @property
    def mark(self) -> bytes:
        """What nodes of one kind tell each other in a block, 8 bytes; zeros from others."""

    @property
    def numbers(self) -> tuple[int, int]:
        """Of a frame: its own number, and the last one that its sender has taken."""

    @property
    def partitions(self) -> int:
        """Streams of rows that the sender sends, at least 1."""

    @property
    def job(self) -> tuple[int, int, int, int]:
        """Location and id of the job, number of receivers, id of this one."""

    @property
    def source(self) -> tuple[str, int]:
        """Where replies go. Raises ValueError."""

@final
class PeerReader:
    """Joins the bytes of one connection to messages. ``limit_bytes``: of a text."""

    def __new__(cls, limit_bytes: int) -> Self: ...
    def feed(self, data: bytes) -> list[PeerMessage]:
        """What these bytes complete. Raises ValueError: the connection is of no more use."""

@final
class PeerFrames:
    """Joins the bytes of a kept connection to messages. ``limit_bytes``: of a text."""

    def __new__(cls, limit_bytes: int) -> Self: ...
    def feed(self, data: bytes) -> list[PeerMessage]:
        """What these bytes complete, and frames of rows. Raises ValueError: the connection is of no more use."""

def peer_frames(
    command: str,
    data: bytes,
    source: tuple[str, int],
    *,
    numbers: tuple[int, int] = ...,
    job: tuple[int, int, int, int] = ...,
    info: int = 0,
    error: int = 0,
    generic_flag: int = 0,
    kind: str = "",
    is_last: bool = True,
    authentication: bytes = ...,
) -> bytes:
    """The frames of a message on a kept connection.

    ``data`` is a text, or with ``kind`` a frame of rows, a line each ("lines" as they travel, "printed" as whoever
    asked wants them), or a piece of a "file". ``numbers``: of the message, and of the last one that came. Raises
    ValueError for what does not fit.
    """

def peer_blocks(
    command: str,
    data: bytes,
    source: tuple[str, int],
    *,
    job: tuple[int, int, int, int] = ...,
    info: int = 0,
    error: int = 0,
    generic_flag: int = 0,
    is_file: bool = False,
    first_block: int = 1,
    mark: bytes = ...,
    authentication: bytes = ...,
) -> bytes:
    """The blocks of a message, from that number on; ``data`` is a text or bytes of a file.

    Raises ValueError for what does not fit.
    """

@final
class PeerRowWriter:
    """Blocks of the rows that answer a query. ``job``: as the request has it. Raises ValueError for a long host."""

    def __new__(cls, source: tuple[str, int], job: tuple[int, int, int, int], *, mark: bytes = ...) -> Self: ...
    def rows(self, lines: bytes) -> bytes:
        """The blocks that these rows, a line each, fill. Raises ValueError."""
    def finish(self, error: int = 0) -> bytes:
        """The last block; with an error the rows are not whole."""
