"""That clients came and went, told to one node: what must hold of each telling.

O1: that a client came is told to nobody after that it went. O2: a telling that is not the first is marked. O3: nobody
is told that a client went while it is there. That each is told at all is looked at by stories (tests.sim.tellings).
"""

from typing import TYPE_CHECKING

from holdfast.balancer.calls import Call
from holdfast.balancer.cluster.times import MAX_SLEEP
from holdfast.protocols.nodes.calls import CLOSE, OPEN

if TYPE_CHECKING:
    from holdfast import Client
    from tests.sim.nodes import SimNode
    from tests.sim.world import World

CAME, WENT = "came", "went"
KINDS = {CAME: OPEN, WENT: CLOSE}


class Doormen:
    """begun, done: of what is told, the clients; `begun` with whether each time was marked."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.begun: dict[str, dict[int, list[bool]]] = {CAME: {}, WENT: {}}
        self.done: dict[str, set[int]] = {CAME: set(), WENT: set()}

    def begins(self, node: "SimNode", what: str, client: "Client") -> None:
        world = self._world
        if not self._is_current(node, what, client.id):
            return
        marks = self.begun[what].setdefault(client.id, [])
        marks.append(client.redelivered)
        if world.is_excused:
            return
        if what == CAME and client.id in self.begun[WENT]:
            world.checks.fail("O1, that a client came is told before that it went", node.id, client.id)
        if not all(marks[1:]):
            world.checks.fail("O2, what is told again is marked", node.id, what, client.id, marks)
        if what == WENT:
            for proxy in world.proxies.values():
                sleeps = proxy.clock.current_time() > proxy.frozen_at + MAX_SLEEP  # it closes them when it wakes
                if proxy.is_up and not sleeps and client.id in proxy.app.registry:
                    world.checks.fail("O3, who is told as gone is not there", node.id, client.id, proxy.id)

    def _is_current(self, node: "SimNode", what: str, client: int) -> bool:
        """Whether a proxy waits for this node to be told. What was held up on its way to a node that was given up since
        comes late, to one that can't know it; its proxy has told another one, or is dead."""
        for proxy in self._world.proxies.values():
            for asked in proxy.app.ledger.by_connection().values() if proxy.is_up else ():
                for entry in asked:
                    event, at = entry.event, entry.node
                    is_it = isinstance(event, Call) and (event.kind, event.client) == (KINDS[what], client)
                    if is_it and at is not None and (at.id, at.incarnation) == (node.name, node.incarnation):
                        return True
        return False

    def ends(self, what: str, client: "Client") -> None:
        self.done[what].add(client.id)
