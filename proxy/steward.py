"""The steward of what is one for all nodes: the master and the replicated state.

Drives the pure decisions of balancer.election and balancer.state: tells them what happened, carries nominations to the
coordination store, and sends nodes what comes of it. Never on a request's way.

In a cluster every proxy has one. All follow the record and grant leases; the keeper, the member that the record names,
elects, and is the only one to keep the state. When it goes the next keeper takes the state from the node that has the
most of it, as a proxy does that was restarted. A proxy that is alone is the keeper of a cluster of one.
"""

from collections.abc import Awaitable, Callable, Iterator

import structlog
import trio
from msgspec import Raw

from balancer.cluster.cluster import Cluster
from balancer.coordination.base import CoordinationError, MasterRecord
from balancer.directory import Directory, Node, NodeState
from balancer.election import Election
from balancer.settings import ElectionSettings, NodeSettings, StateSettings
from balancer.state import Snapshot, StateCopy
from protocols.errors import StaleError
from protocols.nodes import frames
from protocols.nodes.frames import Hello, encode_frame
from protocols.nodes.state import StatePages
from protocols.peers.frames import DRAINED, DRAINING, READY, SYNCING, NodeSeen, Record
from proxy.metrics import Counters

log = structlog.get_logger("holdfast.steward")

DECIDE_INTERVAL = 0.05  # a successor is named at most this long after its lease allows it
STORE_TIMEOUT = 2.0  # for the coordination store to answer
RETRY_DELAY = 1.0  # after it did not


class Steward:
    """Synchronous but for `run`. `resync` starts the state's snapshot anew for all nodes; the gateway sets it."""

    resync: Callable[[], None]
    _cluster: Cluster  # these two from `start` on
    _write: Callable[[Record, int], Awaitable[Record]]

    def __init__(
        self,
        directory: Directory,
        counters: Counters,
        election: ElectionSettings,
        state: StateSettings,
        node: NodeSettings,
    ) -> None:
        self._directory = directory
        self._counters = counters
        self._election_settings = election
        self._node_settings = node
        self._election: Election | None = None
        self._state = StateCopy(state)
        self._snapshots: dict[Node, Snapshot] = {}
        self._waiting: set[Node] = set()  # nodes that get their first snapshot when the adoption is over
        self._ahead: dict[Node, tuple[int, int]] = {}  # nodes whose state is later than ours, after our restart
        self._adoption: tuple[Node, StatePages] | None = None
        self._asks_at: float | None = None  # a new keeper: until then nodes tell how much of the state they have
        self._takes_over = False  # our state is not yet what the former keeper's was
        self._drained: set[Node] = set()  # by the operator
        self._nodes_told: list[NodeSeen] = []

    @property
    def master(self) -> tuple[str, int]:
        """The master's node id, "" if there is none, and the epoch."""
        election = self._election
        return ("", 0) if election is None else (election.master, election.epoch)

    @property
    def keeper(self) -> str:
        """What nodes are told: the proxy that keeps the state; "" if it is this one."""
        return "" if self.is_keeping else self._cluster.membership.record.keeper

    @property
    def ballot(self) -> tuple[int, int]:
        """Of which set of members a lease is a grant, and how many of them it takes."""
        record = self._cluster.membership.record
        return record.ballot, record.quorum

    @property
    def state_keys(self) -> int:
        return len(self._state.items)

    # --- the master ---------------------------------------------------------------------------------------------

    def start(self, cluster: Cluster, write: Callable[[Record, int], Awaitable[Record]]) -> None:
        """The port of the node link is bound: from now on no former run can give a lease.

        write: compares and sets the record in the store if it has the version given, tells the cluster what is there
        then, and returns it. Raises CoordinationError.
        """
        self._cluster = cluster
        self._write = write
        self._election = Election(self._election_settings, trio.current_time())
        cluster.on_record = self._followed

    async def run(self, settle: Callable[[], object]) -> None:
        """Task: elect, while we are the keeper. `settle` sends what was queued."""
        while True:
            await trio.sleep(DECIDE_INTERVAL)
            now = trio.current_time()
            self._tell_nodes()
            if not self.is_keeping or not self._cluster.membership.is_quorate(now):
                continue
            if self._asks_at is not None and now >= self._asks_at:
                self._begin_keeping()
                settle()
            if self._asks_at is None and self._adoption is None and (self._miss(now) | await self._elect(now)):
                settle()

    def _tell_nodes(self) -> None:
        """Which nodes we have, for all proxies to know."""
        seen = [NodeSeen(node.id, node.incarnation, self._state_of(node)) for node in self._directory]
        if seen != self._nodes_told:
            self._nodes_told = seen
            self._cluster.node_list(seen)

    def _state_of(self, node: Node) -> int:
        if node.state is NodeState.DRAINING:
            return DRAINED if node in self._drained else DRAINING
        return READY if node.state is NodeState.READY else SYNCING

    def _miss(self, now: float) -> bool:
        """Whether the incumbent is none any more: it stays for as long as a majority has its process."""
        election, membership = self._election, self._cluster.membership
        assert election is not None
        record = membership.record
        if not election.master or membership.majority_sees(record.master, record.incarnation, now):
            return False
        self._changed(election.lost(election.master))
        return True

    async def _elect(self, now: float) -> bool:
        """Whether there is a new master."""
        election, membership = self._election, self._cluster.membership
        assert election is not None
        if self._cluster.is_writing:
            return False
        candidates: list[str] = []
        if not election.master:
            ready = self._directory.ready()
            candidates = [n.id for n in ready if membership.majority_sees(n.id, n.incarnation, now, ready=True)]
        nomination = election.decide(now, candidates)
        if nomination is None:
            return False
        nominee = self._directory.nodes.get(nomination.record.node)
        incarnation = membership.record.incarnation if nominee is None else nominee.incarnation
        write = self._cluster.elect(nomination.record.node, incarnation, nomination.record.epoch)
        try:
            with trio.fail_after(STORE_TIMEOUT):
                record = await self._write(write.record, write.expected)
        except (CoordinationError, trio.TooSlowError) as error:
            log.warning("election_store_failed", error=str(error))
            self._cluster.store_failed()
            election.failed()
            await trio.sleep(RETRY_DELAY)
            return False
        elected = election.settled(MasterRecord(record.epoch, record.master))
        if elected is not None:
            self._counters.elections += 1
            log.info("master_elected", node=elected.node, epoch=elected.epoch)
            self._changed(elected)
            self._send_pending()
        return elected is not None

    def _followed(self, former: Record, record: Record) -> None:
        """The cluster has another record."""
        election = self._election
        assert election is not None
        me = self._cluster.me.proxy
        if me in record.ids and me not in former.ids:
            election.joined()
        self._changed(election.follow(record))
        if record.keeper == me != former.keeper:
            log.info("keeps_state", epoch=record.epoch)
            self._asks_at = trio.current_time() + 2 * self._node_settings.heartbeat_interval
        elif record.keeper != me == former.keeper:
            self._stop_keeping()

    def renew(self, node: Node) -> tuple[int, float]:
        """Epoch and lease for the answer to a node's heartbeat."""
        election, membership = self._election, self._cluster.membership
        assert election is not None
        # Not the turn's time: the node may have sent this after the turn began, and its lease counts from then.
        now = trio.current_time()
        record = membership.record
        if (node.id, node.incarnation) != (record.master, record.incarnation) or not membership.may_grant(now):
            return election.epoch, 0.0
        return election.renew(node.id, now, node.incarnation)

    def is_master(self, node: Node, epoch: int) -> bool:
        """Whether what it does as master counts. In a cluster also in an epoch of which we have not heard yet: only a
        majority makes a node act in it, and nothing must be missing here because we are the last to know."""
        election = self._election
        assert election is not None
        if epoch > election.epoch:
            return len(self._cluster.membership.record.members) > 1
        return bool(epoch) and election.epoch_of(node.id) == epoch

    def _changed(self, master: frames.Master | None) -> None:
        if master is not None:
            encoded = encode_frame(frames.Master(master.node, master.epoch, self.keeper))
            for node in self._directory:
                self._send(node, encoded)

    # --- sessions -------------------------------------------------------------------------------------------------

    def joined(self, node: Node, hello: Hello) -> None:
        """A session has begun. If the node's state is later than ours, we were restarted: ask for it."""
        election = self._election
        assert election is not None
        election.saw(max(hello.epoch, hello.state_epoch))
        if election.epoch:
            node.link.send(frames.Master(election.master, election.epoch, self.keeper))
        position = (hello.state_epoch, hello.state_index)
        if self.is_keeping and not election.epoch and position > self._state.position:
            self._ahead[node] = position
            if self._adoption is None:
                self._adopt_next()

    def draining(self, node: Node, *, by_itself: bool) -> None:
        """by_itself: the node said so, and has stopped acting as master before."""
        assert self._election is not None
        if not by_itself:
            self._drained.add(node)
        self._changed(self._election.released(node.id) if by_itself else self._election.revoke(node.id))

    def resigned(self, node: Node) -> None:
        assert self._election is not None
        self._changed(self._election.released(node.id))

    def lost(self, node: Node) -> None:
        assert self._election is not None
        self._snapshots.pop(node, None)
        self._waiting.discard(node)
        self._ahead.pop(node, None)
        self._drained.discard(node)
        self._election.session_lost(node.id)
        if len(self._cluster.membership.record.members) == 1:
            self._changed(self._election.lost(node.id))  # nobody else can have it: who asks for it is told at once
        if self._adoption is not None and self._adoption[0] is node:
            self._adopted()

    # --- the state ------------------------------------------------------------------------------------------------

    @property
    def is_keeping(self) -> bool:
        """Whether this proxy is the one that keeps the state. What comes to another one is not for it."""
        return self._cluster.membership.is_keeper

    def _begin_keeping(self) -> None:
        """We are keeper from now on. Whoever has a later state than we is asked for it; then all get ours."""
        self._asks_at = None
        self._ahead = {n: n.state_position for n in self._directory if n.state_position > self._state.position}
        self._takes_over = True
        self._adopted()

    def _stop_keeping(self) -> None:
        """Another is keeper. Nodes take nothing more of the state from us; we may have to be keeper again."""
        self._asks_at = self._adoption = None
        self._takes_over = False
        self._ahead.clear()
        self._snapshots.clear()
        self._waiting.clear()

    def snapshot(self, node: Node) -> Iterator[Raw] | None:
        """The frames that bring this node the state; entries that come meanwhile are among them.

        None: not yet, a node is just bringing us a later one, or is to be asked for it; `resync` follows. Or never,
        because we are not the keeper.
        """
        if not self.is_keeping:
            return None
        if self._adoption is not None or self._asks_at is not None:
            self._waiting.add(node)
            return None
        self._waiting.discard(node)
        snapshot = self._snapshots[node] = self._state.snapshot(self._node_settings.registry_page)
        return self._frames(node, snapshot)

    def _frames(self, node: Node, snapshot: Snapshot) -> Iterator[Raw]:
        while (frame := snapshot.next_frame()) is not None:
            yield frame
        if self._snapshots.get(node) is snapshot:
            del self._snapshots[node]

    def propose(self, node: Node, frame: frames.Propose) -> None:
        if not self.is_keeping:
            return  # the node has been told who is, or will be, and proposes again there
        refusal = self._state.check(frame)
        if refusal is not None:
            self._counters.limits_hit[refusal.rpartition("(")[2].rstrip(")")] += 1  # it ends with the limit's key
            node.link.send(frames.ProposalRefused(frame.proposal, refusal))
            return
        proposed = self._state.pend(node.id, frame)
        master = self._directory.nodes.get(self.master[0])
        if master is not None:
            self._send(master, encode_frame(proposed))

    def entry(self, node: Node, frame: frames.Entry) -> None:
        assert self._election is not None
        is_quorate = self._cluster.membership.is_quorate(trio.current_time())
        if not self.is_keeping or not is_quorate or self._takes_over or self._asks_at is not None:
            self._counters.stale_entries += 1
            log.info("stale_entry", node=node.id, error="we do not keep the state: not yet, not any more, or not alone")
            return
        try:
            self._state.apply(frame, self._election.epoch_of(node.id))
        except StaleError as error:
            self._counters.stale_entries += 1
            log.info("stale_entry", node=node.id, error=str(error))
            return
        encoded = encode_frame(frame)
        for other in self._directory:
            if other not in self._waiting:  # its snapshot will have this
                self._send(other, encoded)

    def _send(self, node: Node, encoded: Raw) -> None:
        snapshot = self._snapshots.get(node)
        if snapshot is None:
            node.link.send(encoded)
            return
        snapshot.hold(encoded)
        if snapshot.held_bytes > self._node_settings.max_outbox_bytes:
            node.link.break_off("does not take the state's snapshot")

    def _send_pending(self) -> None:
        master = self._directory.nodes.get(self.master[0])
        if master is not None:
            for proposed in self._state.pending:
                self._send(master, encode_frame(proposed))

    def state_page(self, node: Node, frame: frames.State) -> None:
        """A node brings the state that we lost by our restart."""
        adoption = self._adoption
        if adoption is None or adoption[0] is not node or not adoption[1].add(frame):
            return
        if self._state.adopt(adoption[1], 0 if self._takes_over else self.master[1]):
            log.info("state_adopted", node=node.id, keys=len(self._state.items), position=self._state.position)
        self._adopted()

    def _adopted(self) -> None:
        """A node has brought its state, or has gone before it had: the next, or all get what we have."""
        self._adoption = None
        self._adopt_next()
        if self._adoption is None:
            self._takes_over = False
            self.resync()

    def _adopt_next(self) -> None:
        """Ask the node with the latest state of those that are ahead of us: before the first master of this run, or
        when we become keeper."""
        self._ahead = {node: position for node, position in self._ahead.items() if position > self._state.position}
        if self._ahead and (self._takes_over or not self.master[1]):
            node = max(self._ahead, key=lambda node: self._ahead[node])
            del self._ahead[node]
            self._adoption = (node, self._state.adoption())
            node.link.send(frames.WantState())
