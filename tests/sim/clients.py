"""Clients of the world: they come, ask, join, read slowly, go; and each keeps a book of all that it gets.

The adapter is the plainest that there can be (frames of a length and msgpack), registered with the proxy as anybody's
could be; everything behind it is the proxy's own. What must be in the book, tests.sim.books says.
"""

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import msgpack

from holdfast.protocols.clients.base import Limits, ReplyHead
from holdfast.protocols.clients.events import Event, Finished, Message, Opened, Request
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from tests.sim.books import Book
from tests.sim.kernel import Stream

if TYPE_CHECKING:
    from tests.sim.proxies import SimProxy
    from tests.sim.world import World

# What a proxy says, by its first item.
OPENED, REPLY, PART, ERROR, NOTIFICATION, CLOSE = range(6)
HELLO, BYE = 0, -1  # what a client says that is no request


def frame(*items: object) -> bytes:
    data = msgpack.encode(items)
    return len(data).to_bytes(4, "big") + data


class Frames:
    """The bytes of a stream, cut into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        buffer = self._buffer
        buffer += data
        frames, at = [], 0
        while len(buffer) - at >= 4:
            size = int.from_bytes(buffer[at : at + 4], "big")
            if len(buffer) - at < 4 + size:
                break
            frames.append(msgpack.decode(bytes(buffer[at + 4 : at + 4 + size])))
            at += 4 + size
        del buffer[:at]
        return frames


class SimProtocol:
    """A ClientProtocol."""

    name: ClassVar[str] = "sim"
    eventless: int = 0
    all_said: bool = False

    def __init__(self, limits: Limits, address: str, now: float) -> None:
        self.deadline = inf
        self.paused = False
        self.held_bytes = 0  # a message is here at once
        self.has_more = False  # its clients don't send so much at once
        self.wire_format: object = "sim"
        self._limits = limits
        self._frames = Frames()
        self._reason = Reason.CLIENT_LEFT
        self._is_over = False

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        if self._is_over:
            return []
        if not data:
            return self._finish()
        events: list[Event] = []
        for number, *payload in self._frames.feed(data):
            if number == HELLO:
                events.append(Opened("sim", "/", []))
            elif number == BYE:
                return [*events, *self._finish()]
            else:
                events.append(self._asked(number, *payload))
        return events

    def _asked(self, number: int, payload: bytes) -> Event:
        return Message(payload, False, number)

    def _finish(self) -> list[Event]:
        self._is_over = True
        self.deadline = inf
        return [Finished(self._reason)]

    def on_deadline(self, now: float) -> Sequence[Event]:
        return self._finish() if not self._is_over and now >= self.deadline else []

    def reply(
        self, request: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool
    ) -> bytes:
        assert isinstance(request, Message)
        return frame(PART if more else REPLY, request.context, payload)

    def error(self, request: Request, error: HoldfastError) -> bytes:
        assert isinstance(request, Message)
        return frame(ERROR, request.context, error.reason.value)

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return frame(NOTIFICATION, payload)

    def resume(self, now: float) -> Sequence[Event]:
        return []

    def close(self, reason: Reason, detail: str, now: float) -> bytes:
        self._reason = reason
        self.deadline = now + self._limits.close_timeout
        return frame(CLOSE, reason.value)


class Client:
    """One client over all its connections, one at a time. book: of the present one.

    is_slow: it takes only little of what is there. is_still: it takes nothing. stays: it connects again.
    """

    protocol: type[SimProtocol] = SimProtocol
    make_book: type[Book] = Book

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.proxy: SimProxy | None = None
        self.book: Book | None = None
        self.id = 0  # as nodes know it
        self.is_still = False
        self.is_slow = False
        self.stays = True
        self._stream: Stream | None = None
        self._frames = Frames()
        self._unread: deque[tuple[Stream, bytes]] = deque()
        self._arrival = 0.0
        self._is_connecting = False

    @property
    def is_linked(self) -> bool:
        return self._stream is not None and self.id != 0

    # --- the connection -----------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """To any proxy that takes clients."""
        if self._stream is not None or self._is_connecting or not self.stays:
            return
        takers = [proxy for proxy in self.world.proxies.values() if proxy.listener and proxy.listener.accepts]
        if not takers:
            self.world.later(0.5, self.connect)
            return
        proxy = self.world.random.choice(takers)
        self._is_connecting = True
        self.world.later(self.world.delay(), proxy.when_awake, self._arrive, proxy)

    def _arrive(self, proxy: "SimProxy") -> None:
        """At the proxy, as its Listener would."""
        self._is_connecting = False
        listener = proxy.listener
        if (
            not proxy.is_alive
            or listener is None
            or not listener.accepts
            or listener.clients.refusal("10.9.0.1") is not None
        ):
            self.world.later(0.5, self.connect)
            return
        stream = self._stream = Stream(proxy.kernel, self)
        self.proxy = proxy
        self._frames = Frames()
        self._unread.clear()
        self.book = self.make_book(self.world, self, proxy)
        connection = listener.clients.add(stream.number, f"10.9.0.1:{self.number}", None, self.protocol)
        self.id = connection.id
        stream.came(frame(HELLO))
        listener.clients.reactor.settle()
        self.world.later(self.world.random.uniform(0.05, 0.5), self._live, self.book)

    def gone(self, stream: Stream) -> None:
        """The proxy has closed its end, or has died."""
        if stream is self._stream and self.book is not None:
            self._lose("closed by the proxy" if self.proxy is not None and self.proxy.is_alive else "the proxy died")

    def leave(self, *, resets: bool = False) -> None:
        """Of its own."""
        stream = self._stream
        if stream is None:
            return
        self._lose("left")
        if resets:
            stream.is_reset = True
            stream.changed()
        else:
            stream.came(b"")

    def _lose(self, why: str) -> None:
        assert self.book is not None
        self.book.close(why)
        self._stream = None
        self.proxy = None
        self.is_still = False
        if self.stays:
            self.world.later(self.world.random.uniform(0.05, 1.0), self.connect)

    # --- reading ------------------------------------------------------------------------------------------------------

    def sent(self, stream: Stream, data: bytes) -> None:
        """By the proxy's kernel, on its way to us."""
        self._arrival = max(self._arrival, self.world.time + self.world.delay())
        self.world.at(self._arrival, self._came, stream, data)

    def _came(self, stream: Stream, data: bytes) -> None:
        if stream is not self._stream:
            return
        self._unread.append((stream, data))
        if not self.is_still:
            if self.is_slow:
                self.world.later(0.2, self.read)
            else:
                self.read()

    def go_on(self) -> None:
        self.is_still = self.is_slow = False
        self.read()

    def read(self) -> None:
        while self._unread and not self.is_still:
            stream, data = self._unread.popleft()
            if stream is not self._stream:
                continue
            if not data:
                self.leave()
                return
            stream.took(len(data))
            for items in self._frames.feed(data):
                self._take(stream, items)
                if stream is not self._stream:
                    return

    def _take(self, stream: Stream, items: list[Any]) -> None:
        book = self.book
        assert book is not None
        kind = items[0]
        if kind == NOTIFICATION:
            book.notified(msgpack.decode(items[1]))
        elif kind == REPLY:
            book.replied(items[1], items[2])
        elif kind == PART:
            book.part(items[1], items[2])
        elif kind == ERROR:
            book.failed(items[1], items[2])
        else:
            stream.came(frame(BYE))
            self._lose(items[1])

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, kind: str, *arguments: Any) -> int:
        """Send a request. Returns its number."""
        assert self._stream is not None
        assert self.book is not None
        number = self.world.next_number()
        self.book.asked(number, kind, arguments)
        self._stream.came(frame(number, msgpack.encode([number, kind, *arguments])))
        return number

    def _live(self, book: Book) -> None:
        """What it does, as long as this connection lasts."""
        if book is not self.book or self._stream is None or not self.world.is_busy:
            return
        book.next_request()
        self.world.later(self.world.random.expovariate(1.5), self._live, book)
