"""Who is master, as this proxy has it: whether it may have the lease from us, and whether another is to be elected.

Owns what this proxy has granted, and since when it could elect. Which records are written then is
balancer.cluster.changes', and why that makes at most one master is argued in balancer.cluster.membership.
"""

from collections.abc import Iterable
from math import inf

from holdfast.balancer.cluster import changes
from holdfast.balancer.cluster.grants import Grants, Process
from holdfast.balancer.cluster.membership import Membership
from holdfast.protocols.peers.frames import READY, NodeSeen, Record

# Seconds between two epochs that are there only because a node has seen a later one: of two clusters that have nodes
# in common each would be above the other in turn.
RAISE_EVERY = 5.0


class Mastership:
    """now: after the port of the node link is bound."""

    def __init__(self, membership: Membership, now: float) -> None:
        self.grants = Grants(membership.times.lease_wait, now)
        self._membership = membership
        self._is_vacant = False  # a majority has lost the master, and there is another to be elected
        self._due_since: float | None = None  # an election could be written
        self._raises_at = -inf  # the epoch of the same master again, at the earliest

    def followed(self, *, is_joining: bool) -> None:
        """We follow another record. is_joining: with which we have become a member."""
        self._is_vacant = False
        if is_joining:
            self.grants.joined()

    def master(self, now: float) -> tuple[str, int]:
        """The master's node, "" if we know that a majority has lost it; and the epoch."""
        record = self._membership.record
        return "" if self._membership.is_vacant(now) else record.master, record.epoch

    def is_master(self, process: Process) -> bool:
        record = self._membership.record
        return process == (record.master, record.incarnation)

    def renew(self, process: Process, now: float) -> bool:
        """Whether the process of a node has the lease, from now on; it asks for it with each heartbeat.

        now: read after the heartbeat was received, so not at the start of a turn that may have taken long before it.
        """
        if self._is_vacant or not self.is_master(process) or not self._membership.may_grant(now):
            return False
        return self.grants.renew(process, now)

    def elect(self, nodes: Iterable[NodeSeen], now: float) -> Record | None:
        """What to write when a majority has lost the master, with the first of our nodes that a majority has ready.

        The master stays otherwise, ready or not, or nobody is. There is a new epoch if some node has seen a higher one,
        because that node would refuse the present one, and its keeper too, without which it may never be ready to be
        elected. nodes: ours, the longest-standing first.
        """
        membership = self._membership
        record = membership.record
        elected: Process | None = None
        self._is_vacant = False
        if membership.is_doubtful(now):
            self._due_since = None
            return None
        if membership.is_agreed_vacant(now):
            ready = ((seen.node, seen.incarnation) for seen in nodes if seen.state == READY)
            elected = next((process for process in ready if membership.majority_sees(*process, now, ready=True)), None)
            self._is_vacant = elected is not None
        is_behind = membership.highest_epoch > record.epoch and membership.is_quorate(now)
        if elected is None and is_behind and now >= self._raises_at:
            elected = (record.master, record.incarnation)
        if elected is None or (self._is_vacant and now < self.grants.end):
            self._due_since = None
            return None
        if self._due_since is None:
            self._due_since = now
        if now - self._due_since < membership.turn() * changes.STEP:
            return None
        if not self._is_vacant:
            self._raises_at = now + RAISE_EVERY
        return changes.elect(membership, elected)
