"""Which nodes hear of a proxy only when it has clients, and may have published without it.

A proxy waits for the nodes that most others have before it takes clients, as long as cluster.discover_timeout. So what
others say is due there from then on, but not before they hear of it.
"""

from typing import TYPE_CHECKING

from holdfast.balancer.directory import NodeState

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
    """Whether more than half of the other members have it ready."""
    node = proxy.world.nodes[id]
    others = [p for p in proxy.world.proxies.values() if p.id in proxy.cluster.membership.record.ids and p is not proxy]
    known = [other.app.directory.nodes.get(node.name) for other in others]
    votes = sum(k is not None and k.incarnation == node.incarnation and k.state is NodeState.READY for k in known)
    return 2 * votes > len(others)
