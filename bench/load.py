"""The load generator (c/load.c), by command: connections that are checked to the byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import OTHER_CPU, System


class Outcome(NamedTuple):
    """Of one command. messages: or deliveries, all of them right. Times of one, or of a fan-out to all, in us."""

    messages: int
    seconds: float
    p50_us: float
    p99_us: float
    max_us: float


class Load:
    """Connected. Each command returns when everything it sent has been answered; an error ends the benchmark."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def echo(self, seconds: float) -> Outcome:
        """Messages in a closed loop."""
        return self._command(f"echo {seconds}", seconds + 60.0)

    def turn(self) -> Outcome:
        """One message on each connection, one connection after another."""
        return self._command("turn", 600.0)

    def fan(self, rounds: int) -> Outcome:
        """Notifications to every connection, one after another."""
        return self._command(f"fan {rounds}", 600.0)

    def _command(self, line: str, timeout: float) -> Outcome:
        self.process.write(line)
        return Outcome(**self.process.read(timeout))


@contextmanager
def connect(system: System, connections: int, *, depth: int = 1, size: int = 160, path: str = "/") -> Iterator[Load]:
    """So many WebSocket connections, with `depth` messages of `size` bytes in flight on each when asked."""
    command = [
        f"--port={system.port}",
        f"--connections={connections}",
        f"--depth={depth}",
        f"--size={size}",
        f"--path={path}",
    ]
    passed: tuple[int, ...] = ()
    if system.publish is not None:
        command.append(f"--trigger={system.publish}")
        passed = (system.publish,)
    with Process(PROGRAMS / "load", *command, cpu=OTHER_CPU, passed=passed) as process:
        process.read(60.0)  # {"connected": N}
        yield Load(process)
