"""A port for Centrifuge's clients: HTTP, where each WebSocket speaks their protocol, at whatever path.

For `client.protocols`, as "centrifuge://0.0.0.0:8000". Requests over HTTP are taken there as at any other port.
"""

from typing import ClassVar, Final

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.centrifuge.protocol import CentrifugeProtocol, Handshake
from holdfast.protocols.clients.deflate import Deflate
from holdfast.protocols.clients.events import Event, Opened, Output, Switch
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.within import WithinWebSocket, limits_within

SUBPROTOCOLS: Final = ("centrifuge-json",)


class CentrifugePort(HttpProtocol):
    """The adapter that its connections begin with."""

    __slots__ = ()

    name: ClassVar[str] = "centrifuge"

    @property
    def _limits_within(self) -> Limits:
        return _within(self._limits)

    def _enter(self, opened: Opened, answer: bytes, deflate: Deflate | None, now: float, events: list[Event]) -> None:
        handshake = Handshake(opened.path, opened.headers, opened.address, opened.query)
        inner = CentrifugeProtocol(self._limits, handshake, now)
        protocol = WithinWebSocket(self._limits_within, inner, now, deflate=deflate)
        events += Output(answer), Switch(protocol, bytes(self._buffer))


# All connections of a port have the same limits, and so have what is made of them.
_last: tuple[Limits, Limits] | None = None


def _within(limits: Limits) -> Limits:
    global _last
    if _last is None or _last[0] is not limits:
        _last = limits, limits_within(limits, SUBPROTOCOLS)
    return _last[1]
