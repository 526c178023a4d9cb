"""What comes from a client: from the bytes of its socket to requests that are dispatched.

The half of a connection that takes; what answers is proxy.clients.answering, and its end proxy.clients.connection.
Owns how much is taken at once: requests up to `client.max_in_flight`, and in a turn no more than the adapter's share of
work (UNITS_PER_CALL). What is above that stays with the adapter, is not read on top of, and is gone on with in a later
turn.
"""

from collections import deque
from collections.abc import Sequence
from math import inf

import structlog

from holdfast.protocols.clients.base import UNITS_PER_CALL, ClientProtocol
from holdfast.protocols.clients.events import (
    Closed,
    Event,
    Finished,
    HttpRequest,
    Message,
    Opened,
    Output,
    Publish,
    Refresh,
    Request,
    Silent,
    Subscribe,
    Switch,
    Unsubscribe,
)
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.proxy.clients.answering import Answering
from holdfast.proxy.clients.rate_limit import RateLimit
from holdfast.proxy.clients.reactor import READABLE
from holdfast.proxy.clients.session import House, Session
from holdfast.proxy.clients.state import CLOSED, FINISHED, OPEN
from holdfast.proxy.clients.transport import Transport

log = structlog.get_logger("holdfast.connection")

_SHARE = range(UNITS_PER_CALL)
# Of when a client is taken from again, beside times: at once, in the next turn, when it is admitted; inf is never.
FREE, NEXT_TURN, ADMITTED = -inf, 0.0, 1e300


class Intake(Answering):
    """See the module. timer: when the wheel comes to us, see proxy.clients.wheel."""

    __slots__ = ("_counted_bytes", "_has_early_end", "_held_until", "_rate_limit", "_waiting", "timer")

    def __init__(self, clients: House, id: int, transport: Transport, protocol: ClientProtocol) -> None:
        self._clients = clients
        self.id = id
        self.transport = transport
        self.protocol = protocol
        self.session: Session | None = None
        self.state = OPEN
        self.in_flight = 0
        self.timer = inf
        self._taking = False  # within a call of _take
        self._answered = False  # a request was answered within that call
        # Beyond max_in_flight; at most what one call of the adapter gave.
        self._waiting: deque[Request | Unsubscribe] | None = None
        self._held_until = FREE  # else nothing is taken until `go_on`, and nothing read; inf: until it is closed
        self._has_early_end = False  # nevertheless the end of file came
        self._rate_limit: RateLimit | None = None  # where messages have a rate
        self._counted_bytes = 0  # what the adapter held when it was last asked
        transport.owner = self

    def _finish(self, event: Finished, now: float) -> None:
        """The other half's."""
        raise NotImplementedError

    def _refresh(self, event: Refresh, now: float) -> None:
        """A new token. The other half's."""
        raise NotImplementedError

    def _end_session(self) -> None:
        """It is over, and the connection goes on. The other half's."""
        raise NotImplementedError

    def _begins(self, event: Opened, events: Sequence[Event], now: float) -> bool:
        """Its session. True: not before somebody has said that it may, and what follows waits."""
        raise NotImplementedError

    # --- taking -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """What the socket gave, decrypted; b"" is end of file."""
        events = self.protocol.receive_data(data, now)
        clients = self._clients
        self._taking = True
        match events:
            case [event] if (
                type(event) is Message
                and self.in_flight < clients.max_in_flight
                and self._waiting is None
                and not clients.rate
            ):  # the usual case, spelled out: as `_take` would
                clients.counters.messages_received += 1
                self.in_flight += 1
                clients.dispatch(self, event)
            case _:
                self._take(events, now)
        self._taking = False
        if (self._answered or self._waiting is not None) and self._held_until == FREE:
            self._continue(now)
        elif self.state is not CLOSED:
            self._after_events(now)

    def receive_end(self, now: float) -> None:
        """The end of file came with the last data: perhaps not all of that is taken."""
        if self._held_until != FREE or (self.protocol.paused and self.protocol.has_more):
            self._has_early_end = True
        else:
            self.receive(b"", now)

    def go_on(self, now: float) -> None:
        """A turn has passed since we were put off, or the time."""
        if self.is_hushed:
            return
        self._held_until = FREE
        if self.state >= FINISHED:
            return
        try:
            if self._may_go_on:
                self._taking = True
                self._take(self.protocol.resume(now), now)
                self._taking = False
            if self._has_early_end and self.state < FINISHED and not (self.protocol.paused and self.protocol.has_more):
                self._has_early_end = False
                self._take(self.protocol.receive_data(b"", now), now)
            self._continue(now)
        except Exception:
            self.crashed()

    @property
    def _may_go_on(self) -> bool:
        """The adapter has more of what has come, and its requests have room."""
        has_more = self.protocol.paused and self.protocol.has_more
        return has_more and (self.state is not OPEN or (self._waiting is None and self._may_take) or self._may_wait)

    @property
    def _may_wait(self) -> bool:
        """More may be taken, though it can not be dispatched yet."""
        return False

    def _put_off(self) -> None:
        """The next turn goes on."""
        if self._held_until == FREE:
            self._hold(NEXT_TURN)
            self._clients.unfinished.append(self)

    @property
    def has_asked(self) -> bool:
        """Something that was taken has no reply yet."""
        return self.in_flight > 0 or self._waiting is not None

    def hush(self) -> None:
        """It is to be closed: nothing more is taken of it, and what was taken is answered yet, and not at its rate."""
        self._hold(inf)
        self._continue(self._clients.reactor.now)

    @property
    def is_hushed(self) -> bool:
        return self._held_until == inf

    def _hold(self, until: float) -> None:
        self._held_until = until
        self.transport.set_reading(False)

    def _count(self, events: Sequence[Event], now: float) -> RateLimit:
        """Of a client whose messages have a rate: what came. It may be that no more is read for a while."""
        rate_limit = self._rate_limit
        if rate_limit is None:
            rate_limit = self._rate_limit = RateLimit(self._clients.rate)
        protocol = self.protocol
        units = UNITS_PER_CALL if protocol.paused and protocol.has_more else len(events)
        until = rate_limit.count(min(units + protocol.eventless - rate_limit.eventless, UNITS_PER_CALL), now)
        rate_limit.eventless = protocol.eventless
        if until > now and self._held_until == FREE:
            self._hold(until)
            self.schedule(until)
        return rate_limit

    def _continue(self, now: float) -> None:
        """Go on with what was held back. A loop: many may be answered at once. Guarded: a node's reply may call it."""
        self._taking = True
        try:
            for _ in _SHARE:
                if self.state is not OPEN or not self._may_take:
                    break
                if self._held_until != FREE and not (self.is_hushed and self._waiting):
                    break
                if self._waiting is not None:
                    event = self._waiting.popleft()
                    self._clients.held.bytes -= size_of(event)
                    if isinstance(event, Message | HttpRequest):
                        self._ask(event, now)
                    else:
                        self._ask_of_channel(event, now)
                    if not self._waiting:
                        self._waiting = None
                elif self.protocol.paused:
                    break
                else:
                    self._answered = False
                    events = self.protocol.resume(now)
                    if not events:
                        break
                    self._take(events, now)
                    if not self._answered and self._waiting is None:
                        break
            else:
                self._put_off()
            if self.state is not CLOSED:
                self._after_events(now)
        except Exception:
            self.crashed()
        self._taking = self._answered = False

    def _take(self, events: Sequence[Event], now: float) -> None:
        clients = self._clients
        limit = clients.max_in_flight
        if clients.rate:
            self._count(events, now)
        for event in events:
            if type(event) is Message:
                clients.counters.messages_received += 1
                if self.in_flight >= limit or self._waiting is not None:
                    self._wait(event)
                elif not (clients.rate and self._is_over_rate(event, now)):
                    self.in_flight += 1
                    clients.dispatch(self, event)
            elif type(event) is Output:
                self.transport.write(event.data)
            elif type(event) is HttpRequest:
                clients.counters.messages_received += 1
                self._ask(event, now)
            elif type(event) is Opened:
                if self._begins(event, events, now):
                    return
            elif type(event) is Switch:
                self.protocol = event.protocol
                if self._rate_limit is not None:
                    self._rate_limit.eventless = 0  # each adapter counts its own
                if self.session is not None:
                    self.transport.set_wire_format(event.protocol.wire_format)
                if event.data:
                    self._take(self.protocol.receive_data(event.data, now), now)
            elif type(event) is Closed:
                self._end_session()
            elif type(event) is Silent:
                if not self.transport.is_taking(now):
                    self.close(Reason.IDLE, event.detail)
            elif type(event) is Finished:
                self._finish(event, now)
            elif type(event) is Refresh:
                self._refresh(event, now)
            elif type(event) is Subscribe or type(event) is Publish or type(event) is Unsubscribe:
                clients.counters.messages_received += 1
                if self._waiting is not None or (self.in_flight >= limit and type(event) is not Unsubscribe):
                    self._wait(event)
                else:
                    self._ask_of_channel(event, now)
            else:
                raise TypeError(f"{type(event).__name__} is not an event of protocols.clients.events")
            if self.state >= FINISHED:
                return

    def _ask(self, event: Message | HttpRequest, now: float) -> None:
        if not (self._clients.rate and self._is_over_rate(event, now)):
            self.in_flight += 1
            self._clients.dispatch(self, event)

    def _ask_of_channel(self, event: Subscribe | Unsubscribe | Publish, now: float) -> None:
        clients = self._clients
        if isinstance(event, Unsubscribe):
            clients.subscribing.unsubscribe(self, event)
        elif not (clients.rate and self._is_over_rate(event, now)):
            self.in_flight += 1
            if isinstance(event, Subscribe):
                clients.subscribing.subscribe(self, event)
            else:
                clients.subscribing.publish(self, event)

    def _wait(self, event: Request | Unsubscribe) -> None:
        if self._waiting is None:
            self._waiting = deque()
            self._clients.counters.limits_hit["client.max_in_flight"] += 1
        self._waiting.append(event)
        self._clients.held.bytes += size_of(event)

    def _count_held(self, held_bytes: int) -> None:
        self._clients.held.bytes += held_bytes - self._counted_bytes
        self._counted_bytes = held_bytes

    def _is_over_rate(self, event: Request, now: float) -> bool:
        if self._rate_limit is None or self._rate_limit.may_ask(now):
            return False
        self._clients.counters.limits_hit["client.max_message_rate"] += 1
        self.in_flight += 1
        self.fail(event, RequestError(f"more than {self._clients.rate:g} messages a second", Reason.RATE_LIMITED, 1.0))
        return True

    def _after_events(self, now: float) -> None:
        protocol = self.protocol
        transport = self.transport
        # The usual case, spelled out: all is well, and nothing about it changes.
        if (
            transport.interest != READABLE
            or protocol.paused
            or self.in_flight >= self._clients.max_in_flight
            or self._waiting is not None
        ):
            if protocol.paused:
                if protocol.has_more and self._may_go_on:
                    self._put_off()
                is_wanted = self.state is not OPEN
            else:
                is_wanted = self.state is not OPEN or (self._waiting is None and self._may_take) or self._may_wait
            transport.set_reading(is_wanted and self._held_until == FREE)
        if protocol.deadline < self.timer and self._is_heard:
            self._clients.wheel.schedule(self, protocol.deadline)
        if protocol.held_bytes != self._counted_bytes:
            self._count_held(protocol.held_bytes)

    @property
    def _may_take(self) -> bool:
        """Requests are dispatched only while their replies have room, too."""
        outbox = self.transport.outbox
        return self.in_flight < self._clients.max_in_flight and (
            outbox is None or outbox.size <= self._clients.max_outbox_bytes // 2
        )

    @property
    def _is_heard(self) -> bool:
        """While we do not read a client, its silence is ours."""
        return self.transport.interest & READABLE != 0 or self.transport.has_eof

    def made_room(self, now: float) -> None:
        """The transport has less to send than before: something may have been held back."""
        if not self.transport.interest & READABLE and self._may_take:
            self._continue(now)

    # --- timers ---------------------------------------------------------------------------------------------------

    def schedule(self, when: float) -> None:
        """Have `on_timer` called then, or before."""
        if when < self.timer:
            self._clients.wheel.schedule(self, when)


def size_of(event: Event) -> int:
    """What it holds, as payload or as data of another protocol."""
    if type(event) is Switch:
        return len(event.data)
    return len(event.payload) if isinstance(event, Request) else 0
