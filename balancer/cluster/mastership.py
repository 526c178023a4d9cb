"""Who is master, as this proxy has it: whether it may have the lease from us, and whether another is to be elected.

Owns what this proxy has granted, and since when it could elect. Which records are written then is
balancer.cluster.changes', and why that makes at most one master is argued in balancer.cluster.membership.
"""

from collections.abc import Iterable

from holdfast.balancer.cluster import changes
from holdfast.balancer.cluster.grants import Grants, Process
from holdfast.balancer.cluster.membership import Membership
from holdfast.protocols.peers.frames import READY, NodeSeen, Record


class Mastership:
    """now: after the port of the node link is bound."""

    def __init__(self, membership: Membership, now: float) -> None:
        self.grants = Grants(membership.times.lease_wait, now)
        self._membership = membership
        self._is_vacant = False  # a majority has lost the master, and there is another to be elected
        self._due_since: float | None = None  # an election could be written

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

        The master stays otherwise, ready or not. It gets a new epoch if some node has seen a higher one, because that
        node would refuse the present one. nodes: ours, the longest-standing first.
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
        elif membership.highest_epoch > record.epoch and membership.is_quorate(now) and not membership.is_vacant(now):
            elected = (record.master, record.incarnation)
        if elected is None or (self._is_vacant and now < self.grants.end):
            self._due_since = None
            return None
        if self._due_since is None:
            self._due_since = now
        if now - self._due_since < membership.turn() * changes.STEP:
            return None
        return changes.elect(membership, elected)
