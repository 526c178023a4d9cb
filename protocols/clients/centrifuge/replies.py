"""What a client is sent: replies and pushes, each one line of JSON.

Owns what of a subscription or a session is said. A line has no newline in it, as several of them may be one message.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from holdfast.protocols.clients.base import Begun, Subscribed
from holdfast.protocols.clients.centrifuge.codes import error_code
from holdfast.protocols.clients.embedding import embed
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Publication

PING: Final = b"{}"
VERSION: Final = "holdfast"

_MARGIN = 10.0  # a client is to show a new token so many seconds before the old one's end, or in half of its time

_MAX_TTL = (1 << 31) - 1

_encode = msgspec.json.Encoder().encode


def text(value: str) -> bytes:
    """As a JSON string."""
    return _encode(value)


def result(id: int, field: str, said: bytes = b"{}") -> bytes:
    """The reply to a command. field: the command's name. said: JSON."""
    return b'{"id":%d,"%b":%b}' % (id, field.encode(), said)


def error(id: int, error: HoldfastError) -> bytes:
    """Instead of a result."""
    code, is_temporary = error_code(error)
    return failure(id, code, str(error), is_temporary=is_temporary)


def failure(id: int, code: int, message: str, *, is_temporary: bool = False) -> bytes:
    """The same, of what has no reason."""
    told: dict[str, Any] = {"code": code, "message": message}
    if is_temporary:
        told["temporary"] = True
    return _encode({"id": id, "error": told})


def rpc(id: int, payload: bytes | None, is_text: bool) -> bytes:
    """What a node says to `rpc`; None: nothing."""
    if payload is None:
        return result(id, "rpc")
    return b'{"id":%d,"rpc":{"data":%b}}' % (id, embed(payload, is_text))


def connected(id: int, begun: Begun, ping: int) -> bytes:
    """ping: seconds between pings; 0: there are none."""
    told: dict[str, Any] = {"client": f"{begun.client:016x}", "version": VERSION} | _lifetime(begun.expires)
    if begun.channels:
        told["subs"] = {channel: {} for channel in begun.channels}
    if ping:
        told |= {"ping": ping, "pong": True}
    return result(id, "connect", _encode(told))


def subscribed(id: int, said: Subscribed) -> bytes:
    told = _lifetime(said.expires)
    if said.position is not None:
        told |= {"recoverable": True, "positioned": True}
        told |= {"epoch": said.position.epoch, "offset": said.position.offset}
    if said.recovered is not None:
        told |= {"was_recovering": True, "recovered": said.recovered}
    if said.missed:
        told["publications"] = [Raw(_publication(each)) for each in said.missed]
    if said.info:
        told["data"] = Raw(embed(said.info, is_text=True))
    return result(id, "subscribe", _encode(told))


def refreshed(id: int, field: str, expires: float | None) -> bytes:
    """The new time of a session (`refresh`), or of a subscription (`sub_refresh`)."""
    return result(id, field, _encode(_lifetime(expires)))


def publication(channel: str, said: Publication) -> bytes:
    return b'{"push":{"channel":%b,"pub":%b}}' % (_encode(channel), _publication(said))


def push(channel: str, kind: str, said: bytes = b"{}") -> bytes:
    """Something of a channel that no command asked for. said: JSON."""
    return b'{"push":{"channel":%b,"%b":%b}}' % (_encode(channel), kind.encode(), said)


def unsubscribe(channel: str, code: int, reason: str) -> bytes:
    """A subscription has ended, by no wish of the client."""
    return push(channel, "unsubscribe", _encode({"code": code, "reason": reason}))


def message(payload: bytes, is_text: bool) -> bytes:
    """Something of no channel."""
    return b'{"push":{"message":{"data":%b}}}' % embed(payload, is_text)


def _lifetime(expires: float | None) -> dict[str, Any]:
    if expires is None:
        return {}
    return {"expires": True, "ttl": max(1, int(min(max(expires - _MARGIN, expires / 2), _MAX_TTL)))}


def _publication(said: Publication) -> bytes:
    offset = b',"offset":%d' % said.offset if said.offset else b""
    info = b',"info":%b' % embed(said.sender, is_text=True) if said.sender else b""
    return b'{"data":%b%b%b}' % (embed(said.payload, said.is_text), offset, info)
