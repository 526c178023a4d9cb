"""One process of a benchmark, with its children: where it runs, what it says, what CPU and memory it has taken."""

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

NOTHING: Mapping[str, str] = MappingProxyType({})


class BenchError(Exception):
    """The benchmark can't go on, or what it measured was wrong."""


class Process:
    """Started by the constructor on one CPU, stopped on leaving the `with` block.

    stdin: a descriptor for it, or None for a pipe that `write` fills. passed: descriptors that it inherits.
    environment: on top of ours.
    """

    def __init__(
        self,
        *command: str | Path,
        cpu: int,
        stdin: int | None = None,
        passed: tuple[int, ...] = (),
        environment: Mapping[str, str] = NOTHING,
    ) -> None:
        self.name = Path(command[0]).name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        self._popen = subprocess.Popen(
            ["taskset", "-c", str(cpu), *map(str, command)],
            stdin=subprocess.PIPE if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,  # a line that was not taken must not wait for `close` to fail
            pass_fds=passed,
            env=os.environ | environment,
        )
        assert self._popen.stdout is not None
        self._stdout = self._popen.stdout.fileno()
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(10.0)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout, self._errors):
            if pipe is not None:
                pipe.close()

    # --- talking to it ----------------------------------------------------------------------------------------

    def write(self, line: str) -> None:
        """A line to its stdin. Raises BenchError if it has ended."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(f"{line}\n".encode())
        except BrokenPipeError as error:
            raise BenchError(f"{self.name} has ended{self.last_words()}") from error

    def read(self, timeout: float = 30.0) -> dict[str, Any]:
        """The next line of its stdout, which is a JSON object. Raises BenchError if it is an error, or none comes."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._said:
            ready, _, _ = select.select([self._stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise BenchError(f"{self.name} said nothing for {timeout:g} s{self.last_words()}")
            data = os.read(self._stdout, 65536)
            if not data:
                raise BenchError(f"{self.name} has ended{self.last_words()}")
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise BenchError(f"{self.name}: {said['error']}")
        return said

    def last_words(self) -> str:
        """To put behind a message: whether it has ended, and what it has written that was not read."""
        said = self._said
        if select.select([self._stdout], [], [], 0.0)[0]:
            said += os.read(self._stdout, 65536)
        self._errors.seek(0)
        text = (said + self._errors.read()).decode(errors="replace").strip()[-2000:]
        status = self._popen.poll()
        ended = "" if status is None else f" has ended with status {status}"
        return f"\n{self.name}{ended}: {text}" if ended or text else ""

    @property
    def pid(self) -> int:
        return self._popen.pid  # taskset's, who becomes the command

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    # --- measuring it -----------------------------------------------------------------------------------------

    def cpu_seconds(self) -> float:
        """User and system time of all its threads and children, to the nanosecond."""
        return sum(time.clock_gettime(_cpu_clock(pid)) for pid in self._tree())

    def thread_seconds(self) -> dict[str, float]:
        """The same by thread: {"PID/TID name": seconds}."""
        seconds = {}
        for pid in self._tree():
            for task in Path(f"/proc/{pid}/task").iterdir():
                ran = int((task / "schedstat").read_text().split()[0]) / 1e9
                seconds[f"{pid}/{task.name} {(task / 'comm').read_text().strip()}"] = ran
        return seconds

    def memory_bytes(self) -> int:
        """Resident anonymous memory: heaps and stacks, and not mapped files, which others may share."""
        total = 0
        for pid in self._tree():
            total += int(_field(Path(f"/proc/{pid}/smaps_rollup"), "Anonymous:")) * 1024
        return total

    def wake_ups(self) -> int:
        """How often its threads have waited for something, and it came."""
        count = 0
        for pid in self._tree():
            for status in Path(f"/proc/{pid}/task").glob("*/status"):
                count += int(_field(status, "voluntary_ctxt_switches:"))
        return count

    def socket_count(self) -> int:
        """Open descriptors that are sockets."""
        links = [os.readlink(link) for pid in self._tree() for link in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(link.startswith("socket:") for link in links)

    def _tree(self) -> list[int]:
        pids = [self._popen.pid]
        for pid in pids:  # grows while we go
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
        return pids


def machine_seconds(cpus: tuple[int, ...]) -> float:
    """What these CPUs have been busy with, whoever it was for, to 10 ms. Time that a host took away counts as busy."""
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in {f"cpu{cpu}" for cpu in cpus}:
            user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(int, ticks[:8])
            busy += user + nice + system + interrupts + soft_interrupts + stolen
    return busy / os.sysconf("SC_CLK_TCK")


def _field(file: Path, name: str) -> str:
    """The first word behind this name, at the beginning of a line."""
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return line.split()[1]
    raise BenchError(f"{file} has no {name}")


def _cpu_clock(pid: int) -> int:
    return (~pid << 3) | 2  # what clock_getcpuclockid gives on Linux; Python has it only for its own threads
