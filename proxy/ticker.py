"""The ticker: one Trio task that does, ten times a second, what depends on time and not on a message.

Deadlines of requests, timers of connections, silence of nodes, shares of new nodes, links that were blocked. Also
notices when this process itself was away (stopped, starved of CPU, or its turns are long): then nobody else, node or
client, is to be blamed for silence, and nobody is excused for ever.
"""

import structlog
import trio

from holdfast.balancer.directory import Directory
from holdfast.balancer.links.base import Hub
from holdfast.balancer.settings import NodeSettings
from holdfast.protocols.nodes.lateness import Excuse, tolerated
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.nodes.calls import Calls
from holdfast.proxy.nodes.dispatch import Dispatch
from holdfast.proxy.nodes.gateway import Gateway
from holdfast.proxy.nodes.keeper import Keeper
from holdfast.proxy.realtime.subscriptions import Subscriptions

log = structlog.get_logger("holdfast.ticker")

INTERVAL = 0.1


class Ticker:
    """Synchronous but for `run`; `tick` may be called with any time that does not go back.

    A tick that is later than is tolerated says that we were away. Nodes' heartbeats and replies may wait in our socket
    then, unread: see Excuse.
    """

    def __init__(
        self,
        clients: Clients,
        directory: Directory,
        dispatch: Dispatch,
        calls: Calls,
        gateway: Gateway,
        keeper: Keeper,
        subscriptions: Subscriptions,
        hub: Hub,
        reactor: Reactor,
        settings: NodeSettings,
    ) -> None:
        self._clients = clients
        self._directory = directory
        self._dispatch = dispatch
        self._calls = calls
        self._gateway = gateway
        self._keeper = keeper
        self._subscriptions = subscriptions
        self._hub = hub
        self._reactor = reactor
        self._excuse = Excuse(tolerated(settings.heartbeat_interval, settings.heartbeat_timeout))
        self._last = reactor.now

    async def run(self) -> None:
        while True:
            await trio.sleep(INTERVAL)
            self.tick(trio.current_time())

    def tick(self, now: float) -> None:
        self._reactor.now = now
        away = now - self._last - INTERVAL
        self._last = now
        if self._excuse.is_late(away):
            log.warning("was_away", seconds=round(away, 2))
            self._gateway.forgive(INTERVAL + away, now)
            self._clients.forgive(away, now)
        if not self._excuse.is_given:
            self._gateway.tick(now)
            self._dispatch.expire(now)
        self._keeper.tick(now)
        if self._calls.admission.tick() or self._clients.has_abandoned:
            self._clients.has_abandoned = False
            self._dispatch.abandon()
        self._clients.turn_wheel()
        self._subscriptions.tick(now)
        self._clients.closings.tick(now)
        self._reactor.masses.tick(now)
        self._directory.tend(now)
        self._dispatch.unpark()
        self._calls.orphans.tick()
        self._calls.once.tick()
        self._hub.retry()
        self._reactor.settle()
