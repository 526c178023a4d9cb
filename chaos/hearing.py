"""What nodes testify through the pipes that they inherit: who acts as master, which clients come and go."""

import fcntl
import os
from collections.abc import Callable

import trio

from holdfast.chaos.fleet import Fleet
from holdfast.chaos.flood import PUBLISHED_FD
from holdfast.chaos.lines import Lines
from holdfast.chaos.masters import Masters
from holdfast.chaos.messages import OPENINGS_FD, TESTIMONY_FD
from holdfast.chaos.openings import Testimony

PIPE_BYTES = 1 << 20  # of openings: a node must not wait until we have read them


class Hearing:
    """tell: for people."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.masters = Masters()
        self.openings = Testimony()

    def open(self, fleet: Fleet, tasks: trio.Nursery, *, with_openings: bool) -> None:
        """Have the nodes testify that are started from now on."""
        tasks.start_soon(self._hear, *self._pipe(fleet, TESTIMONY_FD), self._master)
        if with_openings:
            reader, writer = self._pipe(fleet, OPENINGS_FD)
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            tasks.start_soon(self._hear, reader, writer, self._opening)

    def hear_flood(self, fleet: Fleet, tasks: trio.Nursery, take: Callable[[str], None]) -> None:
        """Have the nodes say what they publish."""
        tasks.start_soon(self._hear, *self._pipe(fleet, PUBLISHED_FD), take)

    def _pipe(self, fleet: Fleet, variable: str) -> tuple[int, int]:
        reader, writer = os.pipe()
        fleet.testify(variable, writer)
        return reader, writer

    async def _hear(self, reader: int, writer: int, take: Callable[[str], None]) -> None:
        try:
            lines = Lines(reader)
            while (line := await lines.next()) is not None:
                take(line.decode())
        finally:
            os.close(reader)
            os.close(writer)

    def _master(self, line: str) -> None:
        at, epoch, node = line.split(" ", 2)
        if self.masters.acted(float(at), int(epoch), node):
            self._tell(f"{node} acts as master of epoch {epoch}")

    def _opening(self, line: str) -> None:
        at, what, run, client = line.split(" ")
        self.openings.take(float(at), what, int(run), int(client))
