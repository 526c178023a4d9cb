"""What processes have said to each other over TCP so far, as the kernel counts it: payload, by `ss`."""

import re
import shutil
import subprocess
from collections.abc import Collection
from typing import NamedTuple

from bench.process import BenchError

# Local and remote address, the process that has the socket, and what was sent on it: not named while it is nothing.
ROW = re.compile(r"(\S+:\d+) +(\S+:\d+) +users:\(\(.*?pid=(\d+),(?:.*? bytes_sent:(\d+))?")

MAPPED = re.compile(r"\[::ffff:([\d.]+)\]")  # an IPv4 address of an IPv6 socket


class Traffic(NamedTuple):
    """Bytes sent, by all together."""

    between_proxies: int
    to_nodes: int
    from_nodes: int

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(*(after - former for after, former in zip(self, before, strict=True)))


def traffic(proxies: Collection[int], nodes: Collection[int]) -> Traffic:
    """Of connections that are there. proxies, nodes: pids. Raises BenchError."""
    if shutil.which("ss") is None:
        raise BenchError("there is no ss (iproute2) to count bytes with")
    shown = subprocess.run(["ss", "-tinpOH", "state", "established"], capture_output=True, text=True, check=True)
    return count(shown.stdout, proxies, nodes)


def count(shown: str, proxies: Collection[int], nodes: Collection[int]) -> Traffic:
    """shown: by ss."""
    ends = {(row[1], row[2]): (int(row[3]), int(row[4] or 0)) for row in ROW.finditer(MAPPED.sub(r"\1", shown))}
    between = to_nodes = from_nodes = 0
    for (local, remote), (sender, sent) in ends.items():
        receiver, _ = ends.get((remote, local), (None, 0))
        if sender in proxies and receiver in proxies:
            between += sent
        elif sender in proxies and receiver in nodes:
            to_nodes += sent
        elif sender in nodes and receiver in proxies:
            from_nodes += sent
    return Traffic(between, to_nodes, from_nodes)
