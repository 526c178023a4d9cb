"""Real processes: started, signalled by pid, awaited, and none left behind.

Whatever is started within `Processes` is ended with it; should this process be killed itself, the kernel ends them
(proxy.process.child, chaos.program). They are in process groups of their own, so that Ctrl-C on a terminal reaches only
us, and they end in the order that we choose. What they write to stderr goes to a file each.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import trio

from holdfast.chaos import program
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.process import child

TAIL = 2000  # characters of a log that are shown


class Process:
    """One process. name: for people, and of its log. Signals to one that has ended do nothing.

    was_killed: it was sent SIGKILL, so that status is no surprise.
    """

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.popen = popen
        self.log = log
        self.was_killed = False

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.was_killed |= number is signal.SIGKILL
        self.popen.send_signal(number)

    async def wait(self) -> int:
        """Its exit status; minus the signal's number if one has ended it."""
        return await child.wait(self.popen)

    async def end(self, patience: float) -> int:
        """SIGTERM, and SIGKILL if it takes longer than `patience`; that is not `was_killed`."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        with trio.move_on_after(patience):
            return await self.wait()
        self.popen.kill()
        return await self.wait()

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-TAIL:].strip()

    def close(self) -> None:
        """Kill it if it still runs, without waiting long: a killed process ends at once."""
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with suppress(OSError):  # what could not be written to it is of no use now
                    pipe.close()


class Processes:
    """A context manager. directory: for logs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._all: list[Process] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._all:
            process.popen.kill()  # all at once, then wait for each
        for process in self._all:
            process.close()

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        pipes: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start `holdfast ARGUMENTS`. pipes: to its stdin and from its stdout. From the main thread only."""
        return self._start(name, child.command(arguments), environ or {}, pipes, pass_fds)

    def start_program(self, name: str, arguments: Sequence[str]) -> Process:
        """Start a program that is not ours. From the main thread only."""
        return self._start(name, program.command(arguments), {}, False, ())

    def _start(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], pipes: bool, pass_fds: Sequence[int]
    ) -> Process:
        log = self.directory / f"{name}.log"
        kind = subprocess.PIPE if pipes else subprocess.DEVNULL
        with log.open("ab") as stderr:
            # Not Trio's open_process: it starts processes from a thread that ends, and then they would too.
            popen = subprocess.Popen(
                command,
                stdin=kind,
                stdout=kind,
                stderr=stderr,
                env={**os.environ, **environ},
                pass_fds=pass_fds,
                process_group=0,
            )
        process = Process(name, popen, log)
        self._all.append(process)
        return process

    def log(self, name: str) -> str:
        """What all processes of this name have written to stderr."""
        log = self.directory / f"{name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def forget(self, process: Process) -> None:
        """It has ended and nobody needs it any more."""
        self._all.remove(process)
        process.close()


def children(pid: int) -> list[int]:
    """Pids of the processes that a process has started from its main thread; none if it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, all its threads; 0.0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def wait_file(path: Path, process: Process, patience: float) -> bytes:
    """What `process` writes to a file when it is ready. Raises HoldfastError, with its log, if it does not."""
    with trio.move_on_after(patience):
        while process.is_running:
            content = _read(path)
            if content is not None:
                return content
            await trio.sleep(0.02)
    state = f"exit status {process.popen.returncode}" if not process.is_running else f"not ready in {patience:g} s"
    raise HoldfastError(f"{process.name} did not start: {state}\n{process.log_tail()}".rstrip())


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
