"""How a proxy stands at one moment, for proxy.metrics, which says what each field means.

Apart from the counters, which the hot path adds to: mypyc, which compiles those, knows no classes like this one.
"""

from collections.abc import Mapping

from proxy.cluster.statistics import ClusterStatistics


class Statistics(ClusterStatistics, frozen=True, kw_only=True):
    """How things stand at this moment, and what reactor and cluster count themselves. Made when somebody asks."""

    ready: bool
    connections: int
    sessions: int
    in_flight: int
    parked: int
    parked_bytes: int
    channels: int
    subscriptions: int
    nodes: Mapping[str, int]  # how many are in each state, every state named
    epoch: int
    reactor_turns: int
    reactor_events: int
    reactor_busy: float  # seconds
    effects_repeated: int
