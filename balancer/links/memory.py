"""The memory link: sessions without sockets, for tests of what stands above the links.

Batches go through the real codec and numbers, so a frame that could not cross a wire does not cross this either.
"""

from collections import deque

from holdfast.balancer.links.base import NodeGateway, Outgoing
from holdfast.balancer.links.sessions import begin, receive
from holdfast.protocols.nodes.frames import (
    MAX_BATCH_BYTES,
    FromNode,
    FromProxy,
    Refused,
    decode_from_proxy,
    encode_batch,
)


class MemoryPeer:
    """The node's end. `say` sends a batch; `heard` is what the proxy said and nobody has taken yet."""

    def __init__(self, hub: "MemoryHub") -> None:
        self._hub = hub
        self._sent = 0
        self.heard: deque[FromProxy] = deque()
        self.refused: Refused | None = None

    def say(self, *frames: FromNode) -> None:
        self._sent += 1
        self._hub.incoming.append((self, encode_batch(self._sent, frames)))

    def say_raw(self, data: bytes) -> None:
        self._hub.incoming.append((self, data))

    def vanish(self) -> None:
        """As a killed process does."""
        self._hub.incoming.append((self, None))


class MemoryLink:
    def __init__(self, hub: "MemoryHub", peer: MemoryPeer, now: float) -> None:
        self._hub = hub
        self.peer = peer
        self.last_seen = now
        self.is_open = True
        self.name = "memory"
        self.is_blocked = False  # a test sets it
        self.outbox: list[Outgoing] = []
        self.sent = 0
        self.received = 0

    def send(self, frame: Outgoing) -> None:
        self.outbox.append(frame)

    def close(self, reason: str, *, fatal: bool = False) -> None:
        if self.is_open:
            self._hub.end(self)
            self.peer.refused = Refused(reason, fatal)

    def break_off(self, why: str) -> None:
        self._hub.broken.append((self, why))

    def unsent(self) -> list[Outgoing]:
        return self.outbox


class MemoryHub:
    """As ZeromqHub, driven by `pump`."""

    def __init__(self, gateway: NodeGateway) -> None:
        self._gateway = gateway
        self._links: dict[MemoryPeer, MemoryLink] = {}
        self.incoming: deque[tuple[MemoryPeer, bytes | None]] = deque()
        self.broken: list[tuple[MemoryLink, str]] = []

    def dial(self) -> MemoryPeer:
        return MemoryPeer(self)

    def pump(self, now: float) -> bool:
        self._flush()
        while self.incoming:
            peer, data = self.incoming.popleft()
            link = self._links.get(peer)
            if data is None:
                if link is not None:
                    self._lose(link, "disconnected")
            elif link is None:
                link = self._links[peer] = MemoryLink(self, peer, now)
                begin(self._gateway, link, data, MAX_BATCH_BYTES)
            else:
                receive(self._gateway, link, data, now, MAX_BATCH_BYTES)
        self._flush()
        return False

    def end(self, link: MemoryLink) -> None:
        link.is_open = False
        self._links.pop(link.peer, None)

    def _lose(self, link: MemoryLink, why: str) -> None:
        if link.is_open:
            self.end(link)
            self._gateway.lost(link, why)

    def _flush(self) -> None:
        while self.broken:
            link, why = self.broken.pop(0)
            self._lose(link, why)
            link.peer.refused = Refused(why)
        for link in list(self._links.values()):
            if link.outbox and not link.is_blocked:
                frames, link.outbox = link.outbox, []
                link.sent += 1
                number, heard = decode_from_proxy(encode_batch(link.sent, frames))
                assert number == link.sent
                link.peer.heard.extend(heard)
