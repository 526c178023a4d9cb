"""Deaths of nodes' processes on this host: known at once, and for certain.

That a connection ended proves nothing. It may have gone through a tunnel or a relay on this very machine, and the node
behind it acts on, on the lease that it has. A pidfd proves it: it is readable when its process runs no more, and a
process does not come back. So whoever is known dead need not be waited for.

Owns a descriptor for each process, from a node's hello until its death, or for `patience` after its session has ended,
because the kernel closes a killed process's connections before it says that it is dead. Refuses to take a process for a
node's if it is not on this host, or began at another time than the node says: pids are used again.
"""

import os
from collections.abc import Callable
from math import inf
from pathlib import Path

import structlog

from holdfast.protocols.nodes.frames import Hello
from holdfast.protocols.nodes.process import BOOT_ID, PID_NAMESPACE, host_of, started_of
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.deaths")

MAX_WATCHED = 64  # descriptors, of those that the listener leaves; for who is above leases are waited for


class Process:
    """A process that is watched. ends_at: when its session has been over for so long that nobody asks any more."""

    def __init__(self, node: str, incarnation: int, fd: int, died: Callable[["Process"], None]) -> None:
        self.node = node
        self.incarnation = incarnation
        self.fd = fd
        self.ends_at = inf
        self._died = died

    def on_ready(self, events: int, now: float) -> None:
        self._died(self)

    def on_crash(self) -> None:
        pass


class Deaths:
    """patience: in seconds, for longer than a lease lasts. on_death: told node and incarnation."""

    def __init__(
        self,
        reactor: Reactor,
        counters: Counters,
        patience: float,
        on_death: Callable[[str, int], None],
    ) -> None:
        self._reactor = reactor
        self._counters = counters
        self._patience = patience
        self._on_death = on_death
        self._host = here()
        self._watched: dict[tuple[str, int], Process] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, hello: Hello) -> None:
        """A session begins. If the process is elsewhere or hidden, or the kernel too old, there is just no proof."""
        key = (hello.node, hello.incarnation)
        known = self._watched.get(key)
        if known is not None:
            known.ends_at = inf
            return
        if not hello.host or hello.host != self._host or hello.pid <= 0:
            return
        if len(self._watched) >= MAX_WATCHED:
            self._counters.limits_hit["node.watched"] += 1
            return
        try:
            fd = os.pidfd_open(hello.pid)
        except (OSError, OverflowError):
            return
        if _started(hello.pid) != hello.started:
            os.close(fd)
            return
        process = self._watched[key] = Process(*key, fd, self._died)
        self._reactor.register(fd, process)

    def session_lost(self, node: str, incarnation: int, now: float) -> None:
        process = self._watched.get((node, incarnation))
        if process is not None:
            process.ends_at = now + self._patience

    def tick(self, now: float) -> None:
        """Ticker: forget those whose leases have ended by themselves."""
        for process in [process for process in self._watched.values() if now >= process.ends_at]:
            self._forget(process)

    def close(self) -> None:
        for process in list(self._watched.values()):
            self._forget(process)

    def _died(self, process: Process) -> None:
        self._forget(process)
        log.info("node_process_died", node=process.node)
        self._on_death(process.node, process.incarnation)

    def _forget(self, process: Process) -> None:
        del self._watched[process.node, process.incarnation]
        self._reactor.unregister(process.fd)
        os.close(process.fd)


def here() -> str:
    """Hello.host of nodes whose pids mean the same to us; "" if we can't say."""
    try:
        return host_of(Path(BOOT_ID).read_text(encoding="ascii"), os.stat(PID_NAMESPACE).st_ino)
    except OSError:
        return ""


def _started(pid: int) -> int:
    """When the process began; -1 if that is not to be seen."""
    try:
        return started_of(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, IndexError):
        return -1
