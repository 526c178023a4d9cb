"""A simulated proxy: proxy.app.App, all of it, with what tests.sim.stand_ins puts in place of its surroundings."""

import signal
from typing import TYPE_CHECKING, Any

import trio

from holdfast.balancer.cluster.actions import Action, Write
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.peers import Peer
from holdfast.balancer.directory import Node
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes.frames import Offer
from holdfast.protocols.peers.frames import SYNCING, Member, NodeSeen, Record
from holdfast.proxy.app import App
from tests.sim import settings
from tests.sim.history import attach
from tests.sim.process import Process
from tests.sim.settings import at
from tests.sim.stand_ins import Listening, Signals
from tests.sim.store import SimCoordinator

if TYPE_CHECKING:
    from tests.sim.world import World

WORD = "a word"


class SimProxy(Process):
    """One run of a proxy.

    word: a number that it tells the others as a fact, the incarnation of a node that is none; it grows.
    delivered: peer: when its last message came that was new.
    """

    app: App
    listener: Listening | None = None
    signals: Signals

    def __init__(self, world: "World", id: str, router: str, rate: float | None, odd: dict[str, Any]) -> None:
        super().__init__(world, id, rate)
        self.router = router
        self.is_odd = bool(odd)  # it is not configured as the others are
        self.error: BaseException | None = None  # with which it has ended
        self._config = at(settings.odd(world.config, **odd), router)
        self.word = 0
        self.delivered: dict[str, float] = {}
        self.is_leaving = False
        self.is_resetting = False
        self._seen: list[NodeSeen] = []
        self.joined: dict[Node, float] = {}  # when the session of each has begun; its own figure bears our absences

    async def main(self) -> None:
        world = self.world
        self.app = App(self._config, None if world.is_alone else SimCoordinator(self))
        _hook(self)
        if world.log is None:
            await self.app.run(self._serves)
            return
        errors: list[BaseException] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attach(self).run)
            try:
                await self.app.run(self._serves)
            except Exception as error:
                errors.append(error)
            nursery.cancel_scope.cancel()
        if errors:
            raise errors[0]

    def _serves(self, bound: object) -> None:
        self.world.note(self.id, "serves")
        self.world.checks.meetings.serves(self)

    def ended(self, error: BaseException | None) -> None:
        self.error = error
        self.world.gone(self)
        self.world.note(self.id, "ends", error or "")
        if error is not None and not self.is_odd:
            self.world.checks.crashed(self.id, "the proxy ends", error)

    def stepped(self) -> None:
        self.world.checks.stays_drained(self)

    # --- what is looked at --------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether it has a cluster by now."""
        return hasattr(self, "app") and hasattr(self.app, "cluster")

    @property
    def cluster(self) -> Cluster:
        return self.app.cluster

    @property
    def me(self) -> Member:
        return self.cluster.me

    @property
    def is_fenced(self) -> bool:
        return self.cluster._is_fenced

    @property
    def has_closed_clients(self) -> bool:
        return self.app.clients.refuses is Reason.FENCED

    @property
    def was_frozen_at(self) -> float:
        """When it was last, by the world's time."""
        return self.world.time if self.is_frozen else self.thawed_at

    # --- what is done to it -------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """SIGTERM."""
        if self.is_alive and not self.is_leaving and hasattr(self, "signals"):
            self.world.note(self.id, "leaves")
            self.is_leaving = True
            self.do(self.signals.put, signal.SIGTERM)

    def reset(self) -> None:
        """The operator's word that the others are dead."""
        self.world.note(self.id, "resets")
        self.is_resetting = True
        self.world.checks.has_reset = True
        self.do(self.app.control.reset)

    def drain(self, node: str) -> None:
        """The operator drains a node."""
        found = self.app.directory.nodes.get(node) if self.is_up else None
        if found is not None:
            self.world.drained |= {other.id for other in self.world.nodes.values() if other.name == node}
            self.do(self.app.gateway.drain, found)

    def speak(self) -> None:
        """Say something that all others are to know."""
        if self.is_up and self.is_alive:
            self.word += 1
            self.do(self._speak)

    def _speak(self) -> None:
        self.cluster.node_list(self._seen)
        if self.app.runner is not None:
            self.app.runner._settle()

    def told(self, nodes: list[NodeSeen]) -> list[NodeSeen]:
        """What it is to publish when it has these nodes."""
        self._seen = nodes
        return [*nodes, NodeSeen(WORD, self.word, SYNCING)]


def _hook(proxy: SimProxy) -> None:
    """Let the world see what comes to the cluster's rules, what comes of it, and who takes what is offered."""
    app = proxy.app
    handlers = app.gateway._handlers
    take_offer = handlers[Offer]

    def taken(node: Node, frame: Offer) -> None:
        proxy.world.checks.taken.add((proxy.id, node.id, node.incarnation, frame.request, frame.attempt))
        take_offer(node, frame)

    handlers[Offer] = taken
    announcer = app.gateway._announcer
    joined = announcer.joined

    def has_joined(node: Node) -> None:
        proxy.joined[node] = proxy.world.time
        joined(node)

    announcer.joined = has_joined  # type: ignore[method-assign]
    start_cluster = app._start_cluster

    def started(*arguments: Any) -> str:
        published = start_cluster(*arguments)
        cluster, checks, world = app.cluster, proxy.world.checks, proxy.world
        received, tick, node_list, followed = cluster.received, cluster.tick, cluster.node_list, cluster.on_record
        newest: dict[Peer, int] = {}  # what was news of it when we looked last: nothing is but by what is received

        def receive(data: bytes, now: float) -> None:
            received(data, now)
            for peer, known in cluster.peers.items():
                counters = known.stream.counters
                news = counters.received - counters.duplicates - counters.replayed + counters.repairs
                if news > newest.get(known, 0):
                    newest[known] = news
                    proxy.delivered[peer] = proxy.now
                    checks.heard(proxy, peer)

        def ticked(now: float) -> list[Action]:
            actions = tick(now)
            for action in actions:
                if isinstance(action, Write):
                    checks.writes(proxy, action.record)
            return actions

        def on_record(former: Record, record: Record) -> None:
            world.note(proxy.id, "follows", record.version)
            checks.followed(proxy, former, record)
            proxy.is_resetting = False
            followed(former, record)

        begin = cluster.replication.begin

        def lead(clock: int) -> None:
            checks.leads(proxy, cluster.replication.term)
            begin(clock)

        cluster.replication.begin = lead  # type: ignore[method-assign]
        cluster.received = receive
        cluster.tick = ticked
        cluster.on_record = on_record
        cluster.node_list = lambda nodes: node_list(proxy.told(list(nodes)))
        return published

    app._start_cluster = started
