"""Lines from a pipe: how the processes of demo and chaos talk."""

import os
from collections import deque

import trio

READ_BYTES = 64 << 10


class Lines:
    """The lines that come through a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self._lines: deque[bytes] = deque()

    async def next(self) -> bytes | None:
        """The next line, without its end. None: there is no other."""
        while not self._lines:
            await trio.lowlevel.wait_readable(self._fd)
            data = os.read(self._fd, READ_BYTES)
            if not data:
                return None
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(lines)
        return self._lines.popleft()
