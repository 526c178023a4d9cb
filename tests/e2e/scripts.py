"""Other people's clients in processes of their own, against a proxy and nodes as a user runs them.

A script checks what it gets by itself, and says on stdout, as JSON lines, how far it is.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

ROOT = Path(__file__).parents[2]
HOLDFAST = ROOT / ".venv" / "bin" / "holdfast"
PATIENCE = 60.0  # for a whole script; none needs more than a few seconds


def with_packages(directory: Path, package: str) -> Path:
    """It, with exactly the npm packages that its package-lock.json names. package: one of them."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.fail(f"{package} needs node and npm")
    if not (directory / "node_modules" / package).is_dir():
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=directory, check=True, timeout=300)
    return directory


class Processes:
    """Everything started for a test, ended by its pid at the end of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._all: list[trio.Process] = []

    async def start(self, *command: object, **options) -> trio.Process:
        with self._log().open("wb") as log:
            options.setdefault("stdout", log)
            options.setdefault("cwd", ROOT)
            process = await trio.lowlevel.open_process([str(part) for part in command], stderr=log, **options)
        self._all.append(process)
        return process

    def _log(self) -> Path:
        return self._directory / f"{len(self._all)}.log"

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self._directory.glob("*.log")))

    async def end(self) -> None:
        for process in reversed(self._all):
            if process.returncode is None:
                process.kill()
            await process.wait()


class Script:
    """A running script, and the JSON lines that it tells."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._told = b""

    async def line(self) -> dict | None:
        """The next line; None at the end, when it has ended well."""
        assert self.process.stdout is not None
        while b"\n" not in self._told:
            chunk = await self.process.stdout.receive_some()
            if not chunk:
                assert await self.process.wait() == 0
                return None
            self._told += chunk
        line, _, self._told = self._told.partition(b"\n")
        return json.loads(line)

    async def progress(self, messages: int) -> None:
        """Wait until so many more messages were published."""
        first = None
        while True:
            line = await self.line()
            assert line is not None, "the script has ended"
            first = line["published"] if first is None else first
            if line["published"] >= first + messages:
                return

    async def stop(self) -> dict:
        """Its summary."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"stop\n")
        while True:
            line = await self.line()
            assert line is not None, "the script has ended without a summary"
            if "published" not in line:
                assert await self.line() is None
                return line


class Cluster:
    """A proxy, and nodes of an application: "module:name"."""

    def __init__(self, processes: Processes, proxy: trio.Process, application: str, bound: dict) -> None:
        self.processes = processes
        self.proxy = proxy
        self.bound = bound
        self._application = application
        self.client = bound["client"].rpartition(":")[::2]  # host and port
        self._started = 0

    async def start_nodes(self, count: int) -> None:
        self._started += count
        for _ in range(count):
            await self.processes.start(HOLDFAST, "node", self._application, "--join", self.bound["node"])
        with trio.fail_after(PATIENCE):
            while await self._ready() < self._started:  # noqa: ASYNC110 - other processes do it
                await trio.sleep(0.05)

    async def _ready(self) -> int:
        return len([node for node in await self.nodes() if node["state"] == "ready"])

    async def nodes(self) -> list[dict]:
        """What the proxy says of its nodes."""
        async with httpx.AsyncClient() as client:
            response = await client.get(f"http://{self.bound['admin']}/api/status")
        return response.raise_for_status().json()["nodes"]

    async def oldest(self) -> str:
        """The id of the node that has been ready for the longest time."""
        return next(node["id"] for node in await self.nodes() if node["state"] == "ready")

    async def script(self, sdk: Path, name: str, *arguments: str) -> Script:
        """Start one of the scripts."""
        command = ("node" if name.endswith(".mjs") else sys.executable, sdk / name, *arguments)
        process = await self.processes.start(*command, cwd=sdk, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return Script(process)

    async def kill(self, node: str) -> None:
        """SIGKILL the process of a node."""
        [pid] = [known["pid"] for known in await self.nodes() if known["id"] == node]
        os.kill(pid, 9)
        self._started -= 1


@asynccontextmanager
async def a_cluster(directory: Path, nodes: int, application: str, *settings: str, config: str = ""):
    """settings: of the proxy, "section.key=value". config: a file of it."""
    processes = Processes(directory)
    ready = directory / "ready.json"
    settings = ("client.bind=127.0.0.1:0", "node.bind=tcp://127.0.0.1:*", "admin.bind=127.0.0.1:0", *settings)
    try:
        sets = [part for setting in settings for part in ("--set", setting)]
        if config:
            (directory / "holdfast.toml").write_text(config)
            sets += ["--config", str(directory / "holdfast.toml")]
        proxy = await processes.start(HOLDFAST, "serve", "--ready-file", ready, *sets)
        with trio.fail_after(PATIENCE):
            while not ready.exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.02)
        system = Cluster(processes, proxy, application, json.loads(ready.read_text()))
        await system.start_nodes(nodes)
        yield system
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
            await processes.end()
        print(processes.logs())  # pytest shows it if the test failed


async def steps(script: Script) -> list[str]:
    """Those that have passed, when all have."""
    passed = []
    with trio.fail_after(PATIENCE):
        while (line := await script.line()) is not None:
            passed.append(line["step"])
    return passed
