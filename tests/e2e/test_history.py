"""Channels with history at the workers of one `serve`: one log for both, and whole after each of them was killed."""

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from holdfast import Node, RequestError
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
client.bind = ["127.0.0.1:0"]
node.bind = ["tcp://127.0.0.1:*"]
cluster.pub = "tcp://127.0.0.1:*"
admin.bind = "127.0.0.1:0"
store.kind = "sqlite"
store.path = "{path}"
[[channel]]
match = "room:{{id}}"
history_messages = 1000
"""


class Workers:
    """Of one `serve`."""

    def __init__(self, log: Path, ready: Path) -> None:
        self._log = log
        self.nodes = [worker["node"] for worker in json.loads(ready.read_text())["workers"]]

    def started(self, number: int) -> list[int]:
        """Pids of all lives of a worker."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return [line["pid"] for line in lines if line["event"] == "worker_started" and line["worker"] == number]

    async def kill(self, number: int) -> None:
        """It is started again."""
        lives = self.started(number)
        os.kill(lives[-1], signal.SIGKILL)
        await until(lambda: len(self.started(number)) > len(lives), "the worker's next life")


@asynccontextmanager
async def workers(folder: Path):
    (folder / "holdfast.toml").write_text(CONFIGURATION.format(path=folder / "store"))
    ready, log = folder / "ready.json", folder / "serve.log"
    command = [sys.executable, "-P", "-m", "holdfast", "serve", "--workers", "2", "--ready-file", str(ready)]
    with log.open("wb") as said:
        process = await trio.lowlevel.open_process(
            [*command, "--config", str(folder / "holdfast.toml")], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said
        )
    try:
        await until(ready.exists, "the proxies")
        yield Workers(log, ready)
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(PATIENCE):
                await process.wait()
            process.kill()
            await process.wait()


async def whole(node: Node, channel: str, count: int) -> list[str]:
    """What is kept, as soon as it is so many; the proxy that is asked may be killed, or behind."""
    texts: list[str] = []
    with trio.fail_after(PATIENCE):
        while len(texts) < count:
            try:
                page = await node.history(channel, since=0)
                texts = [each.text for each in page.publications]
                while page.is_more:
                    page = await node.history(channel, since=page.position)
                    texts += [each.text for each in page.publications]
            except RequestError as error:  # its log, or its epoch, is not the one that was begun with
                assert error.status == 503, error  # noqa: PT017 - others are faults
    return texts


async def test_the_workers_have_one_log_which_is_whole_after_each_was_killed(tmp_path):
    node = Node("test")
    with trio.fail_after(6 * PATIENCE):
        async with workers(tmp_path) as system, trio.open_nursery() as nursery:
            await nursery.start(node.run, system.nodes)
            published = 0
            for victim in (0, 1, None):
                await until(lambda: node.statistics().proxies == 2, "both to be linked")
                for number in range(200):
                    await node.notify(f"{published}", channels=["room:1"])
                    published += 1
                    if number == 100 and victim is not None:
                        await system.kill(victim)
            assert await whole(node, "room:1", published) == [f"{number}" for number in range(published)]
            nursery.cancel_scope.cancel()
