"""Processes of `holdfast dev`: started, read, ended, and none left behind, however this one ends.

Each is in a process group of its own, so that Ctrl-C on the terminal reaches only us and they end in our order; should
we be killed, the kernel ends them (proxy.process.child). What they write to stdout and stderr comes as lines.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

import trio

from holdfast.proxy.process import child

MAX_LINE = 64 << 10  # bytes; a longer one comes as several
LAST_LINES_TIMEOUT = 1.0  # for what a process that has ended has written, should a child of its own hold the pipe
# Python takes a compiled file for that of a source with the same size and second of change: a quick change of one
# character would not be seen. What is printed is shown when it is.
VARIABLES = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


class Child:
    """One process. has_ended: set when it has, and all of its lines are told. status: minus the signal that ended it.

    is_wanted: that it ends is a surprise.
    """

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.has_ended = trio.Event()
        self.is_wanted = True

    @property
    def status(self) -> int | None:
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """To one that has ended it does nothing."""
        self.is_wanted = False
        self._popen.send_signal(number)

    async def end(self, patience: float) -> None:
        """SIGTERM, unless it has had one (a second one stops a node at once), and SIGKILL if it takes longer."""
        if self.is_wanted:
            self.signal(signal.SIGTERM)
        with trio.move_on_after(patience):
            await self.has_ended.wait()
            return
        self._popen.kill()
        await self.has_ended.wait()

    async def run(self, output: trio.abc.ReceiveStream, tell: Callable[[bytes], None]) -> None:
        async with output, trio.open_nursery() as nursery:
            nursery.start_soon(_tell_lines, output, tell)
            await child.wait(self._popen)
            nursery.cancel_scope.deadline = trio.current_time() + LAST_LINES_TIMEOUT
        self.has_ended.set()


class Children:
    """A context manager: when it is left, whoever still runs is killed. nursery: in which they are looked after."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._all: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        for popen in self._all:
            popen.kill()
        for popen in self._all:
            popen.wait()

    def start(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        tell: Callable[[bytes], None],
        *,
        is_mute: bool = False,
    ) -> Child:
        """Start `holdfast ARGUMENTS`. tell: called with each line, without its end; of a mute one of stderr only. From
        the main thread only."""
        self._all = [popen for popen in self._all if popen.poll() is None]
        read, write = os.pipe()
        try:
            popen = subprocess.Popen(
                child.command(arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if is_mute else write,
                stderr=write,
                env={**os.environ, **VARIABLES, **environ},
                process_group=0,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._all.append(popen)
        one = Child(popen)
        self._nursery.start_soon(one.run, trio.lowlevel.FdStream(read), tell)
        return one


async def _tell_lines(output: trio.abc.ReceiveStream, tell: Callable[[bytes], None]) -> None:
    rest = b""
    async for data in output:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            tell(line)
        if len(rest) > MAX_LINE:
            tell(rest)
            rest = b""
    if rest:
        tell(rest)
