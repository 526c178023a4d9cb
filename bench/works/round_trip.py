"""A message there and its reply back: CPU of the proxy, with one or several in flight on each connection."""

from collections.abc import Mapping
from functools import partial

from bench.limits import limit
from bench.load import connect
from bench.systems.base import Start, System
from bench.systems.haproxy import haproxy
from bench.systems.holdfast import INTERPRETED, holdfast, interpreted_holdfast
from bench.systems.nginx import nginx
from bench.systems.pushpin import pushpin
from bench.works.base import CPU, MESSAGE_BYTES, P50, P99, P999, PER_SECOND, Goal, Sample, Scale, Work, measure_cpu

PROXIES: Mapping[str, Start] = {"nginx": nginx, "HAProxy": haproxy, "Holdfast": holdfast}
ALL: Mapping[str, Start] = {**PROXIES, INTERPRETED: interpreted_holdfast}
FEW, MANY = (0.9, 0.7), (0.7, 0.6)  # of nginx, of HAProxy
GOALS = {100: FEW, 1000: MANY, 10_000: MANY}
IN_QUICK = 1000
DEPTH = 8


def round_trip(connections: int, depth: int, system: System, scale: Scale) -> Sample:
    """CPU of the measured process for one message there and its reply back, `depth` in flight on each connection."""
    with connect(system, connections, depth=depth, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        return measure_cpu(system, load, lambda: load.echo(scale.seconds))


def _work(
    connections: int,
    goals: tuple[Goal, ...],
    systems: Mapping[str, Start] = PROXIES,
    *,
    depth: int = 1,
    more: str = "",
    in_quick: bool = False,
) -> Work:
    return Work(
        group="round-trip",
        name=f"WebSocket round trip, {MESSAGE_BYTES} B, {connections:,} connections{more}",
        systems=systems,
        metrics=(CPU, PER_SECOND, P50, P99, P999),
        goals=goals,
        measure=partial(round_trip, connections, depth),
        in_quick=in_quick,
    )


WORKS = (
    *(
        _work(
            min(connections, limit(2).connections),
            (Goal("cpu_us", of_nginx, "nginx"), Goal("cpu_us", of_haproxy, "HAProxy")),
            ALL,
            in_quick=connections <= IN_QUICK,
        )
        for connections, (of_nginx, of_haproxy) in GOALS.items()
    ),
    *(
        _work(connections, (Goal("cpu_us", 2.0, "nginx"),), depth=DEPTH, more=f", {DEPTH} in flight on each")
        for connections in (100, 1000)
    ),
    # A hundred are what Pushpin manages as installed: of a thousand that all ask at once it drops some.
    _work(100, (), {"Pushpin": pushpin, "Holdfast": holdfast}, more=", beside Pushpin"),
)
