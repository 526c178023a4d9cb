"""The rules of a session, the same for every hub: batches are numbered from 1, the first begins with a Hello, and none
is longer than Welcome says.
"""

from typing import Protocol

import structlog

from holdfast.balancer.links.base import NodeGateway, NodeLink
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import Hello, decode_from_node

log = structlog.get_logger("holdfast.link")


class NumberedLink(NodeLink, Protocol):
    """received: the number of the last batch. name: for the log."""

    is_open: bool
    received: int

    @property
    def name(self) -> str: ...


def begin(gateway: NodeGateway, link: NumberedLink, data: bytes, most: int) -> bool:
    """The first batch of a session, or the leftovers of one that is over. False: it is refused. most: bytes of it."""
    try:
        if len(data) > most:
            raise FrameError("it is too long")
        number, frames = decode_from_node(data)
    except FrameError:
        link.close("expected a batch of frames (docs/node-protocol.md)")
        return False
    if number != 1 or not frames or not isinstance(frames[0], Hello):
        link.close("no such session: say hello on a new connection")
        return False
    link.received = 1
    gateway.hello(link, frames[0])
    is_known = link.is_open
    if is_known and len(frames) > 1:
        gateway.received(link, frames[1:])
    return is_known


def receive(gateway: NodeGateway, link: NumberedLink, data: bytes, now: float, most: int) -> None:
    try:
        if len(data) > most:
            raise FrameError(f"expected a batch of at most {most} bytes, got {len(data)}")
        number, frames = decode_from_node(data)
        if number != link.received + 1:
            raise FrameError(f"expected batch {link.received + 1}, got {number}")
    except FrameError as error:
        log.warning("node_link_error", identity=link.name, error=str(error)[:200])
        link.break_off(f"protocol error: {error}"[:200])
        return
    link.received = number
    link.last_seen = now
    gateway.received(link, frames)
