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
