"""One request of an HTTP connection that is answered at a door, and the way back to HTTP after it.

`Exchange` owns what each of them has: who asked, how the answer is framed, the headers for pages of other origins, what
has come behind the request, and whether the connection goes on. `AtDoor` is what adapters begin with: all that the seam
(protocols.clients.base) asks for and a stream over HTTP has no use for.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import ClassVar, Final

from holdfast.protocols.clients.base import ClientProtocol, Limits, ReplyHead, Subscribed
from holdfast.protocols.clients.events import (
    Closed,
    Event,
    Finished,
    HttpRequest,
    Output,
    Publish,
    Request,
    Subscribe,
    Switch,
    Unsubscribe,
)
from holdfast.protocols.clients.http_reply import ReplyWriter
from holdfast.protocols.clients.upgrade import is_origin_allowed
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError
from holdfast.protocols.positions import Publication

# Behind a request that is being answered, as of protocols.clients.http.
MAX_PIPELINED_BYTES: Final = 128 << 10

# What pages may say in a request of theirs, and for how many seconds a browser need not ask again.
_ALLOWED_HEADERS = "Authorization, Cache-Control, Content-Type, Last-Event-ID"
_PREFLIGHT_SECONDS = 600


class Exchange:
    """request: whole. part: what stands in the place of a part in braces in the door's path, as it came. origin: of
    the page that asks. writer: of the answer. back: gives the adapter of HTTP, which goes on after that. cross_origin:
    headers for a page of another origin, which belong to each answer.

    has_opened: a session has begun, and was not closed. buffer: what has come for the adapter of HTTP.
    """

    __slots__ = ("back", "buffer", "cross_origin", "has_opened", "limits", "origin", "part", "request", "writer")

    def __init__(
        self,
        limits: Limits,
        request: HttpRequest,
        part: str,
        origin: str | None,
        writer: ReplyWriter,
        back: Callable[[float], ClientProtocol],
    ) -> None:
        self.limits = limits
        self.request = request
        self.part = part
        self.origin = origin
        self.writer = writer
        self.back = back
        self.buffer = bytearray()
        self.has_opened = False
        self.cross_origin = _cross_origin(origin, limits.origins)

    def check_origin(self) -> None:
        """Raises ProtocolError for a page that may not ask. Who names none is no page, or one of our own origin."""
        origin = self.origin
        if origin is not None and ("," in origin or not is_origin_allowed(origin, self.limits.origins)):
            raise ProtocolError("the Origin is not an allowed one", Reason.ORIGIN_REFUSED)

    def preflight(self, methods: Sequence[str]) -> bytes:
        """The whole answer to OPTIONS (Fetch, section 3.3)."""
        allowed = ", ".join((*methods, "OPTIONS"))
        headers = [("Allow", allowed), *self.cross_origin]
        if self.origin is not None:
            headers += [
                ("Access-Control-Allow-Methods", allowed),
                ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
                ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
            ]
        return self.writer.write(ReplyHead(204, headers), b"", is_text=True, more=False)

    def answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
        """The whole answer."""
        return self.writer.write(ReplyHead(status, [*headers, *self.cross_origin]), body, is_text=True, more=False)

    def begin(self, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
        """The head of an answer that goes on, and its first part: 200."""
        return self.writer.write(ReplyHead(200, [*headers, *self.cross_origin]), body, is_text=True, more=True)

    def refusal(self, error: HoldfastError) -> bytes:
        """The whole answer, if none has begun."""
        return self.writer.error(error, b"", "".join(f"{name}: {value}\r\n" for name, value in self.cross_origin))

    def take(self, data: bytes) -> Finished | None:
        """What has come behind the request. An end of file is the end: whoever reads a stream has no reason to say that
        he asks for nothing more."""
        self.buffer += data
        if not data:
            return Finished(Reason.CLIENT_LEFT)
        if len(self.buffer) > MAX_PIPELINED_BYTES:
            return Finished(Reason.PROTOCOL_ERROR, "too much data behind a request without a reply")
        return None

    def leave(self, now: float) -> list[Event]:
        """All is said: the next request of this connection, or its end."""
        if not self.writer.keeps_alive:
            return [Finished(Reason.CLIENT_LEFT, "after the last reply")]
        data, self.buffer = bytes(self.buffer), bytearray()
        was_open, self.has_opened = self.has_opened, False
        return [*([Closed()] if was_open else []), Switch(self.back(now), data)]


def _cross_origin(origin: str | None, allowed: tuple[str, ...]) -> list[tuple[str, str]]:
    """With "*" any page may read what anybody may: then none may show its visitor's cookies for it."""
    if "*" in allowed:
        return [("Access-Control-Allow-Origin", "*")]
    vary = ("Vary", "Origin")
    if origin is None or "," in origin or not is_origin_allowed(origin, allowed):
        return [vary]
    return [("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true"), vary]


class AtDoor:
    """An adapter while a request is answered: see protocols.clients.base.ClientProtocol. It gives no request of its own
    that has a reply; an adapter that gives Subscribe has `subscribed` and `error` besides.

    `over` is what it calls when all is said: `resume` gives the way back then, as does whatever comes next.
    """

    __slots__ = ("_ending", "_exchange", "_is_over", "deadline", "has_more", "paused", "wire_format")

    name: ClassVar[str] = "exchange"
    eventless: int = 0
    all_said: bool = False

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._is_over = False
        self._ending: Finished | None = None  # to be told
        self.wire_format: object = None
        self.deadline = inf
        self.has_more = self.paused = False

    @property
    def client_address(self) -> str:
        return self._exchange.request.address

    @property
    def held_bytes(self) -> int:
        return len(self._exchange.buffer)

    def over(self) -> None:
        """All is said, and nothing more will be."""
        self._is_over = self.has_more = self.paused = True
        self.wire_format = None

    def finished(self, event: Finished) -> list[Event]:
        self._is_over, self._ending = True, None
        self.deadline, self.has_more, self.paused, self.wire_format = inf, False, False, None
        self._exchange.buffer = bytearray()
        self._exchange.has_opened = False
        return [event]

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        if self._is_gone:
            return []
        if self._ending is not None:
            return self.finished(self._ending)
        end = self._exchange.take(data)
        return [] if end is None else self.finished(end)

    def resume(self, now: float) -> Sequence[Event]:
        if self._is_gone:
            return []
        if self._ending is not None:
            return self.finished(self._ending)
        if not self._is_over:
            return self.go_on(now)
        self.has_more = self.paused = False
        events = self._exchange.leave(now)
        if type(events[0]) is Finished:
            self.finished(events[0])
        return events

    @property
    def _is_gone(self) -> bool:
        """The end was told, or another adapter goes on."""
        return self._is_over and not self.has_more and self._ending is None

    def on_deadline(self, now: float) -> Sequence[Event]:
        if now < self.deadline or self._is_gone:
            return []
        return self.finished(self._ending) if self._ending is not None else self.late(now)

    def close(self, reason: Reason, detail: str, now: float) -> bytes:
        if self._is_gone or self._ending is not None:
            return b""
        said = b"" if self._is_over else self.last_words(reason, detail)
        self._ending = Finished(reason, detail)
        self._is_over, self.has_more, self.paused, self.wire_format = True, False, False, None
        self.deadline = now
        return said

    # --- what an adapter has of its own -----------------------------------------------------------------------

    def go_on(self, now: float) -> Sequence[Event]:
        """`resume`, while not all is said."""
        return []

    def late(self, now: float) -> Sequence[Event]:
        """`deadline` has come. It is moved on, or all is over."""
        self.deadline = inf
        return []

    def last_words(self, reason: Reason, detail: str) -> bytes:
        """The connection is to end, while not all is said."""
        return b""

    # --- what there is none of ---------------------------------------------------------------------------------

    def reply(
        self, request: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool
    ) -> bytes:
        raise ProtocolError("no such request waits for a reply", Reason.BAD_REPLY)

    def error(self, request: Request, error: HoldfastError) -> bytes:
        return b""

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return b""

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        return self.notification(publication.payload, publication.is_text)

    def subscribed(self, request: Subscribe, said: Subscribed) -> bytes:
        return b""

    def unsubscribed(self, request: Unsubscribe) -> bytes:
        return b""

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        return b""

    def published(self, request: Publish) -> bytes:
        return b""


class Answered(AtDoor):
    """One whose whole answer is known from the beginning."""

    __slots__ = ("_answer",)

    def __init__(self, exchange: Exchange, answer: bytes) -> None:
        super().__init__(exchange)
        self._answer = answer
        self.over()

    def resume(self, now: float) -> Sequence[Event]:
        answer, self._answer = self._answer, b""
        events = super().resume(now)
        return [Output(answer), *events] if answer and events else events

    def close(self, reason: Reason, detail: str, now: float) -> bytes:
        answer, self._answer = self._answer, b""
        return answer + super().close(reason, detail, now)


def answered_before(exchange: Exchange, methods: Sequence[str]) -> AtDoor | None:
    """What needs no protocol: a preflight, a page that may not ask, a method that there is none of. None: go on."""
    method = exchange.request.method
    try:
        exchange.check_origin()
    except ProtocolError as error:
        return Answered(exchange, exchange.refusal(error))
    if method == "OPTIONS":
        return Answered(exchange, exchange.preflight(methods))
    if method not in methods:
        allowed = ", ".join((*methods, "OPTIONS"))
        headers = [("Allow", allowed), ("Content-Type", "text/plain")]
        return Answered(exchange, exchange.answer(405, headers, f"expected {allowed}\n".encode()))
    return None
