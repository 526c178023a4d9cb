"""HTTP as Kuzzle speaks it: what a request means, and the headers of a response. Pure.

Owns the reading of URL, headers and body into the same attributes that a message of a WebSocket has. Takes JSON
bodies only. `POST /_query` carries a whole request as its body.
"""

from typing import Any, Protocol
from urllib.parse import parse_qsl

from holdfast.kuzzle.errors import error
from holdfast.kuzzle.routes import VERBS, Routes
from holdfast.kuzzle.wire import NAMED, decode, decode_any

_METHODS = "GET,POST,PUT,PATCH,DELETE,OPTIONS,HEAD"
_HEADERS = (
    "Content-Type, Access-Control-Allow-Headers, Authorization, X-Requested-With, Content-Encoding, Content-Length, "
    "X-Kuzzle-Volatile"
)


class Headers(Protocol):
    """What is needed of the headers of a request: the first value of a name, in any case."""

    def get(self, name: str) -> str | None: ...


def read(routes: Routes, method: str, target: str, headers: Headers, payload: bytes) -> dict[str, Any] | None:
    """The attributes of a request (see `wire.fill`). None: there is nothing to do, it only asks what it may do.

    Raises KuzzleError: an unknown URL or verb, a body or header that can't be read.
    """
    path, _, query = target.partition("?")
    if method == "OPTIONS" or (method == "HEAD" and path == "/"):
        return None
    if method not in VERBS:
        raise error("network.http.unsupported_verb", method)
    body = _body(headers.get("content-type"), payload)
    if method == "POST" and path == "/_query":
        if not isinstance(body, dict):
            raise error("api.assert.body_required")
        data: dict[str, Any] = body
    else:
        found = routes.find(method, path) if path.startswith("/") else None
        if found is None:
            raise error("network.http.url_not_found", path)
        route, parameters = found
        data = {name: value for name, value in _arguments(query).items() if name not in NAMED}
        data.update(parameters, controller=route.controller, action=route.action, body=body)
    authorization = headers.get("authorization") or ""
    if authorization[:7].lower() == "bearer " and data.get("jwt") is None:
        data["jwt"] = authorization[7:]
    volatile = headers.get("x-kuzzle-volatile")
    if volatile is not None:
        data["volatile"] = decode(volatile.encode(), "network.http.volatile_parse_failed")
    return data


def _arguments(query: str) -> dict[str, str]:
    """The arguments of a URL. Given twice, the last one counts."""
    return dict(parse_qsl(query, keep_blank_values=True))


def _body(content_type: str | None, payload: bytes) -> Any:  # noqa: ANN401
    if not payload:
        return None
    kind = (content_type or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise error("network.http.unsupported_content", kind)
    return decode_any(payload, "network.http.body_parse_failed")


def response_headers(request_id: str, node: str, origin: str | None) -> list[tuple[str, str]]:
    """The headers of every response. Pages of any origin may read it: there are no cookies to misuse."""
    headers = [
        ("Content-Type", "application/json"),
        ("X-Kuzzle-Request-Id", request_id),
        ("X-Kuzzle-Node", node),
        ("Access-Control-Allow-Origin", origin or "*"),
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", _HEADERS),
    ]
    return [*headers, ("Vary", "Origin")] if origin else headers
