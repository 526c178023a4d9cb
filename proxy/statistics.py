"""How a proxy stands at one moment, for proxy.metrics, which says what each field means.

Apart from the counters, which the hot path adds to: mypyc, which compiles those, knows no classes like this one.
"""

from collections.abc import Mapping

from msgspec import Struct


class ClusterStatistics(Struct, frozen=True):
    """The defaults are those of a proxy that is alone."""

    cluster_version: int = 0
    cluster_members: int = 1
    cluster_heard: int = 1
    cluster_fenced: bool = False
    cluster_gaps: int = 0
    cluster_messages_lost: int = 0
    cluster_duplicates: int = 0
    cluster_replayed: int = 0
    cluster_garbled: int = 0
    cluster_repairs: int = 0
    cluster_messages_sent: int = 0
    cluster_messages_received: int = 0
    cluster_bytes_sent: int = 0
    cluster_bytes_received: int = 0
    cluster_evictions: int = 0
    cluster_joins: int = 0
    cluster_store_errors: int = 0
    cluster_tunnels: int = 0
    cluster_state_takeovers: int = 0
    cluster_state_copies: int = 0
    cluster_state_foreign: int = 0
    cluster_state_garbled: int = 0


class Statistics(ClusterStatistics, frozen=True, kw_only=True):
    """How things stand at this moment, and what reactor and cluster count themselves. Made when somebody asks."""

    ready: bool
    connections: int
    buffered_bytes: int
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
    log_lines_dropped: int
