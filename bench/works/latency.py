"""How long one message and its reply take: alone, and among many of a proxy that has something to do."""

from collections.abc import Mapping
from functools import partial

from bench.load import connect
from bench.systems.base import Start, System
from bench.systems.direct import direct
from bench.systems.holdfast import holdfast
from bench.systems.nginx import nginx
from bench.works.base import CPU, MESSAGE_BYTES, P50, P99, P999, Goal, Metric, Sample, Scale, Work, measure_cpu
from bench.works.round_trip import PROXIES

CONNECTIONS = 100
SAME_RATE = 20_000  # a second: under half of what each proxy can do on one CPU of a small machine
TIMES = (P99, P50, P999)
CAPACITY = Metric("capacity", "capacity", "/s", 0)
# What of a lone request's time is whose. The stream links are Holdfast's proxy and node, but for ZeroMQ.
LINKS: Mapping[str, Start] = {
    "no proxy": direct,
    "nginx": nginx,
    "Holdfast, a TCP stream for ZeroMQ": partial(holdfast, module="bench.stream_link", node="stream_node"),
    "Holdfast, a unix stream for ZeroMQ": partial(
        holdfast, bind="ipc://{folder}/node", module="bench.stream_link", node="stream_node"
    ),
    "Holdfast": holdfast,
}


def lone(system: System, scale: Scale) -> Sample:
    """One client, which sends its next message when it has the reply; nobody else."""
    with connect(system, 1, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        return measure_cpu(system, load, lambda: load.echo(scale.seconds))


def half(system: System, scale: Scale) -> Sample:
    """At half the rate that this system has in a closed loop, whose every connection has one message in flight."""
    with connect(system, CONNECTIONS, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        full = load.echo(scale.seconds / 2)
        capacity = full.messages / full.seconds
        sample = measure_cpu(system, load, lambda: load.pace(capacity / 2, scale.seconds))
        return {**sample, "capacity": capacity}


def same(system: System, scale: Scale) -> Sample:
    """At the same rate for every system."""
    with connect(system, CONNECTIONS, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        return measure_cpu(system, load, lambda: load.pace(SAME_RATE, scale.seconds))


WORKS = (
    Work(
        group="latency",
        name="A lone request on an idle proxy",
        systems=PROXIES,
        metrics=(P50, P99, P999, CPU),
        goals=(Goal("p50_us", 2.0, "nginx"),),
        measure=lone,
    ),
    Work(
        group="latency",
        name="A lone request by the link to the node",
        systems=LINKS,
        metrics=(P50, P99, P999, CPU),
        goals=(),
        measure=lone,
        in_quick=False,
    ),
    Work(
        group="latency",
        name=f"Latency at half of capacity, {CONNECTIONS} connections",
        systems=PROXIES,
        metrics=(*TIMES, CAPACITY, CPU),
        goals=(),
        measure=half,
        in_quick=False,
    ),
    Work(
        group="latency",
        name=f"Latency at {SAME_RATE:,} messages a second, {CONNECTIONS} connections",
        systems=PROXIES,
        metrics=(*TIMES, CPU),
        goals=(),
        measure=same,
        in_quick=False,
    ),
)
