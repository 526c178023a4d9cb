"""One client connection: a transport, an adapter, and what lies between them.

Owns backpressure and the end of one connection; the descriptor is proxy.transport's. Knows no protocol: the adapter
says what bytes mean. Knows no node: requests go to `dispatch`, and what nodes say comes back through `reply`, `fail`,
`deliver`, `close`.
"""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import structlog

from protocols.clients.base import ClientProtocol, ReplyHead
from protocols.clients.events import Event, Finished, HttpRequest, Message, Opened, Output, Request, Switch
from protocols.close import Reason
from protocols.errors import HoldfastError, ProtocolError, RequestError
from proxy.outbox import Outbox
from proxy.reactor import READABLE, WRITABLE
from proxy.tls import TlsChannel
from proxy.transport import CLOSED, CLOSING, FINISHED, OPEN, Transport

if TYPE_CHECKING:
    from proxy.clients import Clients

log = structlog.get_logger("holdfast.connection")

# After our last word we read on for so long, so that the peer's unread data does not turn our close into a reset
# that destroys that word on its way.
LINGER = 2.0


class Connection(Transport):
    """See the module. All methods are called between or within turns of the reactor, on its thread.

    in_flight: requests that have no reply yet. channels: what it has joined, None until the first.
    """

    __slots__ = (
        "_answered", "_eof", "_rate_at", "_reason", "_taking", "_waiting", "channels",
        "in_flight", "is_session", "protocol", "since", "timer", "wire_format",
    )  # fmt: skip

    def __init__(
        self, clients: "Clients", id: int, fd: int, address: str, protocol: ClientProtocol, tls: TlsChannel | None
    ) -> None:
        super().__init__(clients, id, fd, address, tls)
        self.protocol = protocol
        self.wire_format = protocol.wire_format
        self.since = clients.reactor.now
        self.is_session = False
        self.in_flight = 0
        self.channels: set[str] | None = None
        self.timer = inf  # when the wheel comes to us, see proxy.wheel
        self._eof = False
        self._taking = False  # within a call of _take
        self._answered = False  # a request was answered within that call
        self._waiting: list[Event] | None = None  # beyond max_in_flight; at most what one read gave
        self._rate_at = 0.0
        self._reason = Reason.CLIENT_LEFT

    def __repr__(self) -> str:
        return f"<Connection {self.id:016x} {self.protocol.name} {self.state.name}>"

    # --- reading ----------------------------------------------------------------------------------------------

    def on_crash(self) -> None:
        self.abort(Reason.INTERNAL_ERROR)

    def _crash(self) -> None:
        """The guard of what others call here: an adapter's fault is its connection's end, and nobody else's."""
        log.exception("adapter_crashed", protocol=self.protocol.name, address=self.address)
        self.abort(Reason.INTERNAL_ERROR)

    def receive(self, data: bytes, now: float) -> None:
        """What the socket gave, decrypted; b"" is end of file."""
        if not data:
            self._eof = True
        if self.state is FINISHED:  # lingering: discard
            if self._eof:
                self.abort(self._reason)
            return
        events = self.protocol.receive_data(data, now)
        clients = self._clients
        self._taking = True
        if (
            len(events) == 1
            and type(event := events[0]) is Message
            and self.in_flight < clients.max_in_flight
            and self._waiting is None
            and not clients.rate
        ):  # the usual case, spelled out: as `_take` would
            clients.counters.messages_received += 1
            self.in_flight += 1
            clients.dispatch(self, event)
        else:
            self._take(events, now)
        self._taking = False
        if self._answered or self._waiting is not None:
            self._continue(now)
        elif self.fd >= 0:
            self._after_events(now)

    def _continue(self, now: float) -> None:
        """Go on with what was held back. A loop and not recursion: a thousand requests may be answered at once."""
        self._taking = True
        while self.state is OPEN:
            self._answered = False
            if not self._may_take:
                break
            if self._waiting is not None:
                events: Sequence[Event] = self._waiting
                self._waiting = None
            elif self.protocol.paused:
                break
            else:
                events = self.protocol.resume(now)
            if events:
                self._take(events, now)
            if not self._answered:
                break
        self._taking = False
        if self.fd >= 0:
            self._after_events(now)

    def _take(self, events: Sequence[Event], now: float) -> None:
        clients = self._clients
        limit = clients.max_in_flight
        for event in events:
            if type(event) is Message:
                clients.counters.messages_received += 1
                if self.in_flight >= limit or self._waiting:
                    self._wait(event)
                elif not (clients.rate and self._is_over_rate(event, now)):
                    self.in_flight += 1
                    clients.dispatch(self, event)
            elif type(event) is Output:
                self.write(event.data)
            elif type(event) is HttpRequest:
                clients.counters.messages_received += 1
                if not (clients.rate and self._is_over_rate(event, now)):
                    self.in_flight += 1
                    clients.dispatch(self, event)
            elif type(event) is Opened:
                self.is_session = True
                clients.opened(self, event)
                self._set_direct()
            elif type(event) is Switch:
                self.protocol = event.protocol
                self.wire_format = event.protocol.wire_format
                self._set_direct()
                if event.data:
                    self._take(self.protocol.receive_data(event.data, now), now)
            elif type(event) is Finished:
                self._finish(event.reason, event.detail)
            if self.state >= FINISHED:
                return

    def _after_events(self, now: float) -> None:
        protocol = self.protocol
        if protocol.deadline < self.timer:
            self._clients.wheel.schedule(self, protocol.deadline)
        # The usual case, spelled out: all is well, and nothing about it changes.
        if (
            self._interest != READABLE
            or protocol.paused
            or self.in_flight >= self._clients.max_in_flight
            or self._outbox is not None
            or self._waiting is not None
            or self._eof
        ):
            self._set_interest()

    @property
    def _may_take(self) -> bool:
        """Requests are dispatched only while their replies have room, too."""
        return self.in_flight < self._clients.max_in_flight and (
            self._outbox is None or self._outbox.size <= self._clients.max_outbox_bytes // 2
        )

    def _made_room(self) -> None:
        if not self._interest & READABLE and self._may_take:  # something may have been held back
            self._continue(self._clients.reactor.now)
        else:
            self._set_interest()

    def _unread(self, outbox: Outbox) -> None:
        limit = self._clients.max_unread_reply_bytes
        self._overflow(outbox, "client.max_unread_reply_bytes", f"more than {limit} bytes wait")

    def _wait(self, event: Event) -> None:
        if self._waiting is None:
            self._waiting = []
            self._clients.counters.limits_hit["client.max_in_flight"] += 1
        self._waiting.append(event)

    def _is_over_rate(self, event: Request, now: float) -> bool:
        # GCRA: the time at which this message would be due if they came evenly; a second's worth may come early.
        due = max(self._rate_at, now - 1.0) + 1.0 / self._clients.rate
        if due <= now:
            self._rate_at = due
            return False
        self._clients.counters.limits_hit["client.max_message_rate"] += 1
        self.in_flight += 1
        message = f"more than {self._clients.rate:g} messages per second"
        self.fail(event, RequestError(message, Reason.RATE_LIMITED, 1.0))
        return True

    def _set_interest(self) -> None:
        """Read only what can be taken: backpressure reaches the client through its own socket."""
        if self.fd < 0:
            return
        outbox = self._outbox
        reading = not self._eof
        if reading and self.state is OPEN:
            reading = self._waiting is None and not self.protocol.paused and self._may_take
        interest = (READABLE if reading else 0) | (WRITABLE if outbox is not None else 0)
        self._interest = interest
        self._set_direct()
        # Who is not to be read stays registered until something comes: an HTTP client's next request mostly comes after
        # the reply, so that saves two system calls for each.
        if interest != self._registered and interest | READABLE != self._registered:
            self._register()

    def _set_direct(self) -> None:
        is_open = self.is_session and self.state is OPEN
        self.direct = self.wire_format if is_open and self._outbox is None and self._tls is None else None

    # --- replies ----------------------------------------------------------------------------------------------

    def reply(self, event: Request, head: ReplyHead | None, payload: bytes, is_text: bool, more: bool) -> bool:
        """A node's reply to `event`, or with `more` a part of it. A bad one is answered as an error.

        False: no more parts are wanted, because of that or because the connection has gone.
        """
        if self.state is not OPEN:
            return False
        try:
            data = self.protocol.reply(event, head, payload, is_text, more)
        except ProtocolError as error:
            self.fail(event, error)
            return False
        except Exception:
            self._crash()
            return False
        self.write(data)
        if not more:
            self._replied()
        return True

    def fail(self, event: Request, error: HoldfastError) -> None:
        """A typed error in place of the reply."""
        if self.state is not OPEN:
            return
        self._clients.counters.request_errors[error.reason] += 1
        try:
            data = self.protocol.error(event, error)
        except Exception:
            self._crash()
            return
        self.write(data)
        self._replied()

    def _replied(self) -> None:
        self.in_flight -= 1
        if self._taking:  # answered at once, while its event is being taken
            self._answered = True
        elif not self._interest & READABLE:  # something may have been held back
            self._continue(self._clients.reactor.now)

    def deliver(self, data: bytes) -> None:
        """An encoded notification. It may be the one too many for a client that does not read."""
        if self.state is not OPEN:
            return
        if self._outbox is not None and self._outbox.size > self._clients.max_outbox_bytes:
            self._overflow(
                self._outbox, "client.max_outbox_bytes", f"more than {self._clients.max_outbox_bytes} bytes wait"
            )
        else:
            self.write(data)

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self, reason: Reason, detail: str = "") -> None:
        """Begin to end the connection, as its protocol does it. Requests with a node may still be answered in HTTP."""
        if self.state is not OPEN:
            return
        now = self._clients.reactor.now
        try:
            data = self.protocol.close(reason, detail, now)
        except Exception:
            self._crash()
            return
        self.write(data)
        if self.is_session:
            self._leave(reason)
            self.state = CLOSING
        self._after_events(now)

    def on_timer(self, now: float) -> None:
        """The wheel has come round to us."""
        try:
            self._on_timer(now)
        except Exception:
            self._crash()

    def _on_timer(self, now: float) -> None:
        self.timer = inf
        if self.state is FINISHED:
            self.abort(self._reason)
        elif self.state is OPEN and not self._interest & READABLE and not self._eof:
            self._check_progress(now)
        elif self.state < FINISHED:
            if self.protocol.deadline <= now:
                self._take(self.protocol.on_deadline(now), now)
            if self.fd >= 0:
                self._after_events(now)

    def _overflow(self, outbox: Outbox, limit: str, detail: str) -> None:
        """It is too slow, by the limit of that name: what had begun is finished, then it is told."""
        now = self._clients.reactor.now
        self._clients.counters.limits_hit[limit] += 1
        self._clients.counters.slow_consumers += 1
        log.info("slow_consumer", client=f"{self.id:016x}", address=self.address, waiting_bytes=outbox.size)
        data = self.protocol.close(Reason.SLOW_CONSUMER, detail, now)
        if self._tls is None:
            outbox.truncate()
        else:
            data = self._tls.send(data)  # an encrypted stream has no part that could be left out
        outbox.put(data)
        self._leave(Reason.SLOW_CONSUMER)
        self.state = CLOSING
        self._after_events(now)

    def _check_progress(self, now: float) -> None:
        """We don't read this client, so its silence is ours. But it must take what it has been sent."""
        outbox = self._outbox
        if outbox is not None and not outbox.has_moved:
            detail = f"{outbox.size} bytes wait, and none was taken for {self._clients.stall_timeout:g} s"
            self._overflow(outbox, "client.ping_timeout", detail)
            return
        if outbox is not None:
            outbox.has_moved = False
        self._clients.wheel.schedule(self, now + self._clients.stall_timeout)

    def _leave(self, reason: Reason) -> None:
        """Nodes and channels no longer have this client."""
        self._reason = reason
        self._waiting = None
        self.direct = None
        self._clients.closed(self, reason)

    def _finish(self, reason: Reason, detail: str) -> None:
        if self.state is OPEN:
            self._leave(reason)
        if detail:
            log.debug("connection_finished", address=self.address, reason=reason.value, detail=detail)
        self.state = FINISHED
        if self.pending is None and self._outbox is None:
            self._end()
        else:
            self._clients.wheel.schedule(self, self._clients.reactor.now + LINGER)

    def _end(self) -> None:
        """All is written. A client that left is let go; another may still be sending: read on for a moment."""
        if self._reason is Reason.CLIENT_LEFT or self._eof:
            self.abort(self._reason)
            return
        self._clients.wheel.schedule(self, self._clients.reactor.now + LINGER)
        if self._shut_down():
            self._set_interest()
        else:
            self.abort(self._reason)

    def abort(self, reason: Reason) -> None:
        """Close the descriptor now, whatever waits."""
        if self.fd < 0:
            return
        if self.state is OPEN:
            self._leave(reason)
        self.state = CLOSED
        self._close()
        self._clients.forget(self)
