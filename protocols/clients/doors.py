"""Paths of the HTTP port at which another protocol is spoken within WebSocket, and where those protocols register.

A door is one way in: the path, and who makes the adapter of what is said there in messages (within.py). The handshake,
frames, compression, and what a port does besides are the same for all. Without `client.doors` nothing is looked up.
"""

from importlib.metadata import entry_points
from typing import NamedTuple, Protocol

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.within import Handshake, MessageProtocol, limits_within

ENTRY_POINTS = "holdfast.doors"


class MessageProtocolFactory(Protocol):
    """Makes what is within for a new connection. subprotocols: those of WebSocket that its clients may name; the first
    of these that they offer is agreed on."""

    name: str
    subprotocols: tuple[str, ...]

    def __call__(self, limits: Limits, handshake: Handshake, now: float) -> MessageProtocol: ...


class Door(NamedTuple):
    """make: see above. limits: of the frames."""

    make: MessageProtocolFactory
    limits: Limits


def registered() -> dict[str, MessageProtocolFactory]:
    """Every installed protocol by name: built-in ones and those of the entry-point group holdfast.doors."""
    return {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}


def door_to(make: MessageProtocolFactory, limits: Limits) -> Door:
    return Door(make, limits_within(limits, make.subprotocols))


def at(limits: Limits, path: str) -> Door | None:
    """The door at this path, of `limits.doors`. Raises KeyError for a protocol that is not registered."""
    global _last
    if _last is None or _last[0] is not limits:
        known = registered()
        specs = (spec.partition(":") for spec in limits.doors)
        _last = limits, {where: door_to(known[name], limits) for name, _, where in specs}
    return _last[1].get(path)


# All connections have the same limits, and so have what is made of them.
_last: tuple[Limits, dict[str, Door]] | None = None
