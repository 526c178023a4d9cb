"""What the proxy counts, and how Prometheus reads it.

Counters is an object of plain numbers: the hot path does `counters.requests += 1`, and nothing else of metrics
runs there. Exporter turns the counters, and the Statistics of the moment, into Prometheus text when somebody asks.
The table METRICS is the only place where names and meanings stand; docs/reference/metrics.md is made from it.

Labels are closed sets (a Reason, a key of the configuration, a state): never a client's or a node's own words.
"""

import collections
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from holdfast.protocols.close import Reason
from holdfast.proxy.statistics import Statistics

# From what a kill on one machine costs (under a millisecond) to what a heartbeat limit costs (seconds).
FAILOVER_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of observations per bucket, and their sum. `observe` is a bisection and two additions."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

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
    """Everything that only grows. Each field has one owner, who alone adds to it. METRICS says what each means."""

    connections_accepted: int = 0
    connections_refused: dict[Reason, int] = field(default_factory=_by_reason)
    connections_closed: dict[Reason, int] = field(default_factory=_by_reason)
    messages_received: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    slow_consumers: int = 0
    limits_hit: collections.Counter[str] = field(default_factory=collections.Counter)  # by the limit's name

    requests: int = 0
    replies: int = 0
    request_errors: dict[Reason, int] = field(default_factory=_by_reason)
    requests_parked: int = 0
    redelivered: int = 0
    stale_replies: int = 0
    stale_effects: int = 0

    notifications: int = 0
    deliveries: int = 0

    nodes_welcomed: int = 0
    nodes_lost: int = 0
    node_batches_received: int = 0
    node_batches_sent: int = 0
    node_frames_received: int = 0
    node_frames_sent: int = 0
    node_heartbeats: int = 0
    failover: Histogram = field(default_factory=lambda: Histogram(FAILOVER_BOUNDS))
    elections: int = 0


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One row of the table. `field` is the attribute of Counters or of Statistics that it shows."""

    field: str
    name: str
    kind: Kind
    help: str
    label: str = ""


METRICS = (
    Metric("ready", "holdfast_ready", Kind.GAUGE, "1 while /ready says 200."),
    Metric("connections", "holdfast_connections", Kind.GAUGE, "Open client connections."),
    Metric("sessions", "holdfast_sessions", Kind.GAUGE, "Clients that every node knows."),
    Metric("connections_accepted", "holdfast_connections_accepted_total", Kind.COUNTER, "Client connections accepted."),
    Metric(
        "connections_refused",
        "holdfast_connections_refused_total",
        Kind.COUNTER,
        "Client connections refused before they became one.",
        "reason",
    ),
    Metric(
        "connections_closed",
        "holdfast_connections_closed_total",
        Kind.COUNTER,
        "Client connections ended.",
        "reason",
    ),
    Metric("messages_received", "holdfast_messages_received_total", Kind.COUNTER, "Messages of clients, pings aside."),
    Metric("bytes_received", "holdfast_received_bytes_total", Kind.COUNTER, "Bytes read from clients."),
    Metric("bytes_sent", "holdfast_sent_bytes_total", Kind.COUNTER, "Bytes written to clients."),
    Metric(
        "slow_consumers",
        "holdfast_slow_consumers_total",
        Kind.COUNTER,
        "Clients disconnected because they did not read what was sent to them.",
    ),
    Metric(
        "limits_hit",
        "holdfast_limits_hit_total",
        Kind.COUNTER,
        "Times that a limit was reached: a key of the configuration, or a name of docs/topics/limits.md.",
        "limit",
    ),
    Metric("requests", "holdfast_requests_total", Kind.COUNTER, "Requests of clients, redeliveries not counted again."),
    Metric("replies", "holdfast_replies_total", Kind.COUNTER, "Requests answered by a node."),
    Metric(
        "request_errors",
        "holdfast_request_errors_total",
        Kind.COUNTER,
        "Requests answered with a typed error by the proxy.",
        "reason",
    ),
    Metric("in_flight", "holdfast_requests_in_flight", Kind.GAUGE, "Requests that are with a node."),
    Metric("parked", "holdfast_parked_requests", Kind.GAUGE, "Requests that wait because no node is available."),
    Metric("parked_bytes", "holdfast_parked_bytes", Kind.GAUGE, "Payload bytes of the parked requests."),
    Metric("requests_parked", "holdfast_requests_parked_total", Kind.COUNTER, "Requests that had to be parked."),
    Metric(
        "redelivered",
        "holdfast_requests_redelivered_total",
        Kind.COUNTER,
        "Requests sent once more because their node was lost.",
    ),
    Metric(
        "stale_replies",
        "holdfast_stale_replies_total",
        Kind.COUNTER,
        "Replies refused, with their effects: of a lost session, an older attempt, or after the deadline.",
    ),
    Metric(
        "stale_effects",
        "holdfast_stale_effects_total",
        Kind.COUNTER,
        "Effects of a master refused because it no longer was one.",
    ),
    Metric("channels", "holdfast_channels", Kind.GAUGE, "Channels with at least one client."),
    Metric("subscriptions", "holdfast_subscriptions", Kind.GAUGE, "Memberships of clients in channels."),
    Metric("notifications", "holdfast_notifications_total", Kind.COUNTER, "Notifications and broadcasts of nodes."),
    Metric("deliveries", "holdfast_deliveries_total", Kind.COUNTER, "Notifications handed to single clients."),
    Metric("nodes", "holdfast_nodes", Kind.GAUGE, "Nodes in each state.", "state"),
    Metric("nodes_welcomed", "holdfast_nodes_welcomed_total", Kind.COUNTER, "Sessions of nodes begun."),
    Metric("nodes_lost", "holdfast_nodes_lost_total", Kind.COUNTER, "Sessions of nodes that ended without a goodbye."),
    Metric(
        "node_batches_received", "holdfast_node_batches_received_total", Kind.COUNTER, "ZeroMQ messages from nodes."
    ),
    Metric("node_batches_sent", "holdfast_node_batches_sent_total", Kind.COUNTER, "ZeroMQ messages to nodes."),
    Metric("node_frames_received", "holdfast_node_frames_received_total", Kind.COUNTER, "Frames from nodes."),
    Metric("node_frames_sent", "holdfast_node_frames_sent_total", Kind.COUNTER, "Frames to nodes."),
    Metric("node_heartbeats", "holdfast_node_heartbeats_total", Kind.COUNTER, "Heartbeats received from nodes."),
    Metric(
        "failover",
        "holdfast_failover_seconds",
        Kind.HISTOGRAM,
        "From noticing that a node is lost until each of its requests is offered to another node, parked or answered.",
    ),
    Metric("elections", "holdfast_elections_total", Kind.COUNTER, "Masters elected."),
    Metric("epoch", "holdfast_epoch", Kind.GAUGE, "Epoch of the present or last master."),
    Metric("reactor_turns", "holdfast_reactor_turns_total", Kind.COUNTER, "Turns of the reactor."),
    Metric("reactor_events", "holdfast_reactor_events_total", Kind.COUNTER, "Ready descriptors that turns handled."),
    Metric(
        "reactor_busy",
        "holdfast_reactor_busy_seconds_total",
        Kind.COUNTER,
        "Time spent in turns: its rate is the share of one core that is used, near 1 means saturated.",
    ),
    Metric(
        "log_lines_dropped",
        "holdfast_log_lines_dropped_total",
        Kind.COUNTER,
        "Log lines that were not written, because nobody took them.",
    ),
    Metric("cluster_version", "holdfast_cluster_version", Kind.GAUGE, "Version of the cluster's record."),
    Metric("cluster_members", "holdfast_cluster_members", Kind.GAUGE, "Proxies in the cluster."),
    Metric("cluster_heard", "holdfast_cluster_heard", Kind.GAUGE, "Members that this proxy hears, itself among them."),
    Metric("cluster_fenced", "holdfast_cluster_fenced", Kind.GAUGE, "1 while it is cut off from the majority."),
    Metric("cluster_evictions", "holdfast_cluster_evictions_total", Kind.COUNTER, "Members gone from the record."),
    Metric("cluster_joins", "holdfast_cluster_joins_total", Kind.COUNTER, "Members new in the record."),
    Metric("cluster_messages_sent", "holdfast_cluster_messages_sent_total", Kind.COUNTER, "Messages to all proxies."),
    Metric("cluster_bytes_sent", "holdfast_cluster_sent_bytes_total", Kind.COUNTER, "Bytes of these, sent to each."),
    Metric(
        "cluster_messages_received",
        "holdfast_cluster_messages_received_total",
        Kind.COUNTER,
        "Messages that other proxies have published.",
    ),
    Metric(
        "cluster_bytes_received",
        "holdfast_cluster_received_bytes_total",
        Kind.COUNTER,
        "Bytes from other proxies, questions and answers too.",
    ),
    Metric(
        "cluster_gaps",
        "holdfast_cluster_gaps_total",
        Kind.COUNTER,
        "Gaps in what a proxy has published; each is repaired.",
    ),
    Metric("cluster_messages_lost", "holdfast_cluster_messages_lost_total", Kind.COUNTER, "Messages in these gaps."),
    Metric(
        "cluster_repairs", "holdfast_cluster_repairs_total", Kind.COUNTER, "Times that all facts of a proxy were taken."
    ),
    Metric("cluster_duplicates", "holdfast_cluster_duplicates_total", Kind.COUNTER, "Messages that came twice."),
    Metric("cluster_replayed", "holdfast_cluster_replayed_total", Kind.COUNTER, "Messages older than the last one."),
    Metric(
        "cluster_garbled",
        "holdfast_cluster_garbled_total",
        Kind.COUNTER,
        "Messages that are damaged, or sealed with another token.",
    ),
    Metric(
        "cluster_store_errors",
        "holdfast_cluster_store_errors_total",
        Kind.COUNTER,
        "Operations that the coordination store has not answered.",
    ),
    Metric(
        "cluster_tunnels", "holdfast_cluster_tunnels", Kind.GAUGE, "Nodes' sessions with others, by way of this proxy."
    ),
    Metric(
        "cluster_state_takeovers",
        "holdfast_cluster_state_takeovers_total",
        Kind.COUNTER,
        "Terms in which this proxy has kept the nodes' state.",
    ),
    Metric(
        "cluster_state_copies",
        "holdfast_cluster_state_copies_total",
        Kind.COUNTER,
        "Times that the whole state was taken from another proxy.",
    ),
    Metric(
        "cluster_state_foreign",
        "holdfast_cluster_state_foreign_total",
        Kind.COUNTER,
        "Messages on the state of another term, or from who has no say in it.",
    ),
    Metric(
        "cluster_state_garbled",
        "holdfast_cluster_state_garbled_total",
        Kind.COUNTER,
        "Messages on the state that no proxy means to send.",
    ),
    Metric(
        "effects_repeated",
        "holdfast_cluster_effects_repeated_total",
        Kind.COUNTER,
        "Effects of nodes that came again and had been carried out.",
    ),
)


class _Families(Collector):
    """Reads the numbers when Prometheus asks: nothing is kept between two scrapes."""

    def __init__(self, counters: Counters, statistics: Callable[[], Statistics], version: str) -> None:
        self._counters = counters
        self._statistics = statistics
        self._version = version

    def collect(self) -> Iterable[Family]:
        info = GaugeMetricFamily("holdfast_build_info", "1, with the version as a label.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        statistics = self._statistics()
        for metric in METRICS:
            source = statistics if metric.field in Statistics.__struct_fields__ else self._counters
            yield _family(metric, getattr(source, metric.field))

    def describe(self) -> Iterable[Family]:
        """Nothing, so that registering does not ask for statistics of a proxy that is not running yet."""
        return ()


def _family(metric: Metric, value: object) -> Family:
    if isinstance(value, Histogram):
        return HistogramMetricFamily(metric.name, metric.help, buckets=value.buckets(), sum_value=value.total)
    kind = GaugeMetricFamily if metric.kind is Kind.GAUGE else CounterMetricFamily
    if isinstance(value, Mapping):
        family = kind(metric.name, metric.help, labels=[metric.label])
        for name, count in value.items():
            family.add_metric([name.value if isinstance(name, Reason) else name], count)
        return family
    assert isinstance(value, int | float)  # what else Counters and Statistics hold
    return kind(metric.name, metric.help, value=value)


class Exporter:
    """Prometheus text of one proxy, in its own registry: two proxies in one process do not meet."""

    def __init__(self, counters: Counters, statistics: Callable[[], Statistics], version: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(counters, statistics, version))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """About a millisecond. The content type is prometheus_client.exposition.CONTENT_TYPE_LATEST."""
        return generate_latest(self._registry)
