"""What the admin server asks of the running proxy, and may do to it (proxy.views.Control)."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version

import structlog
import trio

from holdfast.balancer.cluster.counting import Counted
from holdfast.balancer.directory import Node, NodeState
from holdfast.protocols.nodes.effects import Effect
from holdfast.protocols.peers.frames import Figures
from holdfast.proxy.admin.exporter import Exporter, requests_of
from holdfast.proxy.admin.running import Running
from holdfast.proxy.clients.session import Session
from holdfast.proxy.cluster.views import view_of
from holdfast.proxy.nodes.explain import explained, question_of
from holdfast.proxy.process.workers import WorkerLife
from holdfast.proxy.realtime.explain import rules_of
from holdfast.proxy.views import (
    ChannelQuestion,
    ChannelRulesView,
    ClientView,
    ClusterView,
    MasterView,
    NodeView,
    RouteQuestion,
    RouteView,
    StatusView,
    format_client_id,
)

log = structlog.get_logger("holdfast.admin")

DRAIN_PATIENCE = 5.0  # for a node to say that it knows: many heartbeats, and less than who asks waits


class ProxyControl:
    """Reads the parts of a proxy; changes go through their own methods."""

    def __init__(self, app: Running, proxy_id: str) -> None:
        self._app = app
        self._proxy_id = proxy_id
        self._version = version("holdfast-proxy")
        self._started = trio.current_time()
        self._life = WorkerLife.of(os.environ)
        self._exporter = Exporter(app, self._version)

    def ready(self) -> tuple[bool, str]:
        app = self._app
        if not app.is_serving and not app.is_joining:
            return False, app.doing
        trouble = "" if app.runner is None else app.runner.trouble()
        if trouble or app.is_joining:
            return False, trouble or app.doing
        ready = sum(node.state is NodeState.READY and node.takes_requests for node in app.directory)
        wanted = app.config.cluster.minimum_nodes
        if ready < wanted:
            return False, f"{ready} nodes are ready, cluster.minimum_nodes is {wanted}"
        return True, "" if app.runner is None else app.runner.warning()

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
            clients=len(app.registry),
            connections=len(app.clients.connections),
            in_flight=app.ledger.in_flight,
            parked=app.ledger.parked_count,
            requests=requests_of(app),
            replies=counters.replies,
            redelivered=counters.redelivered,
            errors=sum(counters.request_errors.values()),
            last_failover=app.counters.failover.last,
            master=MasterView(node=node or None, epoch=epoch),
            nodes=self.nodes(),
            cluster=None if app.runner is None else self.cluster(),
        )

    def figures(self) -> Figures:
        """What all proxies show of this one."""
        app = self._app
        counters = app.counters
        return Figures(
            clients=len(app.registry),
            connections=len(app.clients.connections),
            in_flight=app.ledger.in_flight,
            parked=app.ledger.parked_count,
            requests=requests_of(app),
            replies=counters.replies,
            redelivered=counters.redelivered,
            errors=sum(counters.request_errors.values()),
            channels=len(app.channels),
            worker=self._life.number,
            restarts=self._life.restarts,
            last_exit=self._life.last_exit,
        )

    def cluster(self) -> ClusterView:
        return view_of(self._app.cluster, trio.current_time())

    def reset(self) -> bool:
        runner = self._app.runner
        if runner is None:
            return False
        runner.reset()
        return True

    async def count(self, channel: str) -> Mapping[str, int] | None:
        counts = await _answers(partial(self._app.count, channel))
        return None if counts is None else {proxy: count for proxy, count in counts.items() if count}

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
        for session in self._app.clients.all_sessions():  # ids only grow, so this is their order
            if after is None or session.id > after:
                chosen.append(self._client(session, now))
                if len(chosen) == limit:
                    break
        return chosen

    def _client(self, session: Session, now: float) -> ClientView:
        client = self._app.registry.get(session.id)
        assert client is not None  # it is there for as long as the session is open
        return ClientView(
            id=format_client_id(client.id),
            protocol=client.protocol,
            address=client.address,
            path=client.path,
            channels=len(session.channels or ()),
            in_flight=session.connection.in_flight,
            outbox_bytes=session.connection.outbox_bytes,
            connected_for=round(now - session.since, 3),
        )

    async def drain_node(self, node_id: str) -> bool | None:
        app = self._app
        node = app.directory.nodes.get(node_id)
        if node is None:
            return False
        heard = app.gateway.drain(node)
        app.reactor.settle()
        with trio.move_on_after(DRAIN_PATIENCE):
            await heard.wait()
        return True if node.says_drained else None

    async def kick(self, client_id: int, reason: str) -> bool | None:
        app = self._app
        if self.kick_here(client_id, reason):
            app.reactor.settle()
            return True
        answers = await _answers(partial(app.kick, client_id, reason))
        if answers is None:
            return False
        return any(answers.values()) if answers else None

    def kick_here(self, client_id: int, reason: str) -> bool:
        """End it with the turn, if it is a client of this proxy."""
        found = self._app.lanes.kick(client_id, reason)
        if found:
            log.info("client_kicked", client=f"{client_id:016x}", reason=reason)
        return found

    def route(self, asked: RouteQuestion) -> RouteView:
        app = self._app
        routes = None if app.router is None else app.router.routes
        everybody = [node.id for node in app.dispatch.pool.available]
        return explained(routes, question_of(asked, app.config.client), everybody)

    def channel_rules(self, asked: ChannelQuestion) -> ChannelRulesView:
        return rules_of(self._app.history.rules, asked.channels, self._app.config.realtime)

    async def publish(self, effects: Sequence[Effect], within: float) -> None:
        await self._app.calls.publish(list(effects), within)

    @property
    def max_channel_name_bytes(self) -> int:
        return self._app.config.realtime.max_channel_name_bytes

    def is_member(self, client: int, channel: str) -> bool | None:
        session = self._app.clients.find(client)
        return None if session is None else channel in (session.channels or ())

    def limit_hit(self, name: str) -> None:
        self._app.counters.limits_hit[name] += 1

    def metrics(self) -> bytes:
        return self._exporter.render()


async def _answers(ask: Callable[[Counted], bool]) -> Mapping[str, int] | None:
    """What other proxies have said in time. None: they could not be asked."""
    answers: Mapping[str, int] = {}
    is_told = trio.Event()

    def told(by_proxy: Mapping[str, int]) -> None:
        nonlocal answers
        answers = by_proxy
        is_told.set()

    if not ask(told):
        return None
    await is_told.wait()
    return answers
