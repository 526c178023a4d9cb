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
    p999_us: float
    max_us: float


class Load:
    """Connected. Each command returns when everything it sent has been answered; an error ends the benchmark."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def echo(self, seconds: float) -> Outcome:
        """Messages in a closed loop."""
        self.begin_echo(seconds)
        return self.end_echo()

    def begin_echo(self, seconds: float) -> None:
        """For several at a time; `end_echo` waits."""
        self.process.write(f"echo {seconds}")

    def end_echo(self) -> Outcome:
        return Outcome(**self.process.read(600.0))

    def pace(self, rate: float, seconds: float) -> Outcome:
        """So many messages a second in an open loop; times count from when a message was due."""
        return self._command(f"pace {rate} {seconds}", seconds + 60.0)

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
def connect(
    system: System, connections: int, *, depth: int = 1, size: int = 160, path: str = "/", cpu: int = OTHER_CPU
) -> Iterator[Load]:
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
    with Process(PROGRAMS / "load", *command, cpu=cpu, passed=passed) as process:
        process.read(60.0)  # {"connected": N}
        yield Load(process)
