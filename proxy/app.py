"""The composition root: the only place that names concrete classes and joins the two sides.

`serve` builds the proxy from a configuration, binds, runs until a signal, drains, and stops. The order of stopping:
not ready; accept no more; requests finish; clients are closed; proxies are told; nodes are told; sockets are closed.
"""

import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from enum import Enum

import structlog
import trio

from balancer.cluster.cluster import Cluster
from balancer.coordination.base import Coordinator
from balancer.coordination.memory import MemoryCoordinator
from balancer.coordination.store import open_store
from balancer.directory import Directory
from balancer.ledger import Ledger
from balancer.links.curve import Curve
from balancer.links.zeromq import ZeromqHub
from balancer.policies import POLICIES
from balancer.registry import ClientRegistry
from protocols.clients.base import registered
from protocols.clients.http import HttpProtocol
from protocols.errors import ConfigError
from protocols.peers.frames import Member
from proxy import allocator, collector
from proxy.access_log import AccessLog
from proxy.admin.api import Api
from proxy.admin.server import AdminServer
from proxy.bound import Bound
from proxy.channels import Channels
from proxy.clients import Clients, FirstProtocol, random_prefix
from proxy.cluster.alone import writer
from proxy.cluster.bindings import resolve
from proxy.cluster.fence import Fence
from proxy.cluster.runner import Runner, random_number
from proxy.cluster.times import times_of
from proxy.config import Config, is_loopback, split_address
from proxy.control import ProxyControl
from proxy.dispatch import Dispatch
from proxy.draining import drain
from proxy.effects import Effects
from proxy.gateway import Gateway
from proxy.listener import Listener, bind, raise_descriptor_limit
from proxy.metrics import Counters
from proxy.operator import Operator
from proxy.reactor import Reactor
from proxy.routing_key import key_of
from proxy.steward import Steward
from proxy.ticker import Ticker
from proxy.tls import server_context

log = structlog.get_logger("holdfast.app")

FAREWELL = 0.1  # for libzmq to write the last batches to nodes


class Phase(Enum):
    STARTING = "starting"
    JOINING = "joining"
    SERVING = "serving"
    DRAINING = "draining"


class App:
    """One proxy. `run` is its life; everything else here is built in the constructor, without I/O, but for `cluster`:
    others know a proxy by the addresses that it has bound.

    coordinator: in place of the store of the configuration, so that several of one process can be a cluster.
    """

    cluster: Cluster

    def __init__(self, config: Config, coordinator: Coordinator | None = None) -> None:
        self.config = config
        self.phase = Phase.STARTING
        self.listening: list[str] = []  # addresses of client ports, as bound
        self.counters = counters = Counters()
        self.reactor = reactor = Reactor()
        self.directory = directory = Directory(config.balance)
        # A random start: a reply to a former run of this proxy fits no request of this one.
        self.ledger = Ledger(directory, config.request, int.from_bytes(os.urandom(7), "little"))
        ledger = self.ledger
        self.clients = clients = Clients(config.client, HttpProtocol, reactor, counters, random_prefix())
        self.channels = channels = Channels(clients, config.realtime, config.client.max_channels)
        log_settings = config.log
        access_log = None
        if log_settings.access_log:
            access_log = AccessLog(log_settings.access_log_sample, config.request.timeout, random.random)
        self.dispatch = dispatch = Dispatch(
            ledger,
            directory,
            POLICIES[config.balance.policy](),
            key_of(config.balance.sticky_key),
            random.random,
            reactor,
            counters,
            config.request,
            access_log,
        )
        clients.dispatch = dispatch.request
        self._id = proxy_id = os.urandom(8).hex()
        self.steward = steward = Steward(directory, counters, config.election, config.state, config.node)
        self.effects = Effects(
            clients, channels, counters, config.realtime.max_remembered_requests, config.request.timeout
        )
        self.registry = ClientRegistry()
        self.gateway = gateway = Gateway(
            proxy_id,
            config.node,
            config.balance,
            directory,
            self.registry,
            clients,
            channels,
            dispatch,
            steward,
            self.effects,
            reactor,
            counters,
        )
        node = config.node
        curve = Curve(node.curve_secret_key_file, node.curve_authorized_keys) if node.curve_secret_key_file else None
        self.hub = ZeromqHub(
            gateway,
            max_batch_bytes=node.max_frame_bytes,
            max_backlog_bytes=node.max_outbox_bytes,
            curve=curve,
        )
        self.ticker = Ticker(clients, directory, dispatch, gateway, self.hub, reactor)
        # What a turn ends with, in this order: requests leave, replies come (and nodes, who are sent pages then),
        # notifications go out, sockets are written.
        for step in (self.hub.pump, gateway.send_pages, channels.step, clients.flush):
            reactor.at_turn_end(step)
        self.runner: Runner | None = None
        self.control = ProxyControl(self, proxy_id)
        if coordinator is None and config.store.kind != "memory":
            coordinator = open_store(config.store)
        if coordinator is not None:
            clients.dispatch = Operator(self.control, dispatch.request, config.admin.token).request
            self.runner = Runner(
                proxy_id,
                config,
                coordinator,
                curve,
                self.hub,
                gateway,
                directory,
                channels,
                Fence(clients, reactor, config.drain.spread),
                reactor,
                self.control.figures,
            )

    @property
    def is_serving(self) -> bool:
        return self.phase is Phase.SERVING

    async def run(self, ready: Callable[[Bound], None]) -> None:
        """Bind, serve, drain. Raises OSError when an address can't be bound, before anything is served."""
        config, runner = self.config, self.runner
        tls = None
        if config.client.tls_certificate_file:
            tls = server_context(config.client.tls_certificate_file, config.client.tls_key_file)
        fit = raise_descriptor_limit(config.client.max_connections)
        if fit < config.client.max_connections:
            log.warning("descriptor_limit", connections=fit, configured=config.client.max_connections)
            self.clients.max_connections = fit
        ports: list[tuple[str, FirstProtocol | None]] = [(address, None) for address in config.client.bind]
        ports += map(_port_of_protocol, config.client.protocols)
        node_addresses = self.hub.open([resolve(endpoint) for endpoint in config.node.bind])
        listeners: list[Listener] = []
        try:
            for address, protocol in ports:
                listening = bind(
                    address,
                    reuse_port=config.client.reuse_port,
                    send_buffer_bytes=config.client.send_buffer_bytes,
                )
                listeners.append(Listener(listening, self.clients, tls, protocol))
            self._warn(config)
            async with trio.open_nursery() as nursery:
                self.reactor.wake_on(self.hub.fileno())
                pub = self._start_cluster(node_addresses)
                nursery.start_soon(self.reactor.run)
                nursery.start_soon(self.hub.watch, self.reactor.settle)
                nursery.start_soon(self.steward.run, self.reactor.settle)
                nursery.start_soon(self.ticker.run)
                api = Api(self.control, config.admin.token, is_loopback(split_address(config.admin.bind)[0]))
                admin = await nursery.start(AdminServer(config.admin.bind, api.answer).run)
                accepting = trio.CancelScope()
                with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    if runner is None or await self._join(nursery, runner, signals):
                        for listener in listeners:
                            listener.listen(config.client.backlog)
                        nursery.start_soon(self._accept, listeners, accepting)
                        self.phase = Phase.SERVING
                        self.listening = [listener.address for listener in listeners]
                        bound = Bound(self.listening, node_addresses, admin, pub)
                        log.info("serving", client=bound.client, node=bound.node, admin=bound.admin, pid=os.getpid())
                        ready(bound)
                        await anext(signals)
                    self.phase = Phase.DRAINING
                    accepting.cancel(reason="draining")
                    await self._leave(signals)
                nursery.cancel_scope.cancel(reason="stopped")
        finally:
            for listener in listeners:
                listener.close()
            self.clients.close()
            if runner is not None:
                runner.close()
            self.hub.close()
            self.reactor.close()
        log.info("stopped")

    def _start_cluster(self, node_addresses: list[str]) -> str:
        """Returns where we publish to other proxies; "": we are alone."""
        runner = self.runner
        if runner is not None:
            pub = runner.open(node_addresses)
            self.cluster = runner.cluster
            self.steward.start(runner.cluster, runner.store.write)
            return pub
        now = trio.current_time()
        me = Member(self._id, "", "")
        self.cluster = cluster = Cluster(me, b"", times_of(self.config), random_number, now)
        cluster.found_alone(now)
        self.steward.start(cluster, writer(cluster, MemoryCoordinator()))
        return ""

    async def _join(self, nursery: trio.Nursery, runner: Runner, signals: AsyncIterator[int]) -> bool:
        """False: a signal came before we were a member."""
        self.phase = Phase.JOINING
        nursery.start_soon(runner.run)
        is_stopped = False

        async def stop_on_signal() -> None:
            nonlocal is_stopped
            await anext(signals)
            is_stopped = True
            joining.cancel_scope.cancel(reason="signal")

        async with trio.open_nursery() as joining:
            joining.start_soon(stop_on_signal)
            await runner.join()
            joining.cancel_scope.cancel(reason="joined")
        return not is_stopped

    async def _accept(self, listeners: list[Listener], scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(listener.run)

    async def _leave(self, signals: AsyncIterator[int]) -> None:
        """Drain; a second signal ends that at once."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_on_signal, signals, nursery.cancel_scope)
            await drain(self.config.drain, self.clients, self.ledger, self.reactor)
            if self.runner is not None:
                await self.runner.leave()
            self.gateway.leave()
            self.reactor.settle()
            await trio.sleep(FAREWELL)
            nursery.cancel_scope.cancel(reason="drained")

    async def _stop_on_signal(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        await anext(signals)
        log.warning("stopping_at_once")
        scope.cancel(reason="second signal")

    def _warn(self, config: Config) -> None:
        """What an operator should know before something happens."""
        if config.node.insecure_bind_without_authentication:
            log.warning(
                "insecure_node_bind", bind=config.node.bind, why="whoever reaches it is a node, and gets requests"
            )


def _port_of_protocol(spec: str) -> tuple[str, FirstProtocol]:
    """Address and adapter of an entry of client.protocols."""
    name, _, address = spec.partition("://")
    protocols = registered()
    if name not in protocols:
        known = ", ".join(sorted(protocols))
        raise ConfigError(f'client.protocols: no client protocol is registered as "{name}"; there are {known}')
    return address, protocols[name]


async def serve(config: Config, *, ready: Callable[[Bound], None]) -> None:
    """Run a proxy until SIGTERM or SIGINT has drained it. `ready` is called once, when it serves.

    The process must be the proxy's own: its garbage collector and its malloc are set for it.
    """
    allocator.keep_freed()

    def started(bound: Bound) -> None:
        collector.tame()
        ready(bound)

    await App(config).run(started)
