"""A flood: nodes publish more than clients can be sent, to listeners who count.

Owns what trial, nodes and listeners say to each other about it. The trial's order is in a file, where nodes look: it
needs neither proxies nor their state. Each message has its number in the run of a node; so whoever misses one knows.
"""

import os
import struct
from pathlib import Path

import msgspec
from msgspec import Struct

from holdfast.chaos.failover import Percentiles

CHANNEL = "flood"
PATH = "/flood"  # where listeners connect; what nodes know of these clients is not audited
# In a node's environment: where the order is; and a pipe that takes lines of JSON, each a Published.
ORDER_VARIABLE = "HOLDFAST_CHAOS_FLOOD"
PUBLISHED_FD = "HOLDFAST_CHAOS_PUBLISHED_FD"

# Run, its first message's time, number from 1, time of publishing; and what makes it a common size.
_message = struct.Struct("<QdQd32x")
MESSAGE_BYTES = _message.size
pack = _message.pack
unpack_from = _message.unpack_from


class Order(Struct):
    """What nodes are to publish from now on. number: of the order. rate: messages per second, by each node. burst: at
    once. pids: of the nodes that are meant; none: of all.
    """

    number: int
    rate: float = 0.0
    burst: int = 0
    pids: list[int] = []


def give(file: Path, order: Order) -> None:
    """Whole, by rename."""
    temporary = file.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(order))
    temporary.rename(file)


class Orders:
    """A node's side: the orders that are for it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = 0
        self._now = Order(0)

    def look(self) -> Order:
        """The present one."""
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._changed:
                order = msgspec.json.decode(self._file.read_bytes(), type=Order)
                self._changed = changed
                self._now = order if not order.pids or os.getpid() in order.pids else Order(order.number)
        except FileNotFoundError:
            pass  # there is no flood yet
        return self._now


class Published(Struct):
    """What one run of a node has published, since `begun`. attempted: what it was ordered to."""

    pid: int
    run: int
    begun: float = 0.0
    attempted: int = 0
    published: int = 0


class FloodFigures(Struct):
    """What came of it. Times in ms, memory elsewhere.

    capacity: deliveries per second of all listeners together, measured before. factor: how much more than this was
    ordered. attempted, published: messages, of all nodes. delivered: to all listeners together. missing: a number was
    passed over, or the last ones did not come. doubled: came twice, or out of order. closed: listeners that read and
    lost their connection for no good reason, by what they were told. slow, slow_closed: listeners that did not read,
    and those of them whose connection was ended. nodes_lost: given up by proxies.
    """

    listeners: int
    slow: int
    factor: float
    capacity: float
    attempted: int
    published: int
    delivered: int
    missing: int
    doubled: int
    closed: dict[str, int]
    slow_closed: int
    nodes_lost: int
    is_calm: bool
    seconds: float
    latency: Percentiles

    def wrong(self) -> dict[str, int]:
        """Each must be 0."""
        return {
            "messages of a flood missing": self.missing,
            "messages of a flood doubled or out of order": self.doubled,
            "listeners closed though they read": sum(self.closed.values()),
            "nodes given up in a flood": self.nodes_lost if self.is_calm else 0,
        }
