"""A node that echoes, as what is measured: the proxy shares the other CPU with the load generator."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import MEASURED_CPU, OTHER_CPU, System
from bench.systems.holdfast import serve


@contextmanager
def behind_proxy(start: Callable[[str], Process]) -> Iterator[System]:
    """start: makes the node's process, from the address that it is to join. Until it is ready requests wait."""
    with (
        serve("node.heartbeat_timeout=1h", "request.parked_timeout=20s", cpu=OTHER_CPU) as (proxy, port, address),
        start(address) as node,
    ):
        yield System(port, node, proxy)


def library_node(address: str, node: str = "examples.echo_node:node") -> Process:
    """holdfast.Node, as the tutorial has it, or another one of that library's."""
    command = (sys.executable, "-m", "holdfast", "node", node, "--join", address)
    return Process(*command, cpu=MEASURED_CPU)


def c_node(address: str) -> Process:
    """The one behind the proxy in all other measurements."""
    return Process(PROGRAMS / "node", "--join", address, cpu=MEASURED_CPU)
