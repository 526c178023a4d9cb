"""What every system has in common: what is known of one that runs, and how it is started.

The measured process runs alone on one CPU; whatever is behind it shares the other with the load generator.
"""

import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.build import PROGRAMS, find
from bench.process import BenchError, Process

CPUS = MEASURED_CPU, OTHER_CPU = 0, 1
CHANNEL = "bench"
MOST_DESCRIPTORS = 1 << 17
_, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
# For nginx and HAProxy, which want two per client, and refuse to start with more than they may have.
DESCRIPTORS = MOST_DESCRIPTORS if hard_limit == resource.RLIM_INFINITY else min(hard_limit, MOST_DESCRIPTORS)
# Besides its connections a process has some of its own; this is what Holdfast keeps back with 32 nodes at most.
RESERVED_DESCRIPTORS = 768


class System(NamedTuple):
    """port: where clients connect. measured: whose CPU and memory count. backend: what is behind it, None if nothing.

    publish: a descriptor; each byte written there makes one notification to all. wait_members: returns when
    all who have connected would get it. nodes: what is behind it when there are several; start_node: one more of them.
    more_measured: processes that share the port with `measured`.
    """

    port: int
    measured: Process
    backend: Process | None = None
    publish: int | None = None
    wait_members: Callable[[], object] = lambda: None
    nodes: tuple[Process, ...] = ()
    start_node: Callable[[], Process] | None = None
    more_measured: tuple[Process, ...] = ()

    @property
    def behind(self) -> list[Process]:
        return [*([] if self.backend is None else [self.backend]), *self.nodes]

    def last_words(self) -> str:
        """What its processes have to say when something was wrong."""
        return "".join(process.last_words() for process in (self.measured, *self.more_measured, *self.behind))


Start = Callable[[], AbstractContextManager[System]]


@contextmanager
def echo(program: str = "echo") -> Iterator[tuple[Process, int]]:
    """The backend of the other proxies, in C, and its port. program: of c/, what it is to WebSocket, or to HTTP."""
    with Process(PROGRAMS / program, cpu=OTHER_CPU) as process:
        yield process, process.read()["port"]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        yield Path(name)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def command(name: str) -> str:
    """Where it is. build.prepare has seen to that it is somewhere."""
    path = find(name)
    assert path is not None
    return path


def free_port() -> int:
    """For servers that can't say which they took. Somebody may be faster; then the start fails and says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_there: Callable[[], bool], process: Process, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not is_there():
        if process.has_ended or time.monotonic() > deadline:
            raise BenchError(f"{process.name} does not start{process.last_words()}")
        time.sleep(0.02)
