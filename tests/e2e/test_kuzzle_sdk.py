"""Kuzzle's own SDK, from the npm registry, against examples/kuzzle_node.py: a proxy and nodes as a user runs them.

The scripts are in kuzzle_sdk/. They check what they get themselves, and say on stdout, as JSON lines, how far they are.
"""

import json
import os
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "kuzzle_sdk"
ROOT = Path(__file__).parents[2]
HOLDFAST = ROOT / ".venv" / "bin" / "holdfast"
PATIENCE = 60.0  # for a whole script; none needs more than a few seconds


@pytest.fixture(scope="session")
def sdk():
    """The directory of the scripts, with exactly the packages that package-lock.json names."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.fail("Kuzzle's SDK needs node and npm")
    if not (HERE / "node_modules" / "kuzzle-sdk").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True, timeout=300)
    return HERE


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
    """A proxy, and nodes of the example."""

    def __init__(self, processes: Processes, bound: dict[str, str]) -> None:
        self.processes = processes
        self.client = bound["client"].rpartition(":")[::2]  # host and port
        self._bound = bound
        self._started = 0

    async def start_nodes(self, count: int) -> None:
        self._started += count
        for _ in range(count):
            await self.processes.start(HOLDFAST, "node", "examples.kuzzle_node:node", "--join", self._bound["node"])
        with trio.fail_after(PATIENCE):
            while await self._ready() < self._started:  # noqa: ASYNC110 - other processes do it
                await trio.sleep(0.05)

    async def _ready(self) -> int:
        return len([node for node in await self.nodes() if node["state"] == "ready"])

    async def nodes(self) -> list[dict]:
        """What the proxy says of its nodes."""
        async with httpx.AsyncClient() as client:
            response = await client.get(f"http://{self._bound['admin']}/api/status")
        return response.raise_for_status().json()["nodes"]

    async def oldest(self) -> str:
        """The id of the node that has been ready for the longest time."""
        return next(node["id"] for node in await self.nodes() if node["state"] == "ready")

    async def script(self, sdk: Path, name: str, *arguments: str) -> Script:
        """Start one of the scripts; it is told where the proxy is."""
        command = ("node", sdk / name, *arguments, *self.client)
        process = await self.processes.start(*command, cwd=sdk, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return Script(process)

    async def kill(self, node: str) -> None:
        """SIGKILL the process of a node."""
        [pid] = [known["pid"] for known in await self.nodes() if known["id"] == node]
        os.kill(pid, 9)
        self._started -= 1


@asynccontextmanager
async def cluster(directory: Path, nodes: int):
    processes = Processes(directory)
    ready = directory / "ready.json"
    settings = ["client.bind=127.0.0.1:0", "node.bind=tcp://127.0.0.1:*", "admin.bind=127.0.0.1:0"]
    try:
        sets = [part for setting in settings for part in ("--set", setting)]
        await processes.start(HOLDFAST, "serve", "--ready-file", ready, *sets)
        with trio.fail_after(PATIENCE):
            while not ready.exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.02)
        system = Cluster(processes, json.loads(ready.read_text()))
        await system.start_nodes(nodes)
        yield system
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
            await processes.end()
        print(processes.logs())  # pytest shows it if the test failed


STEPS = [
    "server",
    "volatile data",
    "login",
    "indexes and collections",
    "documents with their notifications",
    "search",
    "errors",
    "a controller of one's own",
    "publish",
    "rooms and their users",
    "unsubscribe",
    "logout",
]


@pytest.mark.parametrize("protocol", ["ws", "http"])
async def test_the_api(sdk, tmp_path, protocol):
    """Three nodes: nothing may depend on which of them is asked."""
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "api.mjs", protocol)
        assert await steps(script) == STEPS


async def test_what_becomes_of_a_subscription_when_its_token_ends(sdk, tmp_path):
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "tokens.mjs")
        assert await steps(script) == ["the end of a token", "logging in anew", "another one's logout"]


async def steps(script: Script) -> list[str]:
    """Those that have passed, when all have."""
    passed = []
    with trio.fail_after(PATIENCE):
        while (line := await script.line()) is not None:
            passed.append(line["step"])
    return passed


async def test_a_subscription_outlives_its_nodes(sdk, tmp_path):
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "failover.mjs")
        with trio.fail_after(PATIENCE):
            subscribed = await script.line()
            await script.progress(50)
            await system.kill(subscribed["node"])
            await script.progress(100)
            await system.kill(await system.oldest())
            await script.progress(100)
            summary = await script.stop()
        assert summary["received"] == list(range(summary["sent"]))  # every one, once, in order
        assert summary["extra"] == 0
        assert summary["drops"] == []
        assert (summary["count"], summary["after"]) == (1, 0)
        assert len(summary["nodes"]) >= 2


async def test_writes_while_nodes_are_killed(sdk, tmp_path):
    """Whatever was answered was done once and told once, in order: a write is delivered again without a trace."""
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "writes.mjs")
        with trio.fail_after(PATIENCE):
            for _ in range(4):
                await script.progress(200)
                await system.kill(await system.oldest())  # the longest-standing one is the master
                await system.start_nodes(1)
            summary = await script.stop()
        assert summary["writes"] > 800
        assert summary["told"] == summary["answered"]
        assert summary["left"] == 0
