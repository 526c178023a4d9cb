"""What a client's socket has not taken yet. Owned by one transport, made only when the kernel refuses bytes."""

from collections import deque
from collections.abc import Callable

from holdfast.proxy.clients.held import Held

CHUNK_BYTES = 64 << 10  # joined into one write, and encrypted at once


class Outbox:
    """Bytes in order. Never drops any by itself: the connection decides what happens above its high-water mark.

    With TLS, what waits is plain and is sealed just before it is written, so that what has not begun to leave can still
    be left out. held: where it is counted, each part until its last byte has left. on_room: whom to tell, once each,
    when little enough waits.
    """

    __slots__ = ("_head", "_held", "_parts", "_sealed", "on_room", "size")

    def __init__(self, held: Held) -> None:
        self._held = held
        self._parts: deque[bytes] = deque()
        self._head = 0  # bytes of the first part that are gone
        self._sealed = b""  # goes before all parts
        self.size = 0
        self.on_room: list[Callable[[], None]] | None = None

    def put(self, data: bytes) -> None:
        self._parts.append(data)
        self._held.keep(data)
        self.size += len(data)

    def put_sealed(self, data: bytes) -> None:
        """Encrypted bytes, for right after those that have been sealed already."""
        self._sealed += data
        size = len(data)
        self._held.bytes += size
        self.size += size

    def peek(self) -> bytes | memoryview:
        """The next bytes to write: at least one part, small ones joined."""
        parts = self._parts
        first = parts[0]
        if self._head or len(first) >= CHUNK_BYTES or len(parts) == 1:
            return memoryview(first)[self._head :]
        joined: list[bytes] = []
        size = 0
        for part in parts:
            if size + len(part) > CHUNK_BYTES and joined:
                break
            joined.append(part)
            size += len(part)
        return b"".join(joined)

    def peek_sealed(self, seal: Callable[[bytes], bytes]) -> bytes:
        """The next bytes to write where all of them are to be encrypted."""
        if not self._sealed:
            plain = bytes(self.peek()[:CHUNK_BYTES])
            self.take(len(plain))
            self.put_sealed(seal(plain))
        return self._sealed

    def take(self, count: int) -> None:
        """`count` bytes of what `peek` gave are written."""
        self.size -= count
        parts = self._parts
        while count:
            left = len(parts[0]) - self._head
            if count < left:
                self._head += count
                return
            count -= left
            self._head = 0
            self._held.drop(parts.popleft())

    def take_sealed(self, count: int) -> None:
        """`count` bytes of what `peek_sealed` gave are written."""
        self.size -= count
        self._held.bytes -= count
        self._sealed = self._sealed[count:]

    def truncate(self) -> None:
        """Keep only what has begun to leave: a frame once begun must be finished, and so must a sealed record."""
        first = self._parts.popleft() if self._head else b""
        for part in self._parts:
            self._held.drop(part)
        self._parts.clear()
        if first:
            self._parts.append(first)
        self.size = len(self._sealed) + len(first) - self._head

    def keep_sealed(self) -> None:
        """Keep only what is encrypted."""
        self._head = 0
        self.truncate()

    def close(self) -> None:
        """Nothing of it will ever leave."""
        self.keep_sealed()
        self._held.bytes -= len(self._sealed)
        self._sealed = b""
        self.size = 0

    @property
    def share_bytes(self) -> int:
        """Its part of what is held: of what others wait for as well, it and each of them has an equal part."""
        return len(self._sealed) + sum(map(self._held.share, self._parts))
