"""Forms in the body of an HTTP request: `application/x-www-form-urlencoded` and `multipart/form-data`.

Owns the bounds, and what is the client's mistake (RequestError). The grammar of multipart is python-multipart's. The
whole body is there already, so nothing is spooled to a disk. Parameters of headers are read
here: its way with them takes a hundred times as long for as many semicolons as it takes for letters.
"""

import re
from urllib.parse import parse_qsl

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from holdfast.node.errors import RequestError
from holdfast.node.fields import File, Form

URLENCODED, MULTIPART = b"application/x-www-form-urlencoded", b"multipart/form-data"
MAX_HEADERS, MAX_HEADER_BYTES = 16, 4 << 10  # of a part; browsers send two short ones
MAX_PARAMETERS = 16  # of a header; browsers send two
MAX_URLENCODED_BYTES = 1 << 20  # to read as much takes up to 0.2 s; what is larger are files, and those are multipart's

# What may follow "multipart/form-data" and "form-data". Within quotes a backslash is one, as browsers write it (WHATWG
# HTML, section 4.10.22.8), but before another and before a quote, as others do, unless that is the last of all.
_PARAMETER = re.compile(
    rb'[ \t]*;[ \t]*([^=;" \t]*)[ \t]*(?:=[ \t]*(?:"([^"\\]*(?:\\(?:(?!"\Z).|(?="\Z))[^"\\]*)*)"|([^;"]*)))?', re.DOTALL
)


def parse(content_type: str, body: bytes, max_parts: int, max_bytes: int) -> Form:
    """Raises RequestError: 400 for what is no form, 413 for one that is too large, 415 for another type."""
    if len(body) > max_bytes:
        raise RequestError(413, f"a form has at most {max_bytes} bytes here, got {len(body)}")
    try:
        kind, options = _options(content_type.encode("latin-1", "replace"))
        if kind == MULTIPART:
            return _multipart(options.get(b"boundary", b""), body, max_parts)
        if kind == URLENCODED:
            return _urlencoded(body, max_parts)
    except FormParserError as error:
        raise RequestError(400, f"not a form: {error}") from error
    except UnicodeError as error:
        raise RequestError(400, "the text of a form is UTF-8") from error
    raise RequestError(415, f"expected a form: {MULTIPART.decode()} or {URLENCODED.decode()}")


def _options(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """`kind; name=value; name="value"`, the kind in lower case. Raises RequestError."""
    header = header.strip(b" \t")
    kind = header.partition(b";")[0]
    options: dict[bytes, bytes] = {}
    place = len(kind)
    for _ in range(MAX_PARAMETERS):
        if place == len(header):
            return kind.rstrip(b" \t").lower(), options
        found = _PARAMETER.match(header, place)
        if found is None:
            break
        place = found.end()
        name, quoted, plain = found.groups(b"")
        quoted = quoted.replace(b"\\\\", b"\\").replace(b'\\"', b'"')
        options[name.lower()] = quoted or plain.rstrip(b" \t")
    raise RequestError(400, "not a form: a header has parameters, ; NAME=VALUE, and few")


def _urlencoded(body: bytes, max_parts: int) -> Form:
    if len(body) > MAX_URLENCODED_BYTES:
        raise RequestError(413, f"a form without files has at most {MAX_URLENCODED_BYTES} bytes, got {len(body)}")
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
        kind, options = _options(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise RequestError(400, "not a form: a part says `Content-Disposition: form-data` and its name")
        name, content = options[b"name"].decode(), b"".join(self._content)
        filename = options.get(b"filename")
        if filename is None:
            self.pairs.append((name, content.decode()))
        else:
            content_type = self._headers.get(b"content-type", b"text/plain").decode("latin-1")
            if filename[1:3] == b":\\":  # all of a path, as some clients send it
                filename = filename.rpartition(b"\\")[2]
            self.files.append(File(name, filename.decode(), content_type, content))

    def end(self) -> None:
        self.is_whole = True


def _too_many(max_parts: int) -> RequestError:
    return RequestError(413, f"a form has at most {max_parts} fields and files here")
