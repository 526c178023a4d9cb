"""What TCP sockets take of the kernel's memory.

It can't be asked for by process: on loopback both ends are on this machine. So it is a mean of all sockets. Counts the
caches that have one object for each socket, and not all slabs: whoever looks into /proc meanwhile makes those grow by
more than a socket has.
"""

import os
from pathlib import Path
from typing import NamedTuple

# The socket, its inode, its file, and its place in an epoll. That place has 64 bytes more, in a cache that the kernel
# shares with others.
CACHES = ("TCP", "sock_inode_cache", "filp", "eventpoll_epi", "ep_head")
NAME_CACHE = "dentry"  # one for each socket, but many for others


class Sockets(NamedTuple):
    """TCP sockets of IPv4 on this machine, and the memory of the kernel's caches that are filled by them."""

    number: int
    cache_bytes: int
    name_bytes: int

    def bytes_each(self, before: "Sockets") -> float:
        """Of those that came since."""
        return (self.cache_bytes - before.cache_bytes) / (self.number - before.number) + self.name_bytes


def sockets() -> Sockets | None:
    """None if we may not ask: only root may."""
    caches = Path("/proc/slabinfo")
    if not os.access(caches, os.R_OK):
        return None
    rows = {row[0]: row for row in map(str.split, caches.read_text().splitlines()[2:])}
    page = os.sysconf("SC_PAGE_SIZE")
    taken = sum(int(rows[name][14]) * int(rows[name][5]) * page for name in CACHES if name in rows)  # slabs times pages
    words = Path("/proc/net/sockstat").read_text().partition("TCP:")[2].split()
    return Sockets(int(words[words.index("alloc") + 1]), taken, int(rows[NAME_CACHE][3]))
