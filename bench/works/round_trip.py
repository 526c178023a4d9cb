"""A message there and its reply back: CPU of the proxy, one in flight on each connection."""

from collections.abc import Mapping
from functools import partial

from bench.load import connect
from bench.systems.base import Start, System
from bench.systems.haproxy import haproxy
from bench.systems.holdfast import holdfast
from bench.systems.nginx import nginx
from bench.works.base import CPU, MESSAGE_BYTES, P50, P99, PER_SECOND, Goal, Sample, Scale, Work, measure_cpu

PROXIES: Mapping[str, Start] = {"nginx": nginx, "HAProxy": haproxy, "Holdfast": holdfast}
FEW, MANY = (0.9, 0.7), (0.7, 0.6)  # of nginx, of HAProxy
GOALS = {100: FEW, 1000: MANY}


def round_trip(connections: int, system: System, scale: Scale) -> Sample:
    """CPU of the measured process for one message there and its reply back, one in flight on each connection."""
    with connect(system, connections, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        return measure_cpu(system, load, lambda: load.echo(scale.seconds))


WORKS = tuple(
    Work(
        group="round-trip",
        name=f"WebSocket round trip, {MESSAGE_BYTES} B, {connections:,} connections",
        systems=PROXIES,
        metrics=(CPU, PER_SECOND, P50, P99),
        goals=(Goal("cpu_us", of_nginx, "nginx"), Goal("cpu_us", of_haproxy, "HAProxy")),
        measure=partial(round_trip, connections),
    )
    for connections, (of_nginx, of_haproxy) in GOALS.items()
)
