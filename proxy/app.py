"""The composition root: the only place that names concrete classes and joins the two sides.

`serve` builds the proxy from a configuration, binds, runs until a signal, drains, and stops. The order of stopping:
not ready; accept no more; requests finish; clients are closed; nodes are told; sockets are closed.
"""

import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from enum import Enum

import structlog
import trio
from msgspec import Struct

from balancer.coordination.memory import MemoryCoordinator
from balancer.directory import Directory
from balancer.ledger import Ledger
from balancer.links.zeromq import Curve, ZeromqHub
from balancer.policies import POLICIES
from balancer.registry import ClientRegistry
from protocols.clients.base import registered
from protocols.clients.http import HttpProtocol
from protocols.errors import ConfigError
from proxy import allocator, collector
from proxy.access_log import AccessLog
from proxy.admin.api import Api
from proxy.admin.server import AdminServer
from proxy.channels import Channels
from proxy.clients import Clients, FirstProtocol, random_prefix
from proxy.config import Config, is_loopback, split_address
from proxy.control import ProxyControl
from proxy.dispatch import Dispatch
from proxy.draining import drain
from proxy.gateway import Gateway
from proxy.listener import Listener, bind, raise_descriptor_limit
from proxy.metrics import Counters
from proxy.reactor import Reactor
from proxy.routing_key import key_of
from proxy.steward import Steward
from proxy.ticker import Ticker
from proxy.tls import server_context

log = structlog.get_logger("holdfast.app")

FAREWELL = 0.1  # for libzmq to write the last batches to nodes


class Bound(Struct, frozen=True):
    """Where the proxy is bound: "host:port", node addresses as ZeroMQ endpoints."""

    client: list[str]
    node: list[str]
    admin: str


class Phase(Enum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class App:
    """One proxy. `run` is its life; everything else here is built in the constructor, without I/O."""

    def __init__(self, config: Config) -> None:
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
        self.steward = steward = Steward(
            MemoryCoordinator(), directory, counters, config.election, config.state, config.node
        )
        self.registry = ClientRegistry()
        proxy_id = os.urandom(8).hex()
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
        self.control = ProxyControl(self, proxy_id)

    @property
    def is_serving(self) -> bool:
        return self.phase is Phase.SERVING

    async def run(self, ready: Callable[[Bound], None]) -> None:
        """Bind, serve, drain. Raises OSError when an address can't be bound, before anything is served."""
        config = self.config
        tls = None
        if config.client.tls_certificate_file:
            tls = server_context(config.client.tls_certificate_file, config.client.tls_key_file)
        fit = raise_descriptor_limit(config.client.max_connections)
        if fit < config.client.max_connections:
            log.warning("descriptor_limit", connections=fit, configured=config.client.max_connections)
            self.clients.max_connections = fit
        ports: list[tuple[str, FirstProtocol | None]] = [(address, None) for address in config.client.bind]
        ports += map(_port_of_protocol, config.client.protocols)
        node_addresses = self.hub.open(config.node.bind)
        listeners: list[Listener] = []
        try:
            for address, protocol in ports:
                listening = bind(
                    address,
                    backlog=config.client.backlog,
                    reuse_port=config.client.reuse_port,
                    send_buffer_bytes=config.client.send_buffer_bytes,
                )
                listeners.append(Listener(listening, self.clients, tls, protocol))
            self._warn(config)
            async with trio.open_nursery() as nursery:
                self.reactor.wake_on(self.hub.fileno())
                self.steward.start()
                nursery.start_soon(self.reactor.run)
                nursery.start_soon(self.hub.watch, self.reactor.settle)
                nursery.start_soon(self.steward.run, self.reactor.settle)
                nursery.start_soon(self.ticker.run)
                api = Api(self.control, config.admin.token, is_loopback(split_address(config.admin.bind)[0]))
                admin = await nursery.start(AdminServer(config.admin.bind, api.answer).run)
                accepting = trio.CancelScope()
                nursery.start_soon(self._accept, listeners, accepting)
                with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    self.phase = Phase.SERVING
                    self.listening = [listener.address for listener in listeners]
                    bound = Bound(self.listening, node_addresses, admin)
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
            self.hub.close()
            self.reactor.close()
        log.info("stopped")

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
