"""Files in request bodies: in a form, or the body itself. Spec: "REST API", section 12."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from edgelake.errors import RequestError
from edgelake.net.rest.bodies import Body
from edgelake.net.rest.exchange import Headers

FIELD: Final = "file"
FORM: Final = "multipart/form-data"
MAX_BOUNDARY: Final = 200
MAX_PARTS: Final = 1000


def is_form(headers: Headers) -> bool:
    """Whether the body is a form with parts."""
    return (headers.get("content-type") or "").partition(";")[0].strip().lower() == FORM


class Upload:
    """The file of one request, read once, in pieces of bounded size.

    Attributes:
        name: file name of the form, known from the first piece on; "" = none.
    """

    def __init__(self, headers: Headers, body: Body) -> None:
        self.name = ""
        self._headers = headers
        self._body = body

    def pieces(self) -> AsyncIterator[bytes]:
        """Raises RequestError for a damaged form and one without the field, and what the body raises."""
        return self._of_form() if is_form(self._headers) else self._body.pieces(files=True)

    async def _of_form(self) -> AsyncIterator[bytes]:
        found = 0
        async for part in Form(self._headers, self._body).parts():
            if part.field != FIELD:
                continue
            found += 1
            if found > 1:
                raise RequestError(f"The form has more than one field '{FIELD}'", hint="send each file by itself")
            self.name = part.name
            async for piece in part.pieces():
                yield piece
        if not found:
            raise RequestError(f"The form has no field '{FIELD}'", hint=f"curl -F '{FIELD}=@name' ...")


class Part(Struct):
    """A field of a form.

    Attributes:
        name: file name that the sender gives; "" = none.
    """

    field: str
    name: str
    _form: Form

    def pieces(self) -> AsyncIterator[bytes]:
        """Its content, to be read before the next part is asked for. Raises as ``Form.parts``."""
        return self._form.content()


class Form:
    """The parts of a form, one after another, in bounded memory."""

    def __init__(self, headers: Headers, body: Body) -> None:
        self._parser = _Parser(headers.get("content-type") or "")
        self._received = body.pieces(files=True)
        self._parts = 0

    async def parts(self) -> AsyncIterator[Part]:
        """Raises RequestError for a damaged form, and what the body raises; nothing of it may be kept then."""
        while (event := await self._next()) is not None:
            if isinstance(event, bytes):
                continue  # what nobody has read of the last part
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise RequestError(f"The form has more than {MAX_PARTS:,} parts", hint="send several forms")
            yield Part(*event, self)
        if not self._parser.ended:
            raise RequestError("The form ends early; nothing of it was stored")

    async def content(self) -> AsyncIterator[bytes]:
        while (event := await self._next()) is not None:
            if not isinstance(event, bytes):
                self._parser.events.appendleft(event)
                return
            yield event

    async def _next(self) -> bytes | tuple[str, str] | None:
        """The next piece of a content, or the field and the file name of the next part; None at the end."""
        from python_multipart.exceptions import FormParserError

        events = self._parser.events
        try:
            while not events:
                received = await anext(self._received, None)
                if received is None:
                    self._parser.finish()
                    return None
                self._parser.feed(received)
        except FormParserError as damaged:
            raise RequestError(f"The form is damaged: {damaged}") from damaged
        return events.popleft()


class _Parser:
    """What a form's parser tells, in its order: field and file name of each part, then pieces of its content.

    Attributes:
        ended: the closing boundary was there.
    """

    def __init__(self, content_type: str) -> None:
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._options = parse_options_header
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= MAX_BOUNDARY:
            raise RequestError("The form has no boundary in its Content-Type")
        self.events: deque[bytes | tuple[str, str]] = deque()
        self.ended = False
        self._header = (bytearray(), bytearray())
        self._headers: dict[str, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": lambda: self._headers.clear(),
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": lambda data, start, end: self.events.append(bytes(data[start:end])),
                "on_end": self._end,
            },
        )

    def feed(self, received: bytes) -> None:
        self._parser.write(received)

    def finish(self) -> None:
        self._parser.finalize()

    def _header_end(self) -> None:
        field, value = self._header
        self._headers[field.decode("latin-1").lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _, options = self._options(self._headers.get("content-disposition"))
        coding = self._headers.get("content-transfer-encoding", b"binary").strip().lower()
        if coding not in {b"binary", b"8bit", b"7bit"}:
            raise RequestError(f"Content-Transfer-Encoding {coding[:40]!r} is not known", hint="send the file as it is")
        field, name = (options.get(key, b"").decode("utf-8", "replace") for key in (b"name", b"filename"))
        self.events.append((field, name))

    def _end(self) -> None:
        self.ended = True
