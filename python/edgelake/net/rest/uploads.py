"""Files in request bodies: a form with the field ``file``, or the body itself. Spec: "REST API", section 12."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

from edgelake.errors import RequestError
from edgelake.net.rest.bodies import Body
from edgelake.net.rest.exchange import Headers

FIELD = "file"
MAX_BOUNDARY = 200


class Upload:
    """The file of one request, read once, in pieces of bounded size.

    Attributes:
        name: file name of the form, known from the first piece on; "" = none.
    """

    def __init__(self, headers: Headers, body: Body) -> None:
        self.name = ""
        self._type = headers.get("content-type") or ""
        self._body = body

    def pieces(self) -> AsyncIterator[bytes]:
        """Raises RequestError for a damaged form and one without the field, and what the body raises."""
        if self._type.partition(";")[0].strip().lower() == "multipart/form-data":
            return self._of_form()
        return self._body.pieces()

    async def _of_form(self) -> AsyncIterator[bytes]:
        from python_multipart.exceptions import FormParserError

        form = _Form(self._type)
        try:
            async for received in self._body.pieces():
                form.feed(received)
                self.name = form.name
                while form.found:
                    yield form.found.popleft()
            form.finish()
        except FormParserError as damaged:
            raise RequestError(f"The form is damaged: {damaged}") from damaged
        if not form.ended:
            raise RequestError("The form ends early; nothing of it was stored")
        if not form.files:
            raise RequestError(f"The form has no field '{FIELD}'", hint=f"curl -F '{FIELD}=@name' ...")


class _Form:
    """The events of a form's parser, of which only the field ``file`` is kept.

    Attributes:
        found: pieces of the file that nobody has taken yet.
        files: fields of that name so far.
        ended: the closing boundary was there.
    """

    def __init__(self, content_type: str) -> None:
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._options = parse_options_header
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= MAX_BOUNDARY:
            raise RequestError("The form has no boundary in its Content-Type")
        self.name = ""
        self.found: deque[bytes] = deque()
        self.files = 0
        self.ended = False
        self._wanted = False
        self._header = (bytearray(), bytearray())
        self._headers: dict[str, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def feed(self, received: bytes) -> None:
        self._parser.write(received)

    def finish(self) -> None:
        self._parser.finalize()

    def _part(self) -> None:
        self._wanted = False
        self._headers.clear()

    def _header_end(self) -> None:
        field, value = self._header
        self._headers[field.decode("latin-1").lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _, options = self._options(self._headers.get("content-disposition"))
        self._wanted = options.get(b"name", b"").decode("utf-8", "replace") == FIELD
        if not self._wanted:
            return
        self.files += 1
        if self.files > 1:
            raise RequestError(f"The form has more than one field '{FIELD}'", hint="send each file by itself")
        coding = self._headers.get("content-transfer-encoding", b"binary").strip().lower()
        if coding not in {b"binary", b"8bit", b"7bit"}:
            raise RequestError(f"Content-Transfer-Encoding {coding[:40]!r} is not known", hint="send the file as it is")
        self.name = options.get(b"filename", b"").decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.found.append(data[start:end])

    def _end(self) -> None:
        self.ended = True
