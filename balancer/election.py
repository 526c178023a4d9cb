"""Who is master, in which epoch, until when: one proxy's part of it.

Owns the proxy's word on the master, and the time before which there can't be another. Refuses to name a second one, or
to grant it a lease, while one that it has granted might act. Knows no links, clock or store: it is told what happened
and says what to do. In a cluster each proxy grants for itself and follows the record; only the keeper nominates, and
balancer.cluster.membership says why that adds up to one.

Why at most one node acts at any time:
- A node acts only until its own clock shows stamp + lease, where stamp is when it sent the heartbeat whose
  answer gave the lease. The proxy counts from when it answered, which is later, and for MAX_DRIFT longer.
- The successor waits for that end, unless the master itself said that it has stopped (`released`): after Drain or Bye
  a node does not act again in that session, whatever answers are still on their way to it.
- A former run of the proxy may have given a lease just before its end, so a new run waits as long before its first
  election.
Freezing is covered: clocks go on, and a lease that has ended meanwhile has ended. A machine that is suspended
stops its clocks, so for it the epoch is what protects: a proxy takes nothing from any but its present master.
"""

from collections.abc import Sequence

from msgspec import Struct

from balancer.coordination.base import MasterRecord
from balancer.settings import ElectionSettings
from protocols.nodes.frames import Master
from protocols.peers.frames import Record

# By how much more a lease may last on the proxy's clock than on the node's. Monotonic clocks are slewed, by chrony up
# to 8.3 %: if one is sped up and the other slowed, the ratio is 1.18.
MAX_DRIFT = 0.2


class Nomination(Struct, frozen=True):
    """To be written to the coordination store, if the record there still has epoch `expected`."""

    record: MasterRecord
    expected: int


class Election:
    """Driven by the proxy's ticker, and by what happens to nodes' sessions.

    On each tick `decide`; a Nomination goes to Coordinator.swap_master, what that returns to `settled`, an error to
    `failed`. A Master frame that a method returns is to be sent to every node. A node is named by its id, and an id
    has one session at a time: `lost` comes before a new session of the same node is a candidate.

    master, epoch: the present master; "" and the last one's epoch if there is none; epoch 0 before this run's first.
    now, at construction: after the port of the node link is bound, so that a former run can give no lease any more.
    That run is taken to have had the same lease: to change it, stop the proxy for the longer of the two.
    """

    def __init__(self, settings: ElectionSettings, now: float) -> None:
        self.master = ""
        self.epoch = 0
        self._lease = settings.lease
        self._wait = settings.lease * (1 + MAX_DRIFT)
        self._highest = 0  # epoch that any node or the store has told
        self._recorded = 0  # epoch of the store's record
        self._version = 0  # of the cluster's record that is followed: epochs are versions, and grow even if it forgets
        self._followed = ("", 0, 0)  # master, incarnation, epoch of the record that was followed last
        self._granted: tuple[str, int] | None = None  # the process whose lease it is that ends at _lease_end
        self._holder: str | None = None  # its node, while that can still release it
        self._lease_end = now + self._wait
        self._nomination: Nomination | None = None  # on its way to the store
        self._nominee: str | None = None  # its node, while that may still become master

    def saw(self, epoch: int) -> None:
        """A node's Hello told this epoch, of a master or of its state."""
        self._highest = max(self._highest, epoch)

    def decide(self, now: float, candidates: Sequence[str]) -> Nomination | None:
        """What to write to the store now, if anything. candidates: ready nodes that are not draining, longest first.

        The master stays as long as its session stands, a candidate or not. It gets a new epoch if some node has seen a
        higher one, because that node would refuse the present one.
        """
        if self._nomination is not None:
            return None
        if self.master:
            if self._highest <= self.epoch:
                return None
            self._nominee = self.master
        elif candidates and now >= self._lease_end:
            self._nominee = candidates[0]
        else:
            return None
        self._highest = max(self._highest, self._version) + 1
        self._nomination = Nomination(MasterRecord(self._highest, self._nominee), self._recorded)
        return self._nomination

    def settled(self, record: MasterRecord) -> Master | None:
        """The store's answer. If it is the nomination, and nothing has happened to the node meanwhile, it is master."""
        nomination, nominee = self._nomination, self._nominee
        self.failed()
        self._recorded = record.epoch
        self.saw(record.epoch)
        if nomination is None or record != nomination.record or nominee is None:
            return None
        self.master = self._holder = nominee
        self.epoch = record.epoch
        return Master(self.master, self.epoch)

    def joined(self) -> None:
        """This run has become a member of a cluster. What a former run at our place granted is of an older ballot."""
        if self._granted is None:
            self._lease_end = float("-inf")

    def follow(self, record: Record) -> Master | None:
        """The cluster's record has changed: its master is ours, unless that is known already."""
        self._recorded = self._version = record.version
        followed = (record.master, record.incarnation, record.epoch)
        if followed == self._followed:
            return None
        self._followed = followed
        self.saw(record.epoch)
        nomination = self._nomination
        if nomination is not None and nomination.record == MasterRecord(record.epoch, record.master):
            return None  # `settled` says whether its node is still there
        self.master, self.epoch = record.master, record.epoch
        return Master(self.master, self.epoch)

    def failed(self) -> None:
        """The store did not answer. Whether it has the nomination is unknown: a later tick makes one of a new epoch."""
        self._nomination = self._nominee = None

    def renew(self, node: str, now: float, incarnation: int = 0) -> tuple[int, float]:
        """Epoch and lease for the answer to the node's heartbeat; lease 0.0: it is not master.

        now: read after the heartbeat was received, so not at the start of a turn that may have taken long before it.
        """
        if not self.epoch_of(node):
            return self.epoch, 0.0
        process = (node, incarnation)
        if process != self._granted and now < self._lease_end:
            return self.epoch, 0.0  # another's grant stands here
        self._granted = process
        self._holder = node
        self._lease_end = max(self._lease_end, now + self._wait)
        return self.epoch, self._lease

    def epoch_of(self, node: str) -> int:
        """The epoch in which the node is master now; 0: it is not."""
        return self.epoch if node and node == self.master else 0

    def revoke(self, node: str) -> Master | None:
        """The operator drains the node. It gets no more leases; the one it has runs out, or it says Drain before."""
        if node == self._nominee:
            self._nominee = None
        if not self.epoch_of(node):
            return None
        self.master = ""
        return Master("", self.epoch)

    def session_lost(self, node: str) -> None:
        """Our session with it has ended, and others may have theirs: master or not, it can't give our grant back."""
        if node == self._holder:
            self._holder = None

    def lost(self, node: str) -> Master | None:
        """The node's session has ended, without a Bye. It may act on until its lease ends: nobody can tell."""
        self.session_lost(node)
        return self.revoke(node)

    def released(self, node: str) -> Master | None:
        """The node itself said Drain or Bye: it has stopped acting as master, and a successor need not wait."""
        if node == self._holder:
            self._holder = None
            self._lease_end = float("-inf")
        return self.revoke(node)
