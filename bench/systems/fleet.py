"""Holdfast as a fleet: one proxy with several nodes, or several proxies on one port, each with a node of its own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import CPUS, OTHER_CPU, System, free_port
from bench.systems.holdfast import serve


@contextmanager
def several_nodes(count: int, *options: str) -> Iterator[System]:
    """One proxy, measured. options: of each node."""
    with serve() as (proxy, port, address), ExitStack() as stack:

        def start() -> Process:
            return stack.enter_context(_node(address, *options))

        nodes = [start() for _ in range(count)]
        for node in nodes:
            node.read()  # {"ready": true}
        yield System(port, proxy, nodes=tuple(nodes), start_node=start)


@contextmanager
def several_proxies(count: int) -> Iterator[System]:
    """Each with its node on a CPU of its own, the first ones. All of them are measured."""
    port = free_port()
    with ExitStack() as stack:
        proxies, nodes = [], []
        for cpu in CPUS[:count]:
            settings = ("client.reuse_port=true", f"client.bind=127.0.0.1:{port}")
            proxy, _, address = stack.enter_context(serve(*settings, cpu=cpu))
            node = stack.enter_context(_node(address, cpu=cpu))
            node.read()  # {"ready": true}
            proxies.append(proxy)
            nodes.append(node)
        yield System(port, proxies[0], nodes=tuple(nodes), more_measured=tuple(proxies[1:]))


def _node(address: str, *options: str, cpu: int = OTHER_CPU) -> Process:
    return Process(PROGRAMS / "node", "--join", address, *options, cpu=cpu)
