"""Where proxies and nodes are dialled: `tcp://HOST:PORT`, in which HOST may be a name.

Names are looked up by whoever dials, in a thread, each time that it dials: libzmq would do it in the one thread that
carries everything else, and keep what it found. Owns how such endpoints are written, and no looking up.
"""

from collections.abc import Iterable
from typing import Any


def name_in(endpoint: str) -> tuple[str, int] | None:
    """The host's name and the port. None: there is nothing to look up."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://") or not host or not set(host).isdisjoint("[]*;:/") or not port.isdecimal():
        return None
    if host.rpartition(".")[2].isdecimal():  # no name ends so
        return None
    return host, int(port)


def endpoints_of(found: Iterable[tuple[Any, Any, Any, str, tuple[Any, ...]]]) -> list[str]:
    """What socket.getaddrinfo has found, as endpoints, each once, in its order."""
    addresses = [(address[0], address[1]) for *_, address in found]
    written = [f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}" for host, port in addresses]
    return list(dict.fromkeys(written))
