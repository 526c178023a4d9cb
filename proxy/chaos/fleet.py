"""The deployment under test, as faults and displays see it: its nodes, by what the proxy's admin server says.

Owns the processes of the nodes that we have started ourselves. Others are only signalled if they carry the label of
nodes that may be harmed and run on this machine.
"""

import os
import secrets
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import quote

import msgspec
import trio
from msgspec import Struct

from protocols.errors import HoldfastError
from proxy.chaos.messages import LABEL, TESTIMONY_FD
from proxy.chaos.processes import Process, Processes
from proxy.cli.admin_client import AdminClient

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


class Status(Struct, frozen=True):
    redelivered: int = 0
    parked: int = 0
    last_failover: float | None = None
    master: MasterStatus = MasterStatus()
    nodes: tuple[NodeStatus, ...] = ()


class Fleet:
    """status: the latest. address: where nodes join, None if we start none."""

    def __init__(
        self, processes: Processes, admin: AdminClient, address: str | None, environ: Mapping[str, str], is_local: bool
    ) -> None:
        self._processes = processes
        self._admin = admin
        self._address = address
        self._environ = environ
        self._is_local = is_local
        self._ours: dict[int, Process] = {}  # by pid
        self._testimony: tuple[int, ...] = ()
        self._updated = trio.Event()
        self.status = Status()

    def testify(self, pipe: int) -> None:
        """Nodes that are started from now on write there when they act as master."""
        self._testimony = (pipe,)

    # --- what there is ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Task: keep `status` fresh. A proxy that does not answer is another's concern."""
        while True:
            with suppress(HoldfastError):
                await self.update()
            await trio.sleep(POLL_INTERVAL)

    async def update(self) -> None:
        """Ask the proxy. Raises HoldfastError."""
        answer = await trio.to_thread.run_sync(self._admin.get, "/api/status", abandon_on_cancel=True)
        self.status = msgspec.convert(answer, Status)
        self._updated.set()
        self._updated = trio.Event()

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
        return sorted(
            (node for node in self.ready() if node.pid in self._ours or (self._is_local and LABEL in node.labels)),
            key=lambda node: (node.name, node.id),
        )

    def is_ours(self, pid: int) -> bool:
        return pid in self._ours

    @property
    def running(self) -> list[Process]:
        """Nodes of ours."""
        return list(self._ours.values())

    # --- what can be done -------------------------------------------------------------------------------------

    def start(self, name: str) -> Process:
        """Start a node."""
        assert self._address is not None
        environ = {
            **self._environ,
            "HOLDFAST_NODE_NAME": name,
            "HOLDFAST_NODE_ID": f"{name}-{secrets.token_hex(3)}",
        }
        for pipe in self._testimony:
            environ[TESTIMONY_FD] = str(pipe)
        process = self._processes.start(
            name,
            ["node", "proxy.chaos.node:node", "--join", self._address],
            environ=environ,
            pass_fds=self._testimony,
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
            await trio.to_thread.run_sync(self._admin.post, path, {}, abandon_on_cancel=True)
