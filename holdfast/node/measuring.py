"""What a node measures where somebody asks for metrics: `holdfast node --metrics`.

Owns the metrics' names and buckets; docs/reference/metrics.md is made of them. What the node counts anyway
is read when Prometheus asks; only times are taken for each request, by Watch.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric

from holdfast.node.statistics import Measured, Statistics

# From a handler that looks into a dict to the proxies' request.timeout.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

LABELS = ("route", "function", "outcome")
SECONDS = (
    "holdfast_node_request_seconds",
    "How long handlers took, up to the end of the reply. outcome: ok, refused (4xx), failed or cancelled.",
)
WAITED = ("holdfast_node_request_wait_seconds", "How long requests waited at the node for their handler.")

PREFIX = "holdfast_node_"

# Fields of Statistics, and what they are. What only grows has a name that ends with _total.
GAUGES = {
    "proxies": "Proxies that the node is linked with.",
    "clients": "Clients that the node knows of; 0 in one that is not told of clients.",
    "state_keys": "Keys of the shared state.",
    "in_flight": "Requests that are being handled, or wait to be.",
    "waiting": "Requests whose handler has not begun.",
    "callbacks": "Calls of on_open, on_close and on_state that have not returned: how far they lag behind.",
    "tasks": "Tasks of start_soon that have not ended.",
    "threads": "Threads that are busy with handlers.",
    "threads_waiting": "Handlers that wait for a thread.",
}
COUNTERS = {
    "handled": "Requests with a reply.",
    "failed": "Requests with a failure.",
    "cancelled": "Requests that nobody waited for any more: client gone, deadline passed, or another node's by now.",
}
FURTHER = {
    "capacity": "How many requests it takes at once.",
    "threads_limit": "How many handlers that are plain functions run at once.",
    "master": "1 while this node acts as master.",
}


def table() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """For people: the name of each, its type, labels and meaning."""
    yield SECONDS[0], "histogram", LABELS, SECONDS[1]
    yield WAITED[0], "histogram", (), WAITED[1]
    for name, help in COUNTERS.items():
        yield f"{PREFIX}{name}_total", "counter", (), help
    for name, help in (*GAUGES.items(), *FURTHER.items()):
        yield f"{PREFIX}{name}", "gauge", (), help


class Meter:
    """The metrics of one node."""

    def __init__(self, node: Measured) -> None:
        self._node = node
        self._registry = CollectorRegistry()
        self._seconds = Histogram(*SECONDS, LABELS, buckets=BUCKETS, registry=self._registry)
        self._waited = Histogram(*WAITED, buckets=BUCKETS, registry=self._registry)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def began(self, waited: float) -> None:
        """A handler begins, so many seconds after its request has come."""
        self._waited.observe(waited)

    def ended(self, route: str, function: str, outcome: str, seconds: float) -> None:
        self._seconds.labels(route, function, outcome).observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """As Prometheus reads it, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def describe(self) -> Iterator[Metric]:
        """For the registry: it would collect to see which names there are."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        node = self._node
        statistics: Statistics = node.statistics()
        for name, help in GAUGES.items():
            yield GaugeMetricFamily(f"{PREFIX}{name}", help, getattr(statistics, name))
        for name, help in COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}{name}_total", help, getattr(statistics, name))
        for (name, help), value in zip(FURTHER.items(), (node.capacity, node.threads, node.is_master), strict=True):
            yield GaugeMetricFamily(f"{PREFIX}{name}", help, float(value))
