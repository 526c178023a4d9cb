"""A poll: one answer, when there is something to say, or when its time is over.

Owns what that is: JSON, with the id that the client shows when it asks next. In channels with history nothing is missed
between two polls; of others a client gets what is said while it waits.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.protocols.clients.base import Subscribed
from holdfast.protocols.clients.events import Event, Output
from holdfast.protocols.clients.exchange import AtDoor, Exchange
from holdfast.protocols.clients.sse import ids, text
from holdfast.protocols.clients.sse.asking import Asking
from holdfast.protocols.clients.sse.stream import Kept
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position, Publication

HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


class Poll(AtDoor):
    """The adapter while a client waits. See protocols.clients.base.ClientProtocol, and KnowsChannels."""

    __slots__ = ("_channels", "_positions")

    name = "sse"

    def __init__(self, exchange: Exchange, asking: Asking, now: float) -> None:
        super().__init__(exchange)
        self._channels = frozenset(asking.channels)
        self._positions: dict[str, Position] = {}
        self.deadline = now + (asking.poll or 0.0)

    def begin(self, said: Mapping[str, Subscribed], asking: Asking, kept: Sequence[Kept]) -> bytes:
        """The answer, if there is anything to say, and then it is over; else b"". A client that has no id yet gets it
        at once: what comes while it asks again would else be lost to it."""
        messages: list[bytes] = []
        unrecovered: dict[str, str] = {}
        for channel, each in said.items():
            if each.position is not None:
                self._positions[channel] = each.position
            if each.recovered is False:
                unrecovered[channel] = each.detail
            messages += (text.enveloped(channel, publication) for publication in each.missed)
        is_over = False
        for channel, epoch, publication, error in kept:
            is_over = is_over or error is not None
            if error is None:
                messages.append(self._message(channel, epoch, publication))
        is_first = bool(self._positions) and not asking.came_back
        if messages or unrecovered or is_over or is_first or not asking.poll:
            return self._answer(messages, unrecovered)
        return b""

    def _message(self, channel: str, epoch: str, publication: Publication) -> bytes:
        if publication.offset and epoch and channel in self._channels:
            self._positions[channel] = Position(epoch, publication.offset)
        return text.enveloped(channel, publication)

    def _answer(self, messages: Sequence[bytes], unrecovered: Mapping[str, str] | None = None) -> bytes:
        self.over()
        body = text.polled(ids.write(self._positions), messages, unrecovered or {})
        return self._exchange.answer(200, HEADERS, body)

    # --- what is said -----------------------------------------------------------------------------------------

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        return b"" if self._is_over else self._answer([self._message(channel, epoch, publication)])

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return self.publication("", "", Publication(payload, is_text))

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        """Why, it is told when it asks again."""
        return b"" if self._is_over or channel not in self._channels else self._answer(())

    def late(self, now: float) -> Sequence[Event]:
        return [Output(self._answer(())), *self.resume(now)]

    def last_words(self, reason: Reason, detail: str) -> bytes:
        self._exchange.writer.keeps_alive = False
        return self._answer(()) if reason.retryable else self._exchange.refusal(HoldfastError(detail, reason))
