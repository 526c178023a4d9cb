"""The steward of what is one for all nodes: the master and the replicated state.

Drives the pure decisions of balancer.election and balancer.state: tells them what happened, carries nominations to the
coordination store, and sends nodes what comes of it. Never on a request's way.
"""

from collections.abc import Callable, Iterator

import structlog
import trio
from msgspec import Raw

from balancer.coordination.base import CoordinationError, Coordinator
from balancer.directory import Directory, Node
from balancer.election import Election
from balancer.settings import ElectionSettings, NodeSettings, StateSettings
from balancer.state import Snapshot, StateCopy
from protocols.errors import StaleError
from protocols.nodes import frames
from protocols.nodes.frames import Hello, encode_frame
from protocols.nodes.state import StatePages
from proxy.metrics import Counters

log = structlog.get_logger("holdfast.steward")

DECIDE_INTERVAL = 0.05  # a successor is named at most this long after its lease allows it
STORE_TIMEOUT = 2.0  # for the coordination store to answer
RETRY_DELAY = 1.0  # after it did not


class Steward:
    """Synchronous but for `run`. `resync` starts the state's snapshot anew for all nodes; the gateway sets it."""

    resync: Callable[[], None]

    def __init__(
        self,
        coordinator: Coordinator,
        directory: Directory,
        counters: Counters,
        election: ElectionSettings,
        state: StateSettings,
        node: NodeSettings,
    ) -> None:
        self._coordinator = coordinator
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

    @property
    def master(self) -> tuple[str, int]:
        """The master's node id, "" if there is none, and the epoch."""
        election = self._election
        return ("", 0) if election is None else (election.master, election.epoch)

    @property
    def state_keys(self) -> int:
        return len(self._state.items)

    # --- the master ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The port of the node link is bound: from now on no former run can give a lease."""
        self._election = Election(self._election_settings, trio.current_time())

    async def run(self, settle: Callable[[], object]) -> None:
        """Task: elect. `settle` sends what was queued."""
        election = self._election
        assert election is not None
        while True:
            await trio.sleep(DECIDE_INTERVAL)
            if self._adoption is not None:
                continue
            candidates = [] if election.master else [node.id for node in self._directory.ready()]
            nomination = election.decide(trio.current_time(), candidates)
            if nomination is None:
                continue
            try:
                with trio.fail_after(STORE_TIMEOUT):
                    record = await self._coordinator.swap_master(nomination.expected, nomination.record)
            except (CoordinationError, trio.TooSlowError) as error:
                log.warning("election_store_failed", error=str(error))
                election.failed()
                await trio.sleep(RETRY_DELAY)
                continue
            elected = election.settled(record)
            if elected is not None:
                self._counters.elections += 1
                log.info("master_elected", node=elected.node, epoch=elected.epoch)
                self._changed(elected)
                self._send_pending()
                settle()

    def renew(self, node: Node) -> tuple[int, float]:
        """Epoch and lease for the answer to a node's heartbeat."""
        assert self._election is not None
        # Not the turn's time: the node may have sent this after the turn began, and its lease counts from then.
        return self._election.renew(node.id, trio.current_time())

    def is_master(self, node: Node, epoch: int) -> bool:
        assert self._election is not None
        return bool(epoch) and self._election.epoch_of(node.id) == epoch

    def _changed(self, master: frames.Master | None) -> None:
        if master is not None:
            encoded = encode_frame(master)
            for node in self._directory:
                self._send(node, encoded)

    # --- sessions -------------------------------------------------------------------------------------------------

    def joined(self, node: Node, hello: Hello) -> None:
        """A session has begun. If the node's state is later than ours, we were restarted: ask for it."""
        election = self._election
        assert election is not None
        election.saw(max(hello.epoch, hello.state_epoch))
        if election.epoch:
            node.link.send(frames.Master(election.master, election.epoch))
        position = (hello.state_epoch, hello.state_index)
        if not election.epoch and position > self._state.position:
            self._ahead[node] = position
            if self._adoption is None:
                self._adopt_next()

    def draining(self, node: Node, *, by_itself: bool) -> None:
        """by_itself: the node said so, and has stopped acting as master before."""
        assert self._election is not None
        self._changed(self._election.released(node.id) if by_itself else self._election.revoke(node.id))

    def resigned(self, node: Node) -> None:
        assert self._election is not None
        self._changed(self._election.released(node.id))

    def lost(self, node: Node) -> None:
        assert self._election is not None
        self._snapshots.pop(node, None)
        self._waiting.discard(node)
        self._ahead.pop(node, None)
        self._changed(self._election.lost(node.id))
        if self._adoption is not None and self._adoption[0] is node:
            self._adoption = None
            self._adopt_next()
            if self._adoption is None:
                self.resync()

    # --- the state ------------------------------------------------------------------------------------------------

    def snapshot(self, node: Node) -> Iterator[Raw] | None:
        """The frames that bring this node the state; entries that come meanwhile are among them.

        None: not yet, a node is just bringing us a later one; `resync` follows.
        """
        if self._adoption is not None:
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
        if self._state.adopt(adoption[1], self.master[1]):
            log.info("state_adopted", node=node.id, keys=len(self._state.items), position=self._state.position)
        self._adoption = None
        self._adopt_next()
        if self._adoption is None:
            self.resync()

    def _adopt_next(self) -> None:
        """Ask the node with the latest state of those that are ahead of us."""
        self._ahead = {node: position for node, position in self._ahead.items() if position > self._state.position}
        if self._ahead and not self.master[1]:
            node = max(self._ahead, key=lambda node: self._ahead[node])
            del self._ahead[node]
            self._adoption = (node, self._state.adoption())
            node.link.send(frames.WantState())
