"""Channels that have nobody here, of which nodes have been told: they need not send us what is for them.

A node that has been told remembers what it did not send until a later heartbeat is answered, so what it published in
the moment of a first join is not lost. All of it is void without a session.
"""

from holdfast.balancer.directory import Node
from holdfast.protocols.nodes import frames
from holdfast.proxy.realtime.channels import Channels

MAX_MUTED = 10_000  # channels for each session of a node; what is above is sent to us in vain
# Heartbeats a second of all nodes together by which they ask whether what they hold back is wanted by now: a tenth of a
# core. Who comes from another proxy hears again what was published up to an interval before, so it is short.
ASKS_PER_SECOND = 2000
MIN_INTERVAL, MAX_INTERVAL = 0.005, 0.5
MAX_NAME = 512  # characters; so are notifications for longer names, which are kept nowhere


class Mutes:
    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._told: dict[str, set[Node]] = {}  # channels without anybody: who knows
        self._muted: dict[Node, set[str]] = {}

    def __len__(self) -> int:
        return len(self._told)

    def mute(self, node: Node, vain: dict[str, None]) -> None:
        """What a node sent for these was in vain.

        Also those that it has been told of before: it may not have listened, because it had a join under way.
        """
        if self._channels.has_filters:  # whoever has one may come to have it for any channel
            return
        muted = self._muted.setdefault(node, set())
        room = MAX_MUTED - len(muted)
        channels = [channel for channel in vain if len(channel) <= MAX_NAME and channel not in self._channels]
        channels = [channel for place, channel in enumerate(channels) if place < room or channel in muted]
        for channel in channels:
            muted.add(channel)
            self._told.setdefault(channel, set()).add(node)
        if channels:
            interval = min(max(MIN_INTERVAL, len(self._muted) / ASKS_PER_SECOND), MAX_INTERVAL)
            node.link.send(frames.Mute(channels, interval))

    def unmute(self, channel: str) -> None:
        """The channel has somebody now."""
        for node in self._told.pop(channel, ()):
            self._muted[node].discard(channel)
            node.link.send(frames.Unmute([channel]))

    def unmute_all(self) -> None:
        """Any channel may have somebody now."""
        for node, muted in self._muted.items():
            if muted:
                node.link.send(frames.Unmute(list(muted)))
                muted.clear()
        self._told.clear()

    def lost(self, node: Node) -> None:
        """The session is over."""
        for channel in self._muted.pop(node, ()):
            told = self._told[channel]
            told.discard(node)
            if not told:
                del self._told[channel]
