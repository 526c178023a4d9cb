"""An HTTP request to a node and its reply: CPU of the proxy, one in flight on each of many kept connections."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from bench.build import PROGRAMS
from bench.load import Load
from bench.process import Process
from bench.systems.base import OTHER_CPU, Start, System
from bench.systems.haproxy import haproxy
from bench.systems.holdfast import INTERPRETED, holdfast, interpreted_holdfast
from bench.systems.nginx import nginx
from bench.works.base import CPU, P50, P99, PER_SECOND, Goal, Sample, Scale, Work, measure_cpu

PROXIES: Mapping[str, Start] = {
    "nginx": partial(nginx, "items"),
    "HAProxy": partial(haproxy, "items"),
    "Holdfast": holdfast,
    INTERPRETED: interpreted_holdfast,
}
CONNECTIONS_IN_QUICK = 100
SHAPES = ((64, 100), (64, 1000), (10 << 10, 100))  # bytes of the reply's body, connections


@contextmanager
def connect(system: System, connections: int, size: int) -> Iterator[Load]:
    """So many connections that ask for items of `size` bytes (c/http_load.c)."""
    command = (f"--port={system.port}", f"--connections={connections}", f"--size={size}")
    with Process(PROGRAMS / "http_load", *command, cpu=OTHER_CPU) as process:
        process.read(60.0)  # {"connected": N}
        yield Load(process)


def request(size: int, connections: int, system: System, scale: Scale) -> Sample:
    """CPU of the measured process for a GET with the headers of a browser, and its reply."""
    with connect(system, connections, size) as load:
        load.echo(scale.warm_up)
        return measure_cpu(system, load, lambda: load.echo(scale.seconds))


WORKS = tuple(
    Work(
        group="http",
        name=f"HTTP request, a reply of {size:,} B, {connections:,} connections",
        systems=PROXIES,
        metrics=(CPU, PER_SECOND, P50, P99),
        goals=(Goal("cpu_us", 1.0, "nginx"),),
        measure=partial(request, size, connections),
        in_quick=connections == CONNECTIONS_IN_QUICK,
    )
    for size, connections in SHAPES
)
