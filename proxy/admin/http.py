"""A request and a response of the admin server, whole in memory: both are small by limit."""

import re
from collections.abc import Mapping
from math import inf

import msgspec
from msgspec import Struct

from holdfast.proxy.views import Fault, Refusal

JSON = "application/json"
WAIT = re.compile(
    r"(?:^|[,;])[ \t]*wait[ \t]*=[ \t]*(\"?)([0-9]{1,6}(?:\.[0-9]{1,20})?)\1[ \t]*(?:[,;]|$)", re.IGNORECASE
)
LEAST_WAIT = 0.001  # seconds, of who has had its body on the way for longer than it waits
CHALLENGE = ("WWW-Authenticate", 'Bearer realm="holdfast"')  # of a 401


class Request(Struct, frozen=True):
    """target: path and query as on the request line. headers: lower-case names. spent: seconds from when the head was
    there until the body was."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    spent: float = 0.0

    @property
    def wait(self) -> float:
        """Seconds that the caller still waits for an answer, as its `Prefer: wait=5` says (RFC 7240, and parts of a
        second), which counts from the head on: a slow body takes its time from it. inf: it does not."""
        found = WAIT.search(self.headers.get("prefer", ""))
        seconds = float(found[2]) if found else 0.0
        return max(LEAST_WAIT, seconds - self.spent) if seconds else inf


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
