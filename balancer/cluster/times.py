"""The times of the cluster's rules: those that are set, and what follows from them."""

from typing import NamedTuple

from holdfast.protocols.peers.frames import Agreed

# By how much more a time may last on one process's clock than on another's. Monotonic clocks are slewed, by chrony up
# to 8.3 %: if one is sped up and the other slowed, the ratio is 1.18.
MAX_DRIFT = 0.2

# Seconds; whoever was away for longer closes its clients: others may not know any more what these were owed (LATELY in
# balancer.cluster.debts, and drift), and have told nodes that they went.
MAX_SLEEP = 45.0

CARD_TTL = 1.5  # times heartbeat_timeout: one refresh, at a third of it, may be lost


class Times(NamedTuple):
    """Seconds, as the configuration has them."""

    heartbeat: float
    heartbeat_timeout: float
    discover_timeout: float
    fence_timeout: float
    takeover_timeout: float
    lease: float
    spread: float

    @property
    def agreed(self) -> Agreed:
        """What all proxies of a cluster must have alike."""
        return Agreed(self.lease, self.heartbeat_timeout, self.fence_timeout, self.takeover_timeout, self.spread)

    @property
    def lease_wait(self) -> float:
        """How long a grant lasts, on the clock of who gave it."""
        return longest_grant(self.lease)

    @property
    def card_ttl(self) -> float:
        """How long a card lasts; it is refreshed every third of that."""
        return CARD_TTL * self.heartbeat_timeout

    @property
    def grace(self) -> float:
        """How long nodes keep the clients of a proxy that was evicted. One that is cut off notices, waits for the
        fence, and closes its clients over the spread."""
        return self.fence_timeout + self.spread + 2 * self.heartbeat_timeout

    @property
    def sleep(self) -> float:
        """How long after its eviction a proxy may come back with its clients, if it was frozen."""
        return max(self.grace, MAX_SLEEP * (1 + MAX_DRIFT))


def longest_grant(lease: float) -> float:
    return lease * (1 + MAX_DRIFT)
