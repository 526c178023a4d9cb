"""The opening handshake of WebSocket (RFC 6455 section 4.2), server side.

Owns the check of the request, of its Origin, and the choice of subprotocol and extension. Refuses, with the status
that tells a client what to change: a malformed handshake 400, another version 426, a foreign origin 403.
"""

import re
from base64 import b64decode

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.deflate import Deflate, negotiate
from holdfast.protocols.clients.http_head import Head
from holdfast.protocols.clients.websocket import accept_key
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

# Of this connection's framing, and nothing to a node. Sec-WebSocket-Protocol is: a node may speak several.
NOT_FOR_NODES = frozenset({"sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version"})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SUBDOMAINS = re.compile(r"[a-z0-9._-]+")


def is_upgrade(head: Head) -> bool:
    """Whether the client wants WebSocket, rightly or not. Other protocols are ignored, as RFC 9110 allows."""
    return "websocket" in head.tokens("upgrade")


def accept(head: Head, limits: Limits) -> tuple[bytes, Deflate | None]:
    """The answer 101, and the codec if permessage-deflate was agreed on. Raises ProtocolError."""
    if head.method != "GET" or head.is_http10 or head.fields.length:
        raise ProtocolError("a WebSocket handshake must be GET, HTTP/1.1, and without a body")
    if "upgrade" not in head.fields.options:
        raise ProtocolError("a WebSocket handshake must have the header Connection: Upgrade")
    if head.fields.named.get("sec-websocket-version") != "13":
        raise ProtocolError("Sec-WebSocket-Version must be 13", Reason.UPGRADE_REQUIRED)
    key = head.fields.named.get("sec-websocket-key")
    if key is None or not _is_key(key):
        raise ProtocolError("Sec-WebSocket-Key must be the base64 of 16 bytes")
    origin = head.fields.named.get("origin")
    if (origin is not None and "," in origin) or not is_origin_allowed(origin, limits.origins):
        raise ProtocolError("the Origin is not an allowed one", Reason.ORIGIN_REFUSED)
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
    ]
    subprotocol = choose_subprotocol(head.fields.named.get("sec-websocket-protocol"), limits.subprotocols)
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    offers = head.fields.named.get("sec-websocket-extensions")
    agreed = negotiate(offers, limits) if offers is not None else None
    deflate = None
    if agreed is not None:
        extension, deflate = agreed
        lines.append(f"Sec-WebSocket-Extensions: {extension}")
    return "\r\n".join((*lines, "\r\n")).encode("ascii"), deflate


def is_origin_allowed(origin: str | None, allowed: tuple[str, ...]) -> bool:
    """Whether a page from `origin` may connect. None: not a browser, or an old one; allowed by "*" or "none".

    Compared whole, port included, in lower case. An entry like "https://*.example.org" is for the names below it.
    """
    if "*" in allowed:
        return True
    if origin is None:
        return "none" in allowed
    origin = origin.lower()
    return any(_matches(origin, entry.lower()) for entry in allowed if entry != "none")


def _matches(origin: str, entry: str) -> bool:
    before, star, after = entry.partition("*")
    if not star:
        return origin == entry
    below = origin[len(before) : len(origin) - len(after)]
    return origin == before + below + after and _SUBDOMAINS.fullmatch(below) is not None


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def choose_subprotocol(offer: str | None, preferred: tuple[str, ...]) -> str | None:
    """Our first that is offered; without any of ours, the client's first. None: none is agreed on."""
    if offer is None:
        return None
    # Empty elements of a list don't count (RFC 9110 section 5.6.1).
    offered = [name for part in offer.split(",") if (name := part.strip(" \t"))]
    if not all(_TOKEN.fullmatch(name) for name in offered) or len(set(offered)) != len(offered):
        raise ProtocolError("Sec-WebSocket-Protocol must be names, separated by commas, each once")
    if not preferred:
        return offered[0] if offered else None
    return next((name for name in preferred if name in offered), None)
