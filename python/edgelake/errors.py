"""Every exception of the node. Each has a stable code, and the reference's number and text where one exists.

Source: spec "Command language", section 14; "REST API", section 10.
"""

from __future__ import annotations

from functools import cache
from typing import Any


class EdgeLakeError(Exception):
    """Base of all. ``detail`` says what and where, ``hint`` what to do about it.

    ``code`` is stable: logs, REST bodies and tests rely on it. ``number`` and ``text`` are the reference's.

    Attributes:
        source, place: the line of a command that is wrong, and the span of what is wrong in it; a terminal shows them.
        usage: of that command.
    """

    source = ""
    place: tuple[int, int] | None = None
    usage = ""

    code = "internal"
    number = 3
    text = "Error Process Failure"
    http_status = 400

    def __init__(self, detail: str = "", *, hint: str = "", **where: Any) -> None:
        super().__init__(detail or self.text)
        self.detail = detail
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        line = f"{self.text}: {self.detail}" if self.detail and self.detail != self.text else self.text
        return f"{line} ({self.hint})" if self.hint else line

    def as_dict(self) -> dict[str, Any]:
        """Body of an error reply, without the fields that only a REST server knows."""
        body: dict[str, Any] = {"err_code": self.number, "err_text": self.text, "code": self.code}
        if self.detail:
            body["local_msg"] = self.detail
            body["detail"] = self.detail
        if self.hint:
            body["hint"] = self.hint
        if self.where:
            body["where"] = self.where
        return body


class CommandError(EdgeLakeError):
    """A command that cannot be run as written."""

    code = "command.structure"
    number = 2
    text = "Error Command Structure"


class UnknownCommandError(CommandError):
    """No command begins with these words."""

    code = "command.unknown"
    number = 141
    text = "Unrecognized Command"


class NotAvailableError(CommandError):
    """A command of the language whose service is not part of this version."""

    code = "command.not_available"
    number = 150
    text = "Command not available yet"


class NotPermittedError(EdgeLakeError):
    """The caller lacks the command's class (design: who may do what)."""

    code = "command.not_permitted"
    number = 212
    text = "Command is not permitted"
    http_status = 403


class CredentialsError(EdgeLakeError):
    """The caller is not known, or not let in: no name, a wrong one, or too many attempts (then ``retry_s``)."""

    code = "credentials"
    number = 145
    text = "Failed Client Authentication"
    http_status = 401

    def __init__(self, detail: str = "", *, hint: str = "", retry_s: float = 0) -> None:
        super().__init__(detail, hint=hint)
        self.retry_s = retry_s
        if retry_s:
            self.http_status = 429


class ScriptError(EdgeLakeError):
    """A script line failed and no ``on error`` took it. ``where`` holds file, line and label."""

    code = "script.failed"
    number = 56
    text = "Error in script without 'on error' instruction"


class PolicyError(EdgeLakeError):
    """A policy is missing, ambiguous or wrong."""

    code = "policy.invalid"
    number = 40
    text = "Error in command parameters"


class IngestError(EdgeLakeError):
    """Readings that cannot be taken as they are."""

    code = "ingest.failed"
    number = 6
    text = "Error in JSON Structure"


class PayloadError(IngestError):
    """A payload is not JSON, or not rows. Nothing of it was stored."""

    code = "ingest.payload"
    number = 6
    text = "Failed to process JSON data"


class RowTooLongError(PayloadError):
    """A row of a payload that is longer than what is held of it."""

    code = "ingest.row_too_long"
    http_status = 413


class MappingError(IngestError):
    """A document does not fit its mapping. It goes to the error folder; its batch and the stream go on."""

    code = "ingest.mapping"
    number = 125
    text = "Failed to map a message to a row"


class OverloadedError(EdgeLakeError):
    """A queue is full; nothing was accepted. Send again later, after ``retry_s`` seconds."""

    retry_s = 1
    code = "node.overloaded"
    number = 67
    text = "The node is overloaded"
    http_status = 503


class CrowdedError(OverloadedError):
    """As many clients listen as may; a further one is to come back when others have left."""

    retry_s = 30
    code = "node.crowded"
    text = "Too many clients listen"


class StorageFullError(EdgeLakeError):
    """The disk (or the journal's limit) is full; nothing was accepted."""

    code = "storage.full"
    number = 63
    text = "No space left on the device"
    http_status = 507


class BlobDamagedError(EdgeLakeError):
    """A blob is not what was stored: it was cut or changed where it is kept. Nothing of it is given out."""

    code = "blob.damaged"
    number = 3
    text = "The blob is damaged"
    http_status = 500


class ObjectStorageError(EdgeLakeError):
    """Object storage does not answer, or refuses. What was to go there stays, and is tried again."""

    code = "blob.storage"
    number = 10
    text = "Object storage cannot be used"
    http_status = 502


class JournalError(EdgeLakeError):
    """The journal could not make data durable. Nothing is acknowledged until the node is restarted."""

    code = "ingest.journal"
    number = 3
    http_status = 500


class DatabaseError(EdgeLakeError):
    """The database refused a statement."""

    code = "dbms.failed"
    number = 16
    text = "SQL Failure"


class RefusedError(DatabaseError):
    """The database does not take this, now or later."""

    code = "dbms.refused"


class DatabaseAwayError(DatabaseError):
    """The server of a database is not there, or does not serve now. It is tried again."""

    code = "dbms.away"
    http_status = 503
    is_away = True  # what SQLite's side looks at


class DatabaseMissingError(EdgeLakeError):
    """No database of this logical name is connected."""

    code = "dbms.missing"
    number = 5
    text = "Wrong DBMS Name or DBMS not connected"
    http_status = 404


class TableMissingError(EdgeLakeError):
    """The table is neither in the local database nor in the metadata."""

    code = "table.missing"
    number = 45
    text = "Failed to load table metadata from blockchain"
    http_status = 404


class QueryError(EdgeLakeError):
    """A statement that cannot be parsed or planned."""

    code = "query.parse"
    number = 46
    text = "Failed to parse SQL statement"


class QueryTooLargeError(QueryError):
    """The groups of a statement need more memory than it may have."""

    code = "query.too_large"
    number = 16
    text = "SQL Failure"
    http_status = 507


class QueryStoppedError(EdgeLakeError):
    """A statement was stopped while it ran: by a time limit, by its caller, or with the node."""

    code = "query.stopped"
    number = 26
    text = "The query was stopped"
    http_status = 504


class TimeoutExpiredError(EdgeLakeError):
    """A wait ended without an answer."""

    code = "timeout"
    number = 26
    text = "Time Out"
    http_status = 504


class ServiceError(EdgeLakeError):
    """A service cannot start, stop or answer."""

    code = "service.failed"
    number = 3


class AlreadyRunningError(ServiceError):
    """The service runs already."""

    code = "service.running"
    number = 136
    text = "Process already active"


class NameInUseError(ServiceError):
    """Another one of this name is there."""

    code = "service.name"
    number = 208
    text = "The name is in use"


class AddressInUseError(ServiceError):
    """A listener cannot bind its address."""

    code = "service.address"
    number = 81
    text = "Connection Error"


class RequestError(EdgeLakeError):
    """An HTTP request that cannot be read as it was sent. Nothing of its body was stored unless ``where`` says so."""

    code = "rest.request"
    number = 2


class BodyTooLargeError(RequestError):
    """A body above a limit."""

    code = "rest.too_large"
    http_status = 413


class BodyEncodingError(RequestError):
    """A Content-Encoding that the node does not know."""

    code = "rest.encoding"
    http_status = 415


class SlowBodyError(RequestError):
    """The client stopped sending in the middle of a request."""

    code = "rest.slow"
    number = 26
    text = "Time Out"
    http_status = 408


class MethodError(RequestError):
    """An HTTP method that is not served."""

    code = "rest.not_implemented"
    number = 156
    text = "Wrong HTTP method used"
    http_status = 501


class StoppingError(ServiceError):
    """The service is being stopped; the request was not carried out, or its outcome is unknown."""

    code = "service.stopping"
    http_status = 503


class DirectoryError(EdgeLakeError):
    """A directory is missing or cannot be written."""

    code = "directory"
    number = 63
    text = "Directory is not writeable"


# Numbers that need no handling of their own: raised by number, so that scripts, REST clients and peers see the
# reference's code and text.
NUMBERS: dict[int, tuple[str, str, int]] = {
    1: ("command.unknown", "Unrecognized Command", 400),
    2: ("command.structure", "Error Command Structure", 400),
    3: ("internal", "Error Process Failure", 400),
    5: ("dbms.missing", "Wrong DBMS Name or DBMS not connected", 404),
    6: ("json", "Error in JSON Structure", 400),
    9: ("peer.too_large", "Message is larger than a block", 400),
    10: ("dbms.closed", "DBMS not open", 400),
    11: ("command.unbalanced", "Missing parenthesis in the command", 400),
    15: ("network.failed", "Network failure", 502),
    16: ("dbms.failed", "SQL Failure", 400),
    20: ("destination", "IP and Port of destination servers are not properly provided", 400),
    21: ("address", "Wrong IP or Port", 400),
    26: ("timeout", "Time Out", 504),
    28: ("rest.table", "Missing 'table' name in REST PUT command", 400),
    33: ("definition", "Missing definition", 400),
    35: ("directory.missing", "Directory is not available", 400),
    40: ("command.parameters", "Error in command parameters", 400),
    51: ("rest.call", "REST call error", 400),
    55: ("script.variables", "Script called with a wrong number of variables", 400),
    61: ("system", "System call terminated or failed", 400),
    12: ("file.missing", "File does not exist", 400),
    63: ("directory", "Directory is not writeable", 400),
    67: ("rest.empty", "REST PUT command without new data", 400),
    70: ("policy.exists", "Policy exists in the metadata", 400),
    73: ("table.no_cluster", "Table is not associated with a cluster", 400),
    78: ("path", "Wrong path", 400),
    81: ("service.address", "Connection Error", 400),
    83: ("dbms.name", "Missing dbms name", 400),
    86: ("file.duplicate", "Duplicate file: its hash is in tsd_info", 400),
    108: ("query.slots", "Too many queries run", 503),
    100: ("decompression", "Decompression failed", 400),
    112: ("script.missing", "Missing script file", 400),
    113: ("policy.missing", "Needed Policy is not available", 400),
    119: ("file.name", "File name does not follow the naming convention", 400),
    124: ("msg.declaration", "Wrong message client declaration", 400),
    128: ("msg.client", "No such client subscription", 400),
    130: ("table.not_listed", "Table is not in the list of tables to process", 400),
    131: ("file.member", "The file comes from a member that is not in the cluster", 400),
    132: ("table.not_declared", "Local table not declared in blockchain", 400),
    134: ("query.text", "Missing or wrong SELECT statement", 400),
    135: ("tcp.not_running", "TCP server not running", 400),
    136: ("service.running", "Process already active", 400),
    141: ("command.unknown", "Unrecognized Command", 400),
    155: ("destination.unknown", "Failed to determine destination node", 400),
    156: ("rest.method", "Wrong HTTP method used", 400),
    159: ("msg.topic", "Unrecognized MQTT topic", 400),
    162: ("task.missing", "Task not in scheduler", 400),
    163: ("msg.user", "Missing USER ID (associated to the message broker)", 400),
    166: ("query.leading", "Failed to process a leading query", 400),
    170: ("policy.id", "Policy without an id", 400),
    171: ("table.create", "Table does not exist and create_table is false", 400),
    168: ("query.ended", "The query was ended by its caller", 504),
    173: ("timezone", "Wrong timezone", 400),
    174: ("cluster.missing", "Operator without a cluster", 400),
    175: ("option", "Wrong option in the command", 400),
    182: ("timeout.value", "Wrong timeout value", 400),
    188: ("type.unknown", "Unknown data type", 400),
    194: ("cast.failed", "Failed to cast a value", 400),
    195: ("cast.unknown", "Unknown cast", 400),
    203: ("cluster.down", "No operator available in a cluster", 502),
    205: ("table.name", "Missing table name", 400),
    208: ("peer.refused", "Network connection to peer refused", 502),
    211: ("metadata.no_peers", "Metadata without network peers", 400),
    215: ("policy.several", "More than one policy satisfies the condition", 400),
    216: ("info.field", "Unknown field", 400),
    222: ("policy.relation", "A policy that this policy needs is missing", 400),
    259: ("subprocess", "Failed to start a process", 400),
    296: ("query.include", "Included tables differ in their columns", 400),
    299: ("msg.data", "Failed to identify application data", 400),
    302: ("assignment", "Error in assignment", 400),
    900: ("cluster.incomplete", "This member of its cluster does not have all data yet", 503),  # ours
    # Metadata (spec: metadata, section 14) and message clients (spec: brokers and mapping, section 15)
    19: ("metadata.platform", "Unknown blockchain platform", 400),
    30: ("metadata.ledger", "Failed to operate on the ledger", 400),
    58: ("metadata.no_file", "No blockchain file declared", 400),
    59: ("metadata.empty", "Empty blockchain file", 400),
    64: ("metadata.arguments", "Missing file name", 400),
    68: ("metadata.unreadable", "The ledger cannot be read", 400),
    69: ("metadata.structure", "Wrong structure of the metadata", 400),
    87: ("policy.structure", "Wrong policy structure", 400),
    101: ("metadata.no_row", "No such policy in the ledger", 404),
    118: ("policy.parent", "The parent policy is missing", 400),
    126: ("msg.dbms", "MQTT: Failed to retrieve DBMS name from message", 400),
    127: ("msg.table", "MQTT: Failed to retrieve table name from message", 400),
    149: ("policy.address", "IP and port are used by another policy", 400),
    151: ("policy.not_local", "Policy is not in the local metadata", 404),
    167: ("msg.agent", "HTTP server received POST message from unknown 'User-Agent'", 400),
    180: ("policy.not_unique", "Policy attribute is not unique", 400),
    209: ("metadata.contract", "Failed to work with the contract of a blockchain platform", 400),
    244: ("grafana.payload", "Missing Data Source info", 400),
    247: ("policy.id_mismatch", "Policy id does not match", 400),
    248: ("policy.wrong", "Policy is not valid", 400),
    263: ("policy.attribute", "Missing or wrong attribute in policy", 400),
}


def error(number: int, detail: str = "", *, hint: str = "", **where: Any) -> EdgeLakeError:
    """An error by the reference's number. Raises KeyError for a number that is not known."""
    code, text, http_status = NUMBERS.get(number) or _classes()[number]
    raised = EdgeLakeError(detail, hint=hint, **where)
    raised.code, raised.number, raised.text, raised.http_status = code, number, text, http_status
    return raised


def text_of(number: int) -> str:
    """What a number says."""
    try:
        return error(number).text
    except KeyError:
        return f"error {number}"


@cache
def _classes() -> dict[int, tuple[str, str, int]]:
    """Numbers of errors that have a class; the most general one of those that share a number."""
    found: dict[int, tuple[str, str, int]] = {}
    open_classes = [EdgeLakeError]
    for cls in open_classes:
        open_classes += cls.__subclasses__()
        found.setdefault(cls.number, (cls.code, cls.text, cls.http_status))
    return found
