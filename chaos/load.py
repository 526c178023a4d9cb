"""The built-in clients: each connects, joins its group's channel and asks on time, whether it is answered or not.

One task and an epoll of its own, as in the proxy's reactor, for the same reason: a thousand clients have to leave both
cores to what is tested. Requests are spread evenly over time. What is sent and heard goes into the Accounting. Clients
are spread over the proxies, and one whose connection ends goes to the next that lives, or back to the only one.
"""

import random
import time
from collections.abc import Iterator, Sequence

import trio
from msgspec import Struct

from holdfast.chaos.accounting import Accounting, Verdict
from holdfast.chaos.connections import Client, Connections
from holdfast.chaos.failover import Fault, Percentiles
from holdfast.chaos.messages import MASTERS, Ask, Heard, decode_heard, encode
from holdfast.chaos.sessions import passed_by
from holdfast.chaos.writer import Writer
from holdfast.protocols.errors import HoldfastError

WITNESSES = 5  # clients on another implementation, spread over all (chaos.witness)
JOINING = -1  # the number of the request by which a client joins its channels; it is in no books
JOIN_TIMEOUT = 30.0
MASTER_LISTENERS = 10  # clients that listen to what the master announces
PER_TURN = 16  # requests
SHORTEST_WAIT = 0.001  # between turns: requests that are due within it leave together
LONGEST_WAIT = 0.05  # then `start` is noticed
QUIET = 0.5  # after the last message that is due: would there be one too many?
MOVE_TIMEOUT = 150.0  # for a client to find another proxy, also if all must be started first
CONNECT_TIMEOUT = 5.0  # meanwhile
MOVE_PAUSES = (0.05, 1.0)  # before it tries the next: the first, and the longest; most of it by chance


class Settings(Struct):
    """addresses: host and port of each proxy. is_cluster: of several, though they may share an address. group: clients
    per channel. rate: requests of one client per second. work: seconds that each takes at a node.
    """

    addresses: list[tuple[str, int]]
    is_cluster: bool
    clients: int
    group: int
    rate: float
    work: float
    writes: float


class Progress(Struct, tag="progress"):
    """latency: of what was answered since the one before. lag: how late requests left since then, in ms.

    clients: that may ask. moves: connections that ended, and their clients went for another.
    """

    clients: int
    moves: int
    sent: int
    done: int
    notified: int
    errors: dict[str, int]
    redelivered: int
    unanswered: int
    lost: int
    latency: Percentiles
    lag: float


class Load:
    """open; `run` in a task, then join; start, stop and wait_complete when wanted; close."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        proxies = len(settings.addresses)
        self.accounting = Accounting(settings.clients, settings.group, is_cluster=settings.is_cluster)
        self._connections = Connections(settings.addresses, self._take, self._lost)
        self.sessions = self._connections.sessions
        apart = max(1, settings.clients // WITNESSES)
        self._clients = [
            Client(
                index,
                f"group-{index // settings.group}",
                (index + index // apart) % proxies,  # the second part spreads the witnesses, too
                is_witness=index % apart == 0,
            )
            for index in range(settings.clients)
        ]
        self.writer = Writer(settings.writes, self._clients, self.sessions, self._send)
        self._pause = 1 / (settings.rate * settings.clients)
        self._due_at: float | None = None  # when the next request is due; None: no more
        self._next = 0  # whose it is
        self._to_join = set(range(settings.clients))
        self._joined = trio.Event()
        self._to_move, self._movers = trio.open_memory_channel[Client](settings.clients)
        self._moves = 0
        self._chance = random.Random(settings.clients)
        self._recent: list[float] = []
        self._lag = 0.0
        self.worst_lag = 0.0  # how late a request left, at most

    # --- life -------------------------------------------------------------------------------------------------

    async def open(self, witnesses: trio.Nursery) -> None:
        """Connect all clients. witnesses: where the tasks of some of them run."""
        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(self._connections.open, client, witnesses)

    async def join(self) -> None:
        """Have all clients join their channels; `run` must run."""
        for client in self._clients:
            self._ask_to_join(client)
        with trio.move_on_after(JOIN_TIMEOUT):
            await self._joined.wait()
            return
        raise HoldfastError(
            f"{len(self._to_join)} of {len(self._clients)} clients could not join their channel within "
            f"{JOIN_TIMEOUT:g} s: do the nodes there run holdfast.chaos.node:node?"
        )

    def start(self) -> None:
        """Send requests from now on."""
        self._due_at = time.monotonic() + LONGEST_WAIT
        self.writer.start(self._due_at)

    def stop(self, faults: Sequence[Fault] = ()) -> None:
        """Send no more. faults: all that happened."""
        self._due_at = None
        self.writer.stop(time.monotonic())
        self._excuse(faults)

    def _excuse(self, faults: Sequence[Fault]) -> None:
        for session in self.sessions.all:
            for since, until in passed_by(session, faults):
                self.accounting.excused(session.client, since, until)

    async def wait_complete(self, patience: float) -> None:
        """Wait until all have found their place, or nothing any more; then until nothing is due any more, at most so
        long; then a little more for what should not come.

        Who is on the move may have a connection, and nodes know it, but not yet the id that they know it by.
        """
        while any(client.is_moving for client in self._clients):  # noqa: ASYNC110 - for MOVE_TIMEOUT at most
            await trio.sleep(0.1)
        with trio.move_on_after(patience):
            while True:
                await trio.sleep(0.1)
                if self.accounting.is_complete() and self.writer.writes.is_complete:
                    break
        await trio.sleep(QUIET)

    def close(self) -> None:
        for client in self._clients:
            self._connections.shut(client)
        self._connections.close()

    # --- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._move_all)
            while True:
                await self._wait()
                self._connections.turn()

    async def _wait(self) -> None:
        """Send what is due, and wait until there is something to read or the next is due."""
        wait = LONGEST_WAIT
        if self._due_at is not None:
            now = time.monotonic()
            self._send_due(now)
            self.writer.send_due(now)
            if self._due_at <= now:  # we are late: sleeping would give the CPU away
                await trio.lowlevel.checkpoint()
                return
            wait = min(max(self._due_at - now, SHORTEST_WAIT), LONGEST_WAIT)
        with trio.move_on_after(wait):
            await trio.lowlevel.wait_readable(self._connections.fileno())

    def _send_due(self, now: float) -> None:
        assert self._due_at is not None
        late = now - self._due_at
        self._lag = max(self._lag, late)
        self.worst_lag = max(self.worst_lag, late)
        for _ in range(PER_TURN):
            if self._due_at > now:
                break
            client = self._clients[self._next]
            if client.may_ask:
                number = self.accounting.sent(client.index, time.monotonic())
                self._send(client, Ask(number, client.index, publish=client.channel, work=self._settings.work))
            self._next = (self._next + 1) % len(self._clients)
            self._due_at += self._pause

    def _send(self, client: Client, ask: Ask) -> None:
        self._connections.send(client, encode(ask))

    def _take(self, client: Client, message: bytes, now: float) -> None:
        accounting = self.accounting
        heard = decode_heard(message)
        if heard is None:
            accounting.unasked()
        elif heard.channel == MASTERS:
            accounting.announced(client.index, heard.epoch)
        elif heard.channel:
            accounting.notified(client.index, heard.client, heard.request, heard.run, heard.number, now)
        elif heard.requestId == JOINING:
            self._took_join(client, heard, now)
        elif self.writer.take(client, heard, now):
            return
        elif heard.error is not None:
            kind = heard.error.id.removeprefix("holdfast.")
            accounting.failed(client.index, heard.requestId, kind, heard.error.retryable, now)
        else:
            took = accounting.replied(client.index, heard.requestId, heard.client, heard.attempt, now)
            if took is not None:
                self._recent.append(took)

    # --- where they are ---------------------------------------------------------------------------------------

    def _ask_to_join(self, client: Client) -> None:
        channels = [client.channel, MASTERS] if client.index < MASTER_LISTENERS else [client.channel]
        self._send(client, Ask(JOINING, client.index, join=channels))

    def _took_join(self, client: Client, heard: Heard, now: float) -> None:
        if heard.error is None and heard.client == client.index and not client.may_ask:
            client.may_ask = True
            self.sessions.joined(client.index, heard.session, now)
            if client.is_moving:
                self.accounting.moved(client.index, now)
            self._to_join.discard(client.index)
            if not self._to_join:
                self._joined.set()
        client.answered.set()

    def _lost(self, client: Client, why: str) -> None:
        if not client.is_open:
            return
        now, lag = time.monotonic(), self._connections.lag
        self._connections.shut(client)
        self.sessions.ended(client.index, why, now, lag)
        self._moves += 1
        self.accounting.moves(client.index, now, lag)
        self.writer.writes.moves(client.index, now)
        client.answered.set()
        if not client.is_moving:
            client.is_moving = True
            self._to_move.send_nowait(client)  # there is room for all

    async def _move_all(self) -> None:
        async with trio.open_nursery() as nursery:
            async for client in self._movers:
                nursery.start_soon(self._move, client, nursery)

    async def _move(self, client: Client, witnesses: trio.Nursery) -> None:
        pauses = self._pauses()
        with trio.move_on_after(MOVE_TIMEOUT) as patience:
            while not client.may_ask:
                if not client.is_open:
                    await self._connect_to_next(client, witnesses, pauses)
                client.answered = trio.Event()
                self._ask_to_join(client)
                await client.answered.wait()
                if not client.may_ask:
                    await trio.sleep(next(pauses))
        client.is_moving = False
        if patience.cancelled_caught:
            self._connections.shut(client)
            self.accounting.dropped(client.index, "found no other proxy")

    def _pauses(self) -> Iterator[float]:
        pause, longest = MOVE_PAUSES
        while True:
            yield self._chance.uniform(0.5, 1.0) * pause
            pause = min(2 * pause, longest)

    async def _connect_to_next(self, client: Client, witnesses: trio.Nursery, pauses: Iterator[float]) -> None:
        proxies = len(self._settings.addresses)
        step = self._chance.randrange(1, max(2, proxies))  # those of one proxy go to all others
        while True:
            client.place = (client.place + step) % proxies
            step = 1
            with trio.move_on_after(CONNECT_TIMEOUT):
                try:
                    await self._connections.open(client, witnesses)
                    return
                except HoldfastError:  # that one does not live either, or takes nobody
                    await trio.sleep(next(pauses))

    def verdict(self, faults: Sequence[Fault]) -> Verdict:
        """At the end. faults: those that happened."""
        self._excuse(faults)  # again: a proxy that was frozen in the end closes who has missed something after it
        verdict = self.accounting.verdict(faults)
        proxy_of = self.sessions.proxy_of
        for twice in verdict.twice:
            twice.proxies = proxy_of(twice.client, twice.first), proxy_of(twice.client, twice.again)
        for one in verdict.disordered:
            one.proxy = proxy_of(one.client, one.at)
        return verdict

    # --- what is seen meanwhile -------------------------------------------------------------------------------

    def progress(self) -> Progress:
        requests = self.accounting.requests()
        recent, self._recent = self._recent, []
        lag, self._lag = self._lag, 0.0
        return Progress(
            clients=sum(client.may_ask for client in self._clients),
            moves=self._moves,
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
