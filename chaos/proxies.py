"""A proxy under test: where it is; and one of our own, which is killed and started anew at the same addresses."""

import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import trio

from holdfast.chaos.processes import Process, Processes, children, cpu_seconds, resident_bytes, wait_file
from holdfast.console.admin_client import AdminClient
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.config import is_loopback, split_address
from holdfast.proxy.views import StatusView

START_PATIENCE = 30.0
RESTART_PATIENCE = 120.0  # more than cluster.takeover_timeout: no address of a killed cluster may be in use again


class Proxy:
    """number: from 0. node_address: where nodes of ours join, None if there are none. is_serving: as far as we know."""

    def __init__(self, number: int, client: str, admin_url: str, token: str, node_address: str | None) -> None:
        self.number = number
        self.host, self.port = split_address(client)
        self.admin_url = admin_url
        self.admin = AdminClient(admin_url, token)
        self.node_address = node_address
        self.is_serving = True

    @property
    def url(self) -> str:
        """For clients."""
        return f"ws://[{self.host}]:{self.port}/" if ":" in self.host else f"ws://{self.host}:{self.port}/"

    @property
    def is_local(self) -> bool:
        return is_loopback(urlsplit(self.admin_url).hostname or "")

    async def status(self) -> StatusView:
        """What its admin server says. Raises HoldfastError."""
        return await trio.to_thread.run_sync(self.admin.get, "/api/status", StatusView, abandon_on_cancel=True)

    async def metric(self, name: str) -> float:
        """One that has no labels, of its metrics. Raises HoldfastError."""
        text = await trio.to_thread.run_sync(self.admin.text, "/metrics", abandon_on_cancel=True)
        return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


class OwnProxy(Proxy):
    """process: the present one. id: as it calls itself in its cluster, "" if there is none."""

    def __init__(self, number: int, launch: "Launch", process: Process, bound: dict[str, str], token: str) -> None:
        super().__init__(number, bound["client"], f"http://{bound['admin']}", token, bound["node"])
        self.name = launch.name
        self.process = process
        self.id = ""
        self._launch = launch
        self._is_anew = trio.Event()
        self._addresses = [f"{section}.bind={bound[section]}" for section in ("client", "node", "admin")]
        self._cpu_of_former = 0.0
        self._frozen: list[int] = []  # pids

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all its processes."""
        return self._cpu_of_former + sum(map(cpu_seconds, self.pids))

    @property
    def pids(self) -> list[int]:
        """Of its process and, if it has any, of its workers."""
        return [self.process.pid, *children(self.process.pid)]

    @property
    def resident_bytes(self) -> int:
        """Memory of all its processes."""
        return sum(map(resident_bytes, self.pids))

    async def learn(self) -> None:
        """What its cluster knows of it. Raises HoldfastError."""
        cluster = (await self.status()).cluster
        if cluster is None:
            raise HoldfastError(f"the proxy at {self.admin_url} has no cluster")
        self.id = cluster.here
        (pub,) = (member.pub for member in cluster.members if member.id == self.id)
        self._addresses = [*self._addresses[:3], f"cluster.pub={pub}"]

    def signal(self, number: signal.Signals) -> None:
        """SIGTERM or SIGKILL: it ends, and serves no more."""
        self.is_serving = False
        self._cpu_of_former = self.cpu_seconds
        self.process.signal(number)

    def freeze(self) -> None:
        """SIGSTOP to all of it."""
        self._frozen = self.pids
        for pid in self._frozen:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def restart(self) -> None:
        """Where it was, after it has ended. Returns when it serves. Raises HoldfastError."""
        self.process, _ = await self._launch.run(self._addresses, RESTART_PATIENCE)
        if self.id:
            await self.learn()
        self.is_serving = True
        self._is_anew.set()
        self._is_anew = trio.Event()

    async def wait_lost(self) -> int:
        """Wait until it ends though it was not killed. Its exit status."""
        while True:
            is_anew = self._is_anew
            status = await self.process.wait()
            if self.is_serving:
                return status
            await is_anew.wait()


class Launch:
    """How a proxy is started. file, sets: its configuration. workers: how many it is."""

    def __init__(
        self, name: str, processes: Processes, file: Path | None, sets: Sequence[str], workers: int = 1
    ) -> None:
        self.name = name
        self._processes = processes
        self._file = file
        self._sets = sets
        self._workers = workers
        self._ready_file = processes.directory / f"{name}.json"

    def start(self, sets: Sequence[str] = ()) -> Process:
        """sets: above the others."""
        self._ready_file.unlink(missing_ok=True)  # that of a former run
        arguments = ["serve", "--ready-file", str(self._ready_file)]
        if self._workers > 1:
            arguments += ["--workers", str(self._workers)]
        if self._file is not None:
            arguments += ["--config", str(self._file)]
        for one in (*self._sets, *sets):
            arguments += ["--set", one]
        return self._processes.start(self.name, arguments)

    async def run(self, sets: Sequence[str] = (), patience: float = START_PATIENCE) -> tuple[Process, dict[str, str]]:
        """As start; the process, and where it is bound, when it serves. Raises HoldfastError."""
        process = self.start(sets)
        return process, json.loads(await wait_file(self._ready_file, process, patience))
