"""What each worker of `serve --workers N` is told: of itself, and settings that stand above the operator's own.

Worker 0 is bound where the configuration says. The others are at the same hosts with ports of their own, and whoever
is started again takes the ports that it had: then the others know at once that its former run is dead, because
somebody else is in its place.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from protocols.errors import ConfigError
from proxy.bound import Bound
from proxy.config import Config, split_address

VARIABLE = "HOLDFAST_WORKER"


class WorkerLife(NamedTuple):
    """What a worker is told of itself, and the status shows. number -1: this process is no worker.

    last_exit: the exit status of its former run, minus the signal's number if one has ended it.
    """

    number: int = -1
    restarts: int = 0
    last_exit: int = 0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "WorkerLife":
        if VARIABLE not in environ:
            return cls()
        try:
            number, restarts, last_exit = map(int, environ[VARIABLE].split(":"))
        except ValueError:
            raise ConfigError(f"{VARIABLE}: only `holdfast serve --workers` sets it") from None
        return cls(number, restarts, last_exit)

    def after(self, status: int) -> "WorkerLife":
        """The next life."""
        return WorkerLife(self.number, self.restarts + 1, status)

    def __str__(self) -> str:
        return f"{self.number}:{self.restarts}:{self.last_exit}"


def store_in(folder: Path) -> list[str]:
    """Settings of a store for the workers of one run, who need no other: it may end with them."""
    return ["store.kind=sqlite", f"store.path={folder / 'store'}"]


@contextmanager
def reserved(config: Config) -> Iterator[Config]:
    """Hold the client ports for the workers. Yields the configuration with port 0 replaced by the port that was given.

    A socket that is bound and does not listen gets no connection. It keeps the port ours while no worker listens there,
    and an address that somebody else has is found before anything is started. Raises OSError.
    """
    with ExitStack() as sockets:

        def reserve(address: str) -> str:
            host, port = split_address(address)
            holder = sockets.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if holder.family == socket.AF_INET6:
                holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as the listeners will
            try:
                holder.bind((host, port))
            except OSError as error:
                raise OSError(error.errno, f"can't bind {address}: {error.strerror}") from error
            return _with_port(address, str(holder.getsockname()[1]))

        bind = tuple(map(reserve, config.client.bind))
        protocols = [spec.partition("://") for spec in config.client.protocols]
        further = tuple(f"{name}://{reserve(address)}" for name, _, address in protocols)
        yield replace(config, client=replace(config.client, bind=bind, protocols=further))


def settings_of(config: Config, number: int, former: Bound | None) -> Iterator[str]:
    """`section.key=value` for a worker. config: as of `reserved`. former: where it was bound in its former run."""
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
