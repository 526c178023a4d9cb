"""What is to be written to the store, one write after the other.

Owns that one is under way at a time, and which reason comes first. What is written for each is the matter of
balancer.cluster.changes and balancer.cluster.mastership.
"""

from collections.abc import Container, Iterable

from holdfast.balancer.cluster import changes
from holdfast.balancer.cluster.actions import Write
from holdfast.balancer.cluster.mastership import Mastership
from holdfast.balancer.cluster.membership import Membership
from holdfast.protocols.peers.frames import NodeSeen, Record


class Writing:
    """record: what we wrote last, or wanted to. is_under_way: the store has not answered to that yet. must_reset: the
    operator has said so."""

    def __init__(self, membership: Membership, mastership: Mastership) -> None:
        self.record = Record()
        self.is_under_way = False
        self.has_read = False
        self.must_reset = False
        self._must_rewrite = False  # the store has forgotten our record
        self._membership = membership
        self._mastership = mastership

    def answered(self, *, must_rewrite: bool) -> None:
        """The store's answer to a read or a write has been taken."""
        self.is_under_way = False
        self.has_read = True
        self._must_rewrite = must_rewrite

    def failed(self, *, was_writing: bool) -> None:
        self.is_under_way = self.is_under_way and not was_writing

    def next(self, live: Container[str], nodes: Iterable[NodeSeen], above: int, now: float) -> Write | None:
        """live: peers whose facts are complete. nodes: ours, the longest-standing first. above: the term of the nodes'
        state that another is to follow; 0: none is."""
        if self.is_under_way or not self.has_read:
            return None
        record = self._next(live, nodes, above, now)
        if record is None:
            return None
        self.is_under_way = True
        self.record = record
        return Write(record, self._membership.stored_version)

    def _next(self, live: Container[str], nodes: Iterable[NodeSeen], above: int, now: float) -> Record | None:
        membership = self._membership
        if self._must_rewrite:
            self._must_rewrite = False
            return membership.record
        if self.must_reset:
            self.must_reset = False
            return changes.reset(membership, now)
        if membership.is_leaving:
            return changes.leave(membership, now)
        if membership.is_keeper and above and membership.is_quorate(now):
            return changes.raise_term(membership, above)
        if membership.is_member:
            return changes.change(membership, now) or self._mastership.elect(nodes, now)
        return changes.join(membership, live, now) if membership.absence.is_fresh(now) else None
