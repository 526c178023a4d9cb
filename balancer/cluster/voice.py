"""What we say of ourselves: numbered messages to all, our facts to who asks.

Owns our numbers and our own facts. A loss is found by the next message, and the next one comes within a heartbeat.
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.replication import Replication
from holdfast.protocols.peers.envelope import seal
from holdfast.protocols.peers.frames import Beat, Facts, Figures, Frame, Nodes, NodeSeen, Published, Record, Told

TOLD_EVERY = 4  # heartbeats: so often a record comes again, for who can't read the store


class Voice:
    """heartbeat: seconds between two Beats. figures: asked for each regular one. sent, bytes_sent: published."""

    def __init__(self, proxy: str, token: bytes, heartbeat: float) -> None:
        self.beat = Beat(0, [], [])
        self.nodes: list[NodeSeen] = []
        self.figures: Callable[[], Figures] = Figures
        self.sent = 0
        self.bytes_sent = 0
        self._proxy = proxy
        self._token = token
        self._heartbeat = heartbeat
        self._number = 0
        self._pending: list[Published] = []
        self._beats = 0
        self._beat_at = float("-inf")

    def say(self, frame: Published) -> None:
        """Goes out with the next message."""
        self._pending.append(frame)

    def has_nodes(self, nodes: Sequence[NodeSeen]) -> None:
        self.nodes = list(nodes)
        self.say(Nodes(self.nodes))

    def message(self, record: Record, beat: Beat, now: float) -> bytes | None:
        """What is to be published now, if anything: a heartbeat when it is time, or when it says something new. That
        figures, positions and times have changed is told when it is time."""
        frames, self._pending = self._pending, []
        said = self.beat
        is_time = now - self._beat_at >= self._heartbeat
        if is_time:
            beat = replace(beat, figures=self.figures())
        else:
            beat = replace(beat, figures=said.figures, term=said.term, position=said.position, evicted=said.evicted)
        if is_time:
            self._beat_at = now
            self._beats += 1
            if self._beats % TOLD_EVERY == 0:
                frames.append(Told(record))
        if is_time or beat != said:
            self.beat = beat
            frames.append(beat)
        return self.published(frames) if frames else None

    def published(self, frames: Sequence[Frame]) -> bytes:
        self._number += 1
        data = seal(self._token, self._proxy, self._number, frames)
        self.sent += 1
        self.bytes_sent += len(data)
        return data

    def all_facts(self, record: Record) -> bytes:
        """All facts, as they are now."""
        return self.alone(Facts(self._number, [Told(record), self.beat, Nodes(self.nodes)]))

    def alone(self, frame: Frame) -> bytes:
        """A frame that is asked or answered, outside the stream."""
        return seal(self._token, self._proxy, 0, [frame])


def beat_of(membership: Membership, replication: Replication, *, is_fenced: bool, now: float) -> Beat:
    """What is to be said now, the figures aside."""
    is_member = membership.is_member
    return Beat(
        membership.record.version,
        membership.missing(now),
        membership.strangers(now),
        is_fenced,
        is_member and membership.is_confirmed,
        is_member and membership.is_established(now),
        vacant=membership.is_vacant(now),
        firm=is_member and membership.is_firm,
        term=replication.term,
        position=replication.position,
        evicted=membership.lingering.say(now),
    )
