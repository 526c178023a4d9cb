"""A whole proxy and its nodes within a test.

The proxy is `holdfast serve` as a process of its own, on free ports of the loopback address. Nodes run within the test
(`Proxy.node`) or as processes (`Proxy.node_process`). All of them are gone when the block ends, however it ends. They
are real processes and sockets, so tests need Trio's real clock. What they log goes to stderr, which pytest shows
of a test that fails. Variables HOLDFAST_* of the environment do not count.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import trio

from holdfast.node.node import Node
from holdfast.protocols.errors import HoldfastError
from holdfast.testing.nursery import nursery

PATIENCE = 30.0  # for a process to be ready on a busy machine; it takes about half a second on an idle one
POLL_INTERVAL = 0.02
END_TIMEOUT = 10.0  # for killed processes to be gone
DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "client": {"bind": "127.0.0.1:0"},
    "node": {"bind": "tcp://127.0.0.1:*"},
    "admin": {"bind": "127.0.0.1:0"},
    "state": {"recover_timeout": 0},  # no node of a former life will come
    "log": {"level": "warning"},
}

ENDED_BY_THE_TEST = (None, 0, -signal.SIGTERM, -signal.SIGKILL)

Status = Mapping[str, Any]


class Proxy:
    """A running proxy.

    url, http_url: where clients connect, without a path: ws://127.0.0.1:PORT, http://127.0.0.1:PORT.
    node_address: where nodes join. admin_url: of its admin server. process: to be signalled, as a trio.Process is.
    """

    def __init__(self, processes: list[trio.Process], bound: Mapping[str, str]) -> None:
        self.process = processes[0]
        self.url = f"ws://{bound['client']}"
        self.http_url = f"http://{bound['client']}"
        self.node_address = bound["node"]
        self.admin_url = f"http://{bound['admin']}"
        self._admin = bound["admin"]
        self._processes = processes

    async def status(self) -> Status:
        """What /api/status of the admin server says: clients, in_flight, parked, master, nodes and more."""
        return await trio.to_thread.run_sync(self._status)

    def _status(self) -> Status:
        connection = HTTPConnection(self._admin, timeout=PATIENCE)
        try:
            connection.request("GET", "/api/status")
            status: Status = json.loads(connection.getresponse().read())
        except OSError as error:
            raise HoldfastError(f"the proxy's admin server does not answer: {error}") from error
        finally:
            connection.close()
        return status

    async def wait_until(self, condition: Callable[[Status], object]) -> Status:
        """Wait until `condition(status)` holds, such as `lambda status: status["master"]["node"]`. Returns that status.

        Put it into a cancel scope for a limit of time.
        """
        while True:
            status = await self.status()
            if condition(status):
                return status
            await trio.sleep(POLL_INTERVAL)

    @asynccontextmanager
    async def node(self, node: Node) -> AsyncIterator[Node]:
        """Run a node within the test: what its handlers do can be looked at, and debugged.

        The proxy has it as ready when the block begins. When the block ends it is cut off, as a process that is
        killed; what it should do before, as `node.drain`, the test does.
        """
        async with nursery() as tasks:
            with trio.fail_after(PATIENCE):
                await tasks.start(node.run, [self.node_address])
                await self.wait_until(lambda status: _is_ready(status, "id", node.id))
            yield node
            tasks.cancel_scope.cancel(reason="the test has ended the node")

    async def node_process(self, node: str, *options: str) -> trio.Process:
        """Run `holdfast node MODULE:NAME` as a process. Returns when the proxy has it as ready.

        node: modules are found where the test finds them. options: further ones of the command line, such as
        "--name", "a". The process can be killed (`kill`), drained (`terminate`), frozen (`send_signal`) and awaited.
        Raises HoldfastError if it ends before it is ready.
        """
        command = [*_HOLDFAST, "node", node, "--join", self.node_address, *options]
        environment = _environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = await trio.lowlevel.open_process(command, env=environment)
        self._processes.append(process)
        with trio.fail_after(PATIENCE):
            while not _is_ready(await self.status(), "pid", process.pid):
                _check(process, f"the node {node}")
                await trio.sleep(POLL_INTERVAL)
        return process


@asynccontextmanager
async def proxy(**settings: Mapping[str, object]) -> AsyncIterator[Proxy]:
    """Run a proxy. settings: sections of the configuration, as `client={"max_channels": 3}, request={"timeout": "2s"}`.

    The rest is as docs/reference/configuration.md says, but for free ports and a log of warnings only. Raises
    HoldfastError if it does not start, or has failed when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        ready_file = Path(folder) / "ready.json"
        command = [*_HOLDFAST, "serve", "--ready-file", str(ready_file), *_as_options(settings)]
        async with _processes() as processes:
            process = await trio.lowlevel.open_process(command, env=_environment(), stdout=subprocess.DEVNULL)
            processes.append(process)
            with trio.fail_after(PATIENCE):
                while not ready_file.exists():
                    _check(process, "the proxy")
                    await trio.sleep(POLL_INTERVAL)
            yield Proxy(processes, json.loads(ready_file.read_bytes()))
            if process.poll() not in ENDED_BY_THE_TEST:
                raise HoldfastError(f"the proxy has failed with status {process.returncode}; stderr says why")


_HOLDFAST = (sys.executable, "-P", "-m", "holdfast")  # -P: a file proxy.py of the working directory is another's


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("HOLDFAST_")}


def _as_options(settings: Mapping[str, Mapping[str, object]]) -> list[str]:
    options = []
    for section in {**DEFAULTS, **settings}:
        for key, value in {**DEFAULTS.get(section, {}), **settings.get(section, {})}.items():
            options += ["--set", f"{section}.{key}={_as_text(value)}"]
    return options


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_as_text, value))
    return str(value)


def _is_ready(status: Status, key: str, value: object) -> bool:
    return any(node[key] == value and node["state"] == "ready" for node in status["nodes"])


def _check(process: trio.Process, what: str) -> None:
    if process.poll() is not None:
        raise HoldfastError(f"{what} has ended with status {process.returncode}; stderr says why")


@asynccontextmanager
async def _processes() -> AsyncIterator[list[trio.Process]]:
    """What is put into the list is gone when the block ends."""
    processes: list[trio.Process] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
        with trio.CancelScope(deadline=trio.current_time() + END_TIMEOUT, shield=True):
            for process in processes:
                await process.wait()
