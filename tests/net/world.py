"""Proxies, nodes, Redis and clients, each on its host, all started at once; and what to expect of them.

Heartbeats, limits and leases are the defaults, so that the times measured are those of a real cluster. Only what makes
a trial long is shorter: how long a fenced proxy keeps its clients, and requests their hope.
"""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio

from holdfast.chaos.lines import Lines
from holdfast.chaos.messages import OPENINGS_FD, STATES_VARIABLE, TESTIMONY_FD
from holdfast.chaos.processes import Process
from holdfast.chaos.writes import Contents, StateFigures, audit
from holdfast.proxy.views import StatusView
from tests.net.books import Seen, broken
from tests.net.clients import Finished, Progress, Settings
from tests.net.hosts import Network
from tests.net.testimony import Testimony
from tests.net.watch import TOKEN, Watch

CLIENTS, GROUP, RATE, WRITES = 60, 6, 100.0, 20.0
NODES = ("n1", "n2", "n3")
REDIS, CROWD, WATCH = "redis", "clients", "watch"
NODE_TOKEN = "token-of-the-nodes"
CLIENT_PORT, ADMIN_PORT, REDIS_PORT = 7512, 7513, 6379
SETTINGS = {
    "node.bind": "tcp://[_site_:ipv4]:7510",
    "cluster.pub": "tcp://[_site_:ipv4]:7511",
    "store.kind": "redis",
    "cluster.fence_timeout": "3",
    "drain.spread": "1",
    "request.timeout": "4",
    "request.parked_timeout": "2",
}
START_PATIENCE = 60.0
FINISH_PATIENCE = 10.0
# What is promised: 3 x cluster.heartbeat_timeout and 2 x election.lease after the last fault.
HEAL_PATIENCE = 10.0
ACTS = 0.3  # whoever has acted as master so recently acts


class World:
    """Names of hosts: p1.., n1.., redis, clients, watch."""

    def __init__(self, net: Network, proxies: int) -> None:
        self.net = net
        self.proxies = [f"p{number}" for number in range(1, proxies + 1)]
        self.testimony = Testimony()
        self.watch = Watch(net[WATCH], {name: (net[name].ip, ADMIN_PORT) for name in self.proxies})
        self.progress = Progress(0.0, [0] * proxies, 0)
        redis = ["redis-server", "--port", str(REDIS_PORT), "--save", "", "--protected-mode", "no"]
        net.start(REDIS, [*redis, "--dir", str(net.directory)])
        self._crowd: Process | None = None
        self._finished: Finished | None = None
        self._nodes: list[Process] = []
        self._states = net.directory / "states"
        self._states.mkdir()

    # --- life

    async def start(self, nursery: trio.Nursery) -> None:
        """All of it, until it is whole and every client is in its channel."""
        for name in self.proxies:
            self._start_proxy(name)
        nursery.start_soon(self.watch.run)
        reader, writer = os.pipe()
        nursery.start_soon(self._hear, reader, writer)
        for number, name in enumerate(NODES):
            self._start_node(name, self.proxies[number % len(self.proxies)], writer)
        await self.until(lambda: self._is_one(self.proxies), START_PATIENCE)
        nursery.start_soon(self._listen, self._start_crowd())
        await self.until(self.is_whole, START_PATIENCE)
        self.testimony.longest_pause = 0.0
        self._tell("start")

    def _start_proxy(self, name: str) -> None:
        ip = self.net[name].ip
        settings = SETTINGS | {
            "client.bind": f"{ip}:{CLIENT_PORT}",
            "admin.bind": f"{ip}:{ADMIN_PORT}",
            "store.urls": f"redis://{self.net[REDIS].ip}:{REDIS_PORT}/0",
        }
        command = [sys.executable, "-m", "holdfast", "serve"]
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.net.start(name, command, environ={"HOLDFAST__NODE__TOKEN": NODE_TOKEN, "HOLDFAST__ADMIN__TOKEN": TOKEN})

    def _start_node(self, name: str, proxy: str, testimony: int) -> None:
        command = [sys.executable, "-m", "holdfast", "node", "holdfast.chaos.node:node"]
        environ = {
            "HOLDFAST_NODE_TOKEN": NODE_TOKEN,
            "HOLDFAST_NODE_NAME": name,
            "HOLDFAST_NODE_ID": name,
            TESTIMONY_FD: str(testimony),
            OPENINGS_FD: str(testimony),
            STATES_VARIABLE: str(self._states),
        }
        command += ["--join", f"tcp://{self.net[proxy].ip}:7510"]
        process = self.net.start(name, command, environ=environ, pass_fds=[testimony])
        self.testimony.nodes[process.pid] = name
        self._nodes.append(process)

    def _start_crowd(self) -> Process:
        addresses = [(self.net[name].ip, CLIENT_PORT) for name in self.proxies]
        settings = msgspec.json.encode(Settings(addresses, CLIENTS, GROUP, RATE, WRITES, FINISH_PATIENCE)).decode()
        self._crowd = self.net.start(CROWD, [sys.executable, "-m", "tests.net.clients", settings], pipes=True)
        return self._crowd

    async def _hear(self, reader: int, writer: int) -> None:
        try:
            await self.testimony.run(reader)
        finally:
            os.close(reader)
            os.close(writer)

    async def _listen(self, crowd: Process) -> None:
        assert crowd.popen.stdout is not None
        lines = Lines(crowd.popen.stdout.fileno())
        while (line := await lines.next()) is not None:
            said = msgspec.json.decode(line, type=Progress | Finished)
            if isinstance(said, Finished):
                self._finished = said
                return
            self.progress = said
        raise AssertionError(f"the clients' process ended\n{crowd.log_tail()}")

    def _tell(self, word: str) -> None:
        assert self._crowd is not None
        assert self._crowd.popen.stdin is not None
        self._crowd.popen.stdin.write(word.encode() + b"\n")
        self._crowd.popen.stdin.flush()

    async def finish(self) -> tuple[Seen, float]:
        """No more requests; what clients saw, and the longest time without a master.

        Raises AssertionError for what no network excuses.
        """
        self._tell("finish")
        await self.until(lambda: self._finished is not None, 2 * FINISH_PATIENCE)
        assert self._finished is not None
        seen = self._finished.seen
        seen.state = await self._audit(self._finished)
        wrong = [*broken(seen), *(f"{what}: {count}" for what, count in self.testimony.wrong.items())]
        if self.testimony.masters.overlaps():
            wrong.append(f"several masters acted: {self.testimony.masters.terms()}")
        wrong += self._troubles()
        assert not wrong, f"{wrong}; {seen}"
        return seen, self.testimony.longest_pause

    async def _audit(self, finished: Finished) -> StateFigures:
        """What nodes have in their state, as soon as it is what it must be."""
        begun = time.monotonic()
        while True:
            figures = audit(finished.book, await self._states_of_all(), finished.ends)
            if not any(figures.wrong().values()) or time.monotonic() > begun + HEAL_PATIENCE:
                return figures
            await trio.sleep(0.1)

    async def _states_of_all(self) -> list[Contents]:
        files = [self._states / f"{node.pid}.json" for node in self._nodes]
        for node, file in zip(self._nodes, files, strict=True):
            file.unlink(missing_ok=True)
            node.signal(signal.SIGUSR2)
        with trio.fail_after(HEAL_PATIENCE):
            while not all(file.exists() for file in files):  # noqa: ASYNC110 - a file has no event; it comes by rename
                await trio.sleep(0.02)
        return [msgspec.json.decode(file.read_bytes()) for file in files]

    def _troubles(self) -> list[str]:
        """What a process has logged that it never should."""
        lines = []
        for name in (*self.proxies, *NODES):
            log = (self.net.directory / f"{name}.log").read_text(errors="replace").splitlines()
            lines += [f"{name}: {line[:500]}" for line in log if '"level": "error"' in line or "Traceback" in line]
        return lines

    # --- the network

    def others(self, *sides: str) -> list[str]:
        """All hosts of the cluster but these: not the clients' and not ours."""
        return [name for name in (*self.proxies, *NODES, REDIS) if name not in sides]

    # --- what there is

    def view(self, name: str) -> StatusView | None:
        return self.watch.views[name]

    def are_fenced(self, *proxies: str) -> bool:
        clusters = [view.cluster for name in proxies if (view := self.view(name)) is not None]
        return [cluster is not None and cluster.fenced for cluster in clusters] == [True] * len(proxies)

    def follow(self, *proxies: str) -> bool:
        """Whether these are all that the record has which each of them follows."""
        return all(self.members(name) == set(proxies) for name in proxies)

    def is_empty(self, *proxies: str) -> bool:
        """Whether no client is at these."""
        return not any(self.progress.joined[self.proxies.index(name)] for name in proxies)

    def has_node(self, name: str, node: str) -> bool:
        """Whether a proxy has a node that is ready."""
        view = self.view(name)
        return view is not None and any(one.id == node and one.state == "ready" for one in view.nodes)

    def version(self) -> int:
        """Of the record: it grows with every change of the members and of the master."""
        clusters = [view.cluster for name in self.proxies if (view := self.view(name)) is not None]
        return max(cluster.version for cluster in clusters if cluster is not None)

    def members(self, name: str) -> set[str]:
        """Names of the proxies in the record that this one follows."""
        view = self.view(name)
        if view is None or view.cluster is None:
            return set()
        names = {self.net[name].ip: name for name in self.proxies}
        return {names[member.router.removeprefix("tcp://").partition(":")[0]] for member in view.cluster.members}

    def name(self, proxy: str) -> str:
        """Of the proxy with this id."""
        return next(name for name in self.proxies if (view := self.view(name)) is not None and view.proxy == proxy)

    def _is_one(self, proxies: list[str]) -> bool:
        """Whether these are one cluster: a record of just them; all hear each other, have all nodes and one master."""
        views = [view for name in proxies if (view := self.view(name)) is not None and view.ready]
        clusters = [view.cluster for view in views if view.cluster is not None]
        if len(clusters) != len(proxies):
            return False
        records = {(one.version, one.epoch, one.master, one.keeper) for one in clusters}
        nodes = [{node.id for node in view.nodes if node.state == "ready"} for view in views]
        return (
            len(records) == 1
            and self.follow(*proxies)
            and all(member.alive and not member.fenced for one in clusters for member in one.members)
            and all(ids == set(NODES) for ids in nodes)
            and clusters[0].master == self.master
        )

    @property
    def master(self) -> str:
        """Who acts; "": nobody."""
        node, at = self.testimony.acting
        return node if time.monotonic() - at < ACTS else ""

    def is_whole(self) -> bool:
        """One cluster of all, and every client in its channel, of which every node knows all the same."""
        known = [self.testimony.clients[node] for node in NODES]
        return (
            self._is_one(self.proxies)
            and sum(self.progress.joined) == CLIENTS
            and all(clients == known[0] and len(clients) == CLIENTS for clients in known)
        )

    async def until(self, condition: Callable[[], bool], patience: float) -> float:
        """When it held, by the monotonic clock."""
        return await self.watch.until(condition, self.describe, patience)

    async def healed(self, since: float) -> float:
        """Seconds until it is whole again, and all agree on everything; as they must in time."""
        await self.until(self.is_whole, HEAL_PATIENCE)
        while counts := await self.miscounts(self.proxies):
            assert time.monotonic() < since + HEAL_PATIENCE, counts
        at = time.monotonic()
        clients = [await self.watch.clients(name) for name in self.proxies]
        assert all(self.testimony.clients[node] == set().union(*clients) for node in NODES), self.describe()
        return at - since

    async def miscounts(self, proxies: Sequence[str]) -> dict[str, list[int | None]]:
        """Channels of which these proxies do not all count every member, and what they count."""
        counts = {}
        for number in range(CLIENTS // GROUP):
            channel = f"group-{number}"
            counts[channel] = [await self.watch.count(name, channel) for name in proxies]
        return {channel: found for channel, found in counts.items() if set(found) != {GROUP}}

    def logged(self, name: str, event: str) -> int:
        """How often a process has said this."""
        return (self.net.directory / f"{name}.log").read_text(errors="replace").count(f'"event": "{event}"')

    def describe(self) -> str:
        lines = [f"master: {self.master or None}, clients: {self.progress.joined}"]
        lines.append(f"known clients: { {node: len(self.testimony.clients[node]) for node in NODES} }")
        for name in self.proxies:
            view = self.view(name)
            if view is None or view.cluster is None:
                lines.append(f"{name}: {view}")
                continue
            cluster = view.cluster
            nodes = {node.id: node.state for node in view.nodes}
            heard = [member.router for member in cluster.members if member.alive]
            lines.append(
                f"{name}: ready {view.ready} {view.reason!r}, version {cluster.version}, epoch {cluster.epoch}, "
                f"master {cluster.master}, keeper {cluster.keeper}, members {sorted(self.members(name))}, "
                f"hears {heard}, nodes {nodes}"
            )
        return "\n".join(lines)


@asynccontextmanager
async def world(network: Callable[..., Network], proxies: int = 3) -> AsyncIterator[World]:
    """network: the fixture."""
    names = [*(f"p{number}" for number in range(1, proxies + 1)), *NODES, REDIS, CROWD, WATCH]
    net = network(*names)
    one = World(net, proxies)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(START_PATIENCE):
            await _answers(net)
        await one.start(nursery)
        yield one
        nursery.cancel_scope.cancel(reason="the trial is over")


async def _answers(net: Network) -> None:
    """Wait until Redis does."""
    while True:
        with net[WATCH].inside():
            client = trio.socket.socket()
        with client:
            try:
                await client.connect((net[REDIS].ip, REDIS_PORT))
                await client.send(b"PING\r\n")
                if await client.recv(10) == b"+PONG\r\n":
                    return
            except OSError:
                await trio.sleep(0.05)
