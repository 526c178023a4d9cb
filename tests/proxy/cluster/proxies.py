"""Several proxies of one process that are a cluster."""

from contextlib import AsyncExitStack, asynccontextmanager

import trio

from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.proxy.app import App
from tests.harness import configure, running

QUICK = {
    "heartbeat": 0.1,
    "heartbeat_timeout": 2.0,  # on a busy machine libzmq's threads may have to wait for longer than half a second
    "discover_timeout": 1.0,
    "join_attempt_interval": 0.1,
    "fence_timeout": 0.3,
    "takeover_timeout": 0.0,
}


@asynccontextmanager
async def joined(coordinator, **sections):
    sections["cluster"] = {**QUICK, **sections.get("cluster", {})}
    async with running(coordinator=coordinator, **sections) as proxy:
        yield proxy


def ids(proxy):
    return set(proxy.app.runner.cluster.membership.record.ids)


def id_of(proxy):
    return proxy.app.runner.cluster.me.proxy


@asynccontextmanager
async def cluster_of(count, coordinator=None, *, wait=True, **sections):
    """They join one after another. wait: until they are the members, and nobody else is."""
    coordinator = coordinator or MemoryCoordinator()
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(joined(coordinator, **sections)) for _ in range(count)]
        for proxy in proxies if wait else ():
            await proxy.until(lambda: ids(proxy) == set(map(id_of, proxies)), "all to be members")  # noqa: B023
        yield proxies


class Killable:
    """A proxy that can be ended without a goodbye while others go on."""

    def __init__(self, coordinator, **sections):
        sections["cluster"] = {**QUICK, **sections.get("cluster", {})}
        self.app = App(configure(**sections), coordinator)
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    async def run(self, *, task_status):
        with self.scope:
            await self.app.run(task_status.started)
        self.ended.set()

    def kill(self):
        self.scope.cancel()
