"""What nodes do to clients and channels: carried out here, each once.

Owns what is known of each node's numbered effects, so that what comes again in another session is not done again; the
requests whose effects were done, so that another node's attempt at one does not do them again; and which nodes have
been told that a channel has nobody here. Refuses what a node does as master without being it.
"""

import sys
from collections.abc import Callable, Iterable
from math import inf

import structlog

from balancer.cluster.remembered import Remembered
from balancer.directory import Node
from protocols.close import Reason
from protocols.nodes import frames
from protocols.nodes.frames import Effect, unpack_ids
from proxy.channels import Channels
from proxy.clients import Clients
from proxy.metrics import Counters

log = structlog.get_logger("holdfast.effects")

# A node keeps what it could not send for 60 s, and a request is sent again within its timeout.
MIN_REMEMBERED_SECONDS = 60.0
STREAM_SECONDS = 600.0  # how long a node without a session is remembered; it numbers on if it comes back
MAX_MUTED = 10_000  # channels for each session of a node; what is above is sent to us in vain


class Stream:
    """One run of a node. last: number of the last effects that came. gone_at: since when it has no session."""

    __slots__ = ("gone_at", "incarnation", "last")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.last = 0
        self.gone_at = inf


class Effects:
    """is_master: whether a node is master in an epoch. remembered: at most how many requests. unanswered: whose effects
    have come in the present batch.

    Each request is remembered for `remember_seconds` at least, unless there are too many.
    """

    is_master: Callable[[Node, int], bool]

    def __init__(
        self, clients: Clients, channels: Channels, counters: Counters, remembered: int, request_timeout: float
    ) -> None:
        self._clients = clients
        self._channels = channels
        self._counters = counters
        self._streams: dict[str, Stream] = {}
        self.remembered = Remembered(remembered)
        self._interval = max(MIN_REMEMBERED_SECONDS, request_timeout)
        self._turns_at = inf
        self.unanswered: Node | None = None
        self._vain: dict[str, None] = {}  # channels of them that had nobody
        self._muted: dict[str, set[Node]] = {}  # channels without anybody: who has been told
        self._muted_at: dict[Node, set[str]] = {}
        self.repeated = 0
        channels.on_first = self._unmute

    # --- sessions -------------------------------------------------------------------------------------------------

    def seen(self, node: Node) -> int:
        """A session begins. Returns the number of the last effects of this run of the node that have come."""
        stream = self._streams.get(node.id)
        if stream is None or stream.incarnation != node.incarnation:
            stream = self._streams[node.id] = Stream(node.incarnation)
        stream.gone_at = inf
        return stream.last

    def lost(self, node: Node, now: float) -> None:
        """The session is over. Called before another one of the same node begins."""
        stream = self._streams.get(node.id)
        if stream is not None and stream.incarnation == node.incarnation:
            stream.gone_at = now
        if self.unanswered is node:
            self.unanswered = None
            self._vain.clear()
        for channel in self._muted_at.pop(node, ()):
            told = self._muted[channel]
            told.discard(node)
            if not told:
                del self._muted[channel]

    def tick(self, now: float) -> None:
        """Now and then: forget what is old enough."""
        if self.remembered.early:
            self._counters.limits_hit["realtime.max_remembered_requests"] = self.remembered.early
        if self._turns_at == inf:
            self._turns_at = now + self._interval
        if now >= self._turns_at:
            self._turns_at = now + self._interval
            self.remembered.turn()
            for node, stream in list(self._streams.items()):
                if now - stream.gone_at > STREAM_SECONDS:
                    del self._streams[node]

    # --- numbered effects -----------------------------------------------------------------------------------------

    def take(self, node: Node, frame: frames.Effects) -> None:
        """Carry them out, unless that was done. `answer` must follow when the batch has been taken."""
        stream = self._streams[node.id]
        self.unanswered = node
        if frame.number <= stream.last:
            self.repeated += 1
            return
        stream.last = frame.number
        if frame.request:
            home = sys.intern(frame.home)  # one string for all that are remembered
            if not self.remembered.add((home, frame.request, frame.part)):
                self.repeated += 1
                return
        for effect in frame.effects:
            if isinstance(effect, frames.AsMaster):
                self.as_master(node, effect)
                self._find_vain(effect.effects)
            else:
                self.carry_out(node, effect)
                self._find_vain((effect,))

    def answer(self) -> None:
        """A batch with effects has been taken: say which channels were in vain, then acknowledge it.

        In this order, because a node takes a Mute that comes before an acknowledgement for one that may cross its Join.
        """
        node = self.unanswered
        assert node is not None
        self.unanswered = None
        if self._vain:
            vain, self._vain = self._vain, {}
            self._mute(node, [channel for channel in vain if channel not in self._channels])
        node.link.send(frames.Ack(self._streams[node.id].last))

    def hole(self, node: Node, frame: frames.Hole) -> None:
        """The node could not keep all of what was for our clients: they must not go on as if nothing was missing."""
        stream = self._streams[node.id]
        self.unanswered = node
        if frame.number <= stream.last:
            return
        stream.last = frame.number
        sessions = [c for c in self._clients.connections.values() if c.is_session and not c.is_closed]
        log.warning("effects_missing", node=node.id, clients=len(sessions))
        for connection in sessions:
            connection.close(Reason.INTERRUPTED, "")

    @property
    def muted(self) -> int:
        """Channels without anybody that nodes have been told of."""
        return len(self._muted)

    # --- channels without anybody ---------------------------------------------------------------------------------

    def _find_vain(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, frames.Notify):
                for channel in effect.channels:
                    if channel not in self._channels:
                        self._vain[channel] = None

    def _mute(self, node: Node, channels: list[str]) -> None:
        """Also those that it has been told of before: it may not have listened, because it had a join under way."""
        told = self._muted_at.setdefault(node, set())
        room = MAX_MUTED - len(told)
        channels = [channel for place, channel in enumerate(channels) if place < room or channel in told]
        for channel in channels:
            told.add(channel)
            self._muted.setdefault(channel, set()).add(node)
        if channels:
            node.link.send(frames.Mute(channels))

    def _unmute(self, channel: str) -> None:
        """The channel has somebody now."""
        for node in self._muted.pop(channel, ()):
            self._muted_at[node].discard(channel)
            node.link.send(frames.Unmute([channel]))

    # --- single effects -------------------------------------------------------------------------------------------

    def carry_out(self, node: Node, effect: Effect) -> None:
        channels = self._channels
        if isinstance(effect, frames.Notify):
            channels.publish(
                effect.payload,
                effect.is_text,
                effect.channels,
                unpack_ids(effect.clients) if effect.clients else (),
                unpack_ids(effect.exclude) if effect.exclude else (),
            )
        elif isinstance(effect, frames.Join):
            channels.join(effect.client, effect.channel)
        elif isinstance(effect, frames.Leave):
            channels.leave(effect.client, effect.channel)
        elif isinstance(effect, frames.Broadcast):
            channels.broadcast(effect.payload, effect.is_text, unpack_ids(effect.exclude))
        else:
            self.kick(effect.client, effect.reason)

    def as_master(self, node: Node, frame: frames.AsMaster) -> None:
        if not self.is_master(node, frame.epoch):
            self._counters.stale_effects += 1
            return
        for effect in frame.effects:
            self.carry_out(node, effect)

    def kick(self, client: int, reason: str) -> bool:
        """Close a client's connection. False: there is no such client."""
        connection = self._clients.find(client)
        if connection is None:
            return False
        connection.close(Reason.KICKED, reason[:100])
        return True
