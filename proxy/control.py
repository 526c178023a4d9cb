"""What the admin server asks of the running proxy, and may do to it (proxy.admin.views.Control)."""

import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import trio
from msgspec.structs import asdict

from balancer.directory import Node, NodeState
from protocols.peers.frames import Figures, Member
from proxy.admin.views import ClientView, ClusterView, MasterView, NodeView, StatusView
from proxy.cluster.statistics import ClusterStatistics
from proxy.cluster.views import proxy_view
from proxy.connection import Connection
from proxy.metrics import Exporter
from proxy.statistics import Statistics
from proxy.workers import WorkerLife

if TYPE_CHECKING:
    from proxy.app import App


class ProxyControl:
    """Reads the parts of an App; changes go through their own methods."""

    def __init__(self, app: "App", proxy_id: str) -> None:
        self._app = app
        self._proxy_id = proxy_id
        self._version = version("holdfast")
        self._started = trio.current_time()
        self._since = time.time()
        self._life = WorkerLife.of(os.environ)
        self._exporter = Exporter(app.counters, self._statistics, self._version)

    def ready(self) -> tuple[bool, str]:
        app = self._app
        if not app.is_serving:
            return False, app.phase.value
        trouble = "" if app.runner is None else app.runner.trouble()
        if trouble:
            return False, trouble
        ready = app.directory.count()[NodeState.READY]
        wanted = app.config.cluster.minimum_nodes
        if ready < wanted:
            return False, f"{ready} nodes are ready, cluster.minimum_nodes is {wanted}"
        return True, ""

    def status(self) -> StatusView:
        app = self._app
        counters = app.counters
        ready, reason = self.ready()
        node, epoch = app.steward.master
        return StatusView(
            ready=ready,
            reason=reason,
            proxy=self._proxy_id,
            version=self._version,
            pid=os.getpid(),
            uptime=round(trio.current_time() - self._started, 3),
            clients=app.clients.sessions,
            connections=len(app.clients.connections),
            in_flight=app.ledger.in_flight,
            parked=len(app.ledger.parked),
            requests=counters.requests,
            replies=counters.replies,
            redelivered=counters.redelivered,
            errors=sum(counters.request_errors.values()),
            last_failover=app.dispatch.last_failover,
            master=MasterView(node=node or None, epoch=epoch),
            nodes=self.nodes(),
            cluster=None if app.runner is None else app.runner.view(),
        )

    def figures(self) -> Figures:
        """What all proxies show of this one."""
        app = self._app
        counters = app.counters
        return Figures(
            clients=app.clients.sessions,
            connections=len(app.clients.connections),
            in_flight=app.ledger.in_flight,
            parked=len(app.ledger.parked),
            requests=counters.requests,
            replies=counters.replies,
            redelivered=counters.redelivered,
            errors=sum(counters.request_errors.values()),
            channels=len(app.channels),
            worker=self._life.number,
            restarts=self._life.restarts,
            last_exit=self._life.last_exit,
            since=self._since,
        )

    def cluster(self) -> ClusterView:
        app = self._app
        if app.runner is not None:
            return app.runner.view()
        node, epoch = app.steward.master
        here = Member(self._proxy_id, "", "")
        return ClusterView(
            here=self._proxy_id,
            version=0,
            epoch=epoch,
            master=node or None,
            keeper=self._proxy_id,
            fenced=False,
            trouble="",
            members=[proxy_view(here, self.figures(), alive=True, fenced=False)],
        )

    def reset(self) -> bool:
        runner = self._app.runner
        if runner is None:
            return False
        runner.reset()
        return True

    def count(self, channel: str) -> Mapping[str, int]:
        app = self._app
        if app.runner is not None:
            return app.runner.count(channel)
        count = app.channels.count(channel)
        return {self._proxy_id: count} if count else {}

    def nodes(self) -> Sequence[NodeView]:
        now = trio.current_time()
        return [self._node(node, now) for node in self._app.directory]

    def _node(self, node: Node, now: float) -> NodeView:
        return NodeView(
            id=node.id,
            name=node.name,
            state=node.state.value,
            in_flight=node.in_flight,
            capacity=node.capacity,
            weight=node.weight,
            load=node.load,
            pid=node.pid,
            labels=node.labels,
            ejected=node.ejected,
            ready_for=round(now - node.ready_at, 3) if node.state is NodeState.READY else None,
        )

    def clients(self, limit: int, after: int | None) -> Sequence[ClientView]:
        now = trio.current_time()
        chosen: list[ClientView] = []
        for connection in self._app.clients.connections.values():  # ids only grow, so this is their order
            if connection.is_session and not connection.is_closed and (after is None or connection.id > after):
                chosen.append(self._client(connection, now))
                if len(chosen) == limit:
                    break
        return chosen

    def _client(self, connection: Connection, now: float) -> ClientView:
        client = self._app.registry.get(connection.id)
        assert client is not None  # it is there for as long as the session is open
        return ClientView(
            id=client.id,
            protocol=client.protocol,
            address=client.address,
            path=client.path,
            channels=len(connection.channels or ()),
            in_flight=connection.in_flight,
            outbox_bytes=connection.outbox_bytes,
            connected_for=round(now - connection.since, 3),
        )

    def drain_node(self, node_id: str) -> bool:
        app = self._app
        node = app.directory.nodes.get(node_id)
        if node is None:
            return False
        app.gateway.drain(node)
        app.reactor.settle()
        return True

    def kick(self, client_id: int, reason: str) -> bool:
        app = self._app
        found = app.gateway.kick(client_id, reason)
        app.reactor.settle()
        return found

    def metrics(self) -> bytes:
        counters, hub = self._app.counters, self._app.hub  # the hub counts these itself
        counters.node_batches_received = hub.batches_received
        counters.node_batches_sent = hub.batches_sent
        counters.node_frames_sent = hub.frames_sent
        return self._exporter.render()

    def _statistics(self) -> Statistics:
        app = self._app
        return Statistics(
            ready=self.ready()[0],
            connections=len(app.clients.connections),
            sessions=app.clients.sessions,
            in_flight=app.ledger.in_flight,
            parked=len(app.ledger.parked),
            parked_bytes=app.ledger.parked_bytes,
            channels=len(app.channels),
            subscriptions=app.channels.subscriptions,
            nodes={state.value: count for state, count in app.directory.count().items()},
            epoch=app.steward.master[1],
            reactor_turns=app.reactor.turns,
            reactor_events=app.reactor.events,
            reactor_busy=app.reactor.busy,
            effects_repeated=app.effects.repeated,
            **asdict(ClusterStatistics() if app.runner is None else app.runner.statistics()),
        )
