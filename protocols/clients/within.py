"""A protocol of whole messages within WebSocket: the one adapter that the proxy knows, made of two.

Owns what lies between them: messages that have come go in, lines that are said go out in frames, and each ends with
the other. Frames, compression and the limits of messages are protocols.clients.websocket's; its pings are left out,
since the inner protocol has its own. A call takes no more units than its share, frames and commands together.
"""

from collections.abc import Sequence
from math import inf
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from holdfast.protocols.clients.base import (
    UNITS_PER_CALL,
    Begun,
    KnowsChannels,
    KnowsJoins,
    KnowsSession,
    Limits,
    ReplyHead,
    Subscribed,
)
from holdfast.protocols.clients.deflate import Deflate
from holdfast.protocols.clients.events import (
    Event,
    Finished,
    Message,
    Opened,
    Output,
    Publish,
    Refresh,
    Request,
    Subscribe,
    Unsubscribe,
)
from holdfast.protocols.clients.websocket import WIRE_FORMAT, WebSocketProtocol
from holdfast.protocols.clients.websocket_frames import close_frame
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Publication


class Handshake(NamedTuple):
    """What came with the connection itself. headers: lower-case names. As of protocols.clients.events.Opened."""

    path: str
    headers: Sequence[tuple[str, str]] = ()
    address: str = ""
    query: str = ""


class MessageProtocol(KnowsSession, KnowsChannels, Protocol):
    """What is within. As of ClientProtocol, but for what is said here: data of an Output, and bytes that are returned,
    are one text message, or none if they are empty. `refuse` of Opened gives the last message.

    An end of its own is Finished; an end of the connection is told by `finish`, after which it gives and says nothing.
    """

    name: ClassVar[str]
    deadline: float
    has_more: bool
    eventless: int
    wire_format: str

    @property
    def held_bytes(self) -> int: ...

    def receive_message(self, payload: bytes, is_text: bool, now: float, share: int) -> Sequence[Event]:
        """A whole message: share: how many units it may be now. Not while there is more of the last one."""
        ...

    def resume(self, now: float, share: int) -> Sequence[Event]:
        """Go on with what is left of it."""
        ...

    def on_deadline(self, now: float) -> Sequence[Event]: ...

    def finish(self) -> None: ...

    def close_code(self, reason: Reason) -> int:
        """Of WebSocket, for its clients."""
        ...

    def close_text(self, detail: str) -> str:
        """What they are told beside the code, so that they take it for text."""
        ...

    def reply(
        self, request: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool
    ) -> bytes: ...

    def error(self, request: Request, error: HoldfastError) -> bytes: ...

    def notification(self, payload: bytes, is_text: bool) -> bytes: ...


def limits_within(limits: Limits, subprotocols: tuple[str, ...] = ()) -> Limits:
    """What the frames of such connections may do: there are no pings, but for the inner protocol's own."""
    return msgspec.structs.replace(limits, ping_interval=0.0, application_ping=False, subprotocols=subprotocols)


class WithinWebSocket:
    """The adapter of a connection whose handshake is over. See protocols.clients.base.ClientProtocol.

    limits: as `limits_within` makes them. inner: made for this connection.
    """

    __slots__ = (
        "_inner", "_is_over", "_waiting", "_websocket",
        "deadline", "has_more", "held_bytes", "name", "paused", "wire_format",
    )  # fmt: skip

    all_said: bool = False

    def __init__(self, limits: Limits, inner: MessageProtocol, now: float, *, deflate: Deflate | None = None) -> None:
        self.name = inner.name
        self._websocket = WebSocketProtocol(limits, "", now, deflate=deflate)
        self._inner = inner
        self._waiting: Sequence[Event] = ()  # of the frames, beyond a call's share
        self._is_over = False  # Finished was given
        outer = self._websocket.wire_format
        self.wire_format: object = inner.wire_format if outer == WIRE_FORMAT else (inner.wire_format, outer)
        self.has_more = self.paused = False
        self.held_bytes = 0
        self.deadline = min(self._websocket.deadline, inner.deadline)

    @property
    def eventless(self) -> int:
        return self._websocket.eventless + self._inner.eventless

    # --- what comes -------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        if self._is_over:
            return ()
        before = self._websocket.eventless
        came = self._websocket.receive_data(data, now)
        return self._go_on(came, UNITS_PER_CALL - (self._websocket.eventless - before), now)

    def resume(self, now: float) -> Sequence[Event]:
        if not self.has_more:
            return ()
        waiting, self._waiting = self._waiting, ()
        share = UNITS_PER_CALL
        if not waiting and not self._inner.has_more:
            before = self._websocket.eventless
            waiting = self._websocket.resume(now)
            share -= self._websocket.eventless - before
        return self._go_on(waiting, share, now)

    def _go_on(self, came: Sequence[Event], share: int, now: float) -> Sequence[Event]:
        """With what is left of the last message, and then with what came, as far as the share goes."""
        inner = self._inner
        events: list[Event] = []
        if inner.has_more:
            before = inner.eventless
            said = inner.resume(now, share)
            share -= len(said) + inner.eventless - before
            self._say(said, events)
        for place, event in enumerate(came):
            if self._is_over:
                break
            if inner.has_more or (share <= 0 and type(event) is Message):
                self._waiting = came[place:]
                break
            if type(event) is not Message:
                self._pass_on(event, events)
            else:
                before = inner.eventless
                said = inner.receive_message(event.payload, event.is_text, now, share)
                share -= max(1, len(said) + inner.eventless - before)
                self._say(said, events)
        self._settle()
        return events

    def on_deadline(self, now: float) -> Sequence[Event]:
        if now < self.deadline:
            return ()
        events: list[Event] = []
        for event in self._websocket.on_deadline(now):
            self._pass_on(event, events)
        if not self._is_over:
            self._say(self._inner.on_deadline(now), events)
        self._settle()
        return events

    def _pass_on(self, event: Event, events: list[Event]) -> None:
        """Of the frames, and no message."""
        events.append(event)
        if type(event) is Finished:
            self._end()

    def _say(self, said: Sequence[Event], events: list[Event]) -> None:
        """Of the inner protocol."""
        for event in said:
            if type(event) is Output:
                events.append(Output(self._frame(event.data)))
            elif type(event) is Opened:
                events.append(self._refusable(event))
            else:
                if type(event) is Finished:
                    events.append(Output(self._last_frame(event.reason, event.detail)))
                    self._end()
                events.append(event)

    def _refusable(self, opened: Opened) -> Opened:
        refuse = opened.refuse
        if refuse is None:
            return opened

        def refused(error: HoldfastError) -> bytes:
            return self._frame(refuse(error)) + self._last_frame(error.reason, str(error))

        return msgspec.structs.replace(opened, refuse=refused)

    def _last_frame(self, reason: Reason, detail: str) -> bytes:
        inner = self._inner
        return close_frame(reason, inner.close_text(detail), inner.close_code(reason))

    def _end(self) -> None:
        self._is_over = True
        self._inner.finish()
        self._waiting = ()

    def _settle(self) -> None:
        """What the proxy reads, after a call."""
        websocket, inner, waiting = self._websocket, self._inner, self._waiting
        if self._is_over:
            self.has_more = self.paused = False
            self.held_bytes, self.deadline = 0, inf
            return
        self.deadline = min(websocket.deadline, inner.deadline)
        self.has_more = self.paused = bool(waiting) or inner.has_more or websocket.has_more
        self.held_bytes = websocket.held_bytes + inner.held_bytes
        if waiting:
            self.held_bytes += sum(len(event.payload) for event in waiting if type(event) is Message)

    # --- what is said -----------------------------------------------------------------------------------------

    def _frame(self, data: bytes) -> bytes:
        return self._websocket.notification(data, True) if data else b""

    def close(self, reason: Reason, detail: str, now: float) -> bytes:
        return self.close_with(self._inner.close_code(reason), reason, detail, now)

    def close_with(self, code: int, reason: Reason, detail: str, now: float) -> bytes:
        """As of ClosesWithCode."""
        if self._is_over:
            return b""
        said = self._websocket.close_with(code, reason, self._inner.close_text(detail), now)
        self._inner.finish()
        self._waiting = ()
        self._settle()
        return said

    def begun(self, opened: Opened, said: Begun) -> bytes:
        """As of KnowsSession, and so on with the seams that the inner protocol has."""
        return self._frame(self._inner.begun(opened, said))

    def refreshed(self, request: Refresh, expires: float | None) -> bytes:
        return self._frame(self._inner.refreshed(request, expires))

    def not_refreshed(self, request: Refresh, error: HoldfastError) -> bytes:
        return self._frame(self._inner.not_refreshed(request, error))

    def reply(
        self, request: Request, head: ReplyHead | None, payload: bytes | None, is_text: bool, more: bool
    ) -> bytes:
        return self._frame(self._inner.reply(request, head, payload, is_text, more))

    def error(self, request: Request, error: HoldfastError) -> bytes:
        return self._frame(self._inner.error(request, error))

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return self._frame(self._inner.notification(payload, is_text))

    def subscribed(self, request: Subscribe, said: Subscribed) -> bytes:
        return self._frame(self._inner.subscribed(request, said))

    def unsubscribed(self, request: Unsubscribe) -> bytes:
        return self._frame(self._inner.unsubscribed(request))

    def joined(self, channel: str) -> bytes:
        """See protocols.clients.base.KnowsJoins, of this and the next: nothing is said if that has no words for it."""
        return self._frame(self._inner.joined(channel)) if isinstance(self._inner, KnowsJoins) else b""

    def left(self, channel: str) -> bytes:
        return self._frame(self._inner.left(channel)) if isinstance(self._inner, KnowsJoins) else b""

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        return self._frame(self._inner.dropped(channel, error))

    def published(self, request: Publish) -> bytes:
        return self._frame(self._inner.published(request))

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        return self._frame(self._inner.publication(channel, epoch, publication))
