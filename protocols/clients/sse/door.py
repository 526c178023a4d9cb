"""A request that asks for channels, until all its subscriptions have been answered.

Owns the order: the session begins, each channel is subscribed to, and then the answer does. So a refusal is a status
(401, 403, ...), and what is said to the client before it can be told anything waits here. One channel that it may not
have refuses all: whoever asked for it would else believe that it is silent.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from holdfast.protocols.clients.base import Subscribed
from holdfast.protocols.clients.events import Event, Finished, Opened, Output, Request, Subscribe, Switch
from holdfast.protocols.clients.exchange import AtDoor, Exchange
from holdfast.protocols.clients.sse import asking as asked
from holdfast.protocols.clients.sse import text
from holdfast.protocols.clients.sse.asking import Asking
from holdfast.protocols.clients.sse.poll import Poll
from holdfast.protocols.clients.sse.stream import HEADERS, Kept, Stream, retry_after
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Publication

MAX_KEPT_BYTES: Final = 1 << 20  # said to a client whose answer has not begun; who has more comes back
_KEPT_BYTES = 200  # of each, beside its payload


class SseDoor(AtDoor):
    """The adapter of such a request. See protocols.clients.base.ClientProtocol, and KnowsChannels."""

    __slots__ = ("_answer", "_asking", "_has_begun", "_kept", "_kept_bytes", "_refused", "_said", "_waiting")

    name: ClassVar[str] = "sse"
    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")

    def __init__(self, exchange: Exchange, now: float) -> None:
        super().__init__(exchange)
        self._has_begun = False
        self._waiting: dict[str, Subscribe] = {}  # for their answer
        self._said: dict[str, Subscribed] = {}
        self._kept: list[Kept] = []
        self._kept_bytes = 0
        self._refused: HoldfastError | None = None
        self._asking: Asking | None = None
        self._answer = b""  # known from the beginning
        self.has_more = self.paused = True  # `resume` begins
        try:
            self._asking = asked.read(exchange)
        except HoldfastError as error:
            self._answer = exchange.refusal(error)
        else:
            if exchange.request.method == "HEAD":  # of whom nobody is asked
                self._answer = exchange.answer(200, HEADERS, b"")

    # --- the beginning ----------------------------------------------------------------------------------------

    def go_on(self, now: float) -> Sequence[Event]:
        asking = self._asking
        if self._answer or asking is None:
            return self._leave(self._answer, now)
        if not self._has_begun:
            return self._begin(asking)
        return [] if self._waiting else self._enter(asking, now)

    def _begin(self, asking: Asking) -> Sequence[Event]:
        exchange, request = self._exchange, self._exchange.request
        self._has_begun, self.has_more = True, False
        exchange.has_opened = True
        since, token = asking.since, asking.token
        self._waiting = {channel: Subscribe(channel, since.get(channel), b"", token) for channel in asking.channels}
        path, _, query = request.target.partition("?")
        opened = Opened(self.name, path, request.headers, request.address, query, self._refuse)
        return [opened, *self._waiting.values()]

    def _refuse(self, error: HoldfastError) -> bytes:
        self._exchange.writer.keeps_alive = False
        return self._refusal(error)

    def _refusal(self, error: HoldfastError) -> bytes:
        """A browser comes back to a stream that has ended, and never to a status. So what may work in a moment is one
        that ends at once."""
        if self._asking is None or self._asking.poll is not None or not error.reason.retryable:
            return self._exchange.refusal(error)
        seconds = max(getattr(error, "retry_after", None) or 0.0, retry_after(self._exchange))
        return self._exchange.answer(200, HEADERS, text.retry(seconds) + text.told("closed", text.why(error)))

    # --- its answers ------------------------------------------------------------------------------------------

    def subscribed(self, request: Subscribe, said: Subscribed) -> bytes:
        if self._is_answered(request):
            self._said[request.channel] = said
        return b""

    def error(self, request: Request, error: HoldfastError) -> bytes:
        if self._is_answered(request):
            self._refused = self._refused or error
        return b""

    def _is_answered(self, request: Request) -> bool:
        if self._is_over or not isinstance(request, Subscribe) or self._waiting.get(request.channel) is not request:
            return False
        del self._waiting[request.channel]
        if not self._waiting:
            self.paused = False  # `resume` is called
        return True

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        return self._keep(Kept(channel, epoch, publication))

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return self._keep(Kept("", "", Publication(payload, is_text)))

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        return self._keep(Kept(channel, over=error))

    def _keep(self, kept: Kept) -> bytes:
        self._kept_bytes += len(kept.publication.payload) + _KEPT_BYTES
        if self._kept_bytes <= MAX_KEPT_BYTES:
            self._kept.append(kept)
        else:
            problem = f"more than {MAX_KEPT_BYTES} bytes were said before all channels were there"
            self._refused = self._refused or HoldfastError(problem, Reason.OVERLOADED)
        return b""

    def _enter(self, asking: Asking, now: float) -> Sequence[Event]:
        if self._refused is not None:
            return self._leave(self._refusal(self._refused), now)
        exchange = self._exchange
        said = {channel: self._said[channel] for channel in asking.channels}
        following: Stream | Poll
        if asking.poll is None:
            following = Stream(exchange, asking, now)
            first = following.begin(said, asking.since, self._kept)
        else:
            following = Poll(exchange, asking, now)
            first = following.begin(said, asking, self._kept)
        if following.has_more:  # it is over
            return self._leave(first, now)
        self._go()
        return [*([Output(first)] if first else []), Switch(following, b"")]

    def _leave(self, answer: bytes, now: float) -> Sequence[Event]:
        self._go()
        events = self._exchange.leave(now)
        if type(events[0]) is Finished:
            self.finished(events[0])
        return [Output(answer), *events]

    def _go(self) -> None:
        """Others go on."""
        self._is_over, self.has_more, self.paused = True, False, False
        self._kept = []

    # --- the end ----------------------------------------------------------------------------------------------

    def last_words(self, reason: Reason, detail: str) -> bytes:
        self._waiting = {}
        return self._answer or self._refuse(HoldfastError(detail, reason))
