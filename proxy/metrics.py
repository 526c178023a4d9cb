"""What the proxy counts, as plain numbers: the hot path does `counters.replies += 1`, and nothing else of metrics.

What each means, and how Prometheus reads it, is in proxy.admin.exporter.
"""

import collections
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.protocols.close import Reason

# From what a kill on one machine costs (under a millisecond) to what a heartbeat limit costs (seconds).
FAILOVER_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of observations per bucket, their sum, and the last one. `observe` is a bisection and two additions."""

    __slots__ = ("bounds", "counts", "last", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.last: float | None = None

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self.last = value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them: the upper bound as text, how many were not above it."""
        names = [*map(str, self.bounds), "+Inf"]
        running = 0
        result: list[tuple[str, float]] = []
        for name, count in zip(names, self.counts, strict=True):
            running += count
            result.append((name, running))
        return result


def _by_reason() -> dict[Reason, int]:
    return dict.fromkeys(Reason, 0)


@dataclass(slots=True)
class Counters:
    """Everything that only grows. Each field has one owner, who alone adds to it."""

    connections_accepted: int = 0
    connections_refused: dict[Reason, int] = field(default_factory=_by_reason)
    connections_closed: dict[Reason, int] = field(default_factory=_by_reason)
    messages_received: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    slow_consumers: int = 0
    limits_hit: collections.Counter[str] = field(default_factory=collections.Counter)  # by the limit's name

    once_given_up: int = 0  # that a client came or went was told to nobody
    tokens: collections.Counter[str] = field(default_factory=collections.Counter)  # by what came of them
    admissions: collections.Counter[str] = field(default_factory=collections.Counter)  # by what came of them

    replies: int = 0
    request_errors: dict[Reason, int] = field(default_factory=_by_reason)
    requests_parked: int = 0
    redelivered: int = 0
    stale_replies: int = 0
    stale_effects: int = 0
    route_requests: collections.Counter[str] = field(default_factory=collections.Counter)  # by the route's name

    notifications: int = 0
    deliveries: int = 0

    nodes_welcomed: int = 0
    nodes_lost: int = 0
    node_frames_received: int = 0
    node_heartbeats: int = 0
    failover: Histogram = field(default_factory=lambda: Histogram(FAILOVER_BOUNDS))  # seconds from loss to another node
    elections: int = 0
