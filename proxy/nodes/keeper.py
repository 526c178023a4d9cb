"""The keeper of the nodes' replicated state: what nodes propose, what every node is told of it, and how it begins.

Owns what nodes are told while this proxy is keeper, and the snapshots of the state. The copy, its order and the phase
are balancer.cluster.replication's: an entry that members have for good comes back by `committed`, and only then nodes
hear of it. Refuses what is proposed while the term has not begun; the node proposes it again when its snapshot tells it
so.

A term begins in three steps. RECOVERING: nodes may have more than the members, when all of these were restarted. A
keeper without any state waits `state.recover_timeout` for them, the whole of it, because the first to come back need
not be the one with the most. BEGINNING: the state gets an epoch above all that was seen, and the members take it over.
KEEPING: every node gets a snapshot, and proposals are taken. A node that comes later, with a state that nobody knew of:
if nothing has been set since, its state is taken all the same. Otherwise what is here has been acknowledged: the epoch
is raised above the node's, and it gives up what it had. That is said when the term has begun: a keeper that stood still
may have to learn first that it is none, and that another has ordered what the node has. How often a term may be raised
is for proxy.nodes.ahead.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from math import inf

import structlog
import trio
from msgspec import Raw

from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.owners import Owners
from holdfast.balancer.cluster.replication import Replication
from holdfast.balancer.directory import Node, NodeState
from holdfast.balancer.settings import NodeSettings, StateSettings
from holdfast.balancer.state import Refusal, StateCopy, StateSnapshot
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import Entry, Propose, State, encode_frame
from holdfast.protocols.nodes.state import Position, StatePages
from holdfast.protocols.peers.ranges import MAX_FIRST_INDEX, is_near
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.ahead import Ahead, has_more, is_ahead

log = structlog.get_logger("holdfast.keeper")

# What is ordered and not yet held for good; above it proposals are refused. More is a majority that is out of reach.
MAX_UNCOMMITTED = 10_000
MAX_UNCOMMITTED_BYTES = 16 << 20
MAX_RECOVERIES = 5  # it waits anew when a node with more of the state is lost: it may come back, and go again


class Keeper:
    """Synchronous: balancer.cluster.keeping.Keeping. `tick` at least every 0.1 s.

    copy: the state; the replication's to write, from `start` on.
    has_client: whether a client is ours and there. send_state: starts the sending of a snapshot to a node, page by
    page, in place of a former one. clock: microseconds since 1970.
    """

    _replication: Replication  # these two from `start` on
    _owners: Owners

    def __init__(
        self,
        settings: StateSettings,
        node: NodeSettings,
        nodes: Iterable[Node],
        counters: Counters,
        has_client: Callable[[int], bool],
        send_state: Callable[[Node, Iterator[list[Raw]]], None],
        clock: Callable[[], int],
    ) -> None:
        self.copy = StateCopy(settings)
        self._recover_timeout = settings.recover_timeout
        self._node_settings = node
        self._counters = counters
        self._has_client = has_client
        self._send_state = send_state
        self._clock = clock
        self._highest_epoch = 0  # that we have given or heard of
        self._has_waited = False  # for nodes of a former life
        # Nodes, and where they are: what is here counts, and the next term is only to be above that.
        self._overruled: dict[str, Position] = {}
        self._waits_until = self._waits_at_most = -inf
        self._adoption: tuple[Node, StatePages] | None = None  # who is asked for its state, and what has come
        self._adoption_deadline = inf
        self._nodes = nodes
        self._ahead = Ahead()  # nodes that wait for what we do about what they have
        self._snapshots: dict[Node, StateSnapshot] = {}  # on their way
        # Those with entries that are not held yet, oldest first.
        self._unheld: deque[tuple[Node, StateSnapshot]] = deque()
        self._refusals: deque[tuple[int, Node, Raw]] = deque()  # to follow the entry with this index
        self._committed = 0

    # --- the term -------------------------------------------------------------------------------------------------

    def start(self, replication: Replication, owners: Owners) -> None:
        self._replication = replication
        self._owners = owners

    def lead(self, now: float) -> None:
        for node in self._nodes:
            self._note(node, now)
        if not self.copy.position[1] and self._recover_timeout and not self._has_waited:
            self._waits_until = now + self._recover_timeout
            self._waits_at_most = now + MAX_RECOVERIES * self._recover_timeout
            log.info("waits_for_state", seconds=self._recover_timeout, why="nodes of a former life may bring it")
        self._recover(now)

    def forsake(self) -> None:
        """What is under way ends: nodes will get a snapshot, and propose what is not in it again."""
        if not self._replication.is_keeper:
            self._overruled = {}  # others go on meanwhile, and nodes may have what they add
        self._waits_until = self._waits_at_most = -inf
        self._adoption = None
        self._ahead.clear()
        self._snapshots.clear()
        self._unheld.clear()
        self._refusals.clear()

    def tick(self, now: float) -> None:
        if self._ahead:
            self._rise(now)
        if self._replication.phase is not Phase.RECOVERING:
            return
        if self._adoption is not None and now >= self._adoption_deadline:
            self._adoption[0].link.break_off("does not send its state")
            self._adoption_deadline = inf
        self._recover(now)

    def _recover(self, now: float) -> None:
        """Ask the node that has the most of those that have more than we; if there is none, begin when it is time."""
        if self._adoption is not None:
            return
        more = [] if self._overruled else [node for node in self._nodes if has_more(node, self.copy.position)]
        latest = max(more, key=lambda node: node.state_position, default=None)
        if latest is not None:
            self._adoption = (latest, StatePages())
            self._adoption_deadline = now + self._node_settings.handshake_timeout
            latest.link.send(frames.WantState())
        elif now >= self._waits_until and not self._replication.waits_for:  # who has joined meanwhile may have more
            self._begin()

    def state_page(self, node: Node, frame: State) -> None:
        """A node brings its state, as it was asked to."""
        if self._adoption is None or self._adoption[0] is not node:
            return
        if min(frame.epoch, frame.index) < 1 or not self.is_near((frame.epoch, frame.index)):
            raise FrameError(f"a state near {self.copy.position} is wanted, got {frame.epoch, frame.index}")
        coming = self._adoption[1]
        now = trio.current_time()
        self._adoption_deadline = now + self._node_settings.handshake_timeout
        if not coming.add(frame):
            return
        self._adoption = None
        node.state_position = (frame.epoch, frame.index)
        if has_more(node, self.copy.position):
            self._replication.adopt(coming)
            log.info("state_adopted", node=node.id, keys=len(coming.items), position=self.copy.position)
        self._recover(now)

    def gave_up(self, position: Position, for_position: Position, changes: int) -> None:
        """The copy was replaced by one without some of its changes: who had more than we was not there to be asked."""
        log.warning("state_given_up", position=position, for_position=for_position, changes=changes)

    def _begin(self) -> None:
        """Have the state stamped with the term: what is left of former ones, and nobody knows of, is below that."""
        self._has_waited = True
        above = max(self.copy.position[0], self._highest_epoch)
        if above >= self._replication.term:
            self._replication.raise_term(above)
            return
        self._highest_epoch = self._replication.term
        self._replication.begin(min(self._clock(), MAX_FIRST_INDEX))

    def begun(self) -> None:
        """More than half of the members have the state as it is: from now on it counts, and changes."""
        for node_id, had in self._overruled.items():
            if had[1] > self.copy.position[1]:  # else it may have no more than we; it will see, and say so itself
                log.warning("state_given_up", node=node_id, position=had, for_position=self.copy.position)
        self._overruled = {}
        log.info("keeps_state", keys=len(self.copy.items), position=self.copy.position)
        if limit := self.copy.excess():
            log.warning("state_above_limit", limit=limit, keys=len(self.copy.items), bytes=self.copy.bytes)
        self._committed = self.copy.position[1]
        self._owners.begin()
        for node in self._nodes:
            self.heed(node)
        for owner in sorted(self.copy.owners()):
            if not self._may_own(owner):
                self.owner_gone(owner)

    # --- nodes ----------------------------------------------------------------------------------------------------

    def told(self, node: Node, position: Position) -> None:
        """A heartbeat says what the node has. It may have refused a snapshot that was behind that."""
        if position == node.state_position:
            return
        if not self.is_near(position):
            raise FrameError(f"a position of the state is near {self.copy.position}, got {position}")
        node.state_position = position
        if position > self.copy.position:
            self.heed(node)

    def is_near(self, position: Position) -> bool:
        """Whether an epoch and an index that a node tells can be of this cluster."""
        epoch = max(self.copy.position[0], self._highest_epoch, self._replication.term)
        return is_near(position[0], epoch) and is_near(position[1], self.copy.position[1], MAX_FIRST_INDEX)

    def heed(self, node: Node) -> None:
        """A session has begun, or tells more: it gets a snapshot, unless what it has comes first. It would refuse one
        that is behind that."""
        now = trio.current_time()
        phase = self._replication.phase
        if phase is Phase.RECOVERING:
            self._note(node, now)
            self._recover(now)
        elif phase is Phase.KEEPING and is_ahead(node, self.copy.position):
            self._ahead.add(node)
            self._rise(now)
        elif phase is Phase.KEEPING:
            self._give(node)

    def _note(self, node: Node, now: float) -> None:
        """The term is to be above what the node has seen."""
        epoch = node.state_position[0]
        if epoch > max(self._highest_epoch, self.copy.position[0]) and self._ahead.noted.passes(node.id, now):
            self._highest_epoch = epoch

    def _rise(self, now: float) -> None:
        """Begin anew with what those have that are ahead, or above it."""
        for node in self._ahead.take_others(self.copy.position):
            self._give(node)
        heard = self._ahead.heeded(now)
        if not heard:
            return
        self._highest_epoch = max(self._highest_epoch, *(node.state_position[0] for node in heard))
        if self.copy.position[1] == 0 and any(node.state_position[1] for node in heard):
            self._ahead.clear()
            self._replication.recover()
            self._recover(now)
            return
        self._overruled.update((node.id, node.state_position) for node in heard)
        self._replication.raise_term(self._highest_epoch)

    def lost(self, node: Node) -> None:
        self._ahead.discard(node)
        if self._snapshots.pop(node, None) is not None:
            self._unheld = deque(waiting for waiting in self._unheld if waiting[0] is not node)
        now = trio.current_time()
        if self._replication.phase is Phase.RECOVERING and has_more(node, self.copy.position):
            self._waits_until = max(self._waits_until, min(now + self._recover_timeout, self._waits_at_most))
        if self._adoption is not None and self._adoption[0] is node:
            self._adoption = None
            self._recover(now)

    def _give(self, node: Node) -> None:
        """Send a snapshot, or have it sent as soon as all that is in it is held."""
        snapshot = self._snapshots[node] = StateSnapshot(self.copy, self._node_settings.registry_page)
        if snapshot.index > self._committed:
            self._unheld.append((node, snapshot))
        else:
            self._send_state(node, self._frames(node, snapshot))

    def _frames(self, node: Node, snapshot: StateSnapshot) -> Iterator[list[Raw]]:
        """Ends early if another snapshot has taken its place, or we are not keeper any more."""
        while self._snapshots.get(node) is snapshot:
            page, is_last = snapshot.next_frames()
            if is_last:
                del self._snapshots[node]
            yield page

    # --- changes --------------------------------------------------------------------------------------------------

    def propose(self, node: Node, frame: Propose) -> None:
        if self._replication.phase is not Phase.KEEPING or frame.epoch != self.copy.position[0]:
            return  # the node proposes it again when it has our snapshot
        if self._is_full:
            outcome: Entry | Refusal | None = Refusal("too many changes are not held by a majority of the proxies yet")
        else:
            outcome = self._replication.order(node.id, frame)
        if isinstance(outcome, Entry):
            self._ordered(outcome)
        elif outcome is not None:
            self._refuse(node, frame.proposal, outcome)

    @property
    def _is_full(self) -> bool:
        return (
            len(self._replication.uncommitted) >= MAX_UNCOMMITTED
            or len(self._refusals) >= MAX_UNCOMMITTED
            or self._replication.uncommitted_bytes >= MAX_UNCOMMITTED_BYTES
        )

    def _ordered(self, entry: Entry) -> None:
        if entry.owner:
            self._owners.noted(entry.owner)  # who has gone already, ours or another's, is found then

    def _refuse(self, node: Node, proposal: int, refusal: Refusal) -> None:
        """It comes after the entries before it: who is told of a conflict has what it conflicts with."""
        if refusal.limit:
            self._counters.limits_hit[refusal.limit] += 1
        encoded = encode_frame(frames.ProposalRefused(proposal, refusal.reason, refusal.conflict))
        if self.copy.position[1] == self._committed or len(self._refusals) >= MAX_UNCOMMITTED:
            self._send(node, encoded)
        else:
            self._refusals.append((self.copy.position[1], node, encoded))

    def committed(self, entry: Entry) -> None:
        """More than half of the members have it: it will stay."""
        self._committed = entry.index
        encoded = encode_frame(entry)
        for node in self._nodes:
            snapshot = self._snapshots.get(node)
            if snapshot is None or snapshot.index < entry.index:
                self._send(node, encoded)
        while self._refusals and self._refusals[0][0] <= entry.index:
            _, node, encoded = self._refusals.popleft()
            if node.state is not NodeState.LOST:
                self._send(node, encoded)
        while self._unheld and self._unheld[0][1].index <= entry.index:
            node, snapshot = self._unheld.popleft()
            if self._snapshots.get(node) is snapshot:
                self._send_state(node, self._frames(node, snapshot))

    def _send(self, node: Node, encoded: Raw) -> None:
        snapshot = self._snapshots.get(node)
        if snapshot is None:
            node.link.send(encoded)
            return
        snapshot.hold(encoded)
        if snapshot.held_bytes > self._node_settings.max_outbox_bytes:
            node.link.break_off("does not take the state's snapshot")

    # --- owners ---------------------------------------------------------------------------------------------------

    def _may_own(self, client: int) -> bool:
        return self._has_client(client) or self._owners.may_own(client)

    def owner_gone(self, client: int) -> None:
        """A client has gone, ours or another proxy's: its keys go with it. Owners are looked at anew as a term begins,
        so what comes before that may be forgotten."""
        if self._replication.phase is Phase.KEEPING:
            for key in self.copy.owned_by(client):
                self._ordered(self._replication.delete(key))
