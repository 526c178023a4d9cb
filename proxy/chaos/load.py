"""The built-in clients: each connects, joins its group's channel and asks on time, whether it is answered or not.

One task and an epoll of its own, as in the proxy's reactor, for the same reason: a thousand clients have to leave both
cores to what is tested. Requests are spread evenly over time. What is sent and heard goes into the Accounting.
"""

import select
import time

import trio
from msgspec import Struct

from protocols.errors import HoldfastError
from proxy.chaos.accounting import Accounting
from proxy.chaos.failover import Percentiles
from proxy.chaos.messages import MASTERS, Ask, Heard, decode_heard, encode
from proxy.chaos.websocket import WebSocket
from proxy.chaos.witness import Witness

CONNECTING = 50  # at once
WITNESSES = 5  # clients on another implementation, spread over all (proxy.chaos.witness)
JOINING = -1  # the number of the request by which a client joins its channels; it is in no books
JOIN_TIMEOUT = 30.0
MASTER_LISTENERS = 10  # clients that listen to what the master announces
PER_TURN = 16  # requests, and sockets that are read: the witnesses' tasks need several turns for each message
SHORTEST_WAIT = 0.001  # between turns: requests that are due within it leave together
LONGEST_WAIT = 0.05  # then `start` is noticed
QUIET = 0.5  # after the last message that is due: would there be one too many?


class Settings(Struct):
    """group: clients per channel. rate: requests of one client per second. work: seconds that each takes at a node."""

    host: str
    port: int
    clients: int
    group: int
    rate: float
    work: float


class Progress(Struct, tag="progress"):
    """latency: of what was answered since the one before. lag: how late requests left since then, in ms."""

    clients: int
    sent: int
    done: int
    notified: int
    errors: dict[str, int]
    redelivered: int
    unanswered: int
    lost: int
    latency: Percentiles
    lag: float


class Client:
    __slots__ = ("channel", "connection", "index", "is_open", "waits_to_write")

    def __init__(self, index: int, channel: str, connection: WebSocket | Witness) -> None:
        self.index = index
        self.channel = channel
        self.connection = connection
        self.is_open = True
        self.waits_to_write = False


class Load:
    """open; `run` in a task, then join; start, stop and wait_complete when wanted; close."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.accounting = Accounting(settings.clients, settings.group)
        self._epoll = select.epoll()
        self._clients: list[Client] = []
        self._by_fd: dict[int, Client] = {}
        self._pause = 1 / (settings.rate * settings.clients)
        self._due_at: float | None = None  # when the next request is due; None: no more
        self._next = 0  # whose it is
        self._to_join = set(range(settings.clients))
        self._joined = trio.Event()
        self._recent: list[float] = []
        self._lag = self.worst_lag = 0.0

    # --- life -------------------------------------------------------------------------------------------------

    async def open(self, witnesses: trio.Nursery) -> None:
        """Connect all clients. witnesses: where the tasks of some of them run."""
        limiter = trio.CapacityLimiter(CONNECTING)
        apart = max(1, self._settings.clients // WITNESSES)
        async with trio.open_nursery() as nursery:
            for index in range(self._settings.clients):
                if index % apart:
                    nursery.start_soon(self._connect, index, limiter)
                else:
                    nursery.start_soon(self._connect_witness, index, witnesses)
        self._clients.sort(key=lambda client: client.index)

    async def _connect(self, index: int, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            connection = await WebSocket.open(self._settings.host, self._settings.port)
        client = self._add(index, connection)
        self._by_fd[connection.fd] = client
        self._epoll.register(connection.fd, select.EPOLLIN)

    async def _connect_witness(self, index: int, tasks: trio.Nursery) -> None:
        connection = Witness()
        client = self._add(index, connection)

        def take(message: bytes) -> None:
            self._take(client, message, time.monotonic())

        def ended(why: str) -> None:
            self._dropped(client, why)

        await tasks.start(connection.run, self._settings.host, self._settings.port, take, ended)

    def _add(self, index: int, connection: WebSocket | Witness) -> Client:
        client = Client(index, f"group-{index // self._settings.group}", connection)
        self._clients.append(client)
        return client

    async def join(self) -> None:
        """Have all clients join their channels; `run` must run."""
        for client in self._clients:
            channels = [client.channel, MASTERS] if client.index < MASTER_LISTENERS else [client.channel]
            self._send(client, Ask(JOINING, client.index, join=channels))
        with trio.move_on_after(JOIN_TIMEOUT):
            await self._joined.wait()
            return
        raise HoldfastError(
            f"{len(self._to_join)} of {len(self._clients)} clients could not join their channel within "
            f"{JOIN_TIMEOUT:g} s: do the nodes there run proxy.chaos.node:node?"
        )

    def start(self) -> None:
        """Send requests from now on."""
        self._due_at = time.monotonic() + LONGEST_WAIT

    def stop(self) -> None:
        """Send no more."""
        self._due_at = None

    async def wait_complete(self, patience: float) -> None:
        """Wait until nothing is due any more, at most so long; then a little more for what should not come."""
        with trio.move_on_after(patience):
            while True:
                await trio.sleep(0.1)
                if self.accounting.is_complete():
                    break
        await trio.sleep(QUIET)

    def close(self) -> None:
        for client in self._clients:
            self._close(client)
        self._epoll.close()

    # --- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            await self._wait()
            for fd, events in self._epoll.poll(0, PER_TURN):
                client = self._by_fd.get(fd)
                if client is not None:
                    self._on_ready(client, events)

    async def _wait(self) -> None:
        """Send what is due, and wait until there is something to read or the next is due."""
        wait = LONGEST_WAIT
        if self._due_at is not None:
            now = time.monotonic()
            self._send_due(now)
            if self._due_at <= now:  # we are late: sleeping would give the CPU away
                await trio.lowlevel.checkpoint()
                return
            wait = min(max(self._due_at - now, SHORTEST_WAIT), LONGEST_WAIT)
        with trio.move_on_after(wait):
            await trio.lowlevel.wait_readable(self._epoll.fileno())

    def _send_due(self, now: float) -> None:
        assert self._due_at is not None
        late = now - self._due_at
        self._lag = max(self._lag, late)
        for _ in range(PER_TURN):
            if self._due_at > now:
                break
            client = self._clients[self._next]
            if client.is_open:
                number = self.accounting.sent(client.index, time.monotonic())
                self._send(client, Ask(number, client.index, publish=client.channel, work=self._settings.work))
            self._next = (self._next + 1) % len(self._clients)
            self._due_at += self._pause

    def _send(self, client: Client, ask: Ask) -> None:
        connection = client.connection
        try:
            connection.send(encode(ask))
        except ConnectionError as error:
            self._dropped(client, str(error))
            return
        if isinstance(connection, WebSocket):
            self._watch(client, connection)

    def _watch(self, client: Client, connection: WebSocket) -> None:
        """Wait to write if there is something, else not."""
        if client.waits_to_write is not connection.has_output:
            client.waits_to_write = connection.has_output
            events = select.EPOLLIN | (select.EPOLLOUT if client.waits_to_write else 0)
            self._epoll.modify(connection.fd, events)

    def _on_ready(self, client: Client, events: int) -> None:
        connection = client.connection
        assert isinstance(connection, WebSocket)
        try:
            if events & select.EPOLLOUT:
                connection.flush()
            if events & ~select.EPOLLOUT:
                now = time.monotonic()
                for message in connection.receive():
                    self._take(client, message, now)
            self._watch(client, connection)
        except ConnectionError as error:
            self._dropped(client, str(error))

    def _take(self, client: Client, message: bytes, now: float) -> None:
        accounting = self.accounting
        heard = decode_heard(message)
        if heard is None:
            accounting.unasked()
        elif heard.channel == MASTERS:
            accounting.announced(client.index, heard.epoch)
        elif heard.channel:
            accounting.notified(client.index, heard.client, heard.request, heard.run, heard.number)
        elif heard.requestId == JOINING:
            self._took_join(client, heard)
        elif heard.error is not None:
            kind = heard.error.id.removeprefix("holdfast.")
            accounting.failed(client.index, heard.requestId, kind, heard.error.retryable, now)
        else:
            took = accounting.replied(client.index, heard.requestId, heard.client, heard.attempt, now)
            if took is not None:
                self._recent.append(took)

    def _took_join(self, client: Client, heard: Heard) -> None:
        if heard.error is None and heard.client == client.index:
            self._to_join.discard(client.index)
            if not self._to_join:
                self._joined.set()

    def _dropped(self, client: Client, why: str) -> None:
        self.accounting.dropped(client.index, why)
        self._close(client)

    def _close(self, client: Client) -> None:
        """A witness's task closes its connection itself."""
        connection = client.connection
        if client.is_open and isinstance(connection, WebSocket):
            self._epoll.unregister(connection.fd)
            del self._by_fd[connection.fd]
            connection.close()
        client.is_open = False

    # --- what is seen meanwhile -------------------------------------------------------------------------------

    def progress(self) -> Progress:
        requests = self.accounting.requests()
        recent, self._recent = self._recent, []
        lag, self._lag = self._lag, 0.0
        self.worst_lag = max(self.worst_lag, lag)
        return Progress(
            clients=sum(client.is_open for client in self._clients),
            sent=requests.sent,
            done=self.accounting.done,
            notified=self.accounting.notified_count,
            errors=requests.errors,
            redelivered=requests.redelivered,
            unanswered=requests.unanswered,
            lost=self.accounting.lost,
            latency=Percentiles.of(recent),
            lag=round(lag * 1000, 1),
        )
