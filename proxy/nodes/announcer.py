"""What nodes are told of: clients that come and go, the other proxies, the snapshots with which a session begins.

Owns the snapshots that are on their way to nodes, who has been told which changes of clients, and the list of proxies.
A node is told what it wants: one that does not want clients is told of none, and costs nothing when one comes. Frames
leave in the order in which they are given to a link, so no change overtakes the page before it. Takes nothing from
nodes: that is the gateway's.
"""

from collections.abc import Iterable, Iterator

from msgspec import Raw

from holdfast.balancer.directory import Directory, Node, NodeState
from holdfast.balancer.links.base import NodeLink
from holdfast.balancer.registry import ClientRegistry, ClientsSnapshot
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames

# Changes are told at once when the last were told so long ago, else they are collected. A hundred frames a second for
# each node are no load with ten nodes; with a thousand they would be more than one core can send.
COLLECT_SECONDS = 0.01
FRAMES_PER_SECOND = 20_000


class Sync:
    """The snapshots that are on their way to one node. None: that one is complete, or there is none yet."""

    __slots__ = ("clients", "state")

    def __init__(self, clients: ClientsSnapshot | None = None) -> None:
        self.clients = clients
        self.state: Iterator[list[Raw]] | None = None

    @property
    def is_complete(self) -> bool:
        return self.clients is None and self.state is None

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
                for frame in state:
                    link.send(frame)
                return True
            self.state = None
        return False


class Announcer:
    """peers: as the last `introduce` gave them; what a new session is told first.

    untold: clients of which not every node that wants to has been told: `make_known` before a request of one.
    """

    def __init__(self, directory: Directory, registry: ClientRegistry, page_size: int) -> None:
        self._registry = registry
        self._page_size = page_size
        self._directory = directory
        self._audience: dict[Node, int] = {}  # those that want clients: how much of what is pending each has been told
        self._syncing: dict[Node, Sync] = {}
        self._due = 0.0
        self.untold = registry.untold
        self.info = registry.info
        self.client_of = registry.get
        self.peers = frames.Peers([])

    @property
    def sequence(self) -> int:
        """Number of the last client that came or went."""
        return self._registry.sequence

    @property
    def newest(self) -> int:
        """Of our clients the one that came last; 0: there is none."""
        return self._registry.newest

    # --- sessions of nodes ----------------------------------------------------------------------------------------

    def joined(self, node: Node) -> None:
        """The node has just been sent its Welcome, with `sequence` and `peers` as they are now."""
        clients = None
        if node.wants_clients:
            clients = self._registry.snapshot()
            self._audience[node] = len(self._registry.pending)
        self._syncing[node] = Sync(clients)

    def lost(self, node: Node) -> None:
        self._audience.pop(node, None)
        self._syncing.pop(node, None)

    def may_be_ready(self, node: Node) -> bool:
        """Whether it has been sent all our clients. Whether it has the state it knows itself: another may keep it."""
        sync = self._syncing.get(node)
        return sync is None or sync.clients is None or sync.clients.is_complete

    def send_pages(self, now: float) -> bool:
        """Turn's end: one page to each node that syncs and takes it. True: there are more."""
        more = False
        for node, sync in list(self._syncing.items()):
            if node.link.is_blocked:
                continue
            if self._send_page(node, sync):
                more = True
            elif sync.is_complete:
                del self._syncing[node]
        return more

    def send_state(self, node: Node, state: Iterator[list[Raw]]) -> None:
        """Send the node these pages, after its clients and in place of such pages as have not been sent."""
        if node.state is not NodeState.LOST:
            self._syncing.setdefault(node, Sync()).state = state

    def _send_page(self, node: Node, sync: Sync) -> bool:
        if sync.clients is not None:
            self.catch_up(node)
        return sync.send_page(node.link, self._page_size)

    # --- what all are told ----------------------------------------------------------------------------------------

    def introduce(self, peers: Iterable[tuple[str, str, bool]], ballot: int) -> None:
        """These proxies may have clients, we too: id, address for nodes, whether it is heard. ballot: as in Peers."""
        self.peers = frames.Peers([frames.Peer(*peer) for peer in peers], ballot)
        self._directory.tell(self.peers)

    def farewell(self, reason: str) -> None:
        """The proxy stops: its clients have gone before it."""
        self._tell_changes()
        self._directory.tell(frames.Bye(reason))

    # --- clients --------------------------------------------------------------------------------------------------

    def client_opened(self, client: frames.Client, due: bool = False) -> None:
        """due: one node is to be told."""
        self._registry.open(client, due)
        if self._registry.is_full:
            self._tell_changes()

    def client_updated(self, client: int, data: bytes) -> None:
        """What the application keeps of it."""
        self._registry.update(client, data)
        if self._registry.is_full:
            self._tell_changes()

    def client_closed(self, client: int, reason: Reason, due: bool = False) -> None:
        """due: one node is to be told."""
        self._registry.close(client, reason.value, due)
        if self._registry.is_full:
            self._tell_changes()

    def client_told(self, client: int, what: int) -> None:
        """One node has been told that it came or went, as ClientRegistry.told."""
        self._registry.told(client, what)
        if self._registry.is_full:
            self._tell_changes()

    def step(self, now: float) -> bool:
        """Turn's end, before the links send: tell who came and went, if it is time. The ticker's turns see to it that
        nobody waits for long."""
        if self._registry.pending and now >= self._due:
            self._tell_changes()
            self._due = now + max(COLLECT_SECONDS, len(self._audience) / FRAMES_PER_SECOND)
        return False

    def catch_up(self, node: Node) -> None:
        """Tell a node that wants clients what it has not been told yet."""
        count = len(self._registry.pending)
        told = self._audience.get(node, count)
        if told < count:
            self._audience[node] = count
            node.link.send(self._registry.changes(told))

    def make_known(self, node: Node, client: int) -> bytes:
        """See to it that a node knows a client whose request it gets. Returns what the request has to say of him."""
        if not node.wants_clients:
            return self.info(client)
        if client in self.untold:
            self.catch_up(node)
        return b""

    def _tell_changes(self) -> None:
        """One frame for all, but for those that have been told a part of it."""
        registry = self._registry
        count = len(registry.pending)
        encoded = registry.changes() if count and self._audience else None
        for node, told in self._audience.items():
            if encoded is not None and told < count:
                node.link.send(registry.changes(told) if told else encoded)
            self._audience[node] = 0
        registry.forget_pending()
