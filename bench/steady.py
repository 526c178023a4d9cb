"""A steady load (c/steady.c), by command: messages at a fixed rate, checked to the byte, and kills meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import OTHER_CPU, System


class Times(NamedTuple):
    """From sending to the reply, in us; all 0 if there are none."""

    messages: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Course(NamedTuple):
    """From begin to end. near: at or soon after a kill; redelivered: those that a killed node had, from the kill on."""

    seconds: float
    all: Times
    near: Times
    redelivered: Times


class Steady:
    """Connected. What is begun goes on by itself until it is ended."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def begin(self, rate: float) -> None:
        """So many messages a second in all, whatever becomes of them."""
        self.process.write(f"begin {rate}")

    def kill(self, process: Process) -> None:
        """SIGKILL: the generator itself does it, so that it knows when."""
        self.process.write(f"kill {process.pid}")

    def end(self) -> Course:
        """All replies are there."""
        self.process.write("end")
        said: dict[str, Any] = self.process.read()
        groups = {group: Times(**said[group]) for group in ("all", "near", "redelivered")}
        return Course(said["seconds"], **groups)


@contextmanager
def steady(system: System, connections: int) -> Iterator[Steady]:
    where = f"--port={system.port}", f"--connections={connections}"
    with Process(PROGRAMS / "steady", *where, cpu=OTHER_CPU) as process:
        process.read()  # {"connected": N}
        yield Steady(process)
