"""The steward of what is one for all nodes: the master.

Tells the cluster's rules (balancer.cluster) which nodes we have and what happens to their sessions, and nodes who is
master. Never on a request's way, and synchronous. In a cluster every proxy has one, and all follow the same record.
"""

import sys
from collections.abc import Callable

import structlog
import trio

from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.directory import Directory, Node, NodeState
from holdfast.balancer.settings import ElectionSettings
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import Hello
from holdfast.protocols.peers.frames import DRAINING, READY, SYNCING, NodeSeen, Record
from holdfast.protocols.peers.ranges import is_near
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.steward")


class Steward:
    """What happens to nodes is known to the cluster at once where grants depend on it, and by `look` otherwise.

    on_evicted: called when we were a member, and are none any more.
    """

    _cluster: Cluster  # from `start` on

    def __init__(self, directory: Directory, counters: Counters, election: ElectionSettings) -> None:
        self._directory = directory
        self._counters = counters
        self._lease = election.lease
        self._nodes_told: list[NodeSeen] = []
        self.on_evicted: Callable[[], None] = lambda: None
        self._heeded = 0  # the latest epoch of which we have taken anything

    @property
    def master(self) -> tuple[str, int]:
        """The master's node id, "" if there is none, and the epoch."""
        return self._cluster.mastership.master(trio.current_time())

    @property
    def epoch(self) -> int:
        return self._cluster.membership.record.epoch

    @property
    def keeper(self) -> str:
        """What nodes are told: the proxy that keeps the state; "" if it is this one."""
        return "" if self._cluster.membership.is_keeper else self._cluster.membership.record.keeper

    @property
    def ballot(self) -> tuple[int, int]:
        """Of which set of members a lease is a grant, and how many of them it takes."""
        record = self._cluster.membership.record
        return record.ballot, record.quorum

    @property
    def lets_nodes_begin(self) -> bool:
        """We are a member, and have begun with the state if it is we who keep it. Until then nodes wait for us."""
        replication = self._cluster.replication
        return self._cluster.membership.is_member and replication.phase in (Phase.FOLLOWING, Phase.KEEPING)

    def inherits(self, prefix: int) -> bool:
        """Whether it is for us to have one node told of the clients with this prefix: the keeper does, when their proxy
        can't have them any more. One that was frozen may come back with them for longer than nodes and keys wait for
        it; who has said that it leaves, or is known to be dead, does not."""
        membership, now = self._cluster.membership, trio.current_time()
        if not membership.is_keeper or not membership.is_quorate(now) or prefix in membership.prefixes(now):
            return False
        asleep = (member for member in membership.lingering.asleep(now) if member.prefix == prefix)
        return all(membership.is_known_dead(member.proxy) for member in asleep)

    # --- the master ---------------------------------------------------------------------------------------------

    def start(self, cluster: Cluster) -> None:
        """The port of the node link is bound: from now on no former run can give a lease."""
        self._cluster = cluster

    def look(self) -> None:
        """Which nodes we have, for all proxies to know: the longest-standing first. To be called before each tick."""
        nodes = sorted(self._directory, key=lambda node: node.standing or sys.maxsize)
        seen = [NodeSeen(node.id, node.incarnation, self._state_of(node)) for node in nodes]
        if seen != self._nodes_told:
            self._nodes_told = seen
            self._cluster.node_list(seen)

    def _state_of(self, node: Node) -> int:
        if node.state is NodeState.DRAINING:
            return DRAINING
        return READY if node.state is NodeState.READY else SYNCING

    def followed(self, former: Record, record: Record) -> None:
        """The cluster has another record."""
        us = self._cluster.membership.me.proxy
        if us in former.ids and us not in record.ids:
            self.on_evicted()
        if (record.master, record.incarnation, record.epoch) == (former.master, former.incarnation, former.epoch):
            return
        if record.master and record == self._cluster.writing.record and record.ballot == former.ballot:
            self._counters.elections += 1
            log.info("master_elected", node=record.master, epoch=record.epoch)
        self._directory.tell(self._word_on_master())

    def _word_on_master(self) -> frames.Master:
        record = self._cluster.membership.record
        return frames.Master(record.master, record.epoch, self.keeper)

    def renew(self, node: Node) -> tuple[int, float]:
        """Epoch and lease for the answer to a node's heartbeat; lease 0.0: it is not master."""
        # Not the turn's time: the node may have sent this after the turn began, and its lease counts from then.
        now = trio.current_time()
        has_it = node.state is not NodeState.DRAINING and self._cluster.mastership.renew(
            (node.id, node.incarnation), now
        )
        return self.epoch, self._lease if has_it else 0.0

    def heeds(self, node: Node, epoch: int) -> bool:
        """Whether what it does as master counts. If so nothing of an older epoch does from now on.

        In a cluster also in an epoch of which we have not heard yet: only a majority makes a node act in it, and
        nothing must be missing here because we are the last to know. Then the record is no proof of who may act any
        more, so what counts is the latest epoch that was heeded.
        """
        record = self._cluster.membership.record
        if not epoch or epoch < max(record.epoch, self._heeded):
            return False
        if epoch == record.epoch:
            heeds = self._cluster.mastership.is_master((node.id, node.incarnation))
        else:
            heeds = len(record.members) > 1 and is_near(epoch, record.epoch)
        if heeds and epoch > self._heeded:
            self._heeded = epoch
            self.told(epoch)  # if no election has made it, the next one is above it
        return heeds

    # --- sessions -------------------------------------------------------------------------------------------------

    def joined(self, node: Node, hello: Hello) -> None:
        """A session has begun."""
        self.told(hello.epoch)
        if self.epoch:
            node.link.send(self._word_on_master())

    def told(self, epoch: int) -> None:
        """A node has seen this epoch."""
        self._cluster.membership.node_told(epoch, trio.current_time())

    def released(self, node: Node) -> None:
        """The node said Drain or Bye, and has stopped acting as master before."""
        self._cluster.mastership.grants.released((node.id, node.incarnation))

    def lost(self, node: Node) -> None:
        self._cluster.mastership.grants.session_lost((node.id, node.incarnation))

    def died(self, node: str, incarnation: int) -> None:
        """The process is known to be dead: who comes after it need not wait for its lease."""
        self._cluster.mastership.grants.died((node, incarnation))
