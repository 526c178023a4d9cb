"""The limit of open files, and what it is shared out to: whoever comes in masses takes nothing that others need.

Owns how many there may be of each kind that comes from outside and holds a descriptor; and what is said where
connections are accepted, when the system has none all the same.
"""

import errno
import fcntl
import os
import resource
from contextlib import suppress
from typing import NamedTuple

import structlog
import trio

from holdfast.complaints import Complaints
from holdfast.proxy.config import Config

log = structlog.get_logger("holdfast.open_files")

# Our own: sockets, logs, the store, processes that are watched (proxy.nodes.deaths). Besides what is open at the start,
# the listening sockets of all workers for one.
RESERVED = 128
PAUSE = 0.1  # descriptors come back when others leave
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Shares(NamedTuple):
    """So many at most: clients, nodes (and tunnels), strangers at each port of ZeroMQ, callers of the admin server."""

    clients: int
    nodes: int
    strangers: int
    callers: int


def shares_of(config: Config, strangers: int, callers: int, *, is_alone: bool) -> Shares:
    """What there may be in this process, whose limit it raises as far as it may and has to. The rest: as is wanted."""
    wanted = Shares(config.client.max_connections, config.node.max_nodes, strangers, callers)
    reserved = RESERVED + len(os.listdir("/proc/self/fd"))
    files = raise_limit(reserved + _files(wanted, is_alone=is_alone))
    shares = share_out(files - reserved, wanted, is_alone=is_alone)
    if shares != wanted:
        has_asked = wanted.clients not in (shares.clients, Config().client.max_connections)
        has_asked |= wanted.nodes not in (shares.nodes, Config().node.max_nodes)
        clients, nodes = shares.clients, shares.nodes
        if has_asked:
            log.warning("descriptor_limit", connections=clients, configured=wanted.clients, nodes=nodes)
        else:
            log.info("descriptor_limit", connections=clients, configured=wanted.clients, nodes=nodes)
    return shares


def share_out(files: int, wanted: Shares, *, is_alone: bool) -> Shares:
    """Of so many, which may be too few. Clients have what the others leave, and at least half or so; of the rest nodes
    have half, and what strangers leave."""
    clients, nodes, strangers, callers = wanted
    if files >= _files(wanted, is_alone=is_alone):
        return wanted
    per_node, per_stranger = _costs(is_alone=is_alone)
    callers = max(1, min(callers, files // 4))
    files -= callers
    clients = max(1, min(clients, max(files - nodes * per_node - strangers * per_stranger, files // 2)))
    files -= clients
    at_first = min(nodes, files // 2 // per_node)
    strangers = max(1, min(strangers, (files - at_first * per_node) // per_stranger))
    nodes = max(1, min(nodes, (files - strangers * per_stranger) // per_node))
    return Shares(clients, nodes, strangers, callers)


def _files(shares: Shares, *, is_alone: bool) -> int:
    per_node, per_stranger = _costs(is_alone=is_alone)
    return shares.clients + shares.callers + shares.nodes * per_node + shares.strangers * per_stranger


def _costs(*, is_alone: bool) -> tuple[int, int]:
    """Descriptors for each node and stranger that there may be. A stranger is held twice. In a cluster there are as
    many tunnels as nodes; as many strangers where we publish, which all peers stay; and our own ways to those, two to
    each."""
    return (1, 2) if is_alone else (2, 6)


def raise_limit(wanted: int) -> int:
    """Let this process have so many descriptors, or as many as it may. Returns how many.

    To be called while the process has no other threads, if it can be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    _make_room(min(soft, wanted))
    return min(soft, wanted)


def _make_room(count: int) -> None:
    """Have the kernel's table of our descriptors as large as it will ever be.

    It doubles when it is full, and in a process with threads, of which libzmq has some, whoever asks for a descriptor
    waits 10 to 15 ms then, until no CPU reads the old table: five times in a storm of 5,000 clients, and all with it.
    """
    with open(os.devnull, "rb") as null, suppress(OSError):  # without this it grows later
        os.close(fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, count - 1))


class Shortage:
    """Of where connections are accepted: the system may have nothing left for them, whatever was counted."""

    def __init__(self) -> None:
        self._complaints = Complaints()

    def is_met(self, error: OSError, address: str) -> bool:
        """Whether that is what the error says. Then there is a line, once a minute, and the caller waits for PAUSE."""
        if error.errno not in OUT_OF_RESOURCES:
            return False
        if self._complaints.is_due(error.strerror or str(error), trio.current_time()):
            log.warning("accept_failed", address=address, error=error.strerror)
        return True
