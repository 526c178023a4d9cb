"""Paths of the HTTP port at which another protocol is spoken, and where those protocols register.

A door is one way in: the path, and who makes the adapter of what comes there. It is within WebSocket, in messages
(within.py): then the handshake, frames and compression are the same for all. Or it answers requests in its own way
(exchange.py), as with a stream: then the connection is its own until it has answered. Without `client.doors` nothing is
looked up.
"""

from importlib.metadata import entry_points
from typing import NamedTuple, Protocol

from holdfast.protocols.clients.base import ClientProtocol, Limits
from holdfast.protocols.clients.exchange import Exchange
from holdfast.protocols.clients.within import Handshake, MessageProtocol, limits_within

ENTRY_POINTS = "holdfast.doors"


class MessageProtocolFactory(Protocol):
    """Makes what is within for a new connection. subprotocols: those of WebSocket that its clients may name; the first
    of these that they offer is agreed on."""

    name: str
    subprotocols: tuple[str, ...]

    def __call__(self, limits: Limits, handshake: Handshake, now: float) -> MessageProtocol: ...


class ExchangeFactory(Protocol):
    """Makes the adapter that a connection speaks while a request is answered. methods: those of its requests; others,
    preflights and foreign origins have had their answer before."""

    name: str
    methods: tuple[str, ...]

    def __call__(self, exchange: Exchange, now: float) -> ClientProtocol: ...


class Door(NamedTuple):
    """Within WebSocket. make: see above. limits: of the frames."""

    make: MessageProtocolFactory
    limits: Limits


class _Doors(NamedTuple):
    """By path. below: those that end with a part of any text, by what stands before that."""

    limits: Limits
    whole: dict[str, "Door | ExchangeFactory"]
    below: dict[str, "Door | ExchangeFactory"]


def registered() -> dict[str, MessageProtocolFactory | ExchangeFactory]:
    """Every installed protocol by name: built-in ones and those of the entry-point group holdfast.doors."""
    return {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}


def is_of_requests(make: MessageProtocolFactory | ExchangeFactory) -> bool:
    return hasattr(make, "methods")


def door_to(make: MessageProtocolFactory, limits: Limits) -> Door:
    return Door(make, limits_within(limits, make.subprotocols))


def at(limits: Limits, path: str) -> Door | None:
    """The door at this path for a WebSocket, of `limits.doors`. Raises KeyError for a protocol that is not registered.
    A path that ends with a part in braces is one for whatever stands there, without a slash and not nothing; one that
    is written out comes before it."""
    found, _ = _find(limits, path)
    return found if isinstance(found, Door) else None


def of_requests(limits: Limits, path: str) -> tuple[ExchangeFactory | None, str]:
    """The same for a request; and what stands in the place of a part in braces, as it came: "" if there is none."""
    found, part = _find(limits, path)
    return (None, "") if isinstance(found, Door) else (found, part)


def _find(limits: Limits, path: str) -> tuple[Door | ExchangeFactory | None, str]:
    global _last
    if _last is None or _last.limits is not limits:
        _last = _read(limits)
    found = _last.whole.get(path)
    if found is not None or not _last.below:
        return found, ""
    before, _, part = path.rpartition("/")
    return (_last.below.get(before), part) if part else (None, "")


def _read(limits: Limits) -> _Doors:
    known = registered()
    doors = _Doors(limits, {}, {})
    for spec in limits.doors:
        name, _, path = spec.partition(":")
        made = known[name]
        door = made if is_of_requests(made) else door_to(made, limits)  # type: ignore[arg-type]
        if path.endswith("}"):
            doors.below[path.rpartition("/")[0]] = door  # type: ignore[assignment]
        else:
            doors.whole[path] = door  # type: ignore[assignment]
    return doors


# All connections have the same limits, and so have what is made of them.
_last: _Doors | None = None
