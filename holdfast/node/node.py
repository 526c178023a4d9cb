"""Node: what a node's author makes, decorates functions with, and runs.

The composition root of the library: the one place where its parts are put together, anew for each run.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from secrets import randbits, token_hex
from typing import TypeVar

import structlog
import trio

from holdfast.node import tracing
from holdfast.node.actions import Actions
from holdfast.node.asking import Asking
from holdfast.node.callbacks import Callbacks
from holdfast.node.calls import Calls
from holdfast.node.checks import check, labels_of
from holdfast.node.clients import Clients
from holdfast.node.dispatch import Dispatch
from holdfast.node.effects import put
from holdfast.node.errors import StateError, one_of_ours
from holdfast.node.failures import Failures
from holdfast.node.lifespans import Lifespans
from holdfast.node.links import Links
from holdfast.node.mastership import Mastership
from holdfast.node.orphans import Heir
from holdfast.node.process import whereabouts
from holdfast.node.pump import Curve
from holdfast.node.questions import Questions
from holdfast.node.replica import Replica
from holdfast.node.request import Client
from holdfast.node.session import Parts
from holdfast.node.state import State, decode, follow
from holdfast.node.statistics import Statistics
from holdfast.node.streams import Streams
from holdfast.node.tasks import END_TIMEOUT, Tasks
from holdfast.node.watching import Meter, Watch, routed
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes.frames import VERSION, Hello

log = structlog.get_logger("holdfast.node")

ResultT = TypeVar("ResultT")

ASYNCIO = "in asyncio, `from holdfast.asyncio import Node`"
FORGET_TIMEOUT = 60.0
HOUSEKEEPING_INTERVAL = 1.0
LAST_EFFECTS = 1.0  # seconds in which what was accepted is brought, when the time of the drain is over


class Node(Actions):
    """A backend node.

    name: what it is, the same for all that do the same. capacity: how many requests it takes at once.
    weight: its share of requests by the policy `weighted`, 1.0 is normal. labels: what a proxy's routes may go by.
    id: unique among live nodes; by default the name and something random. token: the proxies' shared secret.
    curve: keys for an encrypted link. drain_timeout: how long running handlers may take to finish at the end.
    threads: how many handlers that are plain functions run at once; more wait. So many that hang for ever are a node
    that hangs.
    order: "client": messages of one client are handled one after the other, as they come to this node, each when the
    former one's handler has ended; "": all at once. With several nodes it takes `client.ordered` of the proxies.
    clients: whether `node.clients` is wanted. on_open and on_close want it too; other nodes are not told who comes and
    goes, which costs them and the proxies nothing then.
    failures: which of what its functions do wrong gets a line in the log. meter: what measures requests, from the next
    run on; None: nothing does.

    Functions are registered before `run`. Everything else is for within it.
    """

    _dispatch: type[Dispatch] = Dispatch
    _is_trios = True  # its author's async functions; else what is registered, by the library too, runs elsewhere

    def __init__(
        self,
        name: str,
        *,
        capacity: int = 256,
        weight: float = 1.0,
        labels: Mapping[str, str] | None = None,
        id: str | None = None,
        token: str = "",
        curve: Curve | None = None,
        drain_timeout: float = 30.0,
        clients: bool = False,
        threads: int = 40,
        order: str = "",
    ) -> None:
        super().__init__()
        self.name = name
        self.capacity = capacity
        self.weight = weight
        self.labels = labels_of(labels)
        self.id = id or f"{name}-{token_hex(4)}"
        self.token = token
        self.curve = curve
        self.drain_timeout = drain_timeout
        self.threads = threads
        self.order = order
        self._asks_for_clients = clients
        self.failures = Failures()
        self.meter: Meter | None = None
        self._is_running = False
        self._is_draining = trio.Event()
        self._state = State()
        self._assemble()

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def clients(self) -> Mapping[int, Client]:
        """Every client of every proxy, by id. Clients of single HTTP requests are not among them.

        Raises ConfigError in a node that is not told of clients: make it Node(..., clients=True).
        """
        if not self._wants_clients:
            raise ConfigError(
                "node.clients is empty in a node that is not told of clients: "
                "make it Node(..., clients=True), or register a function with on_open or on_close"
            )
        return self._parts.clients

    @property
    def _wants_clients(self) -> bool:
        return bool(self._asks_for_clients or self._on_open or self._on_close or self._is_told_once)

    @property
    def _is_told_once(self) -> bool:
        return bool(self._on_open_once or self._on_close_once)

    @property
    def state(self) -> State:
        """The nodes' shared state."""
        return self._state

    @property
    def is_master(self) -> bool:
        """Whether this node may act as master at this moment, by its own clock."""
        return self._parts.mastership.is_acting

    @property
    def master(self) -> str:
        """The id of the node that was elected master, as far as this node has been told; "": none yet."""
        return self._parts.mastership.master

    @property
    def epoch(self) -> int:
        """The highest epoch of a master that this node has heard of; 0: none yet."""
        return self._parts.mastership.epoch

    def statistics(self) -> Statistics:
        """What it is doing now, and has done in this run."""
        parts = self._parts
        return Statistics(
            len(self._links.sessions),
            len(parts.clients),
            len(self._state),
            parts.dispatch.in_flight,
            parts.dispatch.handled,
            parts.dispatch.failed,
            parts.dispatch.cancelled,
            len(parts.callbacks),
            self._tasks.count,
            len(parts.dispatch.workers),
            self._threads.busy,
            self._threads.waiting,
        )

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self, join: Sequence[str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a node of the proxies at `join` (such as "tcp://127.0.0.1:7510") and of those they name.

        Started when it is ready at the first one. Reconnects for ever; returns after `drain`. Cancelled, it is gone at
        once: its requests go to other nodes. Raises LinkRefused if a proxy will not have it as it is, LifespanError
        for a lifespan that fails, ConfigError for an address that is none, RuntimeError elsewhere than in Trio. May be
        called again after it has returned.
        """
        if self._is_running:
            raise RuntimeError(f"node {self.id} is running already")
        if not trio.lowlevel.in_trio_task():
            raise RuntimeError(f"node {self.id} is Trio's: trio.run(node.run, [...]); {ASYNCIO}")
        check(self, join)
        self._is_running = True
        try:
            self._threads.begin_anew(int(self.threads))
            self._assemble()
            await self._run(join, task_status)
        except ExceptionGroup as group:
            error = one_of_ours(group)
            if error is None:
                raise
            raise error from error.__cause__
        finally:
            self._is_running = False
            self._is_draining = trio.Event()

    def _start(self, function: Callable[..., Awaitable[ResultT]], *arguments: object) -> ResultT:
        """Run what runs the node."""
        return trio.run(function, *arguments)

    def _is_at_home(self) -> bool:
        """Whether it can run in the run of Trio in which the caller is."""
        return True

    def drain(self) -> None:
        """Have `run` return when handlers have finished and proxies have read it all, or after `drain_timeout`.

        No request gets lost, and no effect that can be brought by then. What tasks of the author's do to clients when
        the last replies are read waits until `run` returns, and raises HoldfastError then.
        """
        if self._is_running and not trio.lowlevel.in_trio_run():
            trio.from_thread.run_sync(self._is_draining.set)  # a plain function says so
        else:
            self._is_draining.set()

    async def _run(self, join: Sequence[str], task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._links.gate.begin()
            try:
                await nursery.start(self._tasks.run)
                nursery.start_soon(self._around.give_up_when_drained)
                await self._around.run(partial(self._live, join, task_status))
            finally:
                self._links.gate.end()
            nursery.cancel_scope.cancel(reason="the node has left")

    async def _live(self, join: Sequence[str], status: trio.TaskStatus[None]) -> None:
        """Within all lifespans."""
        try:
            await self._serve(join, status)
        finally:
            with trio.move_on_after(END_TIMEOUT, shield=True):
                await self._tasks.end()
            self._links.gate.end()  # not before: a task that is to be cancelled need not fail

    async def _serve(self, join: Sequence[str], status: trio.TaskStatus[None]) -> None:
        parts = self._parts
        tracer = tracing.tracer()  # not before: a lifespan may have set the provider
        if self.meter is not None or tracer is not None:
            parts.dispatch.watch(Watch(self.meter, tracer), self._handler(routed))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(parts.callbacks.run)
            nursery.start_soon(parts.dispatch.run)
            nursery.start_soon(parts.mastership.run)
            nursery.start_soon(self._tasks.run_jobs)
            nursery.start_soon(self._keep_house)
            nursery.start_soon(self._say_started, status)
            nursery.start_soon(self._resign_when_drained)
            nursery.start_soon(self._leave_in_the_end)
            await self._links.run(parts, join)
            nursery.cancel_scope.cancel(reason="the node has left")

    async def _say_started(self, task_status: trio.TaskStatus[None]) -> None:
        await self._links.is_ready.wait()
        task_status.started()

    async def _keep_house(self) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING_INTERVAL)
            now = trio.current_time()
            self._parts.clients.forget_lost(now)
            self._links.streams.give_up_old(now)
            self.failures.tick()

    async def _resign_when_drained(self) -> None:
        """A drained node is not to be master: the next one need not wait for the end of its lease."""
        await self._links.was_drained.wait()
        await self._parts.mastership.stop()
        self._links.resign()

    async def _leave_in_the_end(self) -> None:
        await self._is_draining.wait()
        parts = self._parts
        log.info("draining", in_flight=parts.dispatch.in_flight)
        self._around.end_by = trio.current_time() + self.drain_timeout
        with trio.move_on_after(self.drain_timeout) as scope:
            await parts.mastership.stop()  # before the proxies hear of it, because they elect another one then
            await self._links.drain()
            await parts.dispatch.wait_idle()
            await self._tasks.wait_turns()
            await self._links.wait_read()  # the last replies: a process that has ended brings nothing any more
            await self._tasks.end()
            self._links.gate.hold()
            await self._links.streams.wait_all_taken()  # what the author's tasks have done meanwhile, too
        if scope.cancelled_caught:
            log.warning("drain_timeout", in_flight=parts.dispatch.in_flight)
            self._tasks.cancel()
            self._links.gate.hold()
            with trio.move_on_after(LAST_EFFECTS):
                await self._links.streams.wait_all_taken()
        self._links.streams.close()
        self._links.leave()

    def _assemble(self) -> None:
        """Make the parts of a run. Nothing of a former run is left, and nothing begins yet."""
        incarnation = 1 + randbits(62)
        callbacks = Callbacks(self.failures)
        clients = Clients(callbacks, self._on_open, self._on_close, FORGET_TIMEOUT, Heir(self._is_told_once))
        self._links = links = Links(self.curve, FORGET_TIMEOUT, Streams(clients.proxy_of, self.failures), clients)
        replica = Replica(self.id, incarnation, links, callbacks, self._state_changed)
        handler = self._handler()
        once = self._on_open_once, self._on_close_once
        of_channels = self._on_subscribe, self._on_publish
        calls = Calls(self._on_connect, *once, self._on_ask, *of_channels, partial(put, links))
        is_ordered = self.order == "client"
        dispatch = self._dispatch(handler, calls, clients, self.capacity, self.failures, is_ordered, self._whose)
        self._around = Lifespans(self._lifespans, self, self._is_draining, self.drain_timeout)
        ready, draining = links.is_ready, self._is_draining
        self._tasks = Tasks(links, self._jobs, self.failures, self.threads, ready, draining)
        mastership = Mastership(self.id, [*self._on_master, *self._tasks.masters], links)
        place = whereabouts()

        def hello() -> Hello:
            return Hello(
                VERSION,
                self.id,
                self.name,
                incarnation,
                self.capacity,
                self.weight,
                self.labels,
                os.getpid(),
                self.token,
                mastership.epoch,
                *replica.view.position,
                self._wants_clients,
                *place,
                takes_requests=handler is not None,
                takes_offers=True,
                owes=links.streams.owes(),
                is_drained=links.is_drained,
                takes=calls.takes,
            )

        self._parts = Parts(
            hello, callbacks, clients, dispatch, mastership, replica, links, Questions(links), Asking(links)
        )
        follow(self._state, replica)

    def _state_changed(self, key: str, value: bytes | None) -> None:
        if not self._on_state:
            return
        try:
            content = None if value is None else decode(value)
        except StateError as error:  # one value that can't be read must not end every node that looks at it
            if self.failures.admits("state_unreadable"):
                log.error("state_unreadable", key=key[:100], error=str(error))
            return
        self._parts.callbacks.call(self._on_state, key, content)
