"""Kuzzle's JSON: what a request holds, how a response and a notification look. Nothing of networks or nodes.

Over WebSocket a response carries `room`, which is the request's id; over HTTP it does not, and its status is the
HTTP status. A notification carries `room` too: the channel. Clients tell both apart by that name alone.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from re import Match
from re import compile as pattern
from sys import float_info
from typing import Any

import msgspec

from holdfast.kuzzle.errors import KuzzleError, error

ANONYMOUS = "-1"  # the id of the user who has not logged in
NAMED = frozenset({"requestId", "controller", "action", "jwt", "volatile", "body"})  # all else is `args`


LONG_NUMBER = pattern(rb"[0-9]{19}")  # digits in a row without which no whole number is beyond 64 bits
JAVASCRIPT = pattern(rb"\\u[dD]|[0-9]{19}|[0-9][eE]")  # without these no JSON of JavaScript is strange to msgspec
# A surrogate pair or half of one, as escapes, with the escaped backslashes before it.
HALVES = pattern(
    rb"(?<!\\)((?:\\\\)*)(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
LEAST, MOST = -(2**63), 2**64 - 1
MAX_LEVELS = 200  # of arrays and objects in a request: less than what a document is put into, or a stack, may bear


async def _no_flush() -> None:
    """Of a request that no node has got."""


# Returns the result, or what has to be awaited for it.
Action = Callable[["Request"], Awaitable[object] | object]


@dataclass(slots=True)
class Request:
    """What a client asks for. An action gets one and may set `status`; everything else is to read."""

    request_id: str = ""  # the client's own; it may use one twice
    controller: str | None = None
    action: str | None = None
    args: dict[str, Any] = field(default_factory=dict)  # index, collection, _id and whatever the action defines
    body: Any = None  # an object or an array, None if there was none
    volatile: dict[str, Any] | None = None  # the client's own: echoed in the response and put into notifications
    jwt: str | None = None
    protocol: str = "websocket"
    client: int = 0  # id of the connection; what node.join and node.notify take
    user: str = ANONYMOUS
    token: str = ""  # the name of the token that says so, and when it ends, in seconds since 1970
    token_ends: float = 0.0
    timestamp: int = 0  # milliseconds since 1970
    origin: str = ""  # equal for all deliveries of one request and for nothing else
    redelivered: bool = False  # another node may have done this, or part of it, already
    until: float = inf  # no later than then it may be delivered again, in seconds since 1970
    status: int = 200  # of a successful response
    # Carry out now what was done through the node so far, as holdfast.Request.flush, also if the action fails later.
    flush: Callable[[], Awaitable[None]] = _no_flush

    @property
    def index(self) -> str:
        """Of the arguments, as `string` gives them."""
        return self.string("index")

    @property
    def collection(self) -> str:
        """Likewise."""
        return self.string("collection")

    @property
    def document_id(self) -> str:
        """The argument `_id`. Raises `api.assert.invalid_id` if it begins with an underscore."""
        value = self.string("_id")
        if value.startswith("_"):
            raise error("api.assert.invalid_id")
        return value

    def string(self, name: str, default: str | None = None) -> str:
        """An argument that is a string. Raises `api.assert.missing_argument` if it is absent and has no default."""
        return _string(self.args, name, name, default)

    def integer(self, name: str, default: int | None = None) -> int:
        """An argument that is a whole number, or in a URL the digits of one."""
        value = self.args.get(name)
        if value is None:
            if default is None:
                raise error("api.assert.missing_argument", name)
            return default
        try:
            if isinstance(value, str) or (isinstance(value, float) and value.is_integer()):
                value = int(value)
        except ValueError:  # no digits, or thousands of them
            pass
        if isinstance(value, bool) or not isinstance(value, int):
            raise error("api.assert.invalid_type", name, "integer")
        return value

    def flag(self, name: str) -> bool:
        """An argument that is a boolean. In a URL it is true by being there, whatever its value."""
        value = self.args.get(name)
        if self.protocol == "http" and isinstance(value, str):
            return True
        if not isinstance(value, bool | None):
            raise error("api.assert.invalid_type", name, "boolean")
        return bool(value)

    def object_body(self) -> dict[str, Any]:
        """The body, which must be there and an object."""
        if self.body is None:
            raise error("api.assert.body_required")
        return self.optional_body()

    def optional_body(self) -> dict[str, Any]:
        """The body, which must be an object if it is there; without one it is empty."""
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            raise error("api.assert.invalid_type", "body", "object")
        return self.body

    def body_string(self, name: str) -> str:
        """A string of the body. Raises `api.assert.missing_argument` if it is absent."""
        return _string(self.object_body(), name, f"body.{name}", None)

    def require_login(self) -> None:
        """Refuse who is not logged in."""
        if self.user == ANONYMOUS:
            raise error("security.rights.unauthorized", self.controller, self.action)


def _string(values: Mapping[str, Any], name: str, shown: str, default: str | None) -> str:
    value = values.get(name)
    if value is None:
        if default is None:
            raise error("api.assert.missing_argument", shown)
        return default
    if not isinstance(value, str):
        raise error("api.assert.invalid_type", shown, "string")
    return value


def decode(payload: bytes, failure: str) -> dict[str, Any]:
    """A request's JSON object. What is not one raises the error `failure` of the catalogue."""
    data = decode_any(payload, failure)
    if not isinstance(data, dict):
        raise error(failure, "a request must be an object")
    return data


def decode_any(payload: bytes, failure: str) -> Any:  # noqa: ANN401 - JSON
    """The same for any JSON, as JavaScript reads it. A whole number beyond 64 bits, which the state could not hold, is
    a float, and one beyond all floats the largest. Half of a surrogate pair, which JavaScript writes as it stands,
    becomes U+FFFD."""
    try:
        data = _decode_js(payload)
        if payload.count(b"{") + payload.count(b"[") > MAX_LEVELS and _is_deep(data):
            raise error(failure, f"at most {MAX_LEVELS} levels of arrays and objects")
        return data
    except (ValueError, RecursionError) as reason:  # of both libraries: an error of msgspec is a ValueError
        raise error(failure, reason) from reason


def _decode_js(payload: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        data = msgspec.json.decode(payload)
        if not LONG_NUMBER.search(payload):
            return data
    except msgspec.DecodeError:
        if not JAVASCRIPT.search(payload):
            raise
    text = HALVES.sub(_character, payload).decode()
    return json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_refuse)  # at a fifth of the speed


def _character(escape: Match[bytes]) -> bytes:
    before, whole = escape.groups()
    return escape[0] if whole else before + b"\\ufffd"


def _whole(digits: str) -> int | float:
    number = int(digits) if len(digits) <= 20 else MOST + 1  # int() refuses thousands of digits
    return number if LEAST <= number <= MOST else _real(digits)


def _real(digits: str) -> float:
    return max(-float_info.max, min(float(digits), float_info.max))


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _is_deep(data: Any) -> bool:  # noqa: ANN401 - JSON
    level = [data]
    for _ in range(MAX_LEVELS):
        level = [
            part
            for whole in level
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def fill(request: Request, data: Mapping[str, Any]) -> None:
    """Set what `data` says. Raises KuzzleError (400) at an attribute of the wrong type; what came before it is set.

    The id first, so that even a request that is refused gets an answer that its sender recognises.
    """
    if data.get("requestId") not in (None, ""):
        request.request_id = _typed(data, "requestId", str, "string")
    request.controller = _typed(data, "controller", str, "string")
    request.action = _typed(data, "action", str, "string")
    request.args = {name: value for name, value in data.items() if name not in NAMED}
    request.volatile = _typed(data, "volatile", dict, "object")
    request.body = _typed(data, "body", (dict, list), "object")
    request.jwt = _typed(data, "jwt", str, "string")


def _typed(data: Mapping[str, Any], name: str, kind: type | tuple[type, ...], shown: str) -> Any:  # noqa: ANN401
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise error("api.assert.invalid_type", name, shown)
    return value


def response(request: Request, node: str, outcome: object) -> bytes:
    """The JSON of the response: `outcome` is the action's result, or a KuzzleError."""
    failure = outcome if isinstance(outcome, KuzzleError) else None
    content: dict[str, Any] = {
        "action": request.action,
        "collection": request.args.get("collection"),
        "controller": request.controller,
        "error": failure.as_json() if failure else None,
        "index": request.args.get("index"),
        "node": node,
        "requestId": request.request_id,
        "result": None if failure else outcome,
        "status": failure.status if failure else request.status,
        "volatile": request.volatile,
    }
    if request.protocol != "http":
        content["room"] = request.request_id
    return msgspec.json.encode(content)


_EVENTS = {"publish": "publish", "delete": "delete"}  # every other action that notifies writes


def document_notification(request: Request, node: str, scope: str, action: str, result: object) -> bytes:
    """A document, or a published message, came into the scope of a subscription ("in") or left it ("out")."""
    return msgspec.json.encode(
        {
            "type": "document",
            "status": 200,
            "action": action,
            "scope": scope,
            "result": result,
            "node": node,
            "event": _EVENTS.get(action, "write"),
            "requestId": request.request_id,
            "timestamp": request.timestamp,
            "volatile": request.volatile,
            "index": request.args.get("index"),
            "collection": request.args.get("collection"),
            "controller": request.controller,
            "protocol": request.protocol,
        }
    )


def user_notification(
    user: str, count: int, index: str, collection: str, volatile: object, node: str, timestamp: int
) -> bytes:
    """Somebody joined a room (user "in") or left it ("out"); `count` are in it now."""
    return msgspec.json.encode(
        {
            "type": "user",
            "status": 200,
            "user": user,
            "result": {"count": count},
            "node": node,
            "timestamp": timestamp,
            "volatile": volatile,
            "index": index,
            "collection": collection,
            "controller": "realtime",
            "action": "subscribe" if user == "in" else "unsubscribe",
            "protocol": "websocket",
        }
    )


def token_expired(node: str) -> bytes:
    """The token that a subscription was made with is good for nothing any more, and so the subscription is over."""
    return msgspec.json.encode(
        {
            "type": "TokenExpired",
            "status": 200,
            "info": "This is an automated server notification",
            "message": "Authentication Token Expired",
            "node": node,
        }
    )


def for_channels(notification: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the channel's name, for each of the channels that get it: `room` is the only
    difference. Nothing in a name needs an escape: it is a hash and some digits.
    """
    return notification[:-1] + b',"room":"', b'"}'
