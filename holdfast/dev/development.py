"""What `holdfast dev` runs: a proxy, a node, and after each change of the sources another node in place of that one.

Owns the order of it. The next node is started while the former one serves, and only when the proxy has the next one as
ready is the former one told to drain: clients stay at the proxy, and a change that can't be loaded changes nothing.
"""

import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import trio
from msgspec import Struct

from holdfast.console.admin_client import AdminClient
from holdfast.console.output import flush, say
from holdfast.dev.children import Child, Children
from holdfast.dev.console import Console
from holdfast.dev.sources import Sources
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.views import StatusView

LOOK_INTERVAL = 0.3  # at the sources; a change is taken when nothing more has come for as long: editors write in steps
POLL_INTERVAL = 0.05  # of what starts
NODE_PATIENCE = 10.0  # for running handlers, at the end of all
PROXY_PATIENCE = 5.0
MAX_DRAINING = 4  # nodes; handlers that never end would otherwise leave one for each change
STOPPED = 1  # exit status after a second signal
COLORS = {"proxy": "35", "node": "36", "dev": "33"}

Outcome = Literal["ready", "ended", "changed"]  # of starting a node
READY: Outcome = "ready"
ENDED: Outcome = "ended"
CHANGED: Outcome = "changed"


class Plan(Struct, frozen=True):
    """node: MODULE:NAME. serve: further arguments of `holdfast serve`. node_options: of `holdfast node`. environ: of
    the node. admin_token: of the proxy. is_secure: clients speak TLS to it. folder: of the sources."""

    node: str
    serve: Sequence[str]
    node_options: Sequence[str]
    environ: Mapping[str, str]
    admin_token: str
    is_secure: bool
    folder: Path


class Bound(Struct):
    """Of the ready file: where the proxy is."""

    client: str
    node: str
    admin: str


async def run(plan: Plan) -> int:
    """Until it is told to end. Returns the exit status."""
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True) as folder,
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
    ):
        async with trio.open_nursery() as nursery:
            with Children(nursery) as children:
                development = Development(plan, children)
                nursery.start_soon(_obey, signals, development)
                try:
                    await development.run(trio.Path(folder))
                finally:
                    nursery.cancel_scope.cancel(reason="all has ended")
    return development.status


async def _obey(signals: AsyncIterator[int], development: "Development") -> None:
    await anext(signals)
    development.end(0)
    await anext(signals)
    development.stop(STOPPED)


class Development:
    """status: the exit status."""

    def __init__(self, plan: Plan, children: Children) -> None:
        self.status = 0
        self._plan = plan
        self._children = children
        self._sources = Sources(plan.folder)
        self._node: Child | None = None
        self._starting: Child | None = None
        self._draining: list[Child] = []
        self._is_wanted = False  # another node, without a change
        self._is_tried = trio.Event()  # the first node is ready, or will not be
        self._work = trio.CancelScope()
        self._last = trio.CancelScope()

    def end(self, status: int) -> None:
        """The node may finish what it has, then the proxy ends."""
        self.status = status
        self._work.cancel(reason="the end")

    def stop(self, status: int) -> None:
        """At once."""
        self.end(status)
        self._last.cancel(reason="a second signal")

    def reload(self) -> None:
        self._is_wanted = True

    async def run(self, folder: trio.Path) -> None:
        ready = folder / "ready.json"
        proxy = self._children.start(
            ["serve", "--ready-file", str(ready), *self._plan.serve],
            {},
            lambda line: _tell("proxy", line),
            is_mute=True,
        )
        with self._work:
            bound = await self._bound(proxy, ready)
            if bound is not None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_proxy, proxy)
                    nursery.start_soon(self._talk, bound)
                    await self._keep_node(bound, nursery)
        with self._last:
            async with trio.open_nursery() as nursery:
                for node in (self._node, self._starting, *self._draining):
                    if node is not None:
                        nursery.start_soon(node.end, NODE_PATIENCE)
            await proxy.end(PROXY_PATIENCE)

    # --- the proxy --------------------------------------------------------------------------------------------------

    async def _bound(self, proxy: Child, ready: trio.Path) -> Bound | None:
        while not await ready.exists():
            if proxy.has_ended.is_set():  # it has said why
                self.end(proxy.status or 1)
                return None
            await trio.sleep(POLL_INTERVAL)
        return msgspec.json.decode(await ready.read_bytes(), type=Bound)

    async def _watch_proxy(self, proxy: Child) -> None:
        await proxy.has_ended.wait()
        _note(f"the proxy has ended with status {proxy.status}")
        self.end(1)

    async def _talk(self, bound: Bound) -> None:
        secure = "s" if self._plan.is_secure else ""
        say(f"clients  ws{secure}://{bound.client}")
        say(f"nodes    {bound.node}")
        say(f"page     http://{bound.admin}")
        say(
            "A line is sent as a message of a client; /help tells more. A change of a source file starts the node anew."
        )
        flush()
        await self._is_tried.wait()
        console = Console(f"ws{secure}://{bound.client}", _show, self.reload)
        await console.run()
        self.end(0)

    # --- the node ---------------------------------------------------------------------------------------------------

    async def _keep_node(self, bound: Bound, nursery: trio.Nursery) -> None:
        if not self._sources.is_whole:
            _note(f"only the first {len(self._sources)} source files below {self._plan.folder} are watched")
        admin = AdminClient(bound.admin, self._plan.admin_token)
        is_first = True
        while True:
            node = self._start(bound, nursery)
            outcome = await self._outcome(node, admin)
            self._starting = None
            if outcome == READY:
                former, self._node = self._node, node
                if former is not None:
                    nursery.start_soon(self._drain, former)
            elif outcome == ENDED and is_first and node.status == 2:  # it was told what it should be
                self.end(2)
                await trio.sleep_forever()
            elif outcome == ENDED:
                _note("it could not be started: " + ("the former node goes on" if self._node else "there is no node"))
            else:  # a further change was faster
                node.signal(signal.SIGKILL)
            if outcome != CHANGED:
                is_first = False
                self._is_tried.set()
                await self._change()

    def _start(self, bound: Bound, nursery: trio.Nursery) -> Child:
        arguments = ["node", self._plan.node, "--join", bound.node, *self._plan.node_options]
        node = self._children.start(arguments, self._plan.environ, lambda line: _tell("node", line))
        self._starting = node
        nursery.start_soon(self._watch_node, node)
        return node

    async def _outcome(self, node: Child, admin: AdminClient) -> Outcome:
        """What comes first: the proxy has it as ready, it has ended, or the sources have changed again."""
        looked = trio.current_time()
        while not node.has_ended.is_set():
            try:
                status = await trio.to_thread.run_sync(admin.get, "/api/status", StatusView, abandon_on_cancel=True)
            except HoldfastError:
                status = None  # it is busy, or about to end
            if status is not None and any(one.pid == node.pid and one.state == "ready" for one in status.nodes):
                return READY
            if trio.current_time() >= looked + LOOK_INTERVAL:
                looked = trio.current_time()
                if await self._look():
                    return CHANGED
            with trio.move_on_after(POLL_INTERVAL):
                await node.has_ended.wait()
        return ENDED

    async def _watch_node(self, node: Child) -> None:
        await node.has_ended.wait()
        if node is self._node and node.is_wanted:
            self._node = None
            _note(f"the node has ended with status {node.status}; a change or /reload starts it anew")

    async def _drain(self, node: Child) -> None:
        """As long as its handlers take: it has a limit of its own, which is the author's."""
        node.signal(signal.SIGTERM)
        self._draining.append(node)
        if len(self._draining) > MAX_DRAINING:
            self._draining[0].signal(signal.SIGKILL)
        await node.has_ended.wait()
        self._draining.remove(node)

    # --- changes ----------------------------------------------------------------------------------------------------

    async def _change(self) -> None:
        """Wait for one."""
        while not await self._look():  # noqa: ASYNC110 - files tell nobody
            await trio.sleep(LOOK_INTERVAL)

    async def _look(self) -> bool:
        """Whether there is a change, and all of it."""
        names = set(await trio.to_thread.run_sync(self._sources.changed))
        if not names and not self._is_wanted:
            return False
        while names:
            await trio.sleep(LOOK_INTERVAL)
            more = await trio.to_thread.run_sync(self._sources.changed)
            if not more:
                break
            names.update(more)
        self._is_wanted = False
        shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        _note(f"{shown} changed: starting the node anew" if names else "starting the node anew")
        return True


def _show(line: str) -> None:
    say(line)
    flush()


def _note(text: str) -> None:
    _tell("dev", text.encode(errors="replace"))


def _tell(who: str, line: bytes) -> None:
    """A line of a process. All of them are on stderr, and what comes for the client on stdout."""
    prefix = f"{who:<5} | "
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        prefix = f"\x1b[{COLORS[who]}m{prefix}\x1b[0m"
    sys.stderr.write(f"{prefix}{line.decode(errors='replace')}\n")
