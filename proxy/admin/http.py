"""A request and a response of the admin server, whole in memory: both are small by limit."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from holdfast.proxy.views import Fault, Refusal

JSON = "application/json"
CHALLENGE = ("WWW-Authenticate", 'Bearer realm="holdfast"')  # of a 401


class Request(Struct, frozen=True):
    """target: path and query as on the request line. headers: lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


class Response(Struct, frozen=True):
    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class HttpError(Exception):
    """A refusal: its status, and a message for the caller."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def as_json(value: object, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(value) + b"\n")


def as_error(error: HttpError) -> Response:
    """`{"error": {"status": 404, "message": "..."}}`."""
    refusal = Refusal(Fault(error.status, str(error)))
    return Response(error.status, msgspec.json.encode(refusal) + b"\n", headers=error.headers)
