"""The batches of one connection to a proxy: numbered, in order, both ways. What carries them is its subclasses' own.

Owns the queue of what is to be sent. Knows the numbers of batches and no frame. A wrong number, bytes that are no
batch, a connection that ends: `run` returns, and another one must take over.
"""

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Protocol

import trio

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import FromProxy, Refused, decode_from_proxy

MAX_BATCH_BYTES = 1 << 20  # then another batch is begun: a link should not be held up by one; a larger frame goes alone
MAX_OUTBOX_BYTES = 8 << 20  # who can wait, waits until there is less; replies can't, and are bounded by the capacity


class Batches(ABC):
    """From `run` to its end. ended: why, once it has. max_batch_bytes: of frames that are sent together."""

    def __init__(self) -> None:
        self._open: list[Any] = []  # the batch that frames are added to
        self._open_bytes = 0
        self._ready: deque[tuple[list[Any], int]] = deque()  # batches that are full
        self._ready_bytes = 0
        self._sent = 0
        self._received = 0
        self._nap: trio.CancelScope | None = None  # set while there is nothing to do
        self._is_full = False  # somebody waits for room
        self._room = trio.Event()
        self._is_finishing = False
        self.max_batch_bytes = MAX_BATCH_BYTES
        self.ended = ""

    @abstractmethod
    async def run(self, owner: "Owner") -> None:
        """Connect and carry batches until the end. Raises ConfigError for an address that is none."""

    # --- for everybody ----------------------------------------------------------------------------------------------

    def send(self, frame: Any, size: int = 64) -> None:  # noqa: ANN401 - any frame of FromNode
        """Queue a frame. size: at most how many bytes it takes. After the end it goes nowhere."""
        if self.ended:
            return
        if self._open_bytes + size > self.max_batch_bytes and self._open:
            self._close_batch()
        self._open.append(frame)
        self._open_bytes += size
        if self._nap is not None:
            self.wake()

    async def wait_room(self) -> None:
        """Wait until less than MAX_OUTBOX_BYTES are queued, or it is all over."""
        while self._ready_bytes + self._open_bytes > MAX_OUTBOX_BYTES and not self.ended:
            if not self._is_full:
                self._is_full = True
                self._room = trio.Event()
            await self._room.wait()

    def end(self, reason: str) -> None:
        """Have `run` return soon, with nothing more sent. The first reason stays."""
        self.ended = self.ended or reason
        self._room.set()
        self.wake()

    def finish(self) -> None:
        """Have `run` return when all that is queued has been sent."""
        self._is_finishing = True
        self.wake()

    def wake(self) -> None:
        """Begin a turn, if none is under way: the owner's next tick is due earlier."""
        if self._nap is not None:
            self._nap.cancel()
            self._nap = None

    # --- for subclasses ---------------------------------------------------------------------------------------------

    def _decode(self, data: bytes) -> list[FromProxy]:
        number, frames = decode_from_proxy(data)
        self._received += 1
        # 0: the proxy knows no session of ours, so there is nothing to count from
        if number != self._received and not (number == 0 and all(isinstance(frame, Refused) for frame in frames)):
            raise FrameError(f"expected batch {self._received}, got {number}")
        return frames

    def _close_batch(self) -> None:
        self._ready.append((self._open, self._open_bytes))
        self._ready_bytes += self._open_bytes
        self._open, self._open_bytes = [], 0


class Owner(Protocol):
    """Whose pump it is. All calls come from the pump's task."""

    @property
    def next_tick(self) -> float:
        """When `tick` must be called at the latest."""
        ...

    def tick(self, now: float) -> None:
        """Called each turn, before what has come is taken."""
        ...

    def receive(self, frames: list[FromProxy], now: float) -> None:
        """A batch has come. Raises FrameError to end it all."""
        ...

    def wake_handlers(self, now: float) -> bool:
        """Give handlers a turn, if there is work that has not begun. True: there is."""
        ...
