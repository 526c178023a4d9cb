"""The composition root: the only place that names concrete classes and joins the two sides.

`serve` builds the proxy from a configuration, binds, runs until a signal, drains, and stops. The order of stopping:
not ready; accept no more; requests finish; clients are closed; proxies are told; nodes are told; sockets are closed.
"""

import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable

import structlog
import trio

from holdfast.balancer.channel_rules import ChannelRules
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.counting import Counted
from holdfast.balancer.cluster.debts import Debts
from holdfast.balancer.cluster.times import longest_grant
from holdfast.balancer.coordination.base import Coordinator
from holdfast.balancer.coordination.store import open_store
from holdfast.balancer.directory import Directory
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.links.curve import Curve
from holdfast.balancer.links.door import MAX_STRANGERS
from holdfast.balancer.links.guard import Guard
from holdfast.balancer.links.zeromq import ZeromqHub
from holdfast.balancer.registry import ClientRegistry
from holdfast.balancer.remembered import Remembered
from holdfast.protocols.clients.http_doors import http_port
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes.frames import Client
from holdfast.protocols.peers.frames import Member
from holdfast.proxy.admin.api import Api
from holdfast.proxy.admin.control import ProxyControl
from holdfast.proxy.admin.operator import Operator
from holdfast.proxy.admin.server import MAX_CONNECTIONS, AdminServer
from holdfast.proxy.clients.budget import Budget
from holdfast.proxy.clients.clients import Clients, FirstProtocol, random_prefix
from holdfast.proxy.clients.listener import Listener, bind, port_of_protocol
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.session import Session
from holdfast.proxy.clients.tls import server_context
from holdfast.proxy.cluster.alone import LoneRecord
from holdfast.proxy.cluster.bindings import resolve
from holdfast.proxy.cluster.fence import ClientsFence
from holdfast.proxy.cluster.runner import Runner, random_number, wall_clock
from holdfast.proxy.cluster.times import times_of
from holdfast.proxy.config import Config
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.access_log import AccessLog
from holdfast.proxy.nodes.announcer import Announcer
from holdfast.proxy.nodes.calls import Calls
from holdfast.proxy.nodes.deaths import Deaths
from holdfast.proxy.nodes.dispatch import Dispatch
from holdfast.proxy.nodes.gateway import Gateway
from holdfast.proxy.nodes.keeper import Keeper
from holdfast.proxy.nodes.pools import Pools
from holdfast.proxy.nodes.router import Router
from holdfast.proxy.nodes.steward import Steward
from holdfast.proxy.open_files import shares_of
from holdfast.proxy.process.bound import Bound
from holdfast.proxy.process.draining import drain
from holdfast.proxy.process.phase import Phase
from holdfast.proxy.process.workers import WorkerLife, inherited
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.effects import Effects
from holdfast.proxy.realtime.history import History
from holdfast.proxy.realtime.lanes import Lanes
from holdfast.proxy.realtime.mutes import Mutes
from holdfast.proxy.realtime.permits import Permits
from holdfast.proxy.realtime.subscriptions import Subscriptions
from holdfast.proxy.ticker import Ticker

log = structlog.get_logger("holdfast.app")

# A node keeps what it could not send for 60 s, and a request is sent again within its timeout.
MIN_REMEMBERED_SECONDS = 60.0
FAREWELL = 0.1  # for libzmq to write the last batches to nodes


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
        self._accepts_no_more = trio.Event()
        self.counters = counters = Counters()
        self.reactor = reactor = Reactor()
        self.directory = directory = Directory(config.balance)
        # A random start: a reply to a former run of this proxy fits no request of this one.
        first_id = int.from_bytes(os.urandom(7), "little")
        self.ledger = ledger = Ledger(directory, config.request, first_id)
        self._id = proxy_id = os.urandom(8).hex()
        self._prefix = prefix = random_prefix()
        self.registry = registry = ClientRegistry()
        first = http_port(config.client)
        self.clients = clients = Clients(config.client, first, reactor, counters, prefix, registry.get)
        rules = ChannelRules(config.channel)
        self.channels = channels = Channels(clients, config.realtime, config.client.max_channels, rules.of)
        self.steward = steward = Steward(directory, counters, config.election)
        self.announcer = announcer = Announcer(directory, registry, config.node.registry_page)
        self._access_log = access_log = None
        if config.log.access_log:
            self._access_log = access_log = AccessLog(config.log.access_log_sample, random.random, registry.get)
        pools = Pools(config.balance, config.request, config.route, ledger)
        self.dispatch = dispatch = Dispatch(
            ledger,
            directory,
            announcer,
            pools.usual,
            pools.key_of,
            random.random,
            reactor,
            counters,
            config.request,
            access_log,
            config.node.max_untaken_bytes,
        )
        client, node, realtime = config.client, config.node, config.realtime
        self.router: Router | None = None
        clients.dispatch = dispatch.request
        if config.route:
            parts = dispatch.request, clients.find, registry.get, counters, access_log, client.subprotocols
            self.router = Router(config.route, pools.of_routes, *parts)
            clients.dispatch = self.router.request
        if client.jwt_keys:
            from holdfast.proxy.clients.tokens import Tokens  # slow to import: nobody else pays for it

            clients.tokens = tokens = Tokens(client, clients.dispatch, reactor, counters, wall_clock)
            clients.dispatch = tokens.request
        self.calls = calls = Calls(
            client.admission, prefix, ledger, directory, announcer, dispatch, config.request, reactor, counters
        )
        clients.admission = calls.admission
        clients.join = channels.join
        self.budget = Budget(clients, ledger, client.max_buffered_bytes, dispatch.overloaded, dispatch.abandon)
        longest = max([config.request.timeout, *(route.timeout for route in config.route)])
        remembered = Remembered(realtime.max_remembered_bytes, max(MIN_REMEMBERED_SECONDS, longest))
        self.lanes = lanes = Lanes(clients, channels, counters, remembered, realtime.max_unacknowledged_bytes, dispatch)
        self.history = history = History(config, rules, channels, lanes, reactor, counters, time.time, proxy_id)
        permits = Permits(rules, clients.tokens, calls.of_channels, registry.get, realtime.max_channel_name_bytes)
        self.subscriptions = Subscriptions(permits, clients, channels, history, lanes.under_way, client, reactor)
        self.mutes = mutes = Mutes(channels)
        self.effects = effects = Effects(lanes, mutes, counters, steward.heeds, dispatch.refuse)
        self.keeper = keeper = Keeper(
            config.state, config.node, directory, counters, registry.__contains__, announcer.send_state, wall_clock
        )
        debts = Debts(proxy_id, node.heartbeat_timeout, effects.come, lanes.interrupt, remembered.knows, longest)
        self.deaths = deaths = Deaths(reactor, counters, longest_grant(config.election.lease), self._node_died)
        self.gateway = gateway = Gateway(
            proxy_id,
            prefix,
            config.node,
            config.balance,
            directory,
            self.count,
            dispatch,
            steward,
            effects,
            debts,
            announcer,
            deaths,
            keeper,
            reactor,
            counters,
            calls.asks,
            calls.orphans,
            history.asks,
        )
        lanes.update = announcer.client_updated
        dispatch.attach(effects.reply, effects.is_behind)
        channels.on_first, channels.on_filter = mutes.unmute, mutes.unmute_all
        clients.on_opened = self._client_opened
        clients.on_closed = self._client_closed
        curve = Curve(node.curve_secret_key_file, node.curve_authorized_keys) if node.curve_secret_key_file else None
        self.guard = guard = Guard(curve, node.token)
        self.hub = ZeromqHub(
            gateway, max_batch_bytes=node.max_frame_bytes, max_backlog_bytes=node.max_outbox_bytes, guard=guard
        )
        self.ticker = Ticker(
            clients, directory, dispatch, calls, gateway, keeper, self.subscriptions, self.hub, reactor, node
        )
        if config.client.tls_certificate_file:
            reactor.at_turn_end(clients.handshakes.step)
        # What a turn ends with, in this order: requests leave (and who came or went), replies come (and nodes, who are
        # sent pages then), what nodes do to clients is done, sockets are written.
        steps = (announcer.step, self.hub.pump, announcer.send_pages, effects.step, self.budget.step, clients.flush)
        for step in steps:
            reactor.at_turn_end(step)
        self.runner: Runner | None = None
        self.control = ProxyControl(self, proxy_id)
        if coordinator is None and config.store.kind != "memory":
            coordinator = open_store(config.store)
        if coordinator is not None:
            clients.dispatch = Operator(self.control, clients.dispatch, config.admin).request
            self.runner = Runner(
                proxy_id,
                config,
                coordinator,
                guard,
                self.hub,
                gateway,
                announcer,
                directory,
                ClientsFence(clients, reactor, config.drain.spread),
                reactor,
                self.control.figures,
                steward.look,
                keeper.copy,
                prefix,
                is_store_ours=WorkerLife.of(os.environ).is_store_new,
            )

    @property
    def is_serving(self) -> bool:
        return self.phase is Phase.SERVING

    def _client_opened(self, client: Client) -> None:
        due = self.calls.once.wants_comings
        self.announcer.client_opened(client, due)
        if due:
            self.calls.once.opened(client.id, self.registry.info(client.id), self.registry.sequence)

    def _client_closed(self, session: Session, reason: Reason) -> None:
        info = self.registry.info(session.id) if self.calls.once.is_due(session.id) else b""  # of whom something is due
        self.subscriptions.forget(session)
        self.channels.forget(session)
        if self._access_log is not None and session.connection.in_flight:
            self._access_log.leaves(session.id)
        self.announcer.client_closed(session.id, reason, info != b"")
        if info:
            self.calls.once.closed(session.id, info, reason.value, self.registry.sequence)
        self.keeper.owner_gone(session.id)
        self.cluster.owners.closed(session.id)

    def _node_died(self, node: str, incarnation: int) -> None:
        """A node's process on this host has died: other proxies can't see that."""
        self.gateway.died(node, incarnation)
        if self.runner is not None:
            self.cluster.node_died(node, incarnation)

    def count(self, channel: str, told: Counted) -> bool:
        """A channel's members, as Cluster.count."""
        patience = self.config.cluster.wait_for_missing_rooms
        return self._asked(self.cluster.count(channel, patience, told, trio.current_time()))

    def kick(self, client: int, reason: str, told: Counted) -> bool:
        """Another proxy's client, as Cluster.kick."""
        patience = self.config.cluster.wait_for_missing_rooms
        return self._asked(self.cluster.kick(client, reason, patience, told, trio.current_time()))

    def _asked(self, is_asked: bool) -> bool:
        if self.runner is not None:
            self.runner.step()
        return is_asked

    @property
    def doing(self) -> str:
        return self.phase.value

    @property
    def is_joining(self) -> bool:
        return self.phase is Phase.JOINING

    async def run(self, ready: Callable[[Bound], None]) -> None:
        """Bind, serve, drain. Raises OSError when an address can't be bound, before anything is served."""
        config, runner = self.config, self.runner
        tls = None
        if config.client.tls_certificate_file:
            tls = server_context(config.client.tls_certificate_file, config.client.tls_key_file)
        shares = shares_of(config, MAX_STRANGERS, MAX_CONNECTIONS, is_alone=runner is None)
        self.clients.max_connections, self.gateway.max_nodes = shares.clients, shares.nodes
        self.guard.max_strangers = shares.strangers
        ports: list[tuple[str, FirstProtocol | None]] = [(address, None) for address in config.client.bind]
        ports += map(port_of_protocol, config.client.protocols)
        node_addresses = self.hub.open([resolve(endpoint) for endpoint in config.node.bind])
        listeners: list[Listener] = []
        try:
            if (mine := WorkerLife.of(os.environ).number) >= 0:
                for number, sockets in enumerate(inherited(os.environ)):
                    for listening, (_, protocol) in zip(sockets, ports, strict=True):
                        is_anothers = number != mine
                        listeners.append(Listener(listening, self.clients, tls, protocol, is_anothers=is_anothers))
            else:
                for address, protocol in ports:
                    listening = bind(
                        address,
                        reuse_port=config.client.reuse_port,
                        send_buffer_bytes=config.client.send_buffer_bytes,
                    )
                    listeners.append(Listener(listening, self.clients, tls, protocol))
            async with trio.open_nursery() as nursery:
                self.reactor.wake_on(self.hub.fileno())
                pub = self._start_cluster(node_addresses, nursery)
                nursery.start_soon(self.reactor.run)
                nursery.start_soon(self.hub.watch, self.reactor.settle)
                nursery.start_soon(self.ticker.run)
                nursery.start_soon(self.history.run)
                api = Api(self.control, config.admin, max(1, shares.callers // 2))
                admin = await nursery.start(AdminServer(config.admin.bind, api.answer, shares.callers, api.room).run)
                accepting = trio.CancelScope()
                with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    self.phase = Phase.STARTING if runner is None else Phase.JOINING
                    if runner is None or await runner.join_unless(signals, nursery):
                        for listener in listeners:
                            listener.listen(config.client.backlog)
                        nursery.start_soon(self._accept, listeners, accepting)
                        self.phase = Phase.SERVING
                        self.listening = [listener.address for listener in listeners[: len(ports)]]
                        own = len(config.client.bind)
                        names = [spec.partition("://")[0] for spec in config.client.protocols]
                        further = [f"{n}://{at}" for n, at in zip(names, self.listening[own:], strict=True)]
                        bound = Bound(self.listening[:own], node_addresses, admin, pub, further)
                        log.info("serving", client=bound.client, node=bound.node, admin=bound.admin, pid=os.getpid())
                        ready(bound)
                        await anext(signals)
                    self.phase = Phase.DRAINING
                    accepting.cancel(reason="draining")
                    if self.listening:
                        await self._accepts_no_more.wait()  # who was in the queue is a client now, and is drained too
                    await self._leave(signals, api)
                nursery.cancel_scope.cancel(reason="stopped")
        finally:
            for listener in listeners:
                listener.close()
            self.clients.close()
            if runner is not None:
                runner.close()
            self.hub.close()
            self.deaths.close()
            self.reactor.close()
            self.history.close()
        log.info("stopped")

    def _start_cluster(self, node_addresses: list[str], nursery: trio.Nursery) -> str:
        """Returns where we publish to other proxies; "": we are alone."""
        runner = self.runner
        if runner is not None:
            pub = runner.open(node_addresses)
            self.cluster = runner.cluster
            self._share_state(runner.cluster)
            return pub
        me, now = Member(self._id, "", "", prefix=self._prefix), trio.current_time()
        times, copy = times_of(self.config), self.keeper.copy
        self.cluster = Cluster(me, b"", times, random_number, wall_clock, now, copy, self.gateway.debts)
        self.cluster.voice.figures = self.control.figures
        self._share_state(self.cluster)
        nursery.start_soon(LoneRecord(self.cluster, self.steward.look, self.reactor.settle).run)
        return ""

    def _share_state(self, cluster: Cluster) -> None:
        """Join those who follow the cluster's record, before there is one."""
        keeper = self.keeper
        self.steward.start(cluster)
        cluster.on_record = self.steward.followed
        cluster.on_died = self.gateway.died
        cluster.count_here = self.channels.count
        cluster.kick_here = self.control.kick_here
        cluster.replication.keeping = keeper
        cluster.owners.is_here = self.registry.__contains__
        cluster.owners.on_gone = keeper.owner_gone
        self.calls.orphans.is_ours = self.steward.inherits
        self.steward.on_evicted = self.calls.orphans.evicted
        keeper.start(cluster.replication, cluster.owners)

    async def _accept(self, listeners: list[Listener], scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(listener.run)
        self._accepts_no_more.set()

    async def _leave(self, signals: AsyncIterator[int], api: Api) -> None:
        """Drain; a second signal ends that at once."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_on_signal, signals, nursery.cancel_scope)
            sides = self.clients, self.ledger, self.directory, self.dispatch
            await drain(self.config.drain, *sides, self.calls.once, self.reactor)
            await api.leave()
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
