"""What Prometheus is told of the running proxy.

The table METRICS is the only place where names, meanings and where each number is read from stand;
docs/reference/metrics.md is made from it. The numbers become text when somebody asks.

Labels are closed sets (a Reason, a name of a limit, a state): never a client's or a node's own words.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from holdfast.balancer.cluster.cluster import Cluster
from holdfast.protocols.close import Reason
from holdfast.proxy.admin.running import Running
from holdfast.proxy.metrics import Histogram
from holdfast.proxy.process import stderr

Value = float | Mapping[str, int] | Mapping[Reason, int] | Histogram
Read = Callable[[Running], Value]


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


COUNTER, GAUGE, HISTOGRAM = Kind


class Metric(NamedTuple):
    """One row of the table."""

    name: str
    kind: Kind
    help: str
    read: Read
    label: str = ""


def requests_of(proxy: Running) -> int:
    """How many there have been, redeliveries not counted again: by their ids, so that none is counted on its way."""
    ledger = proxy.ledger
    return ledger.last_id - ledger.first_id + proxy.counters.limits_hit["request.max_in_flight"]


def _cluster(read: Callable[[Cluster], float], alone: float = 0) -> Read:
    """alone: what a proxy without a store shows."""
    return lambda of: alone if of.runner is None else read(of.cluster)


def _strangers_ended(of: Running) -> int:
    return of.hub.strangers_ended + (0 if of.runner is None else of.runner.strangers_ended)


METRICS = (
    Metric("holdfast_ready", GAUGE, "1 while /ready says 200.", lambda of: of.control.ready()[0]),
    Metric("holdfast_connections", GAUGE, "Open client connections.", lambda of: len(of.clients.connections)),
    Metric("holdfast_buffered_bytes", GAUGE, "Clients' input and output: what client.max_buffered_bytes limits.",
           lambda of: of.budget.held_bytes),
    Metric("holdfast_sessions", GAUGE, "Clients that every node knows.", lambda of: len(of.registry)),
    Metric("holdfast_connections_accepted_total", COUNTER, "Client connections accepted.",
           lambda of: of.counters.connections_accepted),
    Metric("holdfast_connections_refused_total", COUNTER, "Client connections refused before they became one.",
           lambda of: of.counters.connections_refused, "reason"),
    Metric("holdfast_admissions_total", COUNTER,
           "Sessions that a node was asked for: admitted, refused (4xx), or failed because there was no answer.",
           lambda of: of.counters.admissions, "outcome"),
    Metric("holdfast_once_given_up_total", COUNTER, "Clients whose coming or going was told to no node.",
           lambda of: of.counters.once_given_up),
    Metric("holdfast_connections_closed_total", COUNTER, "Client connections ended.",
           lambda of: of.counters.connections_closed, "reason"),
    Metric("holdfast_messages_received_total", COUNTER, "Messages of clients, pings aside.",
           lambda of: of.counters.messages_received),
    Metric("holdfast_received_bytes_total", COUNTER, "Bytes read from clients.", lambda of: of.counters.bytes_received),
    Metric("holdfast_sent_bytes_total", COUNTER, "Bytes written to clients.", lambda of: of.counters.bytes_sent),
    Metric("holdfast_slow_consumers_total", COUNTER,
           "Clients disconnected because they did not read what was sent to them.",
           lambda of: of.counters.slow_consumers),
    Metric("holdfast_limits_hit_total", COUNTER,
           "Times that a limit was reached: a key of the configuration, or a name of docs/topics/limits.md.",
           lambda of: of.counters.limits_hit, "limit"),
    Metric("holdfast_tokens_total", COUNTER,
           "Tokens of clients (`client.jwt_keys`), in handshakes and HTTP: verified, expired, refused, missing.",
           lambda of: of.counters.tokens, "outcome"),
    Metric("holdfast_requests_total", COUNTER, "Requests of clients, redeliveries not counted again.",
           requests_of),
    Metric("holdfast_replies_total", COUNTER, "Requests answered by a node.", lambda of: of.counters.replies),
    Metric("holdfast_request_errors_total", COUNTER, "Requests answered with a typed error by the proxy.",
           lambda of: of.counters.request_errors, "reason"),
    Metric("holdfast_requests_in_flight", GAUGE, "Requests that are with a node.", lambda of: of.ledger.in_flight),
    Metric("holdfast_parked_requests", GAUGE, "Requests that wait because no node is available.",
           lambda of: of.ledger.parked_count),
    Metric("holdfast_parked_bytes", GAUGE, "Payload bytes of the parked requests.", lambda of: of.ledger.parked_bytes),
    Metric("holdfast_requests_parked_total", COUNTER, "Requests that had to be parked.",
           lambda of: of.counters.requests_parked),
    Metric("holdfast_requests_redelivered_total", COUNTER, "Requests sent once more because their node was lost.",
           lambda of: of.counters.redelivered),
    Metric("holdfast_stale_replies_total", COUNTER,
           "Replies refused, with their effects: of a lost session, an older attempt, or after the deadline.",
           lambda of: of.counters.stale_replies),
    Metric("holdfast_stale_effects_total", COUNTER, "Effects of a master refused because it no longer was one.",
           lambda of: of.counters.stale_effects),
    Metric("holdfast_route_requests_total", COUNTER,
           "Requests that a route of the configuration has taken, those with a fixed answer among them.",
           lambda of: of.counters.route_requests, "route"),
    Metric("holdfast_channels", GAUGE, "Channels with at least one client.", lambda of: len(of.channels)),
    Metric("holdfast_subscriptions", GAUGE, "Memberships of clients in channels.",
           lambda of: of.channels.subscriptions),
    Metric("holdfast_notifications_total", COUNTER, "Notifications and broadcasts of nodes.",
           lambda of: of.counters.notifications),
    Metric("holdfast_deliveries_total", COUNTER, "Notifications handed to single clients.",
           lambda of: of.counters.deliveries),
    Metric("holdfast_nodes", GAUGE, "Nodes in each state.",
           lambda of: {state.value: count for state, count in of.directory.count().items()}, "state"),
    Metric("holdfast_nodes_welcomed_total", COUNTER, "Sessions of nodes begun.", lambda of: of.counters.nodes_welcomed),
    Metric("holdfast_nodes_lost_total", COUNTER, "Sessions of nodes that ended without a goodbye.",
           lambda of: of.counters.nodes_lost),
    Metric("holdfast_strangers_ended_total", COUNTER,
           "Connections to the ports of nodes and proxies that did not say in time, or in few bytes, who they are.",
           _strangers_ended),
    Metric("holdfast_node_batches_received_total", COUNTER, "ZeroMQ messages from nodes.",
           lambda of: of.hub.batches_received),
    Metric("holdfast_node_batches_sent_total", COUNTER, "ZeroMQ messages to nodes.", lambda of: of.hub.batches_sent),
    Metric("holdfast_node_frames_received_total", COUNTER, "Frames from nodes.",
           lambda of: of.counters.node_frames_received),
    Metric("holdfast_node_frames_sent_total", COUNTER, "Frames to nodes.", lambda of: of.hub.frames_sent),
    Metric("holdfast_node_heartbeats_total", COUNTER, "Heartbeats received from nodes.",
           lambda of: of.counters.node_heartbeats),
    Metric("holdfast_failover_seconds", HISTOGRAM,
           "From noticing that a node is lost until each of its requests is offered to another.",
           lambda of: of.counters.failover),
    Metric("holdfast_elections_total", COUNTER, "Masters elected.", lambda of: of.counters.elections),
    Metric("holdfast_epoch", GAUGE, "Epoch of the present or last master.", lambda of: of.steward.master[1]),
    Metric("holdfast_reactor_turns_total", COUNTER, "Turns of the reactor.", lambda of: of.reactor.turns),
    Metric("holdfast_reactor_events_total", COUNTER, "Ready descriptors that turns handled.",
           lambda of: of.reactor.events),
    Metric("holdfast_reactor_busy_seconds_total", COUNTER,
           "Time spent in turns: its rate is the share of one core that is used, near 1 means saturated.",
           lambda of: of.reactor.busy),
    Metric("holdfast_log_lines_dropped_total", COUNTER, "Log lines that were not written, because nobody took them.",
           lambda of: stderr.dropped()),
    Metric("holdfast_cluster_version", GAUGE, "Version of the cluster's record.",
           _cluster(lambda it: it.membership.record.version)),
    Metric("holdfast_cluster_members", GAUGE, "Proxies in the cluster.",
           _cluster(lambda it: len(it.membership.record.members), alone=1)),
    Metric("holdfast_cluster_heard", GAUGE, "Members that this proxy hears, itself among them.",
           _cluster(lambda it: len(it.membership.hears(trio.current_time())), alone=1)),
    Metric("holdfast_cluster_fenced", GAUGE, "1 while it is cut off from the majority.",
           _cluster(lambda it: it.membership.is_fenced(trio.current_time()))),
    Metric("holdfast_cluster_evictions_total", COUNTER, "Members that have not left, and are in the record no more.",
           _cluster(lambda it: it.counters.evictions)),
    Metric("holdfast_cluster_debts", GAUGE, "Runs of lost nodes that owed a proxy something.",
           _cluster(lambda it: len(it.debts))),
    Metric("holdfast_cluster_joins_total", COUNTER, "Members new in the record.",
           _cluster(lambda it: it.counters.joins)),
    Metric("holdfast_cluster_messages_sent_total", COUNTER, "Messages to all proxies.",
           _cluster(lambda it: it.voice.sent)),
    Metric("holdfast_cluster_sent_bytes_total", COUNTER, "Bytes of these, sent to each.",
           _cluster(lambda it: it.voice.bytes_sent)),
    Metric("holdfast_cluster_messages_received_total", COUNTER, "Messages that other proxies have published.",
           _cluster(lambda it: it.peers.counters().received)),
    Metric("holdfast_cluster_received_bytes_total", COUNTER, "Bytes from other proxies, questions and answers too.",
           _cluster(lambda it: it.counters.bytes_received)),
    Metric("holdfast_cluster_gaps_total", COUNTER, "Gaps in what a proxy has published; each is repaired.",
           _cluster(lambda it: it.peers.counters().gaps)),
    Metric("holdfast_cluster_messages_lost_total", COUNTER, "Messages in these gaps.",
           _cluster(lambda it: it.peers.counters().messages_lost)),
    Metric("holdfast_cluster_repairs_total", COUNTER, "Times that all facts of a proxy were taken.",
           _cluster(lambda it: it.peers.counters().repairs)),
    Metric("holdfast_cluster_overflows_total", COUNTER,
           "Times that more came of a proxy than is kept until its facts are there.",
           _cluster(lambda it: it.peers.counters().overflows)),
    Metric("holdfast_cluster_duplicates_total", COUNTER, "Messages that came twice.",
           _cluster(lambda it: it.peers.counters().duplicates)),
    Metric("holdfast_cluster_replayed_total", COUNTER, "Messages older than the last one.",
           _cluster(lambda it: it.peers.counters().replayed)),
    Metric("holdfast_cluster_garbled_total", COUNTER, "Messages that are damaged, or sealed with another token.",
           _cluster(lambda it: it.counters.garbled)),
    Metric("holdfast_cluster_store_errors_total", COUNTER, "Operations that the coordination store has not answered.",
           _cluster(lambda it: it.counters.store_errors)),
    Metric("holdfast_cluster_tunnels", GAUGE, "Nodes' sessions with others, by way of this proxy.",
           lambda of: 0 if of.runner is None else of.runner.tunnels),
    Metric("holdfast_cluster_state_takeovers_total", COUNTER, "Terms in which this proxy has kept the nodes' state.",
           _cluster(lambda it: it.replication.counters.takeovers)),
    Metric("holdfast_cluster_state_copies_total", COUNTER, "Times that the whole state was taken from another proxy.",
           _cluster(lambda it: it.replication.counters.copies)),
    Metric("holdfast_cluster_state_foreign_total", COUNTER,
           "Messages on the state of another term, or from who has no say in it.",
           _cluster(lambda it: it.replication.counters.foreign)),
    Metric("holdfast_cluster_state_garbled_total", COUNTER, "Messages on the state that no proxy means to send.",
           _cluster(lambda it: it.replication.counters.garbled)),
    Metric("holdfast_cluster_effects_repeated_total", COUNTER,
           "Effects of nodes that came again and had been carried out.", lambda of: of.lanes.repeated),
)  # fmt: skip


class _Families(Collector):
    """Reads the numbers when Prometheus asks: nothing is kept between two scrapes."""

    def __init__(self, app: Running, version: str) -> None:
        self._app = app
        self._version = version

    def collect(self) -> Iterable[Family]:
        info = GaugeMetricFamily("holdfast_build_info", "1, with the version as a label.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        for metric in METRICS:
            yield _family(metric, metric.read(self._app))

    def describe(self) -> Iterable[Family]:
        """Nothing, so that registering does not ask a proxy that is not running yet."""
        return ()


def _family(metric: Metric, value: Value) -> Family:
    if isinstance(value, Histogram):
        return HistogramMetricFamily(metric.name, metric.help, buckets=value.buckets(), sum_value=value.total)
    kind = GaugeMetricFamily if metric.kind is Kind.GAUGE else CounterMetricFamily
    if isinstance(value, Mapping):
        family = kind(metric.name, metric.help, labels=[metric.label])
        for name, count in value.items():
            family.add_metric([name.value if isinstance(name, Reason) else name], count)
        return family
    return kind(metric.name, metric.help, value=value)


class Exporter:
    """Prometheus text of one proxy, in its own registry: two proxies in one process do not meet."""

    def __init__(self, app: Running, version: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(app, version))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """About a millisecond. The content type is prometheus_client.exposition.CONTENT_TYPE_LATEST."""
        return generate_latest(self._registry)
