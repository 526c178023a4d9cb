import dataclasses
from types import SimpleNamespace

import pytest
from msgspec.structs import fields
from prometheus_client.parser import text_string_to_metric_families

from holdfast.balancer.cluster.counters import ClusterCounters
from holdfast.balancer.cluster.keeping import ReplicationCounters
from holdfast.balancer.cluster.sequence import SequenceCounters
from holdfast.protocols.close import Reason
from holdfast.proxy.admin.exporter import METRICS, Exporter, Kind
from holdfast.proxy.metrics import Counters, Histogram
from tests.proxy.still import StillProxy


@pytest.fixture
async def app():
    proxy = StillProxy()
    proxy.app.hub.open(["tcp://127.0.0.1:*"])  # in its door, strangers are counted
    yield proxy.app
    proxy.app.hub.close()
    proxy.close()


def scrape(app):
    """Every sample by name and labels."""
    text = Exporter(app, "1.2.3").render().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Noting:
    """What counts, and which of its numbers were read."""

    def __init__(self, counters, names):
        self._counters = counters
        self.unread = set(names)

    def __getattr__(self, name):
        self.unread.discard(name)
        return getattr(self._counters, name)


async def test_every_number_has_a_row(app):
    kinds = (ClusterCounters, ReplicationCounters, SequenceCounters)
    noting = [Noting(app.counters, [field.name for field in dataclasses.fields(Counters)])]
    noting += (Noting(kind(), [field.name for field in fields(kind)]) for kind in kinds)
    app.counters, app.cluster.counters, app.cluster.replication.counters, streams = noting
    app.cluster.peers.counters = lambda: streams
    app.runner = SimpleNamespace(tunnels=3, strangers_ended=4)
    app.hub.callers.door.ended = 5
    samples = scrape(app)
    assert [each.unread for each in noting] == [set()] * 4
    assert (samples["holdfast_cluster_tunnels",], samples["holdfast_strangers_ended_total",]) == (3, 9)


async def test_a_proxy_without_a_store_is_a_cluster_of_one(app):
    app.cluster.voice.sent = 7  # nobody hears it
    samples = scrape(app)
    told = {name[0]: value for name, value in samples.items() if name[0].startswith("holdfast_cluster_")}
    assert {name for name, value in told.items() if value} == {"holdfast_cluster_members", "holdfast_cluster_heard"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric):
    assert metric.name.startswith("holdfast_")
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.help.endswith(".")


def test_names_are_unique():
    names = [metric.name.removesuffix("_total") for metric in METRICS]
    assert len(set(names)) == len(names)


async def test_counters_are_read_when_asked(app):
    counters = app.counters
    exporter = Exporter(app, "1.2.3")
    counters.replies += 7
    assert b"\nholdfast_replies_total 7.0\n" in exporter.render()
    counters.replies += 1
    assert b"\nholdfast_replies_total 8.0\n" in exporter.render()


async def test_reasons_and_limits_are_labels(app):
    counters = app.counters
    counters.connections_closed[Reason.SLOW_CONSUMER] += 3
    counters.limits_hit["client.max_outbox_bytes"] += 3
    samples = scrape(app)
    assert samples["holdfast_connections_closed_total", "slow_consumer"] == 3
    assert samples["holdfast_connections_closed_total", "client_left"] == 0
    assert samples["holdfast_limits_hit_total", "client.max_outbox_bytes"] == 3


async def test_every_reason_is_there_before_it_happens(app):
    samples = scrape(app)
    for name in ("connections_refused", "connections_closed", "request_errors"):
        assert {key[1] for key in samples if key[0] == f"holdfast_{name}_total"} == {reason.value for reason in Reason}


async def test_gauges_are_how_things_stand(app):
    app.ledger.parked_bytes, app.reactor.busy = 5, 1.5
    samples = scrape(app)
    assert samples["holdfast_parked_bytes",] == 5
    assert samples["holdfast_epoch",] > 1_700_000_000_000, "it begins at the clock"
    assert samples["holdfast_ready",] == 0
    assert samples["holdfast_nodes", "ready"] == samples["holdfast_nodes", "draining"] == 0
    assert samples["holdfast_reactor_busy_seconds_total",] == 1.5


async def test_the_failover_histogram(app):
    counters = app.counters
    for seconds in (0.0001, 0.001, 0.03, 60.0):
        counters.failover.observe(seconds)
    samples = scrape(app)
    assert samples["holdfast_failover_seconds_bucket", "0.001"] == 2
    assert samples["holdfast_failover_seconds_bucket", "0.025"] == 2
    assert samples["holdfast_failover_seconds_bucket", "0.05"] == 3
    assert samples["holdfast_failover_seconds_bucket", "10.0"] == 3
    assert samples["holdfast_failover_seconds_bucket", "+Inf"] == 4
    assert samples["holdfast_failover_seconds_count",] == 4
    assert samples["holdfast_failover_seconds_sum",] == pytest.approx(60.0311)


def test_a_value_on_a_bound_belongs_to_its_bucket():
    histogram = Histogram((1.0, 2.0))
    histogram.observe(1.0)
    histogram.observe(2.5)
    assert histogram.buckets() == [("1.0", 1), ("2.0", 1), ("+Inf", 2)]


async def test_version_and_process_come_along(app):
    samples = scrape(app)
    assert samples["holdfast_build_info", "1.2.3"] == 1
    assert samples["process_resident_memory_bytes",] > 1 << 20


async def test_two_proxies_in_one_process_do_not_meet(app):
    other = StillProxy()
    other.app.hub = app.hub
    app.counters.replies = 1
    assert scrape(app)["holdfast_replies_total",] == 1
    assert scrape(other.app)["holdfast_replies_total",] == 0
    other.close()
