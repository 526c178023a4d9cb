"""Node: what a node's author makes, decorates functions with, and runs.

The composition root of the library: the one place where its parts are put together, anew for each run.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from secrets import randbits, token_hex

import structlog
import trio
from msgspec import Struct

from holdfast.node import effects, threads
from holdfast.node.callbacks import Callbacks
from holdfast.node.clients import Clients
from holdfast.node.counts import Counts
from holdfast.node.dispatch import Dispatch
from holdfast.node.effects import Payload
from holdfast.node.errors import StateError, one_of_ours
from holdfast.node.failures import Failures
from holdfast.node.functions import Functions
from holdfast.node.links import Links
from holdfast.node.mastership import Mastership
from holdfast.node.process import whereabouts
from holdfast.node.pump import Curve
from holdfast.node.replica import Replica
from holdfast.node.request import Client
from holdfast.node.session import Parts
from holdfast.node.state import State, decode, follow
from holdfast.node.streams import Streams
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes.frames import MAX_WEIGHT, MIN_WEIGHT, VERSION, Hello
from holdfast.protocols.nodes.names import fault_of

log = structlog.get_logger("holdfast.node")

FORGET_TIMEOUT = 60.0
HOUSEKEEPING_INTERVAL = 1.0
MAX_CAPACITY = 1_000_000  # a handler that waits is a task of some KiB
MAX_THREADS = 10_000


class Statistics(Struct, frozen=True):
    """What a node is doing, and has done in this run.

    clients: 0 in a node that is not told of clients. callbacks: calls of on_open, on_close and on_state that have not
    returned: how far they lag behind.
    """

    proxies: int
    clients: int
    state_keys: int
    in_flight: int
    handled: int
    failed: int
    cancelled: int
    callbacks: int


class Node(Functions):
    """A backend node.

    name: what it is, the same for all that do the same. capacity: how many requests it takes at once.
    weight: its share of requests by the policy `weighted`, 1.0 is normal. labels: for people who look at it.
    id: unique among live nodes; by default the name and something random. token: the proxies' shared secret.
    curve: keys for an encrypted link. drain_timeout: how long running handlers may take to finish at the end.
    threads: how many handlers that are plain functions run at once; more wait. So many that hang for ever are a node
    that hangs.
    clients: whether `node.clients` is wanted. on_open and on_close want it too; other nodes are not told who comes and
    goes, which costs them and the proxies nothing then.
    failures: which of what its functions do wrong gets a line in the log.

    Functions are registered before `run`. Everything else is for within it.
    """

    _dispatch: type[Dispatch] = Dispatch

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
    ) -> None:
        super().__init__()
        self.name = name
        self.capacity = capacity
        self.weight = weight
        self.labels = dict(labels or {})
        self.id = id or f"{name}-{token_hex(4)}"
        self.token = token
        self.curve = curve
        self.drain_timeout = drain_timeout
        self.threads = threads
        self._asks_for_clients = clients
        self.failures = Failures()
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
        return bool(self._asks_for_clients or self._on_open or self._on_close)

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
        )

    # --- effects ----------------------------------------------------------------------------------------------------
    #
    # Called by a request's handler, or by tasks that it started and waits for, they are kept and travel with its reply:
    # all or nothing. Called elsewhere they are sent at once to every proxy that they concern, after waiting until one
    # is linked and all of these have taken enough of what was sent before: who is faster than clients take is slowed
    # here. From on_master they count only if this node is still master. Cancelled while they wait, nothing is sent.

    async def join(self, client: Client | int, channel: str, *, version: int = 0) -> None:
        """Let a client get what is sent to a channel. Twice counts once.

        version: where an entry of the state says that the client is in the channel, the version of that (`State.set`),
        here and when it leaves. Then it does not matter in which order several nodes' joins and leaves come to the
        proxy, nor how late: a leave undoes no join of a later version, and a join does nothing after a leave of its own
        version or a later one.
        """
        await effects.put(self._parts.links, effects.join(client, channel, version))

    async def leave(self, client: Client | int, channel: str, *, version: int = 0) -> None:
        """Undo `join`. version: that of the entry which is ended; without one, whatever it was."""
        await effects.put(self._parts.links, effects.leave(client, channel, version))

    async def notify(
        self,
        payload: Payload,
        *,
        channels: Iterable[str] = (),
        clients: Iterable[Client | int] = (),
        exclude: Iterable[Client | int] = (),
        text: bool | None = None,
        tail: bytes = b"",
    ) -> None:
        """Send a message to all clients in the channels, once per channel, and to each of `clients`; none to `exclude`.

        str, dict and list go as text (the latter as JSON), bytes as binary; `text` says otherwise. UnicodeDecodeError:
        bytes that are to go as text are none.
        tail: with it, what clients get is the payload, the name of the channel and the tail, as one message, so they
        can tell through which channel it came; 1 KiB at most, and no `clients`.
        Messages of one node reach each client in the order in which they were sent.
        """
        await effects.put(self._parts.links, effects.notify(payload, channels, clients, exclude, text, tail))

    async def broadcast(
        self, payload: Payload, *, exclude: Iterable[Client | int] = (), text: bool | None = None
    ) -> None:
        """Send a message to every client but those of `exclude`."""
        await effects.put(self._parts.links, effects.broadcast(payload, exclude, text))

    async def close(self, client: Client | int, reason: str = "", *, code: int | None = None) -> None:
        """Close a client's connection. reason: text for it, of which it gets the first 123 bytes.

        code: of a WebSocket, 4000 to 4999; without one 1008.
        """
        await effects.put(self._parts.links, effects.close(client, reason, code))

    # --- questions --------------------------------------------------------------------------------------------------

    async def count(self, channel: str) -> int:
        """How many clients of all proxies are in a channel; of those of other proxies, as of a moment ago.

        What this handler does is not counted before its reply has left. Waits until a proxy is linked. Raises
        RequestError (503), so that a handler need not care, if more is asked at a time than the proxies answer.
        """
        return await threads.call(self._parts.counts.ask, effects.check_text(channel))

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

    def _start(self, function: Callable[..., Awaitable[int]], *arguments: object) -> int:
        """Run what runs the node."""
        return trio.run(function, *arguments)

    def drain(self) -> None:
        """Have `run` return when handlers have finished and proxies have read it all, or after `drain_timeout`.

        No request gets lost, and no effect that can be brought by then.
        """
        if self._is_running and not trio.lowlevel.in_trio_run():
            trio.from_thread.run_sync(self._is_draining.set)  # a plain function says so
        else:
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
        try:
            fault = fault_of(self.id, self.name, self.labels)
        except UnicodeEncodeError:
            fault = "name, id and labels of a node can be said in UTF-8"
        if fault:
            raise ConfigError(fault)
        threads, weight, drain_timeout = self._numbers("threads", "weight", "drain_timeout")
        if not 1 <= threads <= MAX_THREADS or threads != int(threads):
            raise ConfigError(f"the threads of a node are 1 to {MAX_THREADS}, got {threads}")
        if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
            raise ConfigError(f"the weight of a node is {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, got {weight}")
        if not drain_timeout >= 0:
            raise ConfigError(f"the drain_timeout of a node is 0 or more seconds, got {drain_timeout}")

    def _numbers(self, *names: str) -> list[float]:
        values = [getattr(self, name) for name in names]
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, int | float):
                raise ConfigError(f"the {name} of a node is a number, got {value!r:.80}")
        return values

    async def _run(self, join: Sequence[str], task_status: trio.TaskStatus[None]) -> None:
        parts = self._parts
        async with trio.open_nursery() as nursery:
            nursery.start_soon(parts.callbacks.run)
            nursery.start_soon(parts.dispatch.run)
            nursery.start_soon(parts.mastership.run)
            nursery.start_soon(self._keep_house)
            nursery.start_soon(self._say_started, task_status)
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
        with trio.move_on_after(self.drain_timeout) as scope:
            await parts.mastership.stop()  # before the proxies hear of it, because they elect another one then
            await self._links.drain()
            await parts.dispatch.wait_idle()
            await self._links.streams.wait_all_taken()
            await self._links.wait_read()  # the last replies: a process that has ended brings nothing any more
        if scope.cancelled_caught:
            log.warning("drain_timeout", in_flight=parts.dispatch.in_flight)
        self._links.streams.close()
        self._links.leave()

    def _assemble(self) -> None:
        """Make the parts of a run. Nothing of a former run is left, and nothing begins yet."""
        incarnation = 1 + randbits(62)
        callbacks = Callbacks(self.failures)
        clients = Clients(callbacks, self._on_open, self._on_close, FORGET_TIMEOUT)
        self._links = links = Links(self.curve, FORGET_TIMEOUT, Streams(clients.proxy_of, self.failures), clients)
        mastership = Mastership(self.id, self._on_master, links)
        replica = Replica(self.id, incarnation, links, callbacks, self._state_changed)
        dispatch = self._dispatch(self._handler(self.threads), clients, self.capacity, self.failures)
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
                takes_requests=self._on_request is not None,
                takes_offers=True,
                owes=links.streams.owes(),
                is_drained=links.is_drained,
            )

        self._parts = Parts(hello, callbacks, clients, dispatch, mastership, replica, links, Counts(links))
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
