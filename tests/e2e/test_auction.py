"""The example of a whole application, played by real browsers while what serves them is killed: examples/auction.

Three people, each with a browser and a tab for each of two auctions, bid against each other. Meanwhile nodes, the
master first, and both workers of the proxy die by SIGKILL. Afterwards the history is looked at.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from holdfast import Node
from tests.browsers import browser
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HOLDFAST = [sys.executable, "-P", "-m", "holdfast"]
EPHEMERAL = (
    "client.bind=127.0.0.1:0",
    "node.bind=tcp://127.0.0.1:*",
    "cluster.pub=tcp://127.0.0.1:*",
    "admin.bind=127.0.0.1:0",
)
PEOPLE = ("ada", "bob", "cyd")
NODES = 3
BETWEEN = 5  # bids of each auction between two kills
KILLS = ["node", "worker 0", "node", "worker 1"]  # and a node more, when it is over

LOG_IN = """$("name").value = $("password").value = {name!r}; $("login").requestSubmit()"""
# What a person does, and what is to be known afterwards. The page's own functions are called by their names.
PLAY = """
var winners = new Set(), asked = [], shown = show, sent = send;
show = (message) => { shown(message); if (message.winner) winners.add(message.winner) };
send = (message) => { sent(message); if (message.type === "bid") asked.push(message.requestId) };
setInterval(() => {
    if ($("bid").hidden) return;
    $("price").value ||= 1;
    $("bid").requestSubmit();
}, 300 + 400 * Math.random());
"""


class System:
    """Two proxies as workers of one `serve` on sqlite, and nodes."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "serve.log"
        self._ready = directory / "ready.json"
        self._serve: list[trio.Process] = []
        self._nodes: list[trio.Process] = []
        self._logs = directory

    async def start(self) -> None:
        settings = [*EPHEMERAL, "client.ordered=true", f"store.path={self._logs / 'store.sqlite'}"]
        sets = [part for setting in settings for part in ("--set", setting)]
        serve = [*HOLDFAST, "serve", "--workers", "2", "--ready-file", str(self._ready), *sets]
        self._serve.append(await self._process(self._log, serve))
        await until(self._ready.exists, "the proxy")
        self._bound = json.loads(self._ready.read_text())
        self.url = f"http://{self._bound['client']}"
        self.node_address = self._bound["workers"][0]["node"]
        self.admin_address = self._bound["workers"][0]["admin"]
        for _ in range(NODES):
            await self._start_node()
        await self._wait_ready()

    async def end(self) -> None:
        for process in [*self._nodes, *self._serve]:
            process.kill()
            await process.wait()

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self._logs.glob("*.log")))

    async def kill(self, victim: str) -> None:
        kind, _, number = victim.partition(" ")
        await (self._kill_worker(int(number)) if kind == "worker" else self._kill_node())

    async def _kill_node(self) -> None:
        """The master, if there is one; and another is started in its place."""
        [status] = [status for status in await self._statuses() if status][:1]
        pids = {each["id"]: each["pid"] for each in status["nodes"]}
        pid = pids.get(status["master"]["node"], self._nodes[0].pid)
        [victim] = [each for each in self._nodes if each.pid == pid] or self._nodes[:1]
        victim.kill()
        await victim.wait()
        self._nodes.remove(victim)
        await self._start_node()
        await self._wait_ready()

    async def _kill_worker(self, number: int) -> None:
        """It is started again by `serve`, on the ports that it had."""
        former = self._starts(number)
        os.kill(former[-1], signal.SIGKILL)
        await until(lambda: len(self._starts(number)) > len(former), "the worker's next life")
        await self._wait_ready()

    async def _start_node(self) -> None:
        log = self._logs / f"node-{len(list(self._logs.glob('node-*')))}.log"
        node = [*HOLDFAST, "node", "examples.auction.app:node", "--join", self.node_address]
        self._nodes.append(await self._process(log, node))

    async def _process(self, log: Path, command: list[str]) -> trio.Process:
        with log.open("wb") as said:
            return await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)

    def _starts(self, number: int) -> list[int]:
        """Pids of all lives of a worker, as `serve` has logged them."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return [line["pid"] for line in lines if line["event"] == "worker_started" and line["worker"] == number]

    async def _wait_ready(self) -> None:
        """Until every node is ready at every proxy."""
        pids = {each.pid for each in self._nodes}
        with trio.fail_after(PATIENCE):
            while True:
                ready = [
                    {each["pid"] for each in status["nodes"] if each["state"] == "ready"} >= pids if status else False
                    for status in await self._statuses()
                ]
                if all(ready):
                    return
                await trio.sleep(0.1)

    async def _statuses(self) -> list[dict | None]:
        """Of each worker; None: it does not answer."""
        found = []
        async with httpx.AsyncClient() as client:
            for worker in self._bound["workers"]:
                try:
                    found.append((await client.get(f"http://{worker['admin']}/api/status")).json())
                except httpx.TransportError:
                    found.append(None)
        return found


@asynccontextmanager
async def running(directory: Path):
    system = System(directory)
    try:
        await system.start()
        yield system
    finally:
        with trio.CancelScope(shield=True):
            await system.end()
        print(system.logs())  # pytest shows it if the test failed


async def open_auctions(url: str) -> list[str]:
    async with httpx.AsyncClient(base_url=url) as client:
        (await client.post("/login", json={"name": "ada", "password": "ada"})).raise_for_status()
        opened = [
            await client.post("/auctions", json={"title": title, "seconds": 86_400}) for title in ("vase", "lamp")
        ]
        return [one.raise_for_status().json()["id"] for one in opened]


async def enter(its_browser, url: str, auction: str, name: str):
    """A tab in the room of an auction, in which somebody of this name has logged in."""
    tab = await its_browser.tab(f"{url}/#{auction}")
    await tab.until("document.readyState === 'complete' && typeof auction === 'object'")
    if await tab.until("auction.here.length ? 'in' : $('login').hidden ? '' : 'out'") == "out":
        await tab.evaluate(LOG_IN.format(name=name))
    await tab.until("auction.here.length > 0")
    return tab


async def test_bids_of_browsers_while_everything_is_killed(tmp_path):
    with trio.fail_after(10 * PATIENCE):
        async with AsyncExitStack() as stack:
            browsers = [await stack.enter_async_context(browser(tmp_path / name)) for name in PEOPLE]
            system = await stack.enter_async_context(running(tmp_path))
            await play(system, browsers)


async def play(system: System, browsers) -> None:
    first_page = await browsers[0].tab(f"{system.url}/")
    await first_page.until("document.readyState === 'complete'")
    rooms = dict.fromkeys(await open_auctions(system.url))
    for room in rooms:
        rooms[room] = [await enter(one, system.url, room, name) for one, name in zip(browsers, PEOPLE, strict=True)]
    tabs = [tab for room in rooms.values() for tab in room]
    for tab in tabs:
        await tab.until("auction.here.join() === 'ada,bob,cyd'")
        await tab.evaluate(PLAY)

    for victim in KILLS:
        await wait_for_bids(rooms)
        await system.kill(victim)
    await wait_for_bids(rooms)
    await end_auctions(system, rooms)
    await system.kill("node")  # the master, which is to close them

    for room, its_tabs in rooms.items():
        for tab in its_tabs:
            await tab.until("auction.winner !== undefined")
        late = await enter(browsers[0], system.url, room, PEOPLE[0])
        await late.until("auction.winner !== undefined")
        async with httpx.AsyncClient(base_url=system.url) as client:
            history = (await client.get(f"/auctions/{room}")).raise_for_status().json()
        await check(history, its_tabs, late)

    say = [sys.executable, "-m", "examples.auction.announce", "come again", "--admin", system.admin_address]
    await trio.run_process(say, cwd=ROOT)
    for tab in tabs:
        await tab.until("$('news').textContent === 'come again'")


async def wait_for_bids(rooms) -> None:
    """Until each tab has seen some more."""
    for tabs in rooms.values():
        for tab in tabs:
            seen = await tab.evaluate("auction.seen")
            await tab.until(f"auction.seen >= {seen + BETWEEN}")


async def end_auctions(system: System, rooms) -> None:
    """Their time is over now: a machine that stands still has not used it up before anything was killed."""
    node = Node("clock")
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run, [system.node_address])
        for room in rooms:
            await node.state.update(f"auction/{room}", lambda auction: {**auction, "ends": time.time()})
        node.drain()


async def check(history, tabs, late) -> None:
    """What the nodes say there was, and what each browser has seen of it."""
    bids = history["bids"]
    assert history["closed"]
    assert history["count"] == len(bids) >= BETWEEN  # all of them are kept: it is less than the example forgets
    assert [number for number, *_ in bids] == list(range(1, len(bids) + 1))
    prices = [price for _, _, price, _ in bids]
    assert prices == sorted(set(prices))  # they only grow
    ids = [id for *_, id in bids]
    assert len(set(ids)) == len(ids)  # none twice
    assert {user for _, user, _, _ in bids} <= set(PEOPLE)

    connections = 0
    for tab in tabs:
        seen = await tab.evaluate("({...auction, winners: [...winners], asked})")
        assert seen["bids"] == bids  # the same order for everybody, whoever was away
        assert seen["placed"]
        assert set(seen["placed"]) <= set(ids) & set(seen["asked"])  # none is lost that was acknowledged
        assert seen["winners"] == [seen["winner"]] == [bids[-1][1]]
        connections += seen["connections"]
    assert connections > len(tabs)  # each worker was killed
    print(f"{len(bids)} bids, {connections} connections of {len(tabs)} tabs")
    assert await late.evaluate("auction.bids") == bids
    assert await late.evaluate("auction.winner") == bids[-1][1]
