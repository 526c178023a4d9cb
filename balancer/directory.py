"""The nodes this proxy knows: states, incarnations, credit, and which of them are available, for which requests.

Owns each node's lifecycle and `in_flight` counter, and the lists of available nodes that policies choose from. Refuses
illegal moves. Does not know links' transports, time, or what a request is.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from math import inf

from msgspec import Struct

from holdfast.balancer.health import Health, ejectable
from holdfast.balancer.links.base import NodeLink
from holdfast.balancer.settings import BalanceSettings, RequestSettings
from holdfast.protocols.nodes.effects import Pending
from holdfast.protocols.nodes.frames import Hello, encode_frame


class NodeState(Enum):
    SYNCING = "syncing"  # it said hello; snapshots are on their way
    READY = "ready"  # takes requests
    DRAINING = "draining"  # finishes what it has
    LOST = "lost"  # gone, for whatever reason; this session never comes back


TRANSITIONS: dict[NodeState, frozenset[NodeState]] = {
    NodeState.SYNCING: frozenset({NodeState.READY, NodeState.DRAINING, NodeState.LOST}),
    NodeState.READY: frozenset({NodeState.DRAINING, NodeState.LOST}),
    NodeState.DRAINING: frozenset({NodeState.LOST}),
    NodeState.LOST: frozenset(),
}


class Node:
    """One session of a node. Policies read it. The Directory and the Ledger write what choosing
    goes by; the gateway and the keeper what the node says of itself.

    in_flight: requests it has now. pull: weight x slow start, what weighted choices use.
    latency: moving average of reply times in seconds, the policy's that goes by it; 0.0 before the first.
    answered_at: when a reply that was awaited, or a part of one, came the last time. standing: order of becoming ready.
    state_position: epoch and index of the last entry of the state that it has told to have.
    wants_clients: whether it is told every client; a request to another one brings its own.
    owes: proxies that may miss something if it dies now, and up to which number of its effects. pending: what of that
    another node may do again, as in Heartbeat. takes_offers: whether it answers them. takes_requests: if not, it never
    gets any. says_drained: by its own word it is to get none, in whichever session; else we alone know. pools: those
    that it is in, whether available or not. takes: kinds of calls. questions: that it has asked and has no answer to;
    written by who has them asked.
    """

    __slots__ = (
        "answered_at", "capacity", "ejected", "has_said_bye", "health", "id", "in_flight", "incarnation", "joined",
        "labels", "latency", "link", "load", "name", "owes", "pending", "pid", "pools", "pull", "questions", "ready_at",
        "says_drained", "standing", "state", "state_position", "takes", "takes_offers", "takes_requests",
        "wants_clients", "weight",
    )  # fmt: skip

    def __init__(self, hello: Hello, link: NodeLink, health: Health, now: float) -> None:
        self.id = hello.node
        self.name = hello.name
        self.incarnation = hello.incarnation
        self.capacity = hello.capacity
        self.weight = hello.weight
        self.labels = hello.labels
        self.pid = hello.pid
        self.wants_clients = hello.wants_clients
        self.takes_offers = hello.takes_offers
        self.takes_requests = hello.takes_requests
        self.takes = frozenset(hello.takes)
        self.pools: tuple[Pool, ...] = ()
        self.link = link
        self.health = health
        self.state = NodeState.SYNCING
        self.in_flight = 0
        self.questions = 0
        self.pull = hello.weight
        self.latency = 0.0
        self.answered_at = -inf
        self.load = -1.0
        self.ejected = False
        self.has_said_bye = False
        self.joined = now
        self.ready_at = 0.0
        self.says_drained = False
        self.standing = 0
        self.owes = hello.owes
        self.pending: list[Pending] = []
        self.state_position = (hello.state_epoch, hello.state_index)

    def __repr__(self) -> str:
        return f"<Node {self.id} {self.state.value} in_flight={self.in_flight}/{self.capacity}>"


def takes_requests(node: Node) -> bool:
    """Of the pool of all requests."""
    return node.takes_requests


MAX_NAMES = 1000  # of nodes, that a pool remembers: more are names of single runs
MAX_RUNS = 10_000  # of nodes that are gone, of which it is known that they were ready
Random = Callable[[], float]
Select = Callable[[Sequence[Node], int, Random], Node | None]  # None: none of them now; it is parked


class Pool:
    """Nodes that may take one kind of request. A node may be in several, with one capacity for all that it gets.

    takes: whether a node is in it, asked once, at its hello. available: those that are ready, not draining, not full,
    not ejected: all that policies see; always the same list, so that callers may keep it. ready: how many are ready,
    whether available or not. select: the policy's.
    names: of nodes that were in it and ready, and have not come back since as ones that are not in it.
    share: of the capacity of these, that its requests may have at once; 0.0: all. capacity: of those that are ready.
    timeout, milliseconds: what its requests have. redelivers: whether one may be sent again. max_in_flight: of its
    requests. The ledger's: is_apart: they are counted by themselves; in_flight: so many then, parked ones among them;
    unchecked: below so many of all pools one more is let in without a look at the pool. route: the name of that whose
    nodes they are; "": of none. nobody: what is missing when none of them is available, and others are ready. like: the
    pool whose nodes it has, and in which they are counted.
    """

    __slots__ = (
        "available", "capacity", "in_flight", "is_apart", "like", "max_in_flight", "milliseconds", "name", "names",
        "nobody", "ready", "redelivers", "route", "select", "share", "takes", "timeout", "unchecked",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        takes: Callable[[Node], bool],
        select: Select,
        timeout: float,
        max_in_flight: int,
        redelivers: bool,
        nobody: str,
    ) -> None:
        self.name = name
        self.takes = takes
        self.select = select
        self.timeout = timeout
        self.milliseconds = int(timeout * 1000)
        self.max_in_flight = max_in_flight
        self.redelivers = redelivers
        self.route = ""
        self.nobody = nobody
        self.share = 0.0
        self.capacity = 0
        self.available: list[Node] = []
        self.ready = 0
        self.names: dict[str, None] = {}
        self.like: Pool | None = None
        self.is_apart = False
        self.in_flight = 0
        self.unchecked = 0

    @classmethod
    def of(
        cls, name: str, takes: Callable[[Node], bool], select: Select, settings: RequestSettings, nobody: str
    ) -> "Pool":
        """One whose requests are as the section says."""
        redelivers = settings.redelivery == "auto"
        return cls(name, takes, select, settings.timeout, settings.max_in_flight, redelivers, nobody)

    def __repr__(self) -> str:
        return f"<Pool {self.name}>"

    @property
    def is_wanted(self) -> bool:
        """Whether there are nodes for it, or will be again: an application that has asked for something does so until
        it comes back without, though none of its nodes is here and others are."""
        return self.ready > 0 or bool(self.names)

    def heed(self, node: Node) -> None:
        """A run of a node is ready for the first time: its application is in this pool, or is no more. A run that has
        only been away has said so before, and others have said more since."""
        if self not in node.pools:
            self.names.pop(node.name, None)
            return
        self.names[node.name] = None
        if len(self.names) > MAX_NAMES:
            del self.names[next(iter(self.names))]

    @property
    def most(self) -> int:
        """Requests that it may have at nodes at once, if it has a share."""
        return max(1, int(self.capacity * self.share))


class Directory:
    """Every node with a living session, by id. pools: what `add_pool` was given."""

    def __init__(self, settings: BalanceSettings) -> None:
        self._settings = settings
        self.nodes: dict[str, Node] = {}
        self.pools: list[Pool] = []
        self.ready = 0  # how many are
        self._standings = 0
        self._gone: dict[tuple[str, int], None] = {}  # runs that were ready, the last one to go at the end
        self._is_closed = False

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def add_pool(self, pool: Pool) -> None:
        """Nodes that are there already may be in it."""
        self.pools.append(pool)
        for node in self.nodes.values():
            if pool.takes(node):
                node.pools = (*node.pools, pool)
                if node.state is NodeState.READY:
                    pool.ready += 1
                    pool.capacity += node.capacity
                self.refresh(node)

    def remove_pool(self, pool: Pool) -> None:
        """Nothing waits for it any more."""
        self.pools.remove(pool)
        for node in self.nodes.values():
            node.pools = tuple(each for each in node.pools if each is not pool)

    def add(self, node: Node) -> None:
        """Take a new session: its Welcome is sent next. A former one of the same id has been lost."""
        self.nodes[node.id] = node
        node.pools = tuple(pool for pool in self.pools if pool.takes(node))

    def tell(self, frame: Struct) -> None:
        """Send a frame, encoded once, to every node."""
        if self.nodes:
            encoded = encode_frame(frame)
            for node in self.nodes.values():
                node.link.send(encoded)

    def move(self, node: Node, state: NodeState) -> None:
        """Change a node's state. Raises ValueError for a move that TRANSITIONS does not have."""
        if state not in TRANSITIONS[node.state]:
            raise ValueError(f"node {node.id} can't go from {node.state.value} to {state.value}")
        was_ready = node.state is NodeState.READY
        node.state = state
        if state is NodeState.READY:
            self._standings += 1
            node.standing = self._standings
            if not self._is_back(node):
                for pool in self.pools:
                    pool.heed(node)
        if was_ready or state is NodeState.READY:
            self.ready += -1 if was_ready else 1
            for pool in node.pools:
                pool.ready += -1 if was_ready else 1
                pool.capacity += -node.capacity if was_ready else node.capacity
        if state is NodeState.LOST:
            del self.nodes[node.id]
            if node.standing:
                self._gone[node.id, node.incarnation] = None
                if len(self._gone) > MAX_RUNS:
                    del self._gone[next(iter(self._gone))]
        self.refresh(node)

    def _is_back(self, node: Node) -> bool:
        """Whether this run of it was ready before."""
        run = node.id, node.incarnation
        if run not in self._gone:
            return False
        del self._gone[run]
        return True

    def missing(self, pool: Pool) -> str:
        """What it is, for people, while no node of the pool is available."""
        return pool.nobody if self.ready > (pool.like or pool).ready else "no node"

    def refresh(self, node: Node) -> None:
        """Put the node into its pools' `available`, or take it out, as its state and credit are now."""
        is_free = node.state is NodeState.READY and not node.ejected and node.in_flight < node.capacity
        available = is_free and not self._is_closed
        for pool in node.pools:
            if available != (node in pool.available):
                if available:
                    pool.available.append(node)
                else:
                    pool.available.remove(node)

    def close(self) -> None:
        """No node is available any more, whatever becomes of it, until `reopen`."""
        self._is_closed = True
        for node in self.nodes.values():
            self.refresh(node)

    def reopen(self) -> None:
        """For the last word: nobody asks any more, and nodes are told who has gone."""
        self._is_closed = False
        for node in self.nodes.values():
            self.refresh(node)

    def failed(self, node: Node, now: float) -> bool:
        """A request failed at this node, by a timeout or a 5xx. True: the node is ejected for that."""
        if node.ejected or node.state is not NodeState.READY or not node.health.failed(now):
            return False
        ready = self._serving()
        if sum(other.ejected for other in ready) >= ejectable(len(ready), self._settings):
            return False
        node.health.eject(now)
        node.ejected = True
        self.refresh(node)
        return True

    def _serving(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.state is NodeState.READY and node.pools]

    def tend(self, now: float) -> None:
        """Now and then: let ejected nodes return, also when too few others are left, and grow the share of new ones."""
        ready = self._serving()
        ejected = sorted((node for node in ready if node.ejected), key=lambda node: node.health.returns_at)
        surplus = len(ejected) - ejectable(len(ready), self._settings)
        for position, node in enumerate(ejected):
            if position < surplus:
                node.health.readmit(now)
            if node.health.returns_at <= now:
                node.ejected = False
                self.refresh(node)
        for node in ready:
            node.pull = node.weight * node.health.share(now)

    def count(self) -> dict[NodeState, int]:
        """How many nodes are in each state."""
        counts = dict.fromkeys(NodeState, 0)
        for node in self.nodes.values():
            counts[node.state] += 1
        return counts
