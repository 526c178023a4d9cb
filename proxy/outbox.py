"""What a client's socket has not taken yet. Owned by one connection, made only when the kernel refuses bytes."""

from collections import deque

CHUNK_BYTES = 64 << 10  # joined into one write


class Outbox:
    """Bytes in order. Never drops any: the connection decides what happens above its high-water mark.

    has_moved: some were written since somebody last set it to False.
    """

    __slots__ = ("_head", "_parts", "has_moved", "size")

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._head = 0  # bytes of the first part that are gone
        self.size = 0
        self.has_moved = True

    def put(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)

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

    def take(self, count: int) -> None:
        """`count` bytes of what `peek` gave are written."""
        self.size -= count
        self.has_moved |= count > 0
        parts = self._parts
        while count:
            left = len(parts[0]) - self._head
            if count < left:
                self._head += count
                return
            count -= left
            self._head = 0
            parts.popleft()

    def truncate(self) -> None:
        """Keep only the rest of the part that is half written: a frame once begun must be finished."""
        if self._head:
            first = self._parts[0]
            self._parts.clear()
            self._parts.append(first)
            self.size = len(first) - self._head
        else:
            self._parts.clear()
            self.size = 0
