"""Headless Chromium, as Debian has it, told what to do over its DevTools protocol: a process with a profile of its own.

https://chromedevtools.github.io/devtools-protocol/. Only what tests need: tabs, and expressions evaluated in them.
"""

import json
import os
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager
from itertools import count

import trio
from websockets.trio.client import connect

from tests.waiting import PATIENCE, until

INTERVAL = 0.05  # between looks into a page: each costs the browser something

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# In a container there is no sandbox for it, and a small /dev/shm. It is never asked for anything but our own pages. A
# tab that nobody looks at must not be slowed.
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--remote-debugging-port=0"),
    "--disable-backgrounding-occluded-windows",
]


class Browser:
    def __init__(self, socket) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._waiting = {}

    async def run(self) -> None:
        async for message in self._socket:
            answer = json.loads(message)
            if "id" in answer:
                self._waiting.pop(answer["id"]).send_nowait(answer)

    async def command(self, method: str, session: str = "", **parameters):
        number = next(self._numbers)
        self._waiting[number], answer = trio.open_memory_channel(1)
        whose = {"sessionId": session} if session else {}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters, **whose}))
        said = await answer.receive()
        assert "error" not in said, said["error"]
        return said["result"]

    async def tab(self, url: str) -> "Tab":
        target = (await self.command("Target.createTarget", url=url))["targetId"]
        session = await self.command("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, session["sessionId"])


class Tab:
    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def evaluate(self, expression: str):
        """What it is in the page, as JSON: its promise is awaited. What it raises fails the test."""
        result = await self._browser.command(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression: str):
        """Wait until it is true in the page, and return what it is."""
        with trio.fail_after(PATIENCE):
            while not (found := await self.evaluate(expression)):  # noqa: ASYNC110 - another process does it
                await trio.sleep(INTERVAL)
        return found


@asynccontextmanager
async def browser(directory):
    """A running one, with nothing in its profile. It is gone when the block ends."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program, f"the test needs one of {', '.join(PROGRAMS)}: apt-get install chromium-headless-shell"
    directory.mkdir()
    said = directory / "DevToolsActivePort"  # where it listens, when it does
    with (directory / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            [program, *OPTIONS, f"--user-data-dir={directory}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # the program may be a script, and the browser its child
        )
    try:
        await until(lambda: said.exists() and said.read_text().count("\n"), "the browser")
        port, path = said.read_text().splitlines()
        async with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket, trio.open_nursery() as nursery:
            it = Browser(socket)
            nursery.start_soon(it.run)
            yield it
            nursery.cancel_scope.cancel()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
