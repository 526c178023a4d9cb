"""The nodes' side: what nodes say, frame by frame.

Owns sessions of nodes from hello to loss. Replies go to dispatch, effects to proxy.realtime; who is master is decided
by the steward, the state is the keeper's, and what every node is told is the announcer's. Nothing of a session that is
over, of an older attempt or of an older epoch has any effect: that is refused here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
import trio
from msgspec import Struct

from holdfast.balancer.cluster.debts import Debts, Run
from holdfast.balancer.directory import Directory, Node, NodeState
from holdfast.balancer.health import Health
from holdfast.balancer.links.base import NodeLink
from holdfast.balancer.settings import BalanceSettings, NodeSettings
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import ASK, UPDATE
from holdfast.protocols.nodes.effects import MAX_ALL_PENDING
from holdfast.protocols.nodes.frames import MAX_WEIGHT, MIN_WEIGHT, NO_TOKEN, WRONG_TOKEN, FromNode, Hello
from holdfast.protocols.nodes.histories import HISTORY
from holdfast.protocols.nodes.names import fault_of, shown
from holdfast.protocols.nodes.orphans import ORPHANS
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.announcer import Announcer
from holdfast.proxy.nodes.asks import Asks
from holdfast.proxy.nodes.deaths import Deaths
from holdfast.proxy.nodes.dispatch import Dispatch
from holdfast.proxy.nodes.keeper import Keeper
from holdfast.proxy.nodes.orphans import OrphanCare
from holdfast.proxy.nodes.steward import Steward
from holdfast.proxy.realtime.effects import Effects
from holdfast.proxy.realtime.history_asks import HistoryAsks

log = structlog.get_logger("holdfast.gateway")

# Asks for a channel's members by proxy, and is told them once, at once or later; False: it is too much.
CountEverywhere = Callable[[str, Callable[[Mapping[str, int]], None]], bool]


class Gateway:
    """Implements balancer.links.base.NodeGateway. Synchronous; called within or between turns of the reactor.

    prefix: of the ids of this proxy's clients. debts: of nodes that were lost.
    """

    def __init__(
        self,
        proxy_id: str,
        prefix: int,
        settings: NodeSettings,
        balance: BalanceSettings,
        directory: Directory,
        count_everywhere: CountEverywhere,
        dispatch: Dispatch,
        steward: Steward,
        effects: Effects,
        debts: Debts,
        announcer: Announcer,
        deaths: Deaths,
        keeper: Keeper,
        reactor: Reactor,
        counters: Counters,
        asks: Asks,
        orphans: OrphanCare,
        histories: HistoryAsks,
    ) -> None:
        self._proxy_id = proxy_id
        self._prefix = prefix
        self._settings = settings
        self.max_nodes = settings.max_nodes
        self._balance = balance
        self._directory = directory
        self._dispatch = dispatch
        self._steward = steward
        self._effects = effects
        self._announcer = announcer
        self._deaths = deaths
        self._keeper = keeper
        self.debts = debts
        self._reactor = reactor
        self._counters = counters
        self._asks = asks
        self._orphans = orphans
        self._histories = histories
        self._nodes: dict[NodeLink, Node] = {}
        self._drains: dict[Node, trio.Event] = {}  # by an operator: set when the node has said so, or is lost
        self._count_everywhere = count_everywhere
        self._is_leaving = False
        self._handlers: dict[type[Struct], Callable[[Node, Any], None]] = {
            frames.Reply: dispatch.replied,
            frames.HttpReply: dispatch.replied,
            frames.Failure: dispatch.failed,
            frames.Offer: dispatch.offered,
            frames.Heartbeat: self._heartbeat,
            frames.Effects: effects.take,
            frames.Hole: effects.hole,
            frames.AskCount: self._count,
            frames.Ask: asks.take,
            frames.AskHistory: histories.take,
            frames.Propose: keeper.propose,
            frames.State: keeper.state_page,
            frames.Orphaned: orphans.said,
            frames.Orphans: orphans.given,
            frames.Ready: self._ready,
            frames.Drain: self._drain,
            frames.Bye: self._bye,
            frames.Hello: self._misplaced,
            frames.Via: self._misplaced,
        }

    # --- sessions ---------------------------------------------------------------------------------------------

    def hello(self, link: NodeLink, hello: Hello) -> None:
        if self._is_leaving:
            link.close("the proxy stops")
            return
        if len(self._nodes) >= self.max_nodes:
            self._counters.limits_hit["node.max_nodes"] += 1
            if self._reactor.masses.admits("too_many_nodes", self._reactor.now):
                log.warning("too_many_nodes", node=shown(hello.node), limit=self.max_nodes)
            link.close(f"too many nodes: the limit is {self.max_nodes}")
            return
        refusal = self._refusal(hello)
        if refusal is not None:
            if self._reactor.masses.admits("node_refused", self._reactor.now):
                log.warning("node_refused", node=shown(hello.node), why=refusal)
            link.close(refusal, fatal=True)
            return
        now = self._reactor.now
        former = self._directory.nodes.get(hello.node)
        if former is not None:
            # Two processes that would take the id from each other for ever is what `fatal` prevents.
            is_other = former.incarnation != hello.incarnation
            why = "another process has this node's id now" if is_other else "this node has a newer session"
            former.link.close(why, fatal=is_other)
            self._lose(former, why)
        node = self._nodes[link] = Node(hello, link, Health(self._balance), now)
        self._directory.add(node)
        self.debts.came(Run(node.id, node.incarnation))
        self._deaths.watch(hello)
        self._counters.nodes_welcomed += 1
        log.info("node_joined", node=node.id, name=node.name, pid=node.pid, capacity=node.capacity)
        if hello.is_drained:
            self._says_drained(node)
        link.send(
            frames.Welcome(
                frames.VERSION,
                proxy=self._proxy_id,
                heartbeat_interval=self._settings.heartbeat_interval,
                heartbeat_timeout=self._settings.heartbeat_timeout,
                clients_sequence=self._announcer.sequence,
                peers=self._announcer.peers.proxies,
                max_batch_bytes=self._settings.max_frame_bytes,
                seen=self._effects.seen(node),
                keeper=self._steward.keeper,
                prefix=self._prefix,
                max_unacknowledged_bytes=self._effects.lanes.max_bytes,
                reply_window=self._settings.max_untaken_bytes,
                stream_timeout=self._dispatch.expired.pause,
                session=self._counters.nodes_welcomed,
                ballot=self._announcer.peers.ballot,
                takes=[ASK, UPDATE, ORPHANS, HISTORY],
            )
        )
        self._steward.joined(node, hello)
        self._announcer.joined(node)
        self._keeper.heed(node)

    def _refusal(self, hello: Hello) -> str | None:
        settings = self._settings
        if not settings.admits(hello.token):
            return WRONG_TOKEN if hello.token else NO_TOKEN
        if hello.version != frames.VERSION:
            return f"this proxy speaks version {frames.VERSION} of the node protocol, the node {hello.version}"
        if fault := fault_of(hello.node, hello.name, hello.labels):
            return fault
        told = max(hello.epoch, hello.state_epoch), hello.state_index
        if min(hello.epoch, hello.state_epoch) < 0 or not self._keeper.is_near(told):
            return "epochs and indices are those of this cluster, or little more"
        if hello.capacity < 1:
            return f"capacity must be at least 1, got {hello.capacity}"
        if not MIN_WEIGHT <= hello.weight <= MAX_WEIGHT:
            return f"weight must be {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, got {hello.weight:g}"
        return None

    def received(self, link: NodeLink, batch: list[FromNode]) -> None:
        node = self._nodes.get(link)
        if node is None:
            return
        self._counters.node_frames_received += len(batch)
        # The turn may be long by now, or another task's, and this system busy: a reply's time would be 0, in the log
        # and for the policy. Once for a batch it is free: 0.2 us.
        self._reactor.look_at_clock()
        handlers = self._handlers
        lost = NodeState.LOST  # a member of an Enum costs 0.1 us to look up
        try:
            for frame in batch:
                handlers[type(frame)](node, frame)
                if node.state is lost:  # it said bye, or broke a rule
                    return
            if self._effects.lanes.is_due:
                self._effects.answer()
        except FrameError as error:
            log.warning("node_frame_error", node=node.id, error=str(error))
            link.close(str(error))
            self._lose(node, "protocol error")
        except Exception:  # a fault of ours: this session ends, its requests go elsewhere, the others live on
            log.exception("node_frame_crashed", node=node.id)
            link.close("internal error")
            if node.state is not NodeState.LOST:
                self._lose(node, "internal error")

    def lost(self, link: NodeLink, why: str) -> None:
        node = self._nodes.get(link)
        if node is not None:
            self._lose(node, why)

    def _lose(self, node: Node, why: str) -> None:
        """The session is over. Its requests go elsewhere in this very call."""
        del self._nodes[node.link]
        if node in self._drains:
            self._drains.pop(node).set()
        self._announcer.lost(node)
        self._deaths.session_lost(node.id, node.incarnation, self._reactor.now)
        in_flight = node.in_flight
        self._directory.move(node, NodeState.LOST)
        expected = self._is_leaving or node.has_said_bye
        if expected:
            log.info("node_left", node=node.id, pid=node.pid, why=why, in_flight=in_flight)
        else:
            self._counters.nodes_lost += 1
            log.warning("node_lost", node=node.id, pid=node.pid, why=why, in_flight=in_flight)
        had = self._effects.lost(node, self._reactor.now)
        self._dispatch.lose(node)
        self._asks.lost(node)
        self._histories.lost(node)
        self._orphans.lost(node)
        self._steward.lost(node)
        self._keeper.lost(node)
        self.debts.lost(Run(node.id, node.incarnation), node.owes, node.pending, had, self._reactor.now)

    def died(self, node_id: str, incarnation: int) -> None:
        """A node's process is known to be dead: it gets nothing more. What it has said before counts, and may be on a
        way that stands still: its session ends as any other, with its connection, when all of that is read, or is
        silent for too long."""
        node = self._directory.nodes.get(node_id)
        if node is not None and node.incarnation == incarnation and node.state is not NodeState.DRAINING:
            self._directory.move(node, NodeState.DRAINING)
        self._steward.died(node_id, incarnation)

    def tick(self, now: float) -> None:
        """Acknowledge what is done, and lose who was silent for too long, however alive its socket looks; and who is
        not ready in time, which is from when it no longer waits for us. Then look what lost ones have owed. Not to be
        called before all was heard that was said while we were away."""
        self._effects.tick(now)
        self._deaths.tick(now)
        nodes_may_begin = self._steward.lets_nodes_begin
        for link, node in list(self._nodes.items()):
            if now - link.last_seen > self._settings.heartbeat_timeout:
                link.close("no heartbeat")
                self._lose(node, f"silent for {now - link.last_seen:.1f} s")
            elif node.state is not NodeState.SYNCING:
                continue
            elif not nodes_may_begin:
                node.joined = now
            elif now - node.joined > self._settings.handshake_timeout:
                link.close("not ready in time")
                self._lose(node, f"not ready within {self._settings.handshake_timeout:g} s")
        self.debts.tick(now)

    def forgive(self, seconds: float, now: float) -> None:
        """We were away ourselves for so long: of that a silence is as long as if one heartbeat had not come.

        So who was heard before is not given up, and who is silent is, by a proxy whose turns are always long as well.
        """
        excused = max(0.0, seconds - self._settings.heartbeat_interval)
        for link, node in self._nodes.items():
            link.last_seen = min(now, link.last_seen + excused)
            node.joined = min(now, node.joined + excused)
        self.debts.awoke(excused)

    def leave(self) -> None:
        """The proxy stops: tell every node, and take no more."""
        self._is_leaving = True
        self._announcer.farewell("the proxy stops")

    # --- frames of nodes ----------------------------------------------------------------------------------------

    def _heartbeat(self, node: Node, frame: frames.Heartbeat) -> None:
        if sum(len(each.requests) for each in frame.pending) > MAX_ALL_PENDING:
            raise FrameError(f"more than {MAX_ALL_PENDING} requests are pending")
        self._counters.node_heartbeats += 1
        node.load = frame.load
        node.owes, node.pending = frame.owes, frame.pending
        if frame.epoch > self._steward.epoch:
            self._told_epoch(frame.epoch)
        if frame.is_drained and not node.says_drained:
            self._says_drained(node)
        if frame.state_epoch:
            self._keeper.told(node, (frame.state_epoch, frame.state_index))
        epoch, lease = self._steward.renew(node)
        is_drained = node.state is NodeState.DRAINING
        ballot, quorum = self._steward.ballot
        node.link.send(frames.Heartbeat(frame.stamp, -1.0, epoch, lease, ballot, quorum, is_drained=is_drained))

    def _told_epoch(self, epoch: int) -> None:
        """A node has seen a later one than we follow: we are late, or it is another cluster's."""
        if not self._keeper.is_near((epoch, 0)):
            raise FrameError(f"an epoch near {self._steward.epoch} is wanted, got {epoch}")
        self._steward.told(epoch)

    def _ready(self, node: Node, frame: frames.Ready) -> None:
        if node.state is NodeState.DRAINING and not node.ready_at:
            return  # an operator was faster, now or in another session
        if node.state is not NodeState.SYNCING or not self._announcer.may_be_ready(node):
            raise FrameError(f"Ready came from a node that is {node.state.value}, or before its last page was sent")
        now = self._reactor.now
        node.ready_at = now
        node.health.ready(now)
        node.pull = node.weight * node.health.share(now)
        self._directory.move(node, NodeState.READY)
        log.info("node_ready", node=node.id)
        self._dispatch.unpark()

    def _drain(self, node: Node, frame: frames.Drain) -> None:
        self._says_drained(node)
        self._steward.released(node)

    def drain(self, node: Node) -> trio.Event:
        """An operator's word: no new requests for this node. It is told with the answer to its next heartbeat, and it
        is the node that remembers this for the rest of its run, and tells all proxies, in each session.

        What is returned is set when it has said so, as `Node.says_drained` then shows, or the session is over.
        """
        self._begin_to_drain(node, "operator")
        heard = self._drains.setdefault(node, trio.Event())
        if node.says_drained:
            heard.set()
        return heard

    def _says_drained(self, node: Node) -> None:
        node.says_drained = True
        self._begin_to_drain(node, "node")
        if node in self._drains:
            self._drains[node].set()

    def _begin_to_drain(self, node: Node, by: str) -> None:
        if node.state in (NodeState.SYNCING, NodeState.READY):
            self._directory.move(node, NodeState.DRAINING)
            log.info("node_draining", node=node.id, in_flight=node.in_flight, by=by)

    def _bye(self, node: Node, frame: frames.Bye) -> None:
        node.has_said_bye = True
        self.debts.left(Run(node.id, node.incarnation), node.owes)
        self._steward.released(node)
        node.link.close("bye")
        self._lose(node, "said bye")

    def _count(self, node: Node, frame: frames.AskCount) -> None:
        def told(counts: Mapping[str, int]) -> None:
            if node.state is not NodeState.LOST:
                node.link.send(frames.Counted(frame.ask, sum(counts.values())))

        if not self._count_everywhere(frame.channel, told):
            self._counters.limits_hit["node.count"] += 1
            node.link.send(frames.Counted(frame.ask, 0, refused=True))

    def _misplaced(self, node: Node, frame: frames.Hello | frames.Via) -> None:
        raise FrameError(f"{type(frame).__name__} came within a session: say it on a new connection")
