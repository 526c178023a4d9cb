"""The node library: CPU of a node that echoes, with a hundred requests in flight; of handlers in asyncio, and of what
an application has around its handlers."""

from functools import partial

from bench.load import connect
from bench.systems.base import Start, System
from bench.systems.node import behind_proxy, c_node, library_node
from bench.works.base import MESSAGE_BYTES, PER_SECOND, Goal, Metric, Sample, Scale, Work, measure_cpu

IN_FLIGHT = 100
MOST_US = 30.0
ASYNCIO = 1.5  # times what the same handler costs in Trio
AROUND = {
    "middleware": "one middleware around it",
    "body": "a typed body, of three fields",
    "route": "its messages chosen by a field",
    "order": 'order="client"',
    "thread": "a plain function, in a thread",
}
HANDLERS = {"echoes": "echo", "waits once": "wait", "notifies a channel": "notify"}


def node_library(system: System, scale: Scale, in_flight: int = IN_FLIGHT) -> Sample:
    """CPU of the node for a request and its reply."""
    with connect(system, in_flight, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        before = _of_io_threads(system)
        sample = measure_cpu(system, load, lambda: load.echo(scale.seconds))
        io_thread = _of_io_threads(system) - before
    return {**sample, "io_thread_us": io_thread / sample["messages"] * 1e6}


def _in(world: str, handler: str) -> Start:
    return partial(behind_proxy, partial(library_node, node=f"bench.handlers:{world}_{handler}"))


def _beside_trio(what: str, handler: str, in_flight: int) -> Work:
    return Work(
        group="asyncio",
        name=f"An asyncio handler that {what}, {in_flight} in flight",
        systems={"Trio": _in("trio", handler), "Holdfast": _in("asyncio", handler)},
        metrics=(Metric("cpu_us", "CPU per request", "us"), PER_SECOND),
        goals=(Goal("cpu_us", ASYNCIO, "Trio"),) if in_flight > 1 else (),
        measure=partial(node_library, in_flight=in_flight),
        in_quick=in_flight > 1,
    )


def _beside_plain(what: str, node: str) -> Work:
    return Work(
        group="functions",
        name=f"A handler with {what}, {IN_FLIGHT} in flight",
        systems={"without": _in("trio", "echo"), "Holdfast": _in("with", node)},
        metrics=(Metric("cpu_us", "CPU per request", "us"), PER_SECOND),
        goals=(),
        measure=node_library,
        in_quick=False,
    )


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
    *(_beside_trio(what, handler, IN_FLIGHT) for what, handler in HANDLERS.items()),
    _beside_trio("echoes", "echo", 1),
    *(_beside_plain(what, node) for node, what in AROUND.items()),
)
