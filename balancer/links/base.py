"""The seam of node links: a hub accepts sessions of nodes, a link is one session, a gateway is told.

All calls are synchronous and come from one thread. Order is kept per link and direction. A link is lost once, and
nothing comes from it after that. Contract suite: tests/contracts/test_node_link.py.
"""

from typing import Protocol

from msgspec import Raw, Struct

from holdfast.protocols.nodes.frames import FromNode, Hello

Outgoing = Struct | Raw  # a frame, or what protocols.nodes.frames.encode_frame gave


class NodeLink(Protocol):
    """One session of one node.

    last_seen: when something last came from it, by the time given to the pump.
    """

    last_seen: float

    @property
    def is_blocked(self) -> bool:
        """The transport takes nothing just now; what is sent waits, up to a limit, and then the link is lost."""
        ...

    def send(self, frame: Outgoing) -> None:
        """Queue a frame. It leaves with the others of this turn."""
        ...

    def close(self, reason: str, *, fatal: bool = False) -> None:
        """End the session and tell the node why. The gateway is not called: the caller knows."""
        ...

    def break_off(self, why: str) -> None:
        """End the session as if it had broken by itself. The gateway is told that it is lost, after this call."""
        ...

    def unsent(self) -> list[Outgoing]:
        """Frames that have not been handed to the transport."""
        ...


class Hub(Protocol):
    """Accepts sessions, and tells a gateway. What it has counted: batches both ways, frames sent, and connections that
    it has ended before they had said who they are."""

    batches_received: int
    batches_sent: int
    frames_sent: int

    @property
    def strangers_ended(self) -> int: ...

    def retry(self) -> None:
        """Try again to send what there was no room for."""
        ...


class NodeGateway(Protocol):
    """Who is told what nodes say: proxy.nodes.gateway."""

    def hello(self, link: NodeLink, hello: Hello) -> None:
        """A session begins. The gateway may close it at once."""
        ...

    def received(self, link: NodeLink, batch: list[FromNode]) -> None:
        """A batch, in order, of a session that has said hello."""
        ...

    def lost(self, link: NodeLink, why: str) -> None:
        """The session is over, by the node's death, its silence, its mistake or its transport's end."""
        ...
