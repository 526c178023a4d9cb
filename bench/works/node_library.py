"""The node library: CPU of a node that echoes, with a hundred requests in flight."""

from functools import partial

from bench.load import connect
from bench.systems.base import System
from bench.systems.node import behind_proxy, c_node, library_node
from bench.works.base import MESSAGE_BYTES, PER_SECOND, Goal, Metric, Sample, Scale, Work, measure_cpu

IN_FLIGHT = 100
MOST_US = 30.0


def node_library(system: System, scale: Scale) -> Sample:
    """CPU of the node for a request and its reply."""
    with connect(system, IN_FLIGHT, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        before = _of_io_threads(system)
        sample = measure_cpu(system, load, lambda: load.echo(scale.seconds))
        io_thread = _of_io_threads(system) - before
    return {**sample, "io_thread_us": io_thread / sample["messages"] * 1e6}


def _of_io_threads(system: System) -> float:
    return sum(seconds for thread, seconds in system.measured.thread_seconds().items() if "ZMQbg/IO" in thread)


WORKS = (
    Work(
        group="node-library",
        name=f"A node that echoes {MESSAGE_BYTES} B, {IN_FLIGHT} requests in flight",
        systems={"C, libzmq": partial(behind_proxy, c_node), "Holdfast": partial(behind_proxy, library_node)},
        metrics=(
            Metric("cpu_us", "CPU per request", "us"),
            Metric("io_thread_us", "of it ZeroMQ's I/O thread", "us"),
            PER_SECOND,
        ),
        goals=(Goal("cpu_us", MOST_US),),
        measure=node_library,
    ),
)
