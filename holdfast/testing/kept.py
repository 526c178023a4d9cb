"""Channels with history in a test of a node alone: what was published to them, and what the node is told of it.

The logs are the proxies' own, in memory (balancer.history.memory), without limits.
"""

from collections.abc import Iterable, Mapping
from itertools import count
from time import time

from holdfast.balancer.history.base import END, Append, Keep
from holdfast.balancer.history.memory import MemoryLog
from holdfast.balancer.history.pages import answer_of, place_of
from holdfast.node.effects import Payload, encode
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.histories import MAX_PAGE, PAGE_BYTES

MAX_BYTES = 1 << 30
KEEP = Keep(1_000_000, 0, 86_400.0)


class Histories:
    """channels: those that have one, and what was published to each before."""

    def __init__(self, channels: Mapping[str, Iterable[Payload]]) -> None:
        self._channels = set(channels)
        self._log = MemoryLog(MAX_BYTES)
        self._numbers = count()
        for channel, payloads in channels.items():
            for payload in payloads:
                self._append(channel, *encode(payload, None))

    def published(self, effects: Iterable[frames.Effect | frames.AsMaster]) -> None:
        """The node has done these."""
        for effect in effects:
            if isinstance(effect, frames.AsMaster):
                self.published(effect.effects)
            elif isinstance(effect, frames.Notify) and effect.history:
                for channel in self._channels.intersection(effect.channels):
                    payload = b"%b%b%b" % (effect.payload, channel.encode() if effect.tail else b"", effect.tail)
                    self._append(channel, payload, effect.is_text)

    def answer(self, frame: frames.AskHistory) -> frames.History:
        if frame.channel not in self._channels:
            message = f"the channel {frame.channel:.80} has no history: which ones have is for `history` of the test"
            return frames.History(frame.ask, 404, message)
        now, limit = time(), min(frame.limit, MAX_PAGE)
        after, epoch = place_of(frame, limit, self._log.read(frame.channel, END, 1, 1, now)) or (0, "")
        return answer_of(frame, after, epoch, self._log.read(frame.channel, after, limit, PAGE_BYTES, now))

    def _append(self, channel: str, payload: bytes, is_text: bool) -> None:
        self._log.append([Append(channel, b"%d" % next(self._numbers), payload, is_text, b"", KEEP)], time())
