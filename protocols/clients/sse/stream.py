"""A stream of events: what its client's channels say, from the first event to the last.

Owns the ids of events. One for one channel says where that is, so an event is the same for all streams of a channel and
is encoded once; with several channels it says where all of them are, so each stream's is its own. What is said of no
position has no id: whoever comes back then shows the last one.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final, NamedTuple
from zlib import crc32

from msgspec import Raw

from holdfast.protocols.clients.base import Subscribed
from holdfast.protocols.clients.embedding import embed
from holdfast.protocols.clients.events import Event, Output
from holdfast.protocols.clients.exchange import AtDoor, Exchange
from holdfast.protocols.clients.sse import ids, text
from holdfast.protocols.clients.sse.asking import Asking
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError
from holdfast.protocols.positions import Position, Publication

HEADERS: Final = (
    ("Content-Type", text.CONTENT_TYPE),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # nginx would keep events back until it has 4 KiB of them
)
# So many seconds a client waits that has lost its stream: when a proxy is gone, all of its clients come to the others.
_LEAST_RETRY, _MORE_RETRY = 1.0, 2.0


class Kept(NamedTuple):
    """What was said to a client that is not told anything yet. channel: "": of none. over: instead of a publication,
    why it is not in that channel any more."""

    channel: str
    epoch: str = ""
    publication: Publication = Publication(b"", True)
    over: HoldfastError | None = None


class Stream(AtDoor):
    """The adapter. See protocols.clients.base.ClientProtocol, and KnowsChannels."""

    __slots__ = ("_channel", "_interval", "_is_enveloped", "_live", "_positions")

    name = "sse"

    def __init__(self, exchange: Exchange, asking: Asking, now: float) -> None:
        super().__init__(exchange)
        self._live = set(asking.channels)
        self._channel = asking.channels[0] if len(asking.channels) == 1 else ""
        self._is_enveloped = asking.is_enveloped
        self._positions: dict[str, Position] = {}
        self._interval = exchange.limits.ping_interval or inf
        self.deadline = now + self._interval
        if self._channel:
            # Text: what of a tuple would be hashed for each that it is written to.
            framing = "lines" if exchange.writer.is_http10 else "chunks"
            self.wire_format = f"sse {framing} {asking.is_enveloped:d} {self._channel}"

    def begin(self, said: Mapping[str, Subscribed], since: Mapping[str, Position], kept: Sequence[Kept]) -> bytes:
        """The head, and all that is to be said before what comes from now on. It may be over then.

        said: of each channel, in their order. since: where the client says that it is. kept: what has come meanwhile.
        """
        positions = self._positions
        for channel, each in said.items():
            if each.position is not None:
                positions[channel] = since[channel] if each.recovered and channel in since else each.position
        first = [text.retry(retry_after(self._exchange))]
        for channel, each in said.items():
            if each.info:
                first.append(text.told("subscribed", {"channel": channel, "info": Raw(embed(each.info, is_text=True))}))
            if each.recovered is False:
                first.append(text.told("unrecovered", {"channel": channel, "message": each.detail}))
            if each.position is not None:
                first += (self._event(channel, each.position.epoch, publication) for publication in each.missed)
                positions[channel] = each.position
        if positions:
            first.append(text.event(None, id=ids.write(positions)))
        first += (self._event(each.channel, each.epoch, each.publication) for each in kept if each.over is None)
        begin = self._exchange.begin(HEADERS, b"".join(first))
        # Whoever is told that it is over is told all of it first.
        ends = (self.dropped(each.channel, each.over) for each in kept if each.over is not None)
        return begin + b"".join(ends)

    def _event(self, channel: str, epoch: str, publication: Publication) -> bytes:
        id = ""
        if publication.offset and epoch:
            position = Position(epoch, publication.offset)
            if self._channel:
                id = ids.write({channel: position}) if channel == self._channel else ""
            elif channel in self._positions or channel in self._live:
                self._positions[channel] = position
                id = ids.write(self._positions)
        try:
            data = text.enveloped(channel, publication) if self._is_enveloped else text.bare(publication)
        except ProtocolError:
            return b""  # text that is none: nobody gets it
        return text.event(data, id=id)

    def _part(self, data: bytes) -> bytes:
        return self._exchange.writer.write(None, data, is_text=True, more=True) if data else b""

    def _end(self, data: bytes) -> bytes:
        self.over()
        return self._exchange.writer.write(None, data, is_text=True, more=False)

    # --- what is said -----------------------------------------------------------------------------------------

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        if self._is_over:
            return b""
        return self._part(self._event(channel, epoch, publication))

    def notification(self, payload: bytes, is_text: bool) -> bytes:
        return self.publication("", "", Publication(payload, is_text))

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        """With the last of its channels the stream is over; and with any that it may have again at once, since it is
        for all of them that a client comes back."""
        if self._is_over or channel not in self._live:
            return b""
        self._live.discard(channel)
        said = text.told("dropped", {"channel": channel} | text.why(error))
        return self._end(said) if error.reason.retryable or not self._live else self._part(said)

    def late(self, now: float) -> Sequence[Event]:
        self.deadline = now + self._interval
        return [Output(self._part(text.HEARTBEAT))]

    def last_words(self, reason: Reason, detail: str) -> bytes:
        return self._end(text.told("closed", text.ended(reason, detail)))


def retry_after(exchange: Exchange) -> float:
    """Seconds, another number for each client: not all are to come at one moment."""
    return _LEAST_RETRY + _MORE_RETRY * (crc32(exchange.request.address.encode()) % 1000) / 1000
