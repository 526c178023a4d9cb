"""A proxy without a store: the cluster's rules with one member, and a record that nobody else can see.

Owns that record. What the rules would have others told goes nowhere.
"""

from collections.abc import Callable

import trio

from holdfast.balancer.cluster.actions import Write
from holdfast.balancer.cluster.cluster import Cluster

TICK = 0.05  # a master is named at most this long after its lease allows it


class LoneRecord:
    """look: called before each step, to tell the cluster of our nodes. settle: sends what has been queued."""

    def __init__(self, cluster: Cluster, look: Callable[[], object], settle: Callable[[], object]) -> None:
        self._cluster = cluster
        self._look = look
        self._settle = settle
        cluster.found_alone(trio.current_time())
        self._record = cluster.membership.record

    async def run(self) -> None:
        """Task."""
        while True:
            await trio.sleep(TICK)
            self.step()
            self._settle()

    def step(self) -> None:
        self._look()
        now = trio.current_time()
        self._cluster.stored(self._record, {}, now, now)
        for action in self._cluster.tick(now):
            if isinstance(action, Write):
                self._record = action.record
                self._cluster.stored(self._record, {}, now, now)
