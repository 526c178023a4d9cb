"""What each worker of `serve --workers N` is told: of itself, and settings that stand above the operator's own.

Worker 0 is bound where the configuration says. The others are at the same hosts with ports of their own, and whoever
is started again takes the ports that it had: then the others know at once that its former run is dead, because
somebody else is in its place.

Each has a socket on every client port, so that the kernel spreads new clients over them, and the supervisor holds them
all: whoever ends takes nobody with it who waits to be accepted. All have the sockets of all, and take from those of
the others who has waited too long (proxy.clients.listener).
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.protocols.errors import ConfigError
from holdfast.proxy.clients.listener import bind
from holdfast.proxy.config import Config, split_address
from holdfast.proxy.process.bound import Bound

VARIABLE = "HOLDFAST_WORKER"
SOCKETS = "HOLDFAST_WORKER_SOCKETS"


class WorkerLife(NamedTuple):
    """What a worker is told of itself, and the status shows. number -1: this process is no worker.

    last_exit: the exit status of its former run, minus the signal's number if one has ended it. has_own_store: the
    workers have one that was made for them.
    """

    number: int = -1
    restarts: int = 0
    last_exit: int = 0
    has_own_store: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "WorkerLife":
        if VARIABLE not in environ:
            return cls()
        try:
            number, restarts, last_exit, has_own_store = map(int, environ[VARIABLE].split(":"))
        except ValueError:
            raise ConfigError(f"{VARIABLE}: only `holdfast serve --workers` sets it") from None
        return cls(number, restarts, last_exit, bool(has_own_store))

    def after(self, status: int) -> "WorkerLife":
        """The next life."""
        return WorkerLife(self.number, self.restarts + 1, status, self.has_own_store)

    @property
    def is_store_new(self) -> bool:
        """Whether nobody can have been in the store's record before the workers of this run."""
        return self.has_own_store and not self.restarts

    def __str__(self) -> str:
        return f"{self.number}:{self.restarts}:{self.last_exit}:{self.has_own_store:d}"


def store_in(folder: Path) -> list[str]:
    """Settings of a store for the workers of one run, who need no other: it may end with them."""
    return ["store.kind=sqlite", f"store.path={folder / 'store'}"]


def is_store_in(folder: Path, config: Config) -> bool:
    """Whether that is the store of the configuration."""
    return config.store.kind == "sqlite" and Path(config.store.path).parent == folder


class Ports:
    """The client ports: of each worker a socket on each. Bound, and not listening before a worker serves."""

    def __init__(self, config: Config, workers: int) -> None:
        """Raises OSError: an address that somebody else has is found before anything is started."""
        self._sockets: list[list[socket.socket]] = [[] for _ in range(workers)]
        self._send_buffer_bytes = config.client.send_buffer_bytes
        try:
            bind = tuple(map(self._reserve, config.client.bind))
            protocols = [spec.partition("://") for spec in config.client.protocols]
            further = tuple(f"{name}://{self._reserve(address)}" for name, _, address in protocols)
        except OSError:
            self.close()
            raise
        # with port 0 replaced by the port that was given
        self.config = replace(config, client=replace(config.client, bind=bind, protocols=further))

    def _reserve(self, address: str) -> str:
        for sockets in self._sockets:
            sockets.append(bind(address, reuse_port=True, send_buffer_bytes=self._send_buffer_bytes))
            address = _with_port(address, str(sockets[-1].getsockname()[1]))
        return address

    @property
    def descriptors(self) -> list[int]:
        return [each.fileno() for sockets in self._sockets for each in sockets]

    def __str__(self) -> str:
        """For a worker's environment."""
        return ";".join(",".join(str(each.fileno()) for each in sockets) for sockets in self._sockets)

    def close(self) -> None:
        """Who comes when the last worker has closed them too is refused."""
        for each in chain.from_iterable(self._sockets):
            each.close()


def inherited(environ: Mapping[str, str]) -> list[list[socket.socket]]:
    """In a worker, once: the sockets of each of them on each client port. Else there are none."""
    return [
        [socket.socket(fileno=int(descriptor)) for descriptor in sockets.split(",")]
        for sockets in environ.get(SOCKETS, "").split(";")
        if sockets
    ]


def settings_of(config: Config, number: int, former: Bound | None) -> Iterator[str]:
    """`section.key=value` for a worker. config: as of `Ports`. former: where it was bound in its former run."""
    yield "client.reuse_port=true"
    yield f"client.bind={','.join(config.client.bind)}"
    if config.client.protocols:
        yield f"client.protocols={','.join(config.client.protocols)}"
    former_node: Sequence[str] = [""] * len(config.node.bind) if former is None else former.node
    yield "node.bind=" + ",".join(
        _address(configured, number, had, "*") for configured, had in zip(config.node.bind, former_node, strict=True)
    )
    yield "cluster.pub=" + _address(config.cluster.pub, number, "" if former is None else former.pub, "*")
    if config.cluster.router and number:
        yield f"cluster.router={_with_port(config.cluster.router, '*')}"  # whatever port node.bind got
    yield "admin.bind=" + _address(config.admin.bind, number, "" if former is None else former.admin, "0")


def _address(configured: str, number: int, had: str, any_port: str) -> str:
    """An address or endpoint for a worker. had: what it had, as bound, or ""."""
    if configured.startswith("ipc://"):
        return f"{configured}.{number}" if number else configured
    if had and _is_free(had.removeprefix("tcp://")):
        return _with_port(configured, had.rpartition(":")[2])
    return _with_port(configured, any_port) if number else configured


def _with_port(address: str, port: str) -> str:
    return f"{address.rpartition(':')[0]}:{port}"


def _is_free(address: str) -> bool:
    host, port = split_address(address)
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the worker will
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True
