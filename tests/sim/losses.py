"""What of the state may be lost, and what may not: which processes must bring what was acknowledged.

Owns the last firm set of members, as those knew it who have followed it. Half of a firm set holds all that counts, and
of another one more than half. When fewer are left, and the keeper that has ordered it is not one of them, then what
they have and what nodes have is all that there is, and when a term begins the rest is lost: that is not promised. Nodes
have to be there by then; if nothing else is wrong meanwhile, they are.
"""

from math import inf
from typing import TYPE_CHECKING

from msgspec import msgpack

from holdfast.protocols.peers.frames import Record
from tests.sim.proxies import SimProxy

if TYPE_CHECKING:
    from tests.sim.nodes import SimNode
    from tests.sim.process import Process
    from tests.sim.world import World

State = dict[str, bytes]


class Losses:
    """`writes`, `followed`, `ended` and `begins` tell what happens. disasters: terms that began with what was left."""

    def __init__(self, world: "World") -> None:
        self.disasters = 0
        self._world = world
        self._record = Record()  # the newest ballot that anybody has followed
        self._firm = -1  # the newest ballot that anybody has known to be firm
        self._stamped = 0  # the newest term that has begun
        self._is_at_risk = False  # too few are left, and the next term has not begun
        self._was_at_peace = True  # since then

    def writes(self) -> None:
        """A proxy makes a record out of what it follows."""
        self._look()

    def followed(self, record: Record) -> None:
        """A proxy follows it. Who decided on it stay in it, if nobody was taken for dead."""
        if (record.ballot, record.version) <= (self._record.ballot, self._record.version):
            return
        is_next = record.ballot > self._record.ballot
        decided, self._record = self._record, record
        if is_next and decided.ballot and not self._is_enough(decided, set(record.ids)):
            self._risk()

    def ended(self, process: "Process") -> None:
        """It was killed, or has left."""
        self._look(process)
        if self._world.is_alone:
            is_enough = bool(self._world.proxies)
        else:
            is_enough = self._is_enough(self._record, set(self._world.proxies))
        if not is_enough:
            self._risk()
        self._was_at_peace &= self._world.is_at_peace

    def _look(self, *ended: "Process") -> None:
        for proxy in (*self._world.proxies.values(), *ended):
            if isinstance(proxy, SimProxy) and proxy.is_up and proxy.cluster.membership.is_firm:
                self._firm = max(self._firm, proxy.cluster.membership.record.ballot)

    def _is_enough(self, record: Record, left: set[str]) -> bool:
        if record.term <= self._stamped and record.keeper in left:
            return True
        if record.ballot <= self._firm:
            return 2 * len(left.intersection(record.ids)) >= len(record.ids) > 0
        return 2 * len(left.intersection(record.former)) > len(record.former)

    def _risk(self) -> None:
        if not self._is_at_risk:
            self._is_at_risk = self._was_at_peace = True

    def begins(self, proxy: "SimProxy", term: int) -> list[State] | None:
        """A term, with what its keeper has. Returns the states of which one must have what counts; None: all counts."""
        self._stamped = max(self._stamped, term)
        if not self._is_at_risk:
            return None
        self._is_at_risk = False
        self.disasters += 1
        is_at_peace = self._was_at_peace and self._world.is_at_peace
        nodes = [node for node in self._world.nodes.values() if is_at_peace or _has_session(proxy, node)]
        heard = proxy.cluster.replication._held.keys() & self._world.proxies.keys()
        members = [proxy, *(self._world.proxies[member] for member in heard)]
        return [*map(self.copy, members), *(node.items() for node in nodes)]

    @staticmethod
    def copy(proxy: "SimProxy") -> State:
        return {key: item.value for key, item in proxy.app.keeper.copy.items.items()}


def undone(sets: dict[int, list[float]], value: bytes | None) -> set[int]:
    """What of these has been undone: there must be a value that no acknowledged set has followed."""
    acknowledged = -inf if value is None else sets[msgpack.decode(value)][1]
    return {number for number, (start, end) in sets.items() if end < inf and start > acknowledged}


def count_of(items: State) -> int:
    return int(msgpack.decode(items["counter"])) if "counter" in items else 0


def _has_session(proxy: "SimProxy", node: "SimNode") -> bool:
    known = proxy.app.directory.nodes.get(node.name)
    return known is not None and known.incarnation == node.incarnation
