"""A whole cluster is stopped and started again, and the proxy that is alone is killed: nodes bring the state back."""

import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from holdfast import Node
from tests.redis_servers import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
KEYS = {f"key {number}": number for number in range(100)}


@asynccontextmanager
async def serving(tmp_path, port, workers, end, *sets):
    """`holdfast serve`, with the first worker's node link at `port`; `end`: the signal that stops it."""
    ready = tmp_path / "ready.json"
    ready.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-P", "-m", "holdfast", "serve", "--workers", str(workers), "--ready-file", str(ready)),
        *("--set", "client.bind=127.0.0.1:0", "--set", f"node.bind=tcp://127.0.0.1:{port}"),
        *("--set", "admin.bind=127.0.0.1:0", "--set", "log.level=warning"),
        *(item for one in sets for item in ("--set", one)),
    ]
    process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        with trio.fail_after(PATIENCE):
            while not ready.exists():
                assert process.poll() is None
                await trio.sleep(0.05)
        yield
        process.send_signal(end)
        with trio.fail_after(PATIENCE):
            await process.wait()
    finally:
        process.kill()


async def has(node, keys):
    with trio.fail_after(PATIENCE):
        while dict(node.state.items()) != keys:  # noqa: ASYNC110 - it comes from another process
            await trio.sleep(0.05)


def of_the_file(tmp_path):
    """Settings of a cluster whose record outlives it, and where no time proves that anybody is dead."""
    return (
        *("store.kind=sqlite", f"store.path={tmp_path / 'store'}"),
        *("cluster.pub=tcp://127.0.0.1:*", "cluster.takeover_timeout=0"),
    )


@pytest.mark.parametrize("workers", [1, 2])
async def test_all_are_killed_and_others_follow_them_in_the_same_record(tmp_path, workers):
    """At other ports, but for the first one's node link in the second life: nobody is in the place of the dead."""
    nodes = [Node("test"), Node("test")]
    ports = [free_port() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for life, port in enumerate((ports[0], ports[0], ports[1])):
            async with serving(tmp_path, port, workers, signal.SIGKILL, *of_the_file(tmp_path)):
                if not life:
                    for node in nodes:
                        await nursery.start(node.run, [f"tcp://127.0.0.1:{port}" for port in ports])
                    for key, value in KEYS.items():
                        await nodes[0].state.set(key, value)
                lives = {f"life {number}": number for number in range(life)}
                late = Node("test")
                await nursery.start(late.run, [f"tcp://127.0.0.1:{port}"])
                for node in (*nodes, late):
                    await has(node, KEYS | lives)
                with trio.fail_after(PATIENCE):
                    await nodes[1].state.set(f"life {life}", life)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("workers", "end", "pause"),
    [(2, signal.SIGTERM, 10.0), (1, signal.SIGKILL, 0.0), (1, signal.SIGKILL, 3.0), (1, signal.SIGTERM, 0.0)],
)
async def test_the_state_is_there_again(tmp_path, workers, end, pause):
    port, nodes = free_port(), [Node("test"), Node("test")]
    async with trio.open_nursery() as nursery:
        async with serving(tmp_path, port, workers, end):
            for node in nodes:
                await nursery.start(node.run, [f"tcp://127.0.0.1:{port}"])
            for key, value in KEYS.items():
                await nodes[0].state.set(key, value)
        await trio.sleep(pause)
        for life in range(2):
            async with serving(tmp_path, port, workers, end):
                late = Node("test")
                await nursery.start(late.run, [f"tcp://127.0.0.1:{port}"])
                lives = {f"life {number}": number for number in range(life)}
                for node in (*nodes, late):
                    await has(node, KEYS | lives)
                await nodes[1].state.set(f"life {life}", life)
        nursery.cancel_scope.cancel()
