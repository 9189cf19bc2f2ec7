"""Words that all rooms share: callers, replies, tables, and what one room hands another."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, runtime_checkable

from msgspec import Struct, field

FILE_BYTES: Final = 16 << 30
"""The largest file that a node takes from outside, also unpacked: what one member of a cluster takes, all take."""


class CommandClass(enum.StrEnum):
    """Who may do what (design, section 4)."""

    DATA = "data"  # query, get, ingest
    METADATA = "metadata"  # policies
    FILES = "files"  # inside the node's directories
    ADMIN = "admin"  # services, databases, settings
    EXEC = "exec"  # system, python, subprocess, scripts named by others


ALL_CLASSES = frozenset(CommandClass)
LOOPBACK_CLASSES = ALL_CLASSES - {CommandClass.EXEC}
OUTSIDE_CLASSES = frozenset({CommandClass.DATA, CommandClass.METADATA})
FOREIGN_ORIGIN_CLASSES = frozenset({CommandClass.DATA})


class Rights(Protocol):
    """What policies permit to a caller, beside its command classes."""

    def check(self, command: str, dbms: str = "", table: str = "") -> None:
        """Raises NotPermittedError. ``command``: the words it begins with; database and table where it names some."""


class Caller(Struct, frozen=True):
    """Where a command comes from, and so what it may do.

    Attributes:
        rights: what policies permit, while the node follows them; None = they are not asked.
    """

    entry: Literal["prompt", "script", "schedule", "rest", "peer", "library"]
    classes: frozenset[CommandClass] = ALL_CLASSES
    address: str = ""
    user: str = ""
    rights: Rights | None = None


PROMPT = Caller("prompt")
SCRIPT = Caller("script")
LIBRARY = Caller("library")


class Table(Struct):
    """A text table, printed as the reference prints it (spec: services and status, section 6).

    A title may hold a line break; ``header`` stands on a line of its own above the titles.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[object]]
    header: str = ""
    indent: int = 0


class Incoming(Protocol):
    """A file that comes along with a command."""

    @property
    def name(self) -> str:
        """As the sender names it, known from the first piece on; "" = not at all."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Its content, to be read once. Raises EdgeLakeError when it breaks off: then nothing of it may be kept."""


class FormPart(Protocol):
    """A field of a form.

    Attributes:
        name: file name that the sender gives; "" = none.
    """

    field: str
    name: str

    def pieces(self) -> AsyncIterator[bytes]:
        """Its content, to be read before the next part is asked for. Raises as ``Form.parts``."""


class Form(Protocol):
    """The parts of a form that comes along with a request, one after another."""

    def parts(self) -> AsyncIterator[FormPart]:
        """To be read once. Raises EdgeLakeError when it breaks off: then nothing of it may be kept."""


class Reply(Struct):
    """What a command answers. A handler fills what it has; the caller renders one of the forms.

    Attributes:
        text: plain text as the user sees it.
        tables: text tables, printed one after another (used when ``text`` is None).
        data: the same as JSON-serialisable data (``where format = json``, REST, assignment).
        stream: body produced piece by piece (queries, files); ``media_type`` says of what.
        file: the file that ``stream`` reads, for callers that can send it by themselves.
        value: what an assignment stores when it differs from the text.
    """

    text: str | None = None
    tables: Sequence[Table] = ()
    data: Any = None
    has_data: bool = False
    stream: AsyncIterator[bytes] | None = None
    media_type: str = ""
    file: Path | None = None
    value: str | None = None
    json_wanted: bool = False

    @classmethod
    def done(cls) -> Reply:
        """Success, nothing to say."""
        return cls()

    @classmethod
    def of_text(cls, text: str) -> Reply:
        return cls(text=text)

    @classmethod
    def of_data(cls, data: Any, *, text: str | None = None) -> Reply:
        """JSON; ``text`` is the human form, absent = the JSON itself."""
        return cls(text=text, data=data, has_data=True)

    @classmethod
    def of_table(cls, *tables: Table, data: Any = None) -> Reply:
        """Tables, and the same as JSON when ``data`` is given."""
        return cls(tables=tables, data=data, has_data=data is not None)


Execute = Callable[[str, Caller], Awaitable[Reply]]
"""Run one command line for a caller. Raises EdgeLakeError."""


class Stored(Struct, frozen=True):
    """What became of a payload that was accepted (durable at the level in force)."""

    rows: int
    rejected: int = 0
    reason: str = ""
    file_hash: str = "0"


class Submit(Protocol):
    """Entry of the data path: returns when the payload is durable.

    Raises PayloadError (nothing stored), OverloadedError, StorageFullError, JournalError.
    """

    def __call__(
        self, dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0"
    ) -> Awaitable[Stored]: ...


Then = Callable[[Stored | None, BaseException | None], None]
"""What became of a payload: stored, or the failure. Called on the loop."""


class SubmitThen(Protocol):
    """As ``Submit``, without a coroutine: ``then`` is called when the payload is durable, or was refused later on.

    Raises as ``Submit`` when it is refused at once; then ``then`` is not called.
    """

    def __call__(self, dbms: str, table: str, payload: bytes, source: str, instructions: str, then: Then) -> None: ...


class Status(Struct):
    """State of a service, for ``get processes`` and everything built on it. Making one does no I/O."""

    row: str  # title of the row, e.g. "REST"
    running: bool
    details: str = ""
    since_us: int = 0
    last_error: str = ""
    counters: dict[str, int | float] = field(default_factory=dict)


@runtime_checkable
class Listener(Protocol):
    """A service that listens; each address is ``ip:port``."""

    @property
    def external(self) -> str: ...

    @property
    def internal(self) -> str: ...

    @property
    def bound(self) -> str: ...
