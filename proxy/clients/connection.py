"""One client connection: a transport, an adapter, and what lies between them.

Owns how it ends, and who takes too little of what it is told; what comes and how it is answered is
proxy.clients.intake's. The descriptor is proxy.clients.transport's, and who the client is to nodes and channels is
proxy.clients.session's. Knows no protocol: the adapter says what bytes mean. Knows no node: requests go to `dispatch`,
and what nodes say comes back through `reply`, `fail`, `deliver`, `close`.
"""

import structlog

from holdfast.protocols.clients.base import ClientProtocol, ClosesWithCode
from holdfast.protocols.clients.events import Finished
from holdfast.protocols.close import Reason
from holdfast.proxy.clients.intake import FREE, Intake
from holdfast.proxy.clients.session import House
from holdfast.proxy.clients.state import CLOSED, CLOSING, FINISHED, OPEN
from holdfast.proxy.clients.transport import ROOM_BYTES, Transport

log = structlog.get_logger("holdfast.connection")


class Connection(Intake):
    """Ends. What comes, and its answers, are proxy.clients.intake's. All methods are called on the reactor's thread."""

    __slots__ = ("_reason",)

    def __init__(self, clients: House, id: int, transport: Transport, protocol: ClientProtocol) -> None:
        super().__init__(clients, id, transport, protocol)
        self._reason = Reason.CLIENT_LEFT

    def __repr__(self) -> str:
        return f"<Connection {self.id:016x} {self.protocol.name} {self.state.name}>"

    def deliver(self, data: bytes) -> None:
        """An encoded notification. It may be the one too many for a client that does not read."""
        if self.state is not OPEN:
            return
        limit = self._clients.max_outbox_bytes
        if self.transport.outbox_bytes > limit:
            self._cut_off("client.max_outbox_bytes", f"more than {limit} bytes wait")
        else:
            self.transport.write(data)

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self, reason: Reason, detail: str = "", code: int = 0) -> None:
        """Begin to end the connection, as its protocol does it. Requests with a node may still be answered in HTTP."""
        if self.state is not OPEN:
            return
        now = self._clients.reactor.now
        try:
            protocol = self.protocol
            if code and isinstance(protocol, ClosesWithCode):
                data = protocol.close_with(code, reason, detail, now)
            else:
                data = protocol.close(reason, detail, now)
        except Exception:
            self.crashed()
            return
        self.transport.write(data)
        if self.is_hushed:
            self._held_until = FREE  # the answer to that is to be read
        if self.session is not None:
            self._leave(reason, detail, code)
            self.state = CLOSING
        try:
            if protocol.deadline <= now:  # nothing is waited for: the end is told now, by TLS too, or perhaps never
                self._take(protocol.on_deadline(now), now)
        except Exception:
            self.crashed()
        if self.state is not CLOSED:
            self._after_events(now)

    def _cut_off(self, limit: str, detail: str) -> None:
        """It is too slow, by the limit of that name: what had begun is finished, then it is told.

        Where that can't be told, because a reply has begun in its place, it is a reset.
        """
        counters = self._clients.counters
        counters.limits_hit[limit] += 1
        counters.slow_consumers += 1
        if self.session is None:
            self.abort(Reason.SLOW_CONSUMER, detail)
        else:
            self.transport.truncate()
            self.close(Reason.SLOW_CONSUMER, detail)

    def overflowed(self) -> bool:
        """More waits than may, replies included. False: that is no matter any more."""
        if self.state is not OPEN:
            return False
        limit = self._clients.max_unread_reply_bytes
        self._cut_off("client.max_unread_reply_bytes", f"more than {limit} bytes wait")
        return True

    @property
    def held_bytes(self) -> int:
        """Its part of what all hold, its open requests aside."""
        transport, outbox = self.transport, self.transport.outbox
        waiting_bytes = transport.kept_bytes + self._waiting_bytes
        return self._counted_bytes + waiting_bytes + (0 if outbox is None else outbox.share_bytes)

    @property
    def _waiting_bytes(self) -> int:
        return sum(len(event.payload) for event in self._waiting or ())

    def make_way(self) -> None:
        """All clients hold too much together, and this one most of it. It is told so, where that can be said."""
        transport = self.transport
        if self.state is OPEN and (self.session is not None or not (self.in_flight or transport.has_unsent)):
            transport.truncate()
            self.close(Reason.OVERLOADED, "all clients together hold too much, and this one most of it")
            if self.transport.outbox_bytes <= ROOM_BYTES:
                return
        self.abort(Reason.OVERLOADED)

    def stalled(self) -> None:
        """What waits was not taken, not even a part of it, for as long as may be."""
        if self.state is OPEN:
            timeout = self._clients.stall_timeout
            detail = f"{self.outbox_bytes} bytes wait, and none was taken for {timeout:g} s"
            self._cut_off("client.ping_timeout", detail)
        else:
            self.abort(self._reason)

    def _leave(self, reason: Reason, detail: str = "", code: int = 0) -> None:
        """Nodes and channels no longer have this client."""
        session, self.session = self.session, None
        self._reason = reason
        if self._waiting is not None:
            self._clients.held.bytes -= self._waiting_bytes
            self._waiting = None
        self.transport.set_wire_format(None)
        self._clients.closed(self, session, reason, detail, code)

    def _finish(self, event: Finished, now: float) -> None:
        if event.is_broken:
            self.ended(is_whole=False, reason=event.reason, detail=event.detail)
            return
        if self.state is OPEN:
            self._leave(event.reason, event.detail)
        if event.detail:
            log.debug("connection_finished", client=f"{self.id:016x}", reason=event.reason.value, detail=event.detail)
        self.state = FINISHED
        self.transport.finish(now)

    def refused(self, why: str, now: float) -> None:
        """What came could not be decrypted."""
        self._finish(Finished(Reason.PROTOCOL_ERROR, why), now)

    def lost(self) -> None:
        """The peer has gone."""
        self.abort(Reason.CLIENT_LEFT)

    def abort(self, reason: Reason, detail: str = "") -> None:
        """Close the descriptor now, whatever waits."""
        is_answering = self.session is None and self.in_flight > 0
        self.ended(is_whole=not (is_answering or self.transport.has_unsent), reason=reason, detail=detail)

    def ended(self, *, is_whole: bool, reason: Reason = Reason.CLIENT_LEFT, detail: str = "") -> None:
        """Close the descriptor: all has been said, or, not whole, never will be."""
        if self.state is CLOSED:
            return
        try:
            if self.state is OPEN:
                self._leave(reason, detail)
        finally:  # whoever could not be told, the descriptor and its place are free
            self.state = CLOSED
            self._count_held(0)
            transport, self.transport = self.transport, self._clients.nowhere  # else the two are a cycle of garbage
            self._clients.forget(self)
            transport.close(is_whole=is_whole)
