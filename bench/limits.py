"""How many connections this machine lets one process have, and what it is that allows no more."""

from pathlib import Path
from typing import NamedTuple

from bench.systems.base import DESCRIPTORS, RESERVED_DESCRIPTORS

# What a connection takes of the machine, at most: nginx with four ends of sockets in the kernel, and its generator.
CONNECTION_BYTES = 40 << 10
SPARE_PORTS = 500  # taken by others, and by what is not a connection of a client


class Limit(NamedTuple):
    connections: int
    why: str


def limit(descriptors_each: int = 1) -> Limit:
    """descriptors_each: of the process that is measured, for each connection."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return min(
        Limit((DESCRIPTORS - RESERVED_DESCRIPTORS) // descriptors_each, "descriptors of a process"),
        Limit(last + 1 - first - SPARE_PORTS, "ports of one address for connections to one other"),
        Limit(_available_bytes() // CONNECTION_BYTES, "memory"),
    )


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")
