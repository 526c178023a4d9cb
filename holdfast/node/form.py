"""Forms in the body of an HTTP request: `application/x-www-form-urlencoded` and `multipart/form-data`.

Owns the bounds, and what is the client's mistake (RequestError). The grammar of multipart is python-multipart's. The
whole body is there already, so nothing is spooled to a disk.
"""

from urllib.parse import parse_qsl

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from holdfast.node.errors import RequestError
from holdfast.node.fields import File, Form

URLENCODED, MULTIPART = b"application/x-www-form-urlencoded", b"multipart/form-data"
MAX_HEADERS, MAX_HEADER_BYTES = 16, 4 << 10  # of a part; browsers send two short ones


def parse(content_type: str, body: bytes, max_parts: int, max_bytes: int) -> Form:
    """Raises RequestError: 400 for what is no form, 413 for one that is too large, 415 for another type."""
    if len(body) > max_bytes:
        raise RequestError(413, f"a form has at most {max_bytes} bytes here, got {len(body)}")
    try:
        kind, options = parse_options_header(content_type)
        if kind == MULTIPART:
            return _multipart(options.get(b"boundary", b""), body, max_parts)
        if kind == URLENCODED:
            return _urlencoded(body, max_parts)
    except FormParserError as error:
        raise RequestError(400, f"not a form: {error}") from error
    except UnicodeError as error:
        raise RequestError(400, "the text of a form is UTF-8") from error
    raise RequestError(415, f"expected a form: {MULTIPART.decode()} or {URLENCODED.decode()}")


def _urlencoded(body: bytes, max_parts: int) -> Form:
    if body.count(b"&") >= max_parts:
        raise _too_many(max_parts)
    return Form(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))


def _multipart(boundary: bytes, body: bytes, max_parts: int) -> Form:
    if not boundary:
        raise RequestError(400, "not a form: multipart/form-data has a boundary")
    reader = _Reader(max_parts)
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": reader.begin,
            "on_header_field": reader.header_name,
            "on_header_value": reader.header_value,
            "on_header_end": reader.header_end,
            "on_part_data": reader.data,
            "on_part_end": reader.part_end,
            "on_end": reader.end,
        },
        max_header_count=MAX_HEADERS,
        max_header_size=MAX_HEADER_BYTES,
    )
    parser.write(body)
    parser.finalize()
    if not reader.is_whole:
        raise RequestError(400, "not a form: it has no end")
    return Form(reader.pairs, reader.files)


class _Reader:
    """What the parser calls, a piece at a time."""

    def __init__(self, max_parts: int) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.files: list[File] = []
        self.is_whole = False
        self._max_parts = max_parts
        self._parts = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._content: list[bytes] = []

    def begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise _too_many(self._max_parts)
        self._headers, self._content = {}, []

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def part_end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise RequestError(400, "not a form: a part says `Content-Disposition: form-data` and its name")
        name, content = options[b"name"].decode(), b"".join(self._content)
        filename = options.get(b"filename")
        if filename is None:
            self.pairs.append((name, content.decode()))
        else:
            content_type = self._headers.get(b"content-type", b"text/plain").decode("latin-1")
            self.files.append(File(name, filename.decode(), content_type, content))

    def end(self) -> None:
        self.is_whole = True


def _too_many(max_parts: int) -> RequestError:
    return RequestError(413, f"a form has at most {max_parts} fields and files here")
