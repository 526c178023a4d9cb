"""The nodes' side: what nodes say, frame by frame, and what every node is told.

Owns sessions of nodes from hello to loss, and the announcement of clients, state and other proxies to them. Replies go
to dispatch, effects to proxy.effects; who is master is decided by the steward. Nothing of a session that is over, of an
older attempt or of an older epoch has any effect: that is refused here.
"""

import hmac
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Any

import structlog
from msgspec import Raw, Struct

from balancer.directory import Directory, Node, NodeState
from balancer.health import Health
from balancer.links.base import NodeLink
from balancer.registry import ClientRegistry, Snapshot
from balancer.settings import BalanceSettings, NodeSettings
from protocols.close import Reason
from protocols.errors import FrameError
from protocols.nodes import frames
from protocols.nodes.frames import FromNode, Hello, encode_frame
from proxy.channels import Channels
from proxy.clients import Clients
from proxy.connection import Connection
from proxy.dispatch import Dispatch
from proxy.effects import Effects
from proxy.metrics import Counters
from proxy.reactor import Reactor
from proxy.steward import Steward

log = structlog.get_logger("holdfast.gateway")

MAX_ID_BYTES = 256
MAX_COUNTING = (
    1000  # questions of all nodes for a count that wait for other proxies; what is above has its answer at once
)


class Sync:
    """The snapshots that are on their way to one node. None: that one is complete, or, for the state, not made yet.

    needs_state: it has never had all of it from us, and waits for that.
    """

    __slots__ = ("clients", "needs_state", "state", "state_is_sent")

    def __init__(self, clients: Snapshot | None, *, needs_state: bool) -> None:
        self.clients = clients
        self.needs_state = needs_state
        self.state: Iterator[Raw] | None = None
        self.state_is_sent = False

    @property
    def is_complete(self) -> bool:
        return self.clients is None and self.state_is_sent

    def send_page(self, link: NodeLink, size: int) -> bool:
        """Send the next page. False: there is none left."""
        if self.clients is not None:
            page = self.clients.next_page(size)
            if page is not None:
                link.send(page)
                return True
            self.clients = None
        if self.state is not None:
            state = next(self.state, None)
            if state is not None:
                link.send(state)
                return True
            self.state = None
            self.state_is_sent = True
            self.needs_state = False
        return False

    def without_state(self) -> None:
        """Another proxy keeps it."""
        self.state = None
        self.state_is_sent = True
        self.needs_state = False


class Gateway:
    """Implements balancer.links.base.Gateway. Synchronous; called within or between turns of the reactor."""

    def __init__(
        self,
        proxy_id: str,
        settings: NodeSettings,
        balance: BalanceSettings,
        directory: Directory,
        registry: ClientRegistry,
        clients: Clients,
        channels: Channels,
        dispatch: Dispatch,
        steward: Steward,
        effects: Effects,
        reactor: Reactor,
        counters: Counters,
    ) -> None:
        self._proxy_id = proxy_id
        self._settings = settings
        self._balance = balance
        self._directory = directory
        self._registry = registry
        self._clients = clients
        self._channels = channels
        self._dispatch = dispatch
        self._steward = steward
        self._effects = effects
        self._reactor = reactor
        self._counters = counters
        self._nodes: dict[NodeLink, Node] = {}
        self._syncing: dict[Node, Sync] = {}
        self._peers: list[frames.Peer] = []
        self.count_everywhere: Callable[[str], int] = channels.count
        self.count_patience = 0.0  # how long other proxies may take to tell of a channel that nobody seems to have
        self._counting: deque[tuple[float, Node, frames.AskCount]] = deque()
        self._is_leaving = False
        self._handlers: dict[type[Struct], Callable[[Node, Any], None]] = {
            frames.Reply: dispatch.replied,
            frames.HttpReply: dispatch.replied,
            frames.Failure: dispatch.failed,
            frames.Heartbeat: self._heartbeat,
            frames.Join: effects.carry_out,
            frames.Leave: effects.carry_out,
            frames.Notify: effects.carry_out,
            frames.Broadcast: effects.carry_out,
            frames.CloseClient: effects.carry_out,
            frames.AsMaster: effects.as_master,
            frames.Effects: effects.take,
            frames.Hole: effects.hole,
            frames.AskCount: self._count,
            frames.Propose: steward.propose,
            frames.Entry: steward.entry,
            frames.State: steward.state_page,
            frames.Ready: self._ready,
            frames.Drain: self._drain,
            frames.Bye: self._bye,
            frames.Hello: self._second_hello,
            frames.Via: self._via,
        }
        dispatch.carry_out = effects.carry_out
        effects.is_master = steward.is_master
        clients.on_opened = self._client_opened
        clients.on_closed = self._client_closed
        steward.resync = self._resync_state

    @property
    def is_paused(self) -> bool:
        return self._channels.is_full

    # --- sessions ---------------------------------------------------------------------------------------------

    def hello(self, link: NodeLink, hello: Hello) -> None:
        if self._is_leaving:
            link.close("the proxy stops")
            return
        if len(self._nodes) >= self._settings.max_nodes:
            self._counters.limits_hit["node.max_nodes"] += 1
            log.warning("too_many_nodes", node=hello.node[:MAX_ID_BYTES], limit=self._settings.max_nodes)
            link.close(f"too many nodes: the limit is {self._settings.max_nodes}")
            return
        refusal = self._refusal(hello)
        if refusal is not None:
            log.warning("node_refused", node=hello.node[:MAX_ID_BYTES], why=refusal)
            link.close(refusal, fatal=True)
            return
        now = self._reactor.now
        health = Health(self._balance)
        node = Node(hello, link, health, now)
        former = self._directory.add(node)
        if former is not None:
            # Two processes that would take the id from each other for ever is what `fatal` prevents.
            is_other = former.incarnation != hello.incarnation
            why = "another process has this node's id now" if is_other else "this node has a newer session"
            former.link.close(why, fatal=is_other)
            self._lose(former, why)
        self._nodes[link] = node
        self._counters.nodes_welcomed += 1
        self._directory.move(node, NodeState.SYNCING)
        log.info("node_joined", node=node.id, name=node.name, pid=node.pid, capacity=node.capacity)
        link.send(
            frames.Welcome(
                frames.VERSION,
                self._proxy_id,
                self._settings.heartbeat_interval,
                self._settings.heartbeat_timeout,
                self._registry.sequence,
                self._peers,
                self._settings.max_frame_bytes,
                self._effects.seen(node),
                self._steward.keeper,
            )
        )
        sync = self._syncing[node] = Sync(self._registry.snapshot(), needs_state=True)
        self._steward.joined(node, hello)
        if self._steward.is_keeping:
            sync.state = self._steward.snapshot(node)
        else:
            sync.without_state()

    def _refusal(self, hello: Hello) -> str | None:
        settings = self._settings
        if settings.token and not hmac.compare_digest(hello.token.encode(), settings.token.encode()):
            return "wrong token"
        if hello.version != frames.VERSION:
            return f"this proxy speaks version {frames.VERSION} of the node protocol, the node {hello.version}"
        if not hello.node or len(hello.node.encode()) > MAX_ID_BYTES or len(hello.name.encode()) > MAX_ID_BYTES:
            return f"node and name must have 1 to {MAX_ID_BYTES} bytes"
        if not 0 <= max(hello.epoch, hello.state_epoch, hello.state_index) < 2**53:
            return "epochs and indices must be below 2**53"
        if hello.capacity < 1:
            return f"capacity must be at least 1, got {hello.capacity}"
        if not 0.0 < hello.weight < inf:
            return f"weight must be above 0, got {hello.weight}"
        return None

    def received(self, link: NodeLink, batch: list[FromNode]) -> None:
        node = self._nodes.get(link)
        if node is None:
            return
        self._counters.node_frames_received += len(batch)
        handlers = self._handlers
        lost = NodeState.LOST  # a member of an Enum costs 0.1 us to look up
        try:
            for frame in batch:
                handlers[type(frame)](node, frame)
                if node.state is lost:  # it said bye, or broke a rule
                    return
            if self._effects.unanswered is not None:
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
        self._syncing.pop(node, None)
        self._counters.nodes_lost += 1
        in_flight = node.in_flight
        self._directory.move(node, NodeState.LOST)
        expected = self._is_leaving or node.has_said_bye
        level = log.info if expected else log.warning
        level("node_left" if expected else "node_lost", node=node.id, pid=node.pid, why=why, in_flight=in_flight)
        self._effects.lost(node, self._reactor.now)
        self._dispatch.lose(node)
        self._steward.lost(node)

    def check_silence(self, now: float) -> None:
        """Ticker: a node that has said nothing for the heartbeat timeout is lost, however alive its socket looks."""
        self._effects.tick(now)
        self._count_again(now)
        for link, node in list(self._nodes.items()):
            if now - link.last_seen > self._settings.heartbeat_timeout:
                link.close("no heartbeat")
                self._lose(node, f"silent for {now - link.last_seen:.1f} s")
            elif node.state is NodeState.SYNCING and now - node.joined > self._settings.handshake_timeout:
                link.close("not ready in time")
                self._lose(node, f"not ready within {self._settings.handshake_timeout:g} s")

    def forgive(self, now: float) -> None:
        """We were away ourselves (stopped, or starved of CPU): nobody's silence counts until we have listened again."""
        for link in self._nodes:
            link.last_seen = now

    def leave(self) -> None:
        """The proxy stops: tell every node, and take no more."""
        self._is_leaving = True
        self.tell(frames.Bye("the proxy stops"))

    # --- what every node is told --------------------------------------------------------------------------------

    def tell(self, frame: Struct) -> None:
        """Send a frame, encoded once, to every node with a session."""
        if self._nodes:
            encoded = encode_frame(frame)
            for link in self._nodes:
                link.send(encoded)

    def introduce(self, peers: Iterable[tuple[str, str, bool]]) -> None:
        """These proxies may have clients, we too: id, address for nodes, whether it is heard."""
        self._peers = [frames.Peer(*peer) for peer in peers]
        self.tell(frames.Peers(self._peers))

    def _client_opened(self, connection: Connection, client: frames.Client) -> None:
        opened = self._registry.open(client)
        for link in self._nodes:
            link.send(opened)

    def _client_closed(self, connection: Connection, reason: Reason) -> None:
        self._channels.forget(connection)
        closed = self._registry.close(connection.id, reason.value)
        if closed is not None:
            for link in self._nodes:
                link.send(closed)

    def send_pages(self, now: float) -> bool:
        """Turn's end: one page to each node that syncs and takes it. True: there are more."""
        more = False
        for node, sync in list(self._syncing.items()):
            if node.link.is_blocked:
                continue
            if not self._steward.is_keeping:
                sync.without_state()
            if sync.send_page(node.link, self._settings.registry_page):
                more = True
            elif sync.is_complete:
                del self._syncing[node]
        return more

    def _resync_state(self) -> None:
        """Our state is another now: every node gets it anew."""
        for node in self._nodes.values():
            sync = self._syncing.setdefault(node, Sync(None, needs_state=False))
            sync.state = self._steward.snapshot(node)
            sync.state_is_sent = False

    # --- frames of nodes ----------------------------------------------------------------------------------------

    def _heartbeat(self, node: Node, frame: frames.Heartbeat) -> None:
        self._counters.node_heartbeats += 1
        node.load = frame.load
        if frame.state_epoch:
            node.state_position = (frame.state_epoch, frame.state_index)
        epoch, lease = self._steward.renew(node)
        node.link.send(frames.Heartbeat(frame.stamp, -1.0, epoch, lease, *self._steward.ballot))

    def _ready(self, node: Node, frame: frames.Ready) -> None:
        sync = self._syncing.get(node)
        if sync is not None and not sync.send_page(node.link, self._settings.registry_page) and sync.is_complete:
            del self._syncing[node]  # the last page has gone, and only that was not seen yet
            sync = None
        is_early = sync is not None and (sync.clients is not None or sync.needs_state)
        if node.state is not NodeState.SYNCING or is_early:
            raise FrameError(f"Ready came from a node that is {node.state.value}, or before its last page was sent")
        now = self._reactor.now
        node.ready_at = now
        node.health.ready(now)
        node.pull = node.weight * node.health.share(now)
        self._directory.move(node, NodeState.READY)
        log.info("node_ready", node=node.id)
        self._dispatch.unpark()

    def _drain(self, node: Node, frame: frames.Drain) -> None:
        self.drain(node, by_itself=True)

    def drain(self, node: Node, *, by_itself: bool = False) -> None:
        """No new requests for this node. by_itself: it asked for that."""
        if node.state in (NodeState.SYNCING, NodeState.READY):
            self._directory.move(node, NodeState.DRAINING)
            log.info("node_draining", node=node.id, in_flight=node.in_flight)
            self._steward.draining(node, by_itself=by_itself)

    def _bye(self, node: Node, frame: frames.Bye) -> None:
        node.has_said_bye = True
        self._steward.resigned(node)
        node.link.close("bye")
        self._lose(node, "said bye")

    def kick(self, client: int, reason: str) -> bool:
        """Close a client's connection. False: there is no such client."""
        return self._effects.kick(client, reason)

    def _count(self, node: Node, frame: frames.AskCount) -> None:
        count = self.count_everywhere(frame.channel)
        if count or not self.count_patience:
            node.link.send(frames.Counted(frame.ask, count))
        elif len(self._counting) >= MAX_COUNTING:
            self._counters.limits_hit["node.count"] += 1
            node.link.send(frames.Counted(frame.ask, 0))
        else:
            self._counting.append((self._reactor.now + self.count_patience, node, frame))

    def _count_again(self, now: float) -> None:
        while self._counting and self._counting[0][0] <= now:
            _, node, frame = self._counting.popleft()
            if node.state is not NodeState.LOST:
                node.link.send(frames.Counted(frame.ask, self.count_everywhere(frame.channel)))

    def _via(self, node: Node, frame: frames.Via) -> None:
        raise FrameError("Via came within a session: say it on a new connection")

    def _second_hello(self, node: Node, frame: frames.Hello) -> None:
        raise FrameError("Hello came within a session: say it on a new connection")
