"""Which nodes hear of a proxy only when it has clients, and may have published without it.

A proxy waits for the nodes that most others have, of those that it hears, before it takes clients, as long as
cluster.discover_timeout. So what these nodes say is due there from then on, and what others say when they hear of it.
"""

from typing import TYPE_CHECKING

from holdfast.protocols.peers.frames import READY

if TYPE_CHECKING:
    from tests.sim.nodes import SimNode
    from tests.sim.proxies import SimProxy
    from tests.sim.world import World


class Meetings:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._known: dict[str, set[str]] = {}  # proxy: the nodes that it was to wait for
        self._joined_at: dict[str, float] = {}

    def joins(self, proxy: "SimProxy") -> None:
        """It is a member."""
        self._joined_at.setdefault(proxy.id, self._world.time)

    def serves(self, proxy: "SimProxy") -> None:
        """It takes clients."""
        world = self._world
        waited = world.time - self._joined_at.get(proxy.id, world.time)
        has_waited = waited >= 0.9 * world.times.discover_timeout  # its clock may be fast
        self._known[proxy.id] = set() if has_waited else {node for node in world.nodes if _is_at_others(proxy, node)}

    def meets(self, node: "SimNode", proxy: str) -> None:
        """A node has something to keep for it from now on."""
        if node.id in self._known.get(proxy, ()):
            return
        for client in self._world.clients:
            book = client.book
            if book is None or book.ended or book.proxy.id != proxy:
                continue
            for channel, membership in book.joined.items():
                if membership.is_sure and node.id not in membership.last:
                    membership.since[node.id] = node.published.get(channel, 0)


def _is_at_others(proxy: "SimProxy", id: str) -> bool:
    """Whether more than half of the other members have it ready: those that it hears, and by what they have told it. Of
    those it can't know more (and that it knows what was said is I7)."""
    node, membership = proxy.world.nodes[id], proxy.cluster.membership
    others = membership.hears(proxy.now) - {proxy.id}
    told = [membership.nodes.get(other, {}).get((node.name, node.incarnation)) for other in others]
    return 2 * told.count(READY) > len(others)
