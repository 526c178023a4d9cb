"""One adapter under test, and the proxy's part in its life, every step of it checked: of the conformance kit.

The laws are in protocols.clients.conformance.
"""

from collections.abc import Sequence
from math import inf, isnan
from typing import NoReturn

from msgspec.structs import replace

from holdfast.protocols.clients.base import (
    UNITS_PER_CALL,
    Begun,
    ClientProtocol,
    KnowsChannels,
    KnowsSession,
    Limits,
    ProtocolFactory,
    ReplyHead,
    Subscribed,
)
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
from holdfast.protocols.errors import HoldfastError, ProtocolError
from holdfast.protocols.positions import Position, Publication

_ADDRESS = "192.0.2.1:50000"
MAX_READ_BYTES = 64 << 10  # one read of the reactor: so much may come while the adapter is paused
_MAX_UNTOLD_BYTES = 1 << 10  # the head of a frame, what is between two messages
MAX_STEPS = 16  # of deadlines that follow one another without a byte from the peer
_MAX_EVENTS_OF_A_UNIT = 4
_EVENTS = (
    Closed, Finished, HttpRequest, Message, Opened, Output, Publish, Refresh, Silent, Subscribe, Switch, Unsubscribe,
)  # fmt: skip
_OF_SESSIONS = (Message, Publish, Refresh, Subscribe, Unsubscribe)
_MISSED = (Publication(b"1", True, 1), Publication(b"\xff", False, 2, b"{}"))
_HEAD = ReplyHead(200, (("X-Part", "1"),))
_UNSENDABLE = ReplyHead(7, (("bad\r\nname", "\u2028"),))


class Violation(AssertionError):
    """The adapter broke a law of the seam."""


def violated(message: str) -> NoReturn:
    raise Violation(message)


class Drive:
    """One adapter, and the proxy's part in its life, with every step checked."""

    def __init__(
        self, factory: ProtocolFactory, limits: Limits, *, replies_late: bool = False, refuses: bool = False
    ) -> None:
        self.now = 0.0
        self.protocol: ClientProtocol = factory(limits, _ADDRESS, self.now)
        self.trace: list[object] = []  # events; for Finished its reason, for Switch the protocol's name
        self.is_finished = False
        self.is_refused = False
        self._is_dismissed = False  # refused in its handshake's words: nothing of it is asked or looked at any more
        self._refuses = refuses
        self._replies_late = replies_late
        self._waiting: Request | None = None  # the request of a paused adapter
        self._requests = 0
        self._silent_bytes = 0  # came since the last event
        self._eventless = 0
        self._silences = 0
        self._is_closed = False
        self._has_opened = False
        self._check_state()

    def receive(self, data: bytes) -> None:
        """What the socket gave. A reply that is late is given after one more read, which must keep its bytes."""
        if self._waiting is not None and len(data) > MAX_READ_BYTES:
            self.settle()
        if self.is_finished:
            return
        waited = self._waiting is not None
        self._silent_bytes += len(data)
        self._take(self.protocol.receive_data(data, self.now))
        self._go_on()
        held = self.protocol.held_bytes
        if self._silent_bytes > held + _MAX_UNTOLD_BYTES:
            violated(f"{self._silent_bytes} bytes came without an event, and held_bytes is {held}")
        if self.now < self.protocol.deadline and not self.is_finished:
            self._expect_nothing(self.protocol.on_deadline(self.now), "on_deadline() before the deadline")
        if waited or not self._replies_late:
            self.settle()

    def settle(self) -> None:
        """Reply to what waits, and to what comes after it."""
        while self._waiting is not None and not self.is_finished:
            request, self._waiting = self._waiting, None
            self._answer(request)
            if self.protocol.paused:
                violated("paused is still True after the last part of the reply")
            self._expect_nothing_said_twice(request)
            self._take(self.protocol.resume(self.now))
            self._go_on()

    def _go_on(self) -> None:
        """The turns that follow, for what was more than one's share."""
        while self.protocol.has_more and not self._is_dismissed:
            self._take(self.protocol.resume(self.now))

    def step(self) -> None:
        """The deadline comes."""
        self.now = max(self.now, self.protocol.deadline)
        self._take(self.protocol.on_deadline(self.now))
        if not self.is_finished and self.protocol.deadline <= self.now and not self._is_closed:
            violated("on_deadline() at the deadline neither ended the connection nor moved the deadline on")
        self.settle()

    def expect_end(self, after: str) -> None:
        for _ in range(MAX_STEPS):
            if self.is_finished or self.protocol.deadline == inf:
                break
            self.step()
        if not self.is_finished:
            violated(f"no Finished after {after}")
        for events in (
            self.protocol.receive_data(b"more", self.now),
            self.protocol.receive_data(b"", self.now),
            self.protocol.on_deadline(self.now + 1e9),
            self.protocol.resume(self.now),
        ):
            self._expect_nothing(events, "a call after Finished")

    def written(self, data: object) -> bytes:
        if not isinstance(data, bytes):
            violated(f"what is to be written must be bytes, got {type(data).__name__}")
        return data

    def _take(self, events: Sequence[Event]) -> None:
        self._expect_sequence(events)
        if events:
            self._silent_bytes = 0
        if len(events) > UNITS_PER_CALL + _MAX_EVENTS_OF_A_UNIT:
            violated(f"{len(events)} events of one call, the share of a call is {UNITS_PER_CALL} units")
        for place, event in enumerate(events):
            if type(event) not in _EVENTS:  # the proxy looks at the type itself: for it a subclass is none
                violated(f"{type(event).__name__} is not an event")
            is_last = place == len(events) - 1
            if self._waiting is not None and not isinstance(event, Finished):
                violated(f"{type(event).__name__} while a request waits for its reply")
            match event:
                case Output():
                    self._record_output(self.written(event.data))
                case _ if isinstance(event, _OF_SESSIONS) and not self._has_opened:
                    violated(f"a {type(event).__name__} before Opened: the client of a connection without one is gone")
                case Message() | HttpRequest() | Subscribe() | Publish():
                    self._take_request(event, is_last)
                case Unsubscribe():
                    self.trace.append(event)
                    self.written(self._knowing_channels(event).unsubscribed(event))
                case Refresh():
                    self.trace.append(event)
                    self._refresh(event)
                case Opened():
                    if self._has_opened:
                        violated("Opened came twice")
                    self._has_opened = True
                    self.trace.append(replace(event, refuse=None))  # a function is equal only to itself
                    self._expect_answer_after(event, events, place)
                    if self._refuses:
                        self._refuse(event, events[place + 1 :])
                        return
                    if isinstance(self.protocol, KnowsSession):
                        self._begin(self.protocol, event)
                case Closed():
                    if not self._has_opened:
                        violated("Closed without a session")
                    self._has_opened = False
                    self.trace.append(event)
                case Finished():
                    if not is_last or not isinstance(event.reason, Reason):
                        violated("Finished must have a Reason and be the last event")
                    self.is_finished = True
                    self._waiting = None
                    self.trace.append(event.reason)
                case Silent():
                    if not is_last:
                        violated("Silent must be the last event")
                    self._pass_over_or_close()
                case Switch():
                    if not is_last:
                        violated("Switch must be the last event")
                    self._switch(event)
        self._check_state()

    def _expect_answer_after(self, opened: Opened, events: Sequence[Event], place: int) -> None:
        if opened.refuse is not None:
            if any(isinstance(event, Output) for event in events[:place]):
                violated("an Output came before Opened, whose refuse is to come in place of the handshake's answer")
            is_told = isinstance(self.protocol, KnowsSession)
            if not is_told and not any(isinstance(event, Output | Subscribe) for event in events[place + 1 :]):
                violated("Opened has refuse, and no answer of the handshake follows it")

    def _begin(self, protocol: KnowsSession, opened: Opened) -> None:
        said = self.written(protocol.begun(opened, Begun(1, ("a channel",), 60.0)))
        if not said:
            violated("begun() says nothing")

    def _refresh(self, event: Refresh) -> None:
        """Every other one is good."""
        if not isinstance(self.protocol, KnowsSession):
            violated("Refresh of an adapter without KnowsSession")
        self._requests += 1
        if self._requests % 2:
            self.written(self.protocol.refreshed(event, 60.0))
        else:
            self.written(self.protocol.not_refreshed(event, HoldfastError("conformance", Reason.UNAUTHORIZED)))

    def _knowing_channels(self, event: Event) -> KnowsChannels:
        if not isinstance(self.protocol, KnowsChannels):
            violated(f"{type(event).__name__} of an adapter without KnowsChannels")
        return self.protocol

    def _refuse(self, opened: Opened, rest: Sequence[Event]) -> None:
        """As proxy.clients.connection does it."""
        error = HoldfastError("conformance", Reason.UNAUTHORIZED)
        if opened.refuse is not None:
            if not self.written(opened.refuse(error)):
                violated("refuse says nothing")
            self.is_finished = self._is_dismissed = True
            return
        self.is_refused = True
        for event in rest:
            if isinstance(event, Request):
                self.written(self.protocol.error(event, error))
            elif isinstance(event, Switch):
                self._switch(Switch(event.protocol, b""))
            elif isinstance(event, Finished):
                self.is_finished = True
        if not self.is_finished:
            self.written(self.protocol.close(error.reason, "conformance", self.now))
            self._take(self.protocol.resume(self.now))

    def _take_request(self, request: Request, is_last: bool) -> None:
        self.trace.append(request)
        if isinstance(request, Message) and request.is_text:
            try:
                request.payload.decode()
            except UnicodeDecodeError as error:
                raise Violation("a text Message must be valid UTF-8") from error
        if is_last and self.protocol.paused and not self.protocol.has_more:
            self._waiting = request
        else:
            self._answer(request)

    def _pass_over_or_close(self) -> None:
        """The first time the peer is still taking what it was sent, the second time it is not."""
        self._silences += 1
        if self.protocol.deadline <= self.now:
            violated("Silent came, and the deadline was not moved on")
        if self._silences % 2 == 0:
            self._is_closed = True
            self.written(self.protocol.close(Reason.IDLE, "conformance", self.now))

    def _switch(self, event: Switch) -> None:
        self.trace.append(event.protocol.name)
        self.protocol = event.protocol
        self._eventless = 0
        if event.data:
            self._take(self.protocol.receive_data(event.data, self.now))

    def _answer(self, request: Request) -> None:
        """Each request in one of four ways, by its number: the same however the bytes were cut."""
        reply, error = self.protocol.reply, HoldfastError("conformance", Reason.NODE_LOST)
        way = self._requests % 4
        self._requests += 1
        if isinstance(request, Subscribe | Publish):
            self._grant(request, way, error)
            return
        try:
            if way == 0:
                whole = None if self._requests % 8 > 4 else b"whole"
                self.written(reply(request, None, whole, True, False))
            elif way == 1:
                self.written(reply(request, _HEAD, b"part", True, True))
                self._answer_rest(request, None if self._requests % 8 < 4 else b"part")
            elif way == 2:
                self.written(self.protocol.error(request, error))
            else:
                self.written(reply(request, _UNSENDABLE, b"", True, False))
        except ProtocolError:
            self.written(self.protocol.error(request, error))

    def _grant(self, request: Subscribe | Publish, way: int, error: HoldfastError) -> None:
        protocol = self._knowing_channels(request)
        if way == 2:
            self.written(self.protocol.error(request, error))
        elif isinstance(request, Publish):
            self.written(protocol.published(request))
        else:
            channel, position = request.channel, Position("epoch", 2)
            missed = _MISSED if way == 1 else ()
            self.written(protocol.subscribed(request, Subscribed(channel, position, way == 1, missed, "", b"{}", 60.0)))
            self.written(protocol.publication(channel, position.epoch, Publication(b"{}", True, 3)))
            self.written(protocol.dropped(channel, error))

    def _answer_rest(self, request: Request, end: bytes | None) -> None:
        try:
            for part, more in ((None, True), (b"part", True), (end, False)):
                if self.protocol.all_said:
                    return
                self.written(self.protocol.reply(request, _HEAD, part, True, more))
        except ProtocolError as error:
            raise Violation("the next part of a reply is refused, and all_said is not True") from error

    def _expect_nothing_said_twice(self, request: Request) -> None:
        try:
            said = self.protocol.reply(request, None, b"again", True, False)
        except ProtocolError:
            said = b""
        if said or self.protocol.error(request, HoldfastError("again")):
            violated("a request was answered twice")

    def _expect_nothing(self, events: Sequence[Event], when: str) -> None:
        self._expect_sequence(events)
        if events:
            violated(f"{when} gave {list(events)}")

    def _expect_sequence(self, events: Sequence[Event]) -> None:
        if not isinstance(events, list | tuple):
            violated(f"events come in a list or tuple, got {type(events).__name__}")

    def _record_output(self, data: bytes) -> None:
        if self.trace and isinstance(self.trace[-1], bytes):
            self.trace[-1] += data
        elif data:
            self.trace.append(data)

    def _check_state(self) -> None:
        if self._is_dismissed:
            return
        if not isinstance(self.protocol, ClientProtocol):
            violated(f"{type(self.protocol).__name__} lacks a part of ClientProtocol")
        if isnan(self.protocol.deadline):
            violated("deadline is not a number")
        held = self.protocol.held_bytes
        if held < 0 or (held and self.is_finished):
            violated(f"held_bytes is {held}" + " after Finished" * self.is_finished)
        counted = self.protocol.eventless - self._eventless
        self._eventless += counted
        if not 0 <= counted <= UNITS_PER_CALL:
            violated(f"eventless is {counted} more after a call")
        has_more = self.protocol.has_more
        if self.protocol.paused and self._waiting is None and not has_more and not self.is_finished:
            violated("paused while no request waits for its reply")
        if has_more and not self.protocol.paused:
            violated("has_more without paused")
        if has_more and (self._waiting is not None or self.is_finished):
            violated("has_more while a request waits for its reply, or after Finished")
