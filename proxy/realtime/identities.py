"""By which identities publications are in the log: the same at every proxy, and no other's."""

from holdfast.balancer.directory import Node
from holdfast.protocols.nodes import frames


class Identities:
    """proxy: our id."""

    def __init__(self, proxy: str) -> None:
        self._own = b"reply " + proxy.encode()
        self._replies = 0

    def of(self, node: Node, frame: frames.Effects | frames.Answer) -> tuple[bytes, bool]:
        """Of what a node does with one frame; and whether nothing else can have been said under it."""
        if not isinstance(frame, frames.Effects):  # a reply, which only this proxy gets
            self._replies += 1
            return b"%b %d" % (self._own, self._replies), True
        if frame.request:  # whichever node has it
            return b"%b %d %d" % (frame.home.encode(), frame.request, frame.part), False
        return b"%b %d %d" % (node.id.encode(), node.incarnation, frame.number), True


class Recent:
    """Identities with their offsets: the last ones, so many at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._offsets: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._offsets

    def get(self, identity: bytes) -> int | None:
        """Its offset."""
        return self._offsets.get(identity)

    def add(self, identity: bytes, offset: int) -> None:
        self._offsets[identity] = offset
        if len(self._offsets) > self._most:
            del self._offsets[next(iter(self._offsets))]
