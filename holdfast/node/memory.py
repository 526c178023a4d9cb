"""A link without a socket: to a proxy in this process, which is called with what comes. For tests of handlers.

Batches go through the real codec and numbers, so what could not cross a wire does not cross this either. There is no
task at the other end: the proxy is called in the turn of this one, and what it answers is taken in the next.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

import trio

from holdfast.node.batches import Batches, Owner
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import FromNode, FromProxy, decode_from_node, encode_batch


class InProcess(ABC):
    """A proxy of this process, for one node. Its `address` is what the node joins."""

    def __init__(self) -> None:
        self.address = Address(self)
        self.pump: MemoryPump | None = None  # once the node has come

    @abstractmethod
    def heard(self, frames: Sequence[FromNode]) -> None:
        """A batch has come."""

    def say(self, *frames: FromProxy) -> None:
        """A batch for the node. Goes nowhere if there is none, or not any more."""
        if self.pump is not None:
            self.pump.deliver(frames)


class Address(str):
    """As a text it is for the log only."""

    __slots__ = ("proxy",)

    def __new__(cls, proxy: InProcess) -> "Address":
        address = super().__new__(cls, "memory:")
        address.proxy = proxy
        return address

    proxy: InProcess


class MemoryPump(Batches):
    def __init__(self, proxy: InProcess) -> None:
        super().__init__()
        self._proxy = proxy
        self._incoming: deque[bytes] = deque()
        self._said = 0

    def deliver(self, frames: Sequence[FromProxy]) -> None:
        self._said += 1
        self._incoming.append(encode_batch(self._said, frames))
        self.wake()

    async def run(self, owner: Owner) -> None:
        self._proxy.pump = self
        try:
            while True:
                now = trio.current_time()
                owner.tick(now)
                received = not self.ended and self._take(owner, now)
                if not self.ended and (owner.wake_handlers(now) or received):
                    await trio.lowlevel.checkpoint()
                if self.ended:
                    return
                self._hand_over()
                if self._is_finishing:
                    self.end("finished")
                    return
                if self._incoming or owner.wake_handlers(now):
                    continue
                with trio.CancelScope(deadline=owner.next_tick) as self._nap:
                    await trio.sleep_forever()
                self._nap = None
        finally:
            self.end("stopped")

    def _take(self, owner: Owner, now: float) -> bool:
        """Take what has come. True: something has."""
        received = bool(self._incoming)
        while self._incoming and not self.ended:
            try:
                owner.receive(self._decode(self._incoming.popleft()), now)
            except FrameError as error:
                self.end(f"protocol error: {error}")
        return received

    def _hand_over(self) -> None:
        while self._ready or self._open:
            if not self._ready:
                self._close_batch()
            frames, size = self._ready.popleft()
            self._ready_bytes -= size
            self._sent += 1
            _, heard = decode_from_node(encode_batch(self._sent, frames))
            self._proxy.heard(heard)
        if self._is_full:
            self._is_full = False
            self._room.set()
