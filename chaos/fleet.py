"""The deployment under test, as faults and displays see it: its nodes, by what a proxy's admin server says.

Owns the processes of the nodes that we have started ourselves. Others are only signalled if they carry the label of
nodes that may be harmed and run on this machine.
"""

import os
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import msgspec
import trio
from msgspec import Struct

from holdfast.chaos.deployment import Deployment
from holdfast.chaos.messages import LABEL, STATES_VARIABLE
from holdfast.chaos.processes import Process, Processes
from holdfast.chaos.proxies import Proxy
from holdfast.chaos.writes import Contents
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.views import Drained

POLL_INTERVAL = 0.2


class NodeStatus(Struct, frozen=True):
    """Of /api/status what is needed here."""

    id: str
    name: str
    state: str
    in_flight: int
    pid: int
    labels: dict[str, str]


class MasterStatus(Struct, frozen=True):
    node: str | None = None
    epoch: int = 0


class MemberStatus(Struct, frozen=True):
    id: str
    alive: bool
    fenced: bool


class ClusterStatus(Struct, frozen=True):
    keeper: str | None
    members: tuple[MemberStatus, ...]


class Status(Struct, frozen=True):
    ready: bool = False
    proxy: str = ""
    redelivered: int = 0
    parked: int = 0
    last_failover: float | None = None
    master: MasterStatus = MasterStatus()
    nodes: tuple[NodeStatus, ...] = ()
    cluster: ClusterStatus | None = None


def _is_whole(cluster: ClusterStatus | None, count: int) -> bool:
    if cluster is None:
        return count == 1
    return len(cluster.members) == count and all(member.alive and not member.fenced for member in cluster.members)


class Fleet:
    """status: the latest, of the first proxy that serves. Nodes that we start join that one."""

    def __init__(self, processes: Processes, deployment: Deployment) -> None:
        self._processes = processes
        self._deployment = deployment
        self._ours: dict[int, Process] = {}  # by pid
        self._pipes: list[int] = []
        self._states = processes.directory / "states"
        self._states.mkdir()
        self._environ = {**deployment.node_environ, STATES_VARIABLE: str(self._states)}
        self._updated = trio.Event()
        self.status = Status()

    def testify(self, variable: str, pipe: int) -> None:
        """Nodes that are started from now on are told by this variable to write there (chaos.messages)."""
        self._pipes.append(pipe)
        self.tell(variable, str(pipe))

    def tell(self, variable: str, value: str) -> None:
        """To nodes that are started from now on, in their environment."""
        self._environ[variable] = value

    # --- what there is ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Task: keep `status` fresh. A proxy that does not answer is another's concern."""
        while True:
            with suppress(HoldfastError):
                await self.update()
            await trio.sleep(POLL_INTERVAL)

    async def update(self) -> None:
        """Ask the proxy. Raises HoldfastError."""
        self.status = await self.status_of(self._deployment.first)
        self._updated.set()
        self._updated = trio.Event()

    async def status_of(self, proxy: Proxy) -> Status:
        """Raises HoldfastError."""
        return msgspec.convert(await proxy.status(), Status, from_attributes=True)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds of a status that is fresh. Callers set the timeout."""
        while True:
            await self._updated.wait()
            if condition():
                return

    def ready(self) -> list[NodeStatus]:
        return [node for node in self.status.nodes if node.state == "ready"]

    def is_ready(self, pid: int) -> bool:
        return any(node.pid == pid for node in self.ready())

    @property
    def is_complete(self) -> bool:
        """There are nodes that are ready, and all of ours are."""
        return bool(self.ready()) and all(self.is_ready(pid) for pid in self._ours)

    def harmable(self) -> list[NodeStatus]:
        """Nodes that are ready and may be harmed, in a fixed order."""
        is_local = self._deployment.first.is_local
        return sorted(
            (node for node in self.ready() if node.pid in self._ours or (is_local and LABEL in node.labels)),
            key=lambda node: (node.name, node.id),
        )

    def is_ours(self, pid: int) -> bool:
        return pid in self._ours

    @property
    def running(self) -> list[Process]:
        """Nodes of ours."""
        return list(self._ours.values())

    async def states(self) -> list[Contents]:
        """The state that each node of ours has which is ready. Callers set the timeout."""
        nodes = [node for node in self.running if self.is_ready(node.pid)]
        files = [self._states / f"{node.pid}.json" for node in nodes]
        for node, file in zip(nodes, files, strict=True):
            file.unlink(missing_ok=True)
            node.signal(signal.SIGUSR2)
        while not all(file.exists() for file in files):  # noqa: ASYNC110 - a file has no event; it comes by rename
            await trio.sleep(0.02)
        return [msgspec.json.decode(file.read_bytes()) for file in files]

    async def is_whole(self) -> bool:
        """All proxies serve, and each of a cluster hears all."""
        count = self._deployment.members
        try:
            views = [await self.status_of(proxy) for proxy in self._deployment.proxies]
        except HoldfastError:
            return False
        return all(view.ready and _is_whole(view.cluster, count) for view in views)

    # --- what can be done -------------------------------------------------------------------------------------

    def start(self, name: str) -> Process:
        """Start a node."""
        address = self._deployment.first.node_address
        assert address is not None
        environ = {
            **self._environ,
            "HOLDFAST_NODE_NAME": name,
            "HOLDFAST_NODE_ID": f"{name}-{secrets.token_hex(3)}",
        }
        process = self._processes.start(
            name,
            ["node", "holdfast.chaos.node:node", "--join", address],
            environ=environ,
            pass_fds=self._pipes,
        )
        self._ours[process.pid] = process
        return process

    def signal(self, pid: int, number: signal.Signals) -> None:
        """To a node; one that has ended meanwhile gets nothing."""
        process = self._ours.get(pid)
        if process is not None:
            process.signal(number)
        else:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def wait_exit(self, pid: int) -> int | None:
        """Wait until a node has ended. Its exit status, if it is ours."""
        process = self._ours.get(pid)
        if process is None:
            await self.wait(lambda: all(node.pid != pid for node in self.status.nodes))
            return None
        status = await process.wait()
        del self._ours[pid]
        self._processes.forget(process)
        return status

    async def drain(self, node: str) -> None:
        """Have the proxy give a node no more requests. It may be gone already."""
        with suppress(HoldfastError):
            path = f"/api/nodes/{quote(node, safe='')}/drain"
            await trio.to_thread.run_sync(self._deployment.first.admin.post, path, {}, Drained, abandon_on_cancel=True)
