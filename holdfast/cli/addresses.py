"""Where a proxy is bound that is for trying things out: `holdfast demo` and `holdfast dev`."""

import socket
from contextlib import closing

# Where a user would look for it; another port if that is taken.
ADDRESSES = (
    ("client.bind", "127.0.0.1:7512", "127.0.0.1:0"),
    ("node.bind", "tcp://127.0.0.1:7510", "tcp://127.0.0.1:*"),
    ("admin.bind", "127.0.0.1:7513", "127.0.0.1:0"),
)


def addresses() -> dict[str, str]:
    """By key of the configuration."""
    return {key: usual if _is_free(usual) else other for key, usual, other in ADDRESSES}


def _is_free(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen()
        except OSError:
            return False
    return True
