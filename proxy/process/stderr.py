"""The process's stderr while it serves: whoever does not read it, or has gone, holds up and ends nobody.

Owns what waits to be written: text is put there at once, and a thread writes it. Whatever comes while MAX_BYTES wait is
dropped and counted, and so is what can't be written; the next line that can be written says how many there were. All
that writes to sys.stderr has this: logs, warnings, and what an author's node prints there. Not a descriptor that does
not block: that would be so for every process that shares the terminal or the pipe.
"""

import atexit
import io
import os
import select
import sys
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger("holdfast.stderr")

MAX_BYTES = 1 << 20  # some thousand lines
MAX_PARTS = 1000  # of a line that has no end yet; then it goes out without one
LAST_PATIENCE = 1.0  # at the end, without any progress


class Stderr(io.TextIOBase):
    """fd: is not closed. on_dropped: called in the thread with how many lines were dropped, when one can be written.

    A process that is forked off writes by itself, and waits: it has no thread, and may end without a word to us.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd: int, on_dropped: Callable[[int], object], max_bytes: int = MAX_BYTES) -> None:
        self.dropped = 0  # lines
        self._fd = fd
        self._on_dropped = on_dropped
        self._max_bytes = max_bytes
        self._told = 0  # of those that were dropped
        self._begun: list[str] = []  # parts of a line that has no end yet
        self._is_forked = False
        self._waiting: list[bytes] = []
        self._bytes = 0  # that wait or are being written
        self._changed = threading.Condition()  # its lock may be taken again: a signal's handler may log
        threading.Thread(target=self._run, name="stderr", daemon=True).start()
        os.register_at_fork(after_in_child=self._forked)

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._changed:
            lines, end, rest = text.rpartition("\n")
            if end:
                begun, self._begun = self._begun, [rest]
                self._put("".join((*begun, lines, end)))
            else:
                self._begun.append(text)
                if len(self._begun) > MAX_PARTS or len(text) > self._max_bytes:
                    self.flush()
        return len(text)

    def flush(self) -> None:
        """What has been written goes out by itself; so does a line that has no end."""
        with self._changed:
            begun, self._begun = self._begun, []
            self._put("".join(begun))

    def drain(self, patience: float = LAST_PATIENCE) -> None:
        """Wait until all is written, or nothing has been for so long."""
        self.flush()
        with self._changed:
            while self._bytes:
                before = self._bytes
                if not self._changed.wait_for(lambda: self._bytes < before, patience):  # noqa: B023 - it is called here
                    return

    def _put(self, text: str) -> None:
        if not text:
            return
        data = text.encode("utf-8", "backslashreplace")
        if self._is_forked:
            self._write(data)
            return
        if self._bytes + len(data) > self._max_bytes:
            self.dropped += _lines(data)
            return
        self._waiting.append(data)
        self._bytes += len(data)
        self._changed.notify_all()

    def _run(self) -> None:
        """Thread: write what waits, and again."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = b"".join(self._waiting)
                self._waiting = []
            is_written = self._write(data)
            with self._changed:
                dropped = self.dropped - self._told if is_written else 0
                self._told += dropped
            if dropped:
                self._on_dropped(dropped)

    def _forked(self) -> None:
        self._is_forked = True
        self._changed = threading.Condition()  # whoever held the lock is not here
        self._waiting, self._bytes = [], 0

    def _write(self, data: bytes) -> bool:
        """Whether there was somebody to take all of it."""
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._fd, rest)
            except BlockingIOError:  # another process has made it so
                select.select([], [self._fd], [])
                continue
            except OSError:  # its reader is gone, the disk is full, it is closed: go on without
                with self._changed:
                    self.dropped += _lines(rest.tobytes())
                self._took(len(rest))
                return False
            rest = rest[written:]
            self._took(written)
        return True

    def _took(self, count: int) -> None:
        with self._changed:
            self._bytes -= count
            self._changed.notify_all()


def _lines(data: bytes) -> int:
    return data.count(b"\n") or 1


def install() -> None:
    """For the rest of this process's life. Does nothing if stderr has been replaced by somebody else."""
    if sys.__stderr__ is None:  # it was closed when the process began
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    elif sys.stderr is sys.__stderr__:
        sys.stderr = stderr = Stderr(sys.__stderr__.fileno(), _tell)
        atexit.register(stderr.drain)


def dropped() -> int:
    """Lines, in all of this process's life."""
    return sys.stderr.dropped if isinstance(sys.stderr, Stderr) else 0


def _tell(count: int) -> None:
    log.warning("log_lines_dropped", count=count)
