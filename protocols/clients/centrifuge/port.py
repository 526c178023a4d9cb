"""A port for Centrifuge's clients: HTTP, where each WebSocket speaks their protocol, at whatever path.

For `client.protocols`, as "centrifuge://0.0.0.0:8000". Requests over HTTP are taken there as at any other port.
"""

from typing import ClassVar

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.centrifuge.protocol import CentrifugeProtocol
from holdfast.protocols.clients.doors import Door, door_to
from holdfast.protocols.clients.http import HttpProtocol


class CentrifugePort(HttpProtocol):
    """The adapter that its connections begin with."""

    __slots__ = ()

    name: ClassVar[str] = "centrifuge"

    def _door(self, path: str) -> Door | None:
        return _door_of(self._limits)


# All connections of a port have the same limits, and so have what is made of them.
_last: tuple[Limits, Door] | None = None


def _door_of(limits: Limits) -> Door:
    global _last
    if _last is None or _last[0] is not limits:
        _last = limits, door_to(CentrifugeProtocol, limits)
    return _last[1]
