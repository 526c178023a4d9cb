"""A cluster that is measured: proxies, nodes that are linked to all of them, and clients in channels of their own."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import trio

from bench.process import BenchError
from holdfast.chaos import store
from holdfast.chaos.deployment import OWN_ADDRESSES, OWN_PUB, Deployment, start
from holdfast.chaos.fleet import Fleet
from holdfast.chaos.processes import Process, Processes
from holdfast.chaos.proxies import Launch, Proxy
from holdfast.chaos.websocket import WebSocket
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.views import ChannelCount

NODES = 4
CHANNELS = 4  # of each client
CONNECTING = 50  # clients at once
PATIENCE = 60.0
POLL_INTERVAL = 0.01
LEAVE_PATIENCE = 20.0
SETTINGS = (*OWN_ADDRESSES, "log.level=warning", "drain.spread=0")


class Cluster(NamedTuple):
    """All ready, and linked to each other."""

    deployment: Deployment
    fleet: Fleet
    nodes: list[Process]
    processes: Processes

    @property
    def proxies(self) -> Sequence[Proxy]:
        return self.deployment.proxies

    async def newcomer(self) -> tuple[Process, Proxy, float]:
        """One proxy more: when it serves, and how many seconds after it was started. Raises HoldfastError."""
        sets = [*SETTINGS, OWN_PUB, *store.settings_of_file(self.processes.directory)]
        begun = time.monotonic()
        process, bound = await Launch("newcomer", self.processes, None, sets).run()
        proxy = Proxy(len(self.proxies), bound["client"], f"http://{bound['admin']}", "", bound["node"])
        await until(partial(is_ready, proxy), "the newcomer to be ready")
        return process, proxy, time.monotonic() - begun

    async def leaves(self, process: Process) -> None:
        """A newcomer, and it is forgotten. Raises BenchError."""
        if status := await process.end(LEAVE_PATIENCE):
            raise BenchError(f"the newcomer ended with status {status}\n{process.log_tail()}")
        self.processes.forget(process)
        await until(self.fleet.is_whole, "the others to be alone again")


async def cluster(processes: Processes, proxies: int) -> Cluster:
    """Raises HoldfastError, BenchError."""
    deployment = await start(processes, None, SETTINGS, proxies, 1, "sqlite")
    fleet = Fleet(processes, deployment)
    address = deployment.first.node_address
    assert address is not None
    arguments = ["node", "bench.growth_node:node", "--join", address]
    nodes = [processes.start(f"node-{number}", arguments) for number in range(NODES)]
    started = Cluster(deployment, fleet, nodes, processes)
    await until(partial(_is_linked, started), "all nodes to be linked to all proxies")
    return started


async def _is_linked(cluster: Cluster) -> bool:
    if not await cluster.fleet.is_whole():
        return False
    views = [await cluster.fleet.status_of(proxy) for proxy in cluster.proxies]
    return all(sum(node.state == "ready" for node in view.nodes) == NODES for view in views)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """What is awaited is asked for over HTTP. Raises BenchError."""
    with trio.move_on_after(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - see above
            await trio.sleep(POLL_INTERVAL)
        return
    raise BenchError(f"waited {PATIENCE:g} s for {what}")


# --- asking proxies -------------------------------------------------------------------------------------------


async def is_ready(proxy: Proxy) -> bool:
    try:
        return (await proxy.status()).ready
    except HoldfastError:
        return False


async def knows_counts(proxy: Proxy, channels: Sequence[str]) -> bool:
    """Whether it counts the one member of each, whose proxy is another."""
    for channel in channels:
        path = f"/api/channels/{quote(channel, safe='')}"
        if (await trio.to_thread.run_sync(proxy.admin.get, path, ChannelCount)).count != 1:
            return False
    return True


async def views(proxies: Sequence[Proxy]) -> list[Any]:
    """What each shows of the cluster, asked at the same time, without what only it can know."""
    shown: dict[int, Any] = {}

    async def ask(proxy: Proxy) -> None:
        view = msgspec.to_builtins((await proxy.status()).cluster)
        del view["here"]
        shown[proxy.number] = view

    async with trio.open_nursery() as nursery:
        for proxy in proxies:
            nursery.start_soon(ask, proxy)
    return list(shown.values())


# --- clients --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def clients(proxies: Sequence[Proxy], count: int, name: str) -> AsyncIterator[list[str]]:
    """Connected for the length of the block, spread over the proxies, each in channels of its own: these. name: of what
    these are called after. Raises HoldfastError.
    """
    limiter = trio.CapacityLimiter(CONNECTING)
    sockets: list[WebSocket] = []
    channels = [f"{name}-{number}" for number in range(count * CHANNELS)]

    async def connect(number: int) -> None:
        proxy = proxies[number % len(proxies)]
        async with limiter:
            socket = await WebSocket.open(proxy.host, proxy.port)
            sockets.append(socket)
            socket.send(" ".join(channels[number * CHANNELS : (number + 1) * CHANNELS]).encode())
            while not (replies := list(socket.receive())):
                await trio.lowlevel.wait_readable(socket.fd)
            if replies != [f"{CHANNELS}".encode()]:
                raise BenchError(f"expected the count of channels, got {replies!r}")

    try:
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(connect, number)
        yield channels
    finally:
        for socket in sockets:
            socket.close()


def sample(channels: Sequence[str], size: int) -> list[str]:
    return random.sample(channels, min(size, len(channels)))
