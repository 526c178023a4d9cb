"""What members say to each other about what nodes leave: entries of the state are replication's, clients the owners',
what lost nodes owed the debts'.

Owns which of these a frame is for, and that nothing about the state of another term counts.
"""

from collections.abc import Sequence

from holdfast.balancer.cluster.debts import Debts
from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.owners import Owners
from holdfast.balancer.cluster.replication import Replication
from holdfast.protocols.errors import FrameError
from holdfast.protocols.peers.frames import Frame
from holdfast.protocols.peers.replication import Debt, Entries, Gone, Owned, Replicated


class Sharing:
    def __init__(self, membership: Membership, replication: Replication, owners: Owners, debts: Debts) -> None:
        self._membership = membership
        self._replication = replication
        self._owners = owners
        self._debts = debts

    def received(self, proxy: str, frame: Replicated | Owned | Debt, now: float) -> Frame | None:
        """Returns the answer."""
        replication = self._replication
        if isinstance(frame, Replicated):
            return replication.received(proxy, frame, now)
        if isinstance(frame, Debt):
            return self._debts.received(proxy, frame, now)
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
        if self._debts:
            asks += self._debts.questions(self._membership.heard_now(now), now)
        return published, asks

    def tend(self, now: float) -> None:
        known = self._membership.prefixes(now)
        self._owners.know(known)
        self._debts.know(known.values())
        self._replication.tick(now)
        if self._replication.is_held:
            self._membership.state_is_held()
