"""One client connection: a transport, an adapter, and what lies between them.

Owns how its session begins and ends, and who takes too little of what it is told; what comes and how it is answered is
proxy.clients.intake's. The descriptor is proxy.clients.transport's, and who the client is to nodes and channels is
proxy.clients.session's. Knows no protocol: the adapter says what bytes mean. Knows no node: requests go to `dispatch`,
and what nodes say comes back through `reply`, `fail`, `deliver`, `close`.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

import structlog

from holdfast.protocols.clients.base import Begun, ClientProtocol, ClosesWithCode, KnowsSession
from holdfast.protocols.clients.events import Event, Finished, Opened, Refresh, Request, Switch
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, RequestError
from holdfast.proxy.clients.intake import ADMITTED, FREE, NEXT_TURN, Intake, size_of
from holdfast.proxy.clients.session import NOBODY, House, Identity, Session
from holdfast.proxy.clients.state import CLOSED, CLOSING, FINISHED, OPEN
from holdfast.proxy.clients.transport import ROOM_BYTES, Transport

log = structlog.get_logger("holdfast.connection")

RETRY_AFTER = 1.0  # who waits for admission when it is closed, for the proxy's sake mostly
LOOKED_AT = 60.0  # an end of a session that is further off is looked for again then: the wheel keeps no far times


class Beginning(NamedTuple):
    """A session that may begin, if somebody says so. rest: what its adapter has said after that. size: bytes held."""

    event: Opened
    rest: Sequence[Event]
    size: int


class Connection(Intake):
    """Begins and ends. What comes, and its answers, are proxy.clients.intake's.

    All methods are called on the reactor's thread.
    """

    __slots__ = ("_opening", "_reason")

    def __init__(self, clients: House, id: int, transport: Transport, protocol: ClientProtocol) -> None:
        super().__init__(clients, id, transport, protocol)
        self._opening: Beginning | None = None
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

    # --- the beginning of its session ---------------------------------------------------------------------------

    def _begins(self, event: Opened, events: Sequence[Event], now: float) -> bool:
        if not self._clients.asks_for_admission:
            self._open(event, NOBODY, now)
            return False
        rest = events[events.index(event) + 1 :]
        size = sum(len(name) + len(value) for name, value in event.headers) + sum(map(size_of, rest))
        self._opening = Beginning(event, rest, size)
        self._clients.held.bytes += size
        self._hold(ADMITTED)
        if event.refuse is not None:  # whoever ends his side before he is answered has gone
            self.transport.watch_for_end()
        self.in_flight += 1
        self._clients.ask_for_admission(self, event)
        return True

    @property
    def is_opening(self) -> bool:
        return self._opening is not None

    def _end_opening(self) -> Beginning:
        opening, self._opening = self._opening, None
        assert opening is not None
        self._clients.held.bytes -= opening.size
        return opening

    def _open(self, event: Opened, identity: Identity, now: float) -> None:
        session = self.session = Session(self.id, self, now, identity.expires, identity.until)
        self._clients.opened(session, event, identity)
        protocol = self.protocol
        self.transport.set_wire_format(protocol.wire_format)
        if identity.expires < inf:
            self.schedule(min(identity.expires, now + LOOKED_AT))
        # Of KnowsSession; isinstance would look at all of it, for a quarter of what a handshake takes.
        begun: Callable[[Opened, Begun], bytes] | None = getattr(protocol, "begun", None)
        if begun is not None:
            channels = [channel for channel in identity.channels if session.channels and channel in session.channels]
            self.transport.write(begun(event, Begun(session.id, channels, _left(session, now))))

    def _end_session(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self.transport.set_wire_format(None)
            self._clients.ended_session(self, session)

    def expire_in(self, seconds: float) -> None:
        if self.session is not None:
            now = self._clients.reactor.now
            self.session.expires = self.session.until = now + max(seconds, 0.0)
            self.schedule(min(self.session.expires, now + LOOKED_AT))

    def _refresh(self, event: Refresh, now: float) -> None:
        session, protocol = self.session, self.protocol
        if session is None or not isinstance(protocol, KnowsSession):
            return
        try:
            self._clients.renew(session, event.token)
        except HoldfastError as error:
            self.transport.write(protocol.not_refreshed(event, error))
        else:
            self.schedule(min(session.expires, now + LOOKED_AT))
            self.transport.write(protocol.refreshed(event, _left(session, now)))

    def admitted(self, identity: Identity) -> None:
        """It may begin, as this client: what its adapter has said after that holds, then what came meanwhile."""
        opening, now = self._end_opening(), self._clients.reactor.now
        try:
            self._open(opening.event, identity, now)
            self._held_until = FREE
            was_taking, self._taking = self._taking, True
            self._take(opening.rest, now)
            self._taking = was_taking
            self._replied()
            if self._has_early_end and self.state < FINISHED:
                self._put_off()
        except Exception:
            self.crashed()

    def refused_entry(self, error: HoldfastError) -> None:
        """It may not. It is told in the words of its handshake, or with a close code, if a node has chosen one: then
        the handshake is completed first, because browsers show nothing of one that is refused. Nothing else is done of
        what its adapter has said, and its requests have the same answer."""
        opening, now = self._end_opening(), self._clients.reactor.now
        code = error.code if isinstance(error, RequestError) else 0
        refuse = opening.event.refuse
        try:
            self._held_until = FREE
            was_taking, self._taking = self._taking, True
            if refuse is not None and not code:
                self.transport.write(refuse(error))
                self._finish(Finished(error.reason, str(error)), now)
            else:
                for event in opening.rest:
                    if isinstance(event, Request):
                        self.transport.write(self.protocol.error(event, error))
                    else:
                        self._take([Switch(event.protocol, b"") if type(event) is Switch else event], now)
                self.close(error.reason, str(error), code)
            self._taking = was_taking
            self._replied()
        except Exception:
            self.crashed()

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self, reason: Reason, detail: str = "", code: int = 0) -> None:
        """Begin to end the connection, as its protocol does it. Requests with a node may still be answered in HTTP."""
        if self.state is not OPEN:
            return
        if self._opening is not None:
            self._clients.has_abandoned = True
            self.refused_entry(RequestError(detail, reason, RETRY_AFTER if reason.retryable else None, None, code))
            return
        now = self._clients.reactor.now
        try:
            protocol = self.protocol
            due = protocol.deadline
            if code and isinstance(protocol, ClosesWithCode):
                data = protocol.close_with(code, reason, detail, now)
            else:
                data, code = protocol.close(reason, detail, now), 0
        except Exception:
            self.crashed()
            return
        self.transport.write(data)
        if self.is_hushed:
            self._held_until = FREE  # the answer to that is to be read
        if self.session is not None or code:  # with a code and no session: it may not come in, and none follows
            self._leave(reason, detail, code)
            self.state = CLOSING
        try:
            # Nothing is waited for: the end is told now, by TLS too, or perhaps never. A deadline of before is for the
            # timer, which knows for how long we were away.
            if protocol.deadline <= now and protocol.deadline != due:
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
        waiting_bytes += 0 if self._opening is None else self._opening.size
        return self._counted_bytes + waiting_bytes + (0 if outbox is None else outbox.share_bytes)

    @property
    def _waiting_bytes(self) -> int:
        return sum(map(size_of, self._waiting or ()))

    def make_way(self) -> None:
        """All clients hold too much together, and this one most of it. It is told so, where that can be said."""
        transport = self.transport
        has_asked = self.in_flight > 0 and self._opening is None
        if self.state is OPEN and (self.session is not None or not (has_asked or transport.has_unsent)):
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
        """Nodes and channels no longer have this client, or will not."""
        if self._opening is not None:
            self._end_opening()
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

    # --- timers -----------------------------------------------------------------------------------------------------

    def on_timer(self, now: float) -> None:
        """The wheel has come round to us."""
        self.timer = inf
        judges_at = self._clients.judges_at
        try:
            if now >= judges_at:
                self.transport.check(now)
            if NEXT_TURN < self._held_until <= now:
                self.go_on(now)
            elif now < self._held_until < ADMITTED:
                self.schedule(self._held_until)
            session = self.session
            if session is not None and session.expires < inf:  # it is over then, whether we were away or not
                if session.expires <= now:
                    self.close(Reason.EXPIRED, "the time of the session is over")
                else:
                    self.schedule(min(session.expires, now + LOOKED_AT))
            if now < judges_at:
                if self.state is not CLOSED:
                    self.schedule(max(min(self.protocol.deadline, self.transport.due), judges_at))
                return
            if self.state < FINISHED and self.protocol.deadline <= now and self._is_heard:
                self._take(self.protocol.on_deadline(now), now)
            if self.state is not CLOSED:
                self._after_events(now)
                self.schedule(self.transport.due)
        except Exception:
            self.crashed()


def _left(session: Session, now: float) -> float | None:
    """Seconds until it ends, unless its client shows a new token; None: that is not how it ends."""
    return session.expires - now if session.expires < session.until else None
