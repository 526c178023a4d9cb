"""What members say to each other about the nodes' state: entries are replication's, clients the owners'.

Owns which of the two a frame is for, and that nothing of another term counts.
"""

from collections.abc import Sequence

from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.owners import Owners
from holdfast.balancer.cluster.replication import Replication
from holdfast.protocols.errors import FrameError
from holdfast.protocols.peers.frames import Frame
from holdfast.protocols.peers.replication import Entries, Gone, Owned, Replicated


class Sharing:
    def __init__(self, membership: Membership, replication: Replication, owners: Owners) -> None:
        self._membership = membership
        self._replication = replication
        self._owners = owners

    def received(self, proxy: str, frame: Replicated | Owned, now: float) -> Frame | None:
        """Returns the answer."""
        replication = self._replication
        if isinstance(frame, Replicated):
            return replication.received(proxy, frame, now)
        if frame.term != replication.term:
            return None
        try:
            if isinstance(frame, Gone):
                if replication.phase is Phase.KEEPING:
                    self._owners.told(proxy, frame)
            elif proxy == self._membership.record.keeper:
                return self._owners.watch(frame)
        except FrameError:
            replication.counters.garbled += 1
        return None

    def take(self, now: float) -> tuple[Sequence[Entries], list[tuple[str, Frame]]]:
        """What is to be published, and what is to be said to whom."""
        replication, owners = self._replication, self._owners
        published, question = replication.take(now)
        asks: list[tuple[str, Frame]] = [] if question is None else [question]
        gone = owners.tell(replication.term)
        if gone is not None:
            asks.append((self._membership.record.keeper, gone))
        if replication.phase is Phase.KEEPING:
            asks += owners.ask(replication.term, now)
        return published, asks

    def tend(self, now: float) -> None:
        self._owners.know(self._membership.prefixes(now))
        self._replication.tick(now)
        if self._replication.is_held:
            self._membership.state_is_held()
