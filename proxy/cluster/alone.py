"""The record of a proxy that is alone: the cluster's rules, with a store that nobody else can see."""

from collections.abc import Awaitable, Callable

import trio

from balancer.cluster.cluster import Cluster
from balancer.cluster.record import from_store, to_store
from balancer.coordination.base import Coordinator
from protocols.peers.frames import Record


def writer(cluster: Cluster, coordinator: Coordinator) -> Callable[[Record, int], Awaitable[Record]]:
    """What the steward writes with. The cluster has founded itself, see Cluster.found_alone."""

    async def write(record: Record, expected: int) -> Record:
        asked = trio.current_time()
        stored = from_store(await coordinator.swap_master(expected, to_store(record)))
        cluster.stored(stored, {}, asked, trio.current_time())
        return stored

    return write
