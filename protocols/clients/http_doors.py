"""HTTP at a port with doors: paths at which another protocol is spoken.

A class of its own, so that a port without them looks nothing up. Owns when a door is looked for: of a WebSocket at its
handshake, of a request when it is there with its body.
"""

from holdfast.protocols.clients import doors
from holdfast.protocols.clients.base import Limits, ProtocolFactory
from holdfast.protocols.clients.doors import Door, ExchangeFactory
from holdfast.protocols.clients.events import Event, HttpRequest, Switch
from holdfast.protocols.clients.exchange import Exchange, answered_before
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.http_head import Head
from holdfast.protocols.clients.http_reply import ReplyWriter
from holdfast.protocols.errors import HoldfastError


class HttpWithDoors(HttpProtocol):
    """The adapter. See protocols.clients.http; doors: those of `limits.doors`."""

    __slots__ = ()

    def _door(self, path: str) -> Door | None:
        return doors.at(self._limits, path)

    def _take_body(self, head: Head, now: float, events: list[Event]) -> None:
        super()._take_body(head, now, events)
        request, writer = self._request, self._writer
        if request is not None and writer is not None:
            make, part = doors.of_requests(self._limits, request.target.partition("?")[0])
            if make is not None:
                events.pop()
                self._knock(make, part, request, head, writer, now, events)

    def _knock(
        self,
        make: ExchangeFactory,
        part: str,
        request: HttpRequest,
        head: Head,
        writer: ReplyWriter,
        now: float,
        events: list[Event],
    ) -> None:
        """At a door that answers requests."""
        if self._ending is not None:
            raise HoldfastError(self._ending.detail, self._ending.reason)
        writer.keeps_alive = writer.keeps_alive and not self._eof
        data = self._lend()
        exchange = Exchange(self._limits, request, part, head.fields.named.get("origin"), writer, self._back)
        events.append(Switch(answered_before(exchange, make.methods) or make(exchange, now), data))


def http_port(limits: Limits) -> ProtocolFactory:
    """The adapter with which connections begin at a port of these."""
    return HttpWithDoors if limits.doors else HttpProtocol
