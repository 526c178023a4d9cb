import dataclasses

import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.protocols.close import Reason
from holdfast.proxy.metrics import METRICS, Counters, Exporter, Histogram, Kind
from holdfast.proxy.statistics import Statistics


def statistics(**changes):
    values = dict.fromkeys(Statistics.__struct_fields__, 0) | {"ready": True, "nodes": {"ready": 2, "draining": 1}}
    return Statistics(**(values | changes))


def scrape(counters=None, **changes):
    """Every sample by name and labels."""
    text = Exporter(counters or Counters(), lambda: statistics(**changes), "1.2.3").render().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_number_has_a_row_and_every_row_a_number():
    fields = [field.name for field in dataclasses.fields(Counters)]
    assert sorted(metric.field for metric in METRICS) == sorted([*fields, *Statistics.__struct_fields__])


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.field)
def test_names_follow_the_conventions(metric):
    assert metric.name.startswith("holdfast_")
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.help.endswith(".")


def test_names_are_unique():
    names = [metric.name.removesuffix("_total") for metric in METRICS]
    assert len(set(names)) == len(names)


def test_counters_are_read_when_asked():
    counters = Counters()
    exporter = Exporter(counters, statistics, "1.2.3")
    counters.requests += 7
    assert b"\nholdfast_requests_total 7.0\n" in exporter.render()
    counters.requests += 1
    assert b"\nholdfast_requests_total 8.0\n" in exporter.render()


def test_reasons_and_limits_are_labels():
    counters = Counters()
    counters.connections_closed[Reason.SLOW_CONSUMER] += 3
    counters.limits_hit["client.max_outbox_bytes"] += 3
    samples = scrape(counters)
    assert samples["holdfast_connections_closed_total", "slow_consumer"] == 3
    assert samples["holdfast_connections_closed_total", "client_left"] == 0
    assert samples["holdfast_limits_hit_total", "client.max_outbox_bytes"] == 3


def test_every_reason_is_there_before_it_happens():
    samples = scrape()
    for name in ("connections_refused", "connections_closed", "request_errors"):
        assert {key[1] for key in samples if key[0] == f"holdfast_{name}_total"} == {reason.value for reason in Reason}


def test_gauges_are_how_things_stand():
    samples = scrape(in_flight=5, epoch=3, reactor_busy=1.5)
    assert samples["holdfast_requests_in_flight",] == 5
    assert samples["holdfast_epoch",] == 3
    assert samples["holdfast_ready",] == 1
    assert samples["holdfast_nodes", "ready"] == 2
    assert samples["holdfast_nodes", "draining"] == 1
    assert samples["holdfast_reactor_busy_seconds_total",] == 1.5


def test_the_failover_histogram():
    counters = Counters()
    for seconds in (0.0001, 0.001, 0.03, 60.0):
        counters.failover.observe(seconds)
    samples = scrape(counters)
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


def test_version_and_process_come_along():
    samples = scrape()
    assert samples["holdfast_build_info", "1.2.3"] == 1
    assert samples["process_resident_memory_bytes",] > 1 << 20


def test_two_proxies_in_one_process_do_not_meet():
    first, second = Counters(), Counters()
    first.requests = 1
    assert scrape(first)["holdfast_requests_total",] == 1
    assert scrape(second)["holdfast_requests_total",] == 0
