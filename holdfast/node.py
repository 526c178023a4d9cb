"""Node: what a node's author makes, decorates functions with, and runs.

The composition root of the library: the one place where its parts are put together, anew for each run.
"""

import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from math import inf
from secrets import randbits, token_hex
from typing import Any, TypeVar

import structlog
import trio
from msgspec import Struct

from holdfast import effects
from holdfast.callbacks import Callbacks
from holdfast.clients import Clients
from holdfast.counts import Counts
from holdfast.dispatch import Dispatch
from holdfast.effects import Payload
from holdfast.errors import one_of_ours
from holdfast.links import Links
from holdfast.mastership import Mastership
from holdfast.pump import Curve
from holdfast.replica import Replica
from holdfast.request import Client, Request
from holdfast.session import Parts
from holdfast.state import State, decode
from holdfast.streams import Streams
from protocols.errors import ConfigError
from protocols.nodes.frames import VERSION, Hello

log = structlog.get_logger("holdfast.node")

FORGET_TIMEOUT = 60.0
HOUSEKEEPING_INTERVAL = 1.0
MAX_CAPACITY = 1_000_000  # a handler that waits is a task of some KiB

RequestHandler = TypeVar("RequestHandler", bound=Callable[[Request], Any])
OpenHandler = TypeVar("OpenHandler", bound=Callable[[Client], Any])
CloseHandler = TypeVar("CloseHandler", bound=Callable[..., Any])
MasterFunction = TypeVar("MasterFunction", bound=Callable[[], Coroutine[Any, Any, None]])
StateHandler = TypeVar("StateHandler", bound=Callable[[str, Any], Any])


class Statistics(Struct, frozen=True):
    """What a node is doing, and has done in this run.

    callbacks: calls of on_open, on_close and on_state that have not returned: how far they lag behind.
    """

    proxies: int
    clients: int
    state_keys: int
    in_flight: int
    handled: int
    failed: int
    cancelled: int
    callbacks: int


class Node:
    """A backend node.

    name: what it is, the same for all that do the same. capacity: how many requests it takes at once.
    weight: its share of requests by the policy `weighted`, 1.0 is normal. labels: for people who look at it.
    id: unique among live nodes; by default the name and something random. token: the proxies' shared secret.
    curve: keys for an encrypted link. drain_timeout: how long running handlers may take to finish at the end.

    Functions are registered before `run`. Everything else is for within it.
    """

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
    ) -> None:
        self.name = name
        self.capacity = capacity
        self.weight = weight
        self.labels = dict(labels or {})
        self.id = id or f"{name}-{token_hex(4)}"
        self.token = token
        self.curve = curve
        self.drain_timeout = drain_timeout
        self._on_request: Callable[[Request], Any] | None = None
        self._on_open: list[Callable[[Client], Any]] = []
        self._on_close: list[Callable[[Client, str], Any]] = []
        self._on_master: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._on_state: list[Callable[[str, Any], Any]] = []
        self._is_running = False
        self._is_draining = trio.Event()
        self._assemble()

    # --- functions of the author ------------------------------------------------------------------------------------

    def on_request(self, function: RequestHandler) -> RequestHandler:
        """Register the function that answers requests: `async def handle(request: Request) -> ...`, or a plain def.

        What it returns is the reply. bytes: of the request's kind, text or binary. str: text. dict, list: text, as
        JSON. None: empty. Reply: with status, headers, or in parts. It may raise RequestError, which the client gets;
        whatever else it raises is logged, and the client gets status 500 with the id of the log line.
        It is cancelled when the reply is no longer wanted, and when the link is lost: the request is another node's
        then. A plain function holds up everything else in this node while it runs.
        """
        if self._on_request is not None:
            raise ValueError("a node has one function for requests, and it is registered already")
        self._on_request = function
        return function

    def on_open(self, function: OpenHandler) -> OpenHandler:
        """Register a function for clients that come: `async def opened(client: Client)`, or a plain def.

        Every node is told of every client of every proxy, once; also of those that were there before it. The calls
        are made one at a time, in order. A plain function is called before any request of that client is handled;
        an async one a little later. What it does through the node, every node does: joining twice counts once.
        """
        self._on_open.append(function)
        return function

    def on_close(self, function: CloseHandler) -> CloseHandler:
        """Register a function for clients that went: `(client)` or `(client, reason)`, async or not; as on_open.

        reason: of the table in docs/reference/errors.md, or "unknown" if it went while no link could tell.
        """
        if len(inspect.signature(function).parameters) > 1:
            self._on_close.append(function)
        elif inspect.iscoroutinefunction(function):

            async def closed(client: Client, reason: str) -> None:
                await function(client)

            self._on_close.append(closed)
        else:
            self._on_close.append(lambda client, reason: function(client))
        return function

    def on_master(self, function: MasterFunction) -> MasterFunction:
        """Register an async function that runs while this node is master: at most one node is, at each time.

        It is cancelled when the node no longer is, or can't be sure, and begun anew when it is again. If it raises,
        that is logged and it is begun anew; if it returns, that is that. What it does through the node counts only in
        its epoch.
        """
        self._on_master.append(function)
        return function

    def on_state(self, function: StateHandler) -> StateHandler:
        """Register a function for changes of the state: `(key, value)`, None for a deleted key; async or not.

        Called for each change in the master's order, and for each key there is at the beginning. After a link was
        lost it is called for what differs. A plain function is called at once: before `set` returns, for one.
        """
        self._on_state.append(function)
        return function

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def clients(self) -> Mapping[int, Client]:
        """Every client of every proxy, by id. Clients of single HTTP requests are not among them."""
        return self._parts.clients

    @property
    def state(self) -> State:
        """The nodes' shared state."""
        return self._state

    @property
    def is_master(self) -> bool:
        """Whether this node may act as master at this moment, by its own clock."""
        return self._parts.mastership.is_acting

    @property
    def epoch(self) -> int:
        """The highest epoch of a master that this node has heard of; 0: none yet."""
        return self._parts.mastership.epoch

    def statistics(self) -> Statistics:
        parts = self._parts
        return Statistics(
            len(parts.links.sessions),
            len(parts.clients),
            len(self._state),
            parts.dispatch.in_flight,
            parts.dispatch.handled,
            parts.dispatch.failed,
            parts.dispatch.cancelled,
            len(parts.callbacks),
        )

    # --- effects ----------------------------------------------------------------------------------------------------
    #
    # Called by a request's handler, or by tasks that it started and waits for, they are kept and travel with its reply:
    # all or nothing. Called elsewhere they are sent at once to every proxy, after waiting until one is linked and none
    # has too much to send; from on_master they count only if this node is still master.

    async def join(self, client: Client | int, channel: str) -> None:
        """Let a client get what is sent to a channel. Twice counts once."""
        await effects.put(self._parts.links, effects.join(client, channel))

    async def leave(self, client: Client | int, channel: str) -> None:
        """Undo `join`."""
        await effects.put(self._parts.links, effects.leave(client, channel))

    async def notify(
        self,
        payload: Payload,
        *,
        channels: Iterable[str] = (),
        clients: Iterable[Client | int] = (),
        exclude: Iterable[Client | int] = (),
        text: bool | None = None,
    ) -> None:
        """Send a message to all clients in the channels, once per channel, and to each of `clients`; none to `exclude`.

        str, dict and list go as text (the latter as JSON), bytes as binary; `text` says otherwise.
        Messages of one node reach each client in the order in which they were sent.
        """
        await effects.put(self._parts.links, effects.notify(payload, channels, clients, exclude, text))

    async def broadcast(
        self, payload: Payload, *, exclude: Iterable[Client | int] = (), text: bool | None = None
    ) -> None:
        """Send a message to every client but those of `exclude`."""
        await effects.put(self._parts.links, effects.broadcast(payload, exclude, text))

    async def close(self, client: Client | int, reason: str = "") -> None:
        """Close a client's connection. reason: text for the client."""
        await effects.put(self._parts.links, effects.close(client, reason))

    # --- questions --------------------------------------------------------------------------------------------------

    async def count(self, channel: str) -> int:
        """How many clients of all proxies are in a channel; of those of other proxies, as of a moment ago.

        What this handler does is not counted before its reply has left. Waits until a proxy is linked.
        """
        return await self._parts.counts.ask(effects.check_text(channel))

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self, join: Sequence[str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a node of the proxies at `join` (such as "tcp://127.0.0.1:7510") and of those they name.

        Started when it is ready at the first one. Reconnects for ever; returns after `drain`. Cancelled, it is gone at
        once: its requests go to other nodes. Raises LinkRefused if a proxy will not have it as it is,
        ConfigError for an address that is none. May be called again after it has returned.
        """
        if self._is_running:
            raise RuntimeError(f"node {self.id} is running already")
        self._check(join)
        self._is_running = True
        try:
            self._assemble()
            await self._run(join, task_status)
        except ExceptionGroup as group:
            error = one_of_ours(group)
            if error is None:
                raise
            raise error from None
        finally:
            self._is_running = False
            self._is_draining = trio.Event()

    def drain(self) -> None:
        """Have `run` return when running handlers have finished, or after `drain_timeout`. No request gets lost."""
        self._is_draining.set()

    def _check(self, join: Sequence[str]) -> None:
        if isinstance(join, str) or not join:
            raise ConfigError(f"a node needs a list of at least one proxy's address, got {join!r}")
        capacity: object = self.capacity  # what is set is not always what the annotations say
        if not isinstance(capacity, int) or not 1 <= capacity <= MAX_CAPACITY:
            raise ConfigError(f"the capacity of a node is 1 to {MAX_CAPACITY}, got {capacity!r}")
        texts = (self.name, self.id, self.token, *self.labels, *self.labels.values())
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError("name, id, token and labels of a node are strings")
        if not 0 < self.weight < inf:
            raise ConfigError(f"the weight of a node is above 0, got {self.weight}")

    async def _run(self, join: Sequence[str], task_status: trio.TaskStatus[None]) -> None:
        parts = self._parts
        async with trio.open_nursery() as nursery:
            nursery.start_soon(parts.callbacks.run)
            nursery.start_soon(parts.dispatch.run)
            nursery.start_soon(parts.mastership.run)
            nursery.start_soon(self._keep_house)
            nursery.start_soon(self._say_started, task_status)
            nursery.start_soon(self._leave_in_the_end)
            await parts.links.run(parts, join)
            nursery.cancel_scope.cancel(reason="the node has left")

    async def _say_started(self, task_status: trio.TaskStatus[None]) -> None:
        await self._parts.links.is_ready.wait()
        task_status.started()

    async def _keep_house(self) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING_INTERVAL)
            now = trio.current_time()
            self._parts.clients.forget_lost(now)
            self._parts.links.streams.give_up_old(now)

    async def _leave_in_the_end(self) -> None:
        await self._is_draining.wait()
        parts = self._parts
        log.info("draining", in_flight=parts.dispatch.in_flight)
        with trio.move_on_after(self.drain_timeout) as scope:
            await parts.mastership.stop()  # before the proxies hear of it, because they elect another one then
            await parts.links.drain()
            await parts.dispatch.wait_idle()
        if scope.cancelled_caught:
            log.warning("drain_timeout", in_flight=parts.dispatch.in_flight)
        parts.links.leave()

    def _assemble(self) -> None:
        """Make the parts of a run. Nothing of a former run is left, and nothing begins yet."""
        incarnation = 1 + randbits(62)
        callbacks = Callbacks()
        clients = Clients(
            callbacks, self._on_open, self._on_close, lambda client: replica.owner_gone(client), FORGET_TIMEOUT
        )
        links = Links(self.curve, FORGET_TIMEOUT, Streams(clients.proxy_of), clients)
        mastership = Mastership(self.id, self._on_master, links)
        replica = Replica(self.id, incarnation, clients, mastership, links, self._state_changed)
        dispatch = Dispatch(self._on_request, clients, self.capacity)

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
            )

        self._parts = Parts(hello, callbacks, clients, dispatch, mastership, replica, links, Counts(links))
        self._state = State(replica, clients)

    def _state_changed(self, key: str, value: bytes | None) -> None:
        if self._on_state:
            self._parts.callbacks.call(self._on_state, key, None if value is None else decode(value))
