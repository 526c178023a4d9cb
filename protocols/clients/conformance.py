"""The conformance kit: whether an adapter keeps the laws of the seam (protocols.clients.base).

For authors of adapters, in a test of their own:

    def test_conforms():
        check(MyProtocol, b"what a client sends", random.Random(1))

It drives the adapter as the proxy does: replies to each request, honours `paused`, calls `resume` and `on_deadline`,
follows a Switch. The bytes are the script as it is, the script damaged, and noise, each cut in many ways. A broken law
raises Violation; an exception of the adapter's own comes through as it is. The laws:

- No bytes make a method raise. `reply` may raise ProtocolError, and then `error` is still accepted.
- The same bytes give the same events however they are cut (adjacent Outputs count as one).
- `Finished` comes once, nothing comes after it; a `Switch` ends its list too. `Opened` comes once at most.
- An event is of one of the types of protocols.clients.events, not of a subclass. `Opened` comes before a Message.
- The text of a Message is UTF-8. What is to be written is bytes.
- `paused` is True only while a request waits for its reply, and with `has_more`. In the first case nothing but
  `Finished` comes, and no byte is lost.
- A call gives no more than UNITS_PER_CALL events, and as many as belong to its last unit; what has come beyond that,
  `resume` gives, for as long as there is `has_more`.
- A part of a reply is followed by others, or `all_said` is True: then the request is answered.
- `held_bytes` is what has come without an event, but for a KiB; after `Finished` it is 0.
- `eventless` counts from 0, and in a call no more than UNITS_PER_CALL.
- `on_deadline` does nothing before `deadline`; at `deadline` it ends the connection or moves the deadline on.
- `Silent` comes last, with the deadline moved on: it may be passed over, or answered by `close`.
- After an end of file, and after `close`, `Finished` comes: at once, with the last reply, or by the deadline.
- With `close` said again as DRAINING, it is at once, with the last reply, or within `close_timeout`.
- Adapters of equal `wire_format` encode a notification to equal bytes.
"""

from collections.abc import Sequence
from math import inf, isnan
from typing import NoReturn, Protocol

from holdfast.protocols.clients.base import UNITS_PER_CALL, ClientProtocol, Limits, ProtocolFactory, ReplyHead
from holdfast.protocols.clients.events import (
    Event,
    Finished,
    HttpRequest,
    Message,
    Opened,
    Output,
    Request,
    Silent,
    Switch,
)
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError

_ADDRESS = "192.0.2.1:50000"
_MAX_READ_BYTES = 64 << 10  # one read of the reactor: so much may come while the adapter is paused
_MAX_UNTOLD_BYTES = 1 << 10  # the head of a frame, what is between two messages
_MAX_STEPS = 16  # of deadlines that follow one another without a byte from the peer
_MAX_EVENTS_OF_A_UNIT = 4
_EVENTS = (Finished, HttpRequest, Message, Opened, Output, Silent, Switch)
_HEAD = ReplyHead(200, (("X-Part", "1"),))
_UNSENDABLE = ReplyHead(7, (("bad\r\nname", "\u2028"),))


class Violation(AssertionError):
    """The adapter broke a law of the seam."""


class Random(Protocol):
    """The part of random.Random that is used: the caller seeds it, so that a failure can be repeated."""

    def randrange(self, start: int, stop: int, /) -> int: ...
    def randbytes(self, n: int, /) -> bytes: ...


def check(
    factory: ProtocolFactory, script: bytes, random: Random, *, limits: Limits | None = None, rounds: int = 30
) -> None:
    """Raises Violation if an adapter that `factory` makes breaks a law.

    script: what a client sends in one good connection, from its first byte, with one request at least. Keep it to a few
    KiB: it is run some ten times a round.
    """
    limits = limits or Limits()
    expected = _run(factory, limits, [script])
    if not any(isinstance(entry, Message | HttpRequest) for entry in expected):
        raise ValueError("the script must make the adapter give a request, else it shows nothing")
    _check_cuts(factory, limits, script, random, [script[at : at + 1] for at in range(len(script))])
    _check_silence(factory, limits, b"")
    _run(factory, limits, [script * (_MAX_READ_BYTES // len(script) + 1)])
    for _ in range(rounds):
        for data in (script, _damaged(script, random), random.randbytes(random.randrange(1, 200))):
            _check_cuts(factory, limits, data, random, _cut(data, random))
        _check_silence(factory, limits, _beginning(script, random))
        _check_notifications(factory, limits, _beginning(script, random), _beginning(script, random))
        for reason in (Reason.DRAINING, Reason.KICKED):
            _check_close(factory, limits, script, random, reason)


def _check_cuts(factory: ProtocolFactory, limits: Limits, data: bytes, random: Random, pieces: list[bytes]) -> None:
    expected = _run(factory, limits, [data])
    for replies_late in (False, True):
        trace = _run(factory, limits, pieces, replies_late=replies_late)
        if trace != expected:
            cuts = [len(piece) for piece in pieces]
            _violated(f"events depend on how bytes are cut: pieces of {cuts} gave {trace}, one piece {expected}")


def _check_silence(factory: ProtocolFactory, limits: Limits, data: bytes) -> None:
    """A peer that falls silent: deadlines come one by one, until the end or for as long as the adapter will wait."""
    drive = _Drive(factory, limits)
    if data:
        drive.receive(data)
    for _ in range(_MAX_STEPS):
        if drive.is_finished or drive.protocol.deadline == inf:
            break
        drive.step()


def _check_close(factory: ProtocolFactory, limits: Limits, script: bytes, random: Random, reason: Reason) -> None:
    drive = _Drive(factory, limits, replies_late=bool(random.randrange(0, 2)))
    drive.receive(_beginning(script, random))
    if not drive.is_finished:
        drive.written(drive.protocol.close(reason, "conformance", drive.now))
        if random.randrange(0, 2):
            drive.written(drive.protocol.close(Reason.DRAINING, "conformance", drive.now))
            if drive.protocol.deadline > drive.now + limits.close_timeout and not drive.protocol.paused:
                _violated("close() said again leaves it waiting for more than close_timeout")
        drive.settle()
        drive.expect_end("close()")


def _check_notifications(factory: ProtocolFactory, limits: Limits, first: bytes, second: bytes) -> None:
    """Two connections, each as it is after its own part of the script."""
    drives = [_Drive(factory, limits), _Drive(factory, limits)]
    for drive, data in zip(drives, (first, second), strict=True):
        drive.receive(data)
        if drive.is_finished:
            return
    formats = [drive.protocol.wire_format for drive in drives]
    for payload, is_text in ((b"", True), ("n\u00f6tig".encode(), True), (b"\x00\xff" * 5000, False)):
        said = [drive.written(drive.protocol.notification(payload, is_text)) for drive in drives]
        if formats[0] is not None and formats[0] == formats[1] and said[0] != said[1]:
            _violated(f"two adapters of wire_format {formats[0]!r} encode a notification differently")


def _run(factory: ProtocolFactory, limits: Limits, pieces: list[bytes], *, replies_late: bool = False) -> list[object]:
    """One connection from its first byte to its end: the events."""
    drive = _Drive(factory, limits, replies_late=replies_late)
    for piece in pieces:
        drive.receive(piece)
    drive.settle()
    if not drive.is_finished:
        drive.receive(b"")
        drive.settle()
    drive.expect_end("an end of file")
    return drive.trace


def _cut(data: bytes, random: Random) -> list[bytes]:
    pieces = []
    while data:
        size = random.randrange(1, random.randrange(2, len(data) + 3))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def _beginning(script: bytes, random: Random) -> bytes:
    """Some of it. At least a byte: none would be an end of file."""
    return script[: random.randrange(1, len(script) + 1)]


def _damaged(script: bytes, random: Random) -> bytes:
    """The script with some bytes changed, left out, or put in."""
    data = bytearray(script)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(0, len(data) + 1)
        data[at : at + random.randrange(0, 3)] = random.randbytes(random.randrange(0, 3))
    return bytes(data)


def _violated(message: str) -> NoReturn:
    raise Violation(message)


class _Drive:
    """One adapter, and the proxy's part in its life, with every step checked."""

    def __init__(self, factory: ProtocolFactory, limits: Limits, *, replies_late: bool = False) -> None:
        self.now = 0.0
        self.protocol: ClientProtocol = factory(limits, _ADDRESS, self.now)
        self.trace: list[object] = []  # events; for Finished its reason, for Switch the protocol's name
        self.is_finished = False
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
        if self._waiting is not None and len(data) > _MAX_READ_BYTES:
            self.settle()
        if self.is_finished:
            return
        waited = self._waiting is not None
        self._silent_bytes += len(data)
        self._take(self.protocol.receive_data(data, self.now))
        self._go_on()
        held = self.protocol.held_bytes
        if self._silent_bytes > held + _MAX_UNTOLD_BYTES:
            _violated(f"{self._silent_bytes} bytes came without an event, and held_bytes is {held}")
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
                _violated("paused is still True after the last part of the reply")
            self._expect_nothing_said_twice(request)
            self._take(self.protocol.resume(self.now))
            self._go_on()

    def _go_on(self) -> None:
        """The turns that follow, for what was more than one's share."""
        while self.protocol.has_more:
            self._take(self.protocol.resume(self.now))

    def step(self) -> None:
        """The deadline comes."""
        self.now = max(self.now, self.protocol.deadline)
        self._take(self.protocol.on_deadline(self.now))
        if not self.is_finished and self.protocol.deadline <= self.now and not self._is_closed:
            _violated("on_deadline() at the deadline neither ended the connection nor moved the deadline on")
        self.settle()

    def expect_end(self, after: str) -> None:
        for _ in range(_MAX_STEPS):
            if self.is_finished or self.protocol.deadline == inf:
                break
            self.step()
        if not self.is_finished:
            _violated(f"no Finished after {after}")
        for events in (
            self.protocol.receive_data(b"more", self.now),
            self.protocol.receive_data(b"", self.now),
            self.protocol.on_deadline(self.now + 1e9),
            self.protocol.resume(self.now),
        ):
            self._expect_nothing(events, "a call after Finished")

    def written(self, data: object) -> bytes:
        if not isinstance(data, bytes):
            _violated(f"what is to be written must be bytes, got {type(data).__name__}")
        return data

    def _take(self, events: Sequence[Event]) -> None:
        self._expect_sequence(events)
        if events:
            self._silent_bytes = 0
        if len(events) > UNITS_PER_CALL + _MAX_EVENTS_OF_A_UNIT:
            _violated(f"{len(events)} events of one call, the share of a call is {UNITS_PER_CALL} units")
        for place, event in enumerate(events):
            if type(event) not in _EVENTS:  # the proxy looks at the type itself: for it a subclass is none
                _violated(f"{type(event).__name__} is not an event")
            is_last = place == len(events) - 1
            if self._waiting is not None and not isinstance(event, Finished):
                _violated(f"{type(event).__name__} while a request waits for its reply")
            match event:
                case Output():
                    self._record_output(self.written(event.data))
                case Message() if not self._has_opened:
                    _violated("a Message before Opened: the client of a connection without one is gone")
                case Message() | HttpRequest():
                    self._take_request(event, is_last)
                case Opened():
                    if self._has_opened:
                        _violated("Opened came twice")
                    self._has_opened = True
                    self.trace.append(event)
                case Finished():
                    if not is_last or not isinstance(event.reason, Reason):
                        _violated("Finished must have a Reason and be the last event")
                    self.is_finished = True
                    self._waiting = None
                    self.trace.append(event.reason)
                case Silent():
                    if not is_last:
                        _violated("Silent must be the last event")
                    self._pass_over_or_close()
                case Switch():
                    if not is_last:
                        _violated("Switch must be the last event")
                    self._switch(event)
        self._check_state()

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
            _violated("Silent came, and the deadline was not moved on")
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
            _violated("a request was answered twice")

    def _expect_nothing(self, events: Sequence[Event], when: str) -> None:
        self._expect_sequence(events)
        if events:
            _violated(f"{when} gave {list(events)}")

    def _expect_sequence(self, events: Sequence[Event]) -> None:
        if not isinstance(events, list | tuple):
            _violated(f"events come in a list or tuple, got {type(events).__name__}")

    def _record_output(self, data: bytes) -> None:
        if self.trace and isinstance(self.trace[-1], bytes):
            self.trace[-1] += data
        elif data:
            self.trace.append(data)

    def _check_state(self) -> None:
        if not isinstance(self.protocol, ClientProtocol):
            _violated(f"{type(self.protocol).__name__} lacks a part of ClientProtocol")
        if isnan(self.protocol.deadline):
            _violated("deadline is not a number")
        held = self.protocol.held_bytes
        if held < 0 or (held and self.is_finished):
            _violated(f"held_bytes is {held}" + " after Finished" * self.is_finished)
        counted = self.protocol.eventless - self._eventless
        self._eventless += counted
        if not 0 <= counted <= UNITS_PER_CALL:
            _violated(f"eventless is {counted} more after a call")
        has_more = self.protocol.has_more
        if self.protocol.paused and self._waiting is None and not has_more and not self.is_finished:
            _violated("paused while no request waits for its reply")
        if has_more and not self.protocol.paused:
            _violated("has_more without paused")
        if has_more and (self._waiting is not None or self.is_finished):
            _violated("has_more while a request waits for its reply, or after Finished")
