"""The name that each run of a proxy has on its host: whoever can have it knows that this run is dead.

An abstract address of Unix sockets. The kernel gives it to one socket of a network namespace, which is what Member.host
tells apart, and takes it back when no process has that socket any more: not while one is frozen, and however it ended.
Pids prove less: they are used again, and each container counts its own.

Owns no decision: what a death is good for says balancer.cluster.membership.
"""

import socket
from contextlib import suppress


def hold(proxy: str) -> socket.socket | None:
    """Have the name until the socket is closed. None: the system does not let us, or another has it."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # nobody can connect to it: it does not listen
    with suppress(OSError):
        holder.bind(f"\0holdfast-proxy-{proxy}")
        return holder
    holder.close()
    return None


def is_free(proxy: str) -> bool:
    """Whether nobody of this host has the name. What can't be told is no proof."""
    probe = hold(proxy)
    if probe is None:
        return False
    probe.close()
    return True
