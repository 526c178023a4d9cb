"""What is tested: a proxy, or a cluster of them with its store, that we start; or a proxy that runs already."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio
from msgspec import Struct

from holdfast.chaos import store
from holdfast.chaos.processes import Process, Processes
from holdfast.chaos.proxies import Launch, OwnProxy, Proxy
from holdfast.chaos.store import RedisServer
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config import Config, load

OWN_ADDRESSES = ("client.bind=127.0.0.1:0", "node.bind=tcp://127.0.0.1:*", "admin.bind=127.0.0.1:0")
OWN_PUB = "cluster.pub=tcp://127.0.0.1:*"


class Deployment(Struct):
    """own: those of the proxies that are ours, all or none. redis: the store, if it is a process of ours.

    members: how many proxies there are, each of the workers of one `serve` counted. extra: how one more is started that
    finds the others by the store. config: the proxies', if they are ours; else the defaults, which are as good a guess
    as any.
    """

    proxies: Sequence[Proxy]
    own: Sequence[OwnProxy]
    redis: RedisServer | None
    node_environ: Mapping[str, str]
    config: Config
    members: int = 1
    extra: Launch | None = None

    @property
    def serving(self) -> list[Proxy]:
        return [proxy for proxy in self.proxies if proxy.is_serving]

    @property
    def first(self) -> Proxy:
        """Of those that serve; of all, if none does."""
        return (self.serving or self.proxies)[0]

    @property
    def is_cluster(self) -> bool:
        return self.members > 1

    @property
    def longest_silence(self) -> float:
        """Seconds after which whoever says nothing has lost everything: session, lease and membership."""
        config = self.config
        return max(config.node.heartbeat_timeout, config.election.lease, config.cluster.heartbeat_timeout)

    def skewed(self, factor: float) -> Process:
        """Start a proxy whose lease is that many times the cluster's."""
        assert self.extra is not None
        return self.extra.start([f"election.lease={factor * self.config.election.lease}"])

    @property
    def patience(self) -> float:
        """How long after the last request everything must have been answered."""
        request = self.config.request
        return request.timeout + request.parked_timeout + 2.0

    @property
    def closing_patience(self) -> float:
        """How long after the death of a proxy every node must have been told that its clients are gone."""
        config = self.config
        return config.cluster.fence_timeout + config.drain.spread + 2 * config.cluster.heartbeat_timeout + 2.0


async def start(
    processes: Processes, file: Path | None, sets: Sequence[str], proxies: int, workers: int, kind: str
) -> Deployment:
    """Proxies of our own, several of them as a cluster. sets: what stands above the file and the environment.

    workers: of each `serve`. kind: of the store, where there are several. Raises ConfigError, HoldfastError.
    """
    redis, extra = None, None
    members = proxies * workers
    if members > 1:
        sets = [*sets, OWN_PUB]
        if kind == "redis":
            redis = RedisServer(processes)
            await redis.start()
            sets += redis.settings
        else:
            sets += store.settings_of_file(processes.directory)
    config = load(file, os.environ, sets).config
    if config.client.tls_certificate_file:
        raise ConfigError("the built-in clients speak plain WebSocket: leave client.tls_certificate_file empty")
    names = ["proxy"] if proxies == 1 else [f"proxy-{number}" for number in range(1, proxies + 1)]
    launches = [Launch(name, processes, file, sets, workers) for name in names]
    if members > 1:
        extra = Launch("another proxy", processes, file, sets)
    own: dict[int, OwnProxy] = {}

    async def launch(number: int) -> None:
        process, bound = await launches[number].run()
        own[number] = proxy = OwnProxy(number, launches[number], process, bound, config.admin.token)
        if proxies > 1:
            await proxy.learn()

    async with trio.open_nursery() as nursery:
        for number in range(proxies):
            nursery.start_soon(launch, number)
    ordered = [own[number] for number in range(proxies)]
    token = config.node.token
    environ = {"HOLDFAST_NODE_TOKEN": token} if token else {}
    return Deployment(ordered, ordered, redis, environ, config, members, extra)


def running(client: str, admin_url: str, token: str, node_address: str | None) -> Deployment:
    """One that runs already. client: HOST:PORT. Nodes' keys and token are from the environment (HOLDFAST_NODE_*)."""
    return Deployment([Proxy(0, client, admin_url, token, node_address)], [], None, {}, Config())
