"""Nodes that say that they have more of the state than the keeper has, and how often their word counts.

Owns who they are, who was heeded and when. What is done for them costs all nodes a snapshot, and all that speaks for it
is a number. So the word of each counts now and then only, whatever its sessions: an honest one says it once. What is
told meanwhile counts then. Refuses to grow: of too many, who was heeded longest ago is forgotten.
"""

from math import inf

from holdfast.balancer.directory import Node
from holdfast.protocols.nodes.state import Position

HEEDED_EVERY = 60.0  # seconds between two times that the word of one node makes a new term
TERM_EVERY = 5.0  # and of any
MAX_NAMES = 1000  # as many nodes as may be linked


class Seldom:
    """Each name passes once in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._passed: dict[str, float] = {}  # when it did last; the latest at the end

    def passes(self, name: str, now: float) -> bool:
        if now < self._passed.get(name, -inf) + self._seconds:
            return False
        self._passed.pop(name, None)
        self._passed[name] = now
        if len(self._passed) > MAX_NAMES:
            del self._passed[next(iter(self._passed))]
        return True


def is_ahead(node: Node, of: Position) -> bool:
    """Whether it would refuse a snapshot of this position, or has entries where there are none yet."""
    return node.state_position > of or of[1] == 0 < node.state_position[1]


def has_more(node: Node, than: Position) -> bool:
    """Whether there are entries that only the node has. Any are, if there are none yet."""
    position = node.state_position
    return position[1] > 0 and (position > than or than[1] == 0)


class Ahead:
    """noted: whose epoch may count before a term begins; that is for another reason, and has its own times."""

    def __init__(self) -> None:
        self.noted = Seldom(HEEDED_EVERY)
        self._heeded = Seldom(HEEDED_EVERY)
        self._heeds_at = -inf
        self._nodes: dict[Node, None] = {}

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def add(self, node: Node) -> None:
        self._nodes[node] = None

    def discard(self, node: Node) -> None:
        self._nodes.pop(node, None)

    def clear(self) -> None:
        self._nodes.clear()

    def take_others(self, position: Position) -> list[Node]:
        """Those that are not ahead of this any more."""
        others = [node for node in self._nodes if not is_ahead(node, position)]
        for node in others:
            del self._nodes[node]
        return others

    def heeded(self, now: float) -> list[Node]:
        """Those for which a new term is to be begun now."""
        if now < self._heeds_at:
            return []
        nodes = [node for node in self._nodes if self._heeded.passes(node.id, now)]
        if nodes:
            self._heeds_at = now + TERM_EVERY
        return nodes
