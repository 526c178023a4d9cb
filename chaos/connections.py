"""The connections of the built-in clients, on one epoll. Opens them, writes, reads, and says when one is lost.

What is said on them is chaos.load's, and where a client goes that has lost its one.
"""

import select
import time
from collections.abc import Callable, Sequence

import trio

from holdfast.chaos.sessions import Sessions
from holdfast.chaos.websocket import WebSocket
from holdfast.chaos.witness import Witness
from holdfast.node.errors import one_of_ours

CONNECTING = 50  # at once
READING = select.EPOLLIN | select.EPOLLRDHUP
ENDED = select.EPOLLRDHUP | select.EPOLLHUP
PER_TURN = 16  # sockets that are read: the witnesses' tasks need several turns for each message


class Client:
    """place: the number of its proxy. may_ask: it has joined its channel, and sends requests."""

    __slots__ = (
        "answered", "channel", "connection", "index", "is_moving", "is_open", "is_witness", "may_ask", "place",
        "waits_to_write",
    )  # fmt: skip

    def __init__(self, index: int, channel: str, place: int, *, is_witness: bool) -> None:
        self.index = index
        self.channel = channel
        self.place = place
        self.is_witness = is_witness
        self.connection: WebSocket | Witness | None = None
        self.is_open = False
        self.may_ask = False
        self.is_moving = False
        self.answered = trio.Event()  # what it waits for while it moves: an answer, or the next end
        self.waits_to_write = False


class Connections:
    """addresses: of the proxies' client ports. take: called with each message. lost: with each connection's end."""

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        take: Callable[[Client, bytes, float], None],
        lost: Callable[[Client, str], None],
    ) -> None:
        self._addresses = addresses
        self._take = take
        self._lost = lost
        self._epoll = select.epoll()
        self._by_fd: dict[int, Client] = {}
        self._limiter = trio.CapacityLimiter(CONNECTING)
        self._seen_all_at = self._round_at = time.monotonic()
        self._unseen = 0  # sockets that may have been ready when the round began, and were not read since
        self.sessions = Sessions()

    def fileno(self) -> int:
        return self._epoll.fileno()

    async def open(self, client: Client, witnesses: trio.Nursery) -> None:
        """Connect it to its place. witnesses: where the tasks of some clients run. Raises HoldfastError."""
        async with self._limiter:
            host, port = self._addresses[client.place]
            session = self.sessions.began(client.index, client.place, time.monotonic())
            is_there = False
            try:
                if client.is_witness:
                    await self._open_witness(client, host, port, witnesses)
                else:
                    client.connection = connection = await WebSocket.open(host, port)
                    client.is_open, client.waits_to_write = True, False
                    self._by_fd[connection.fd] = client
                    self._epoll.register(connection.fd, READING)
                is_there = True
                self.sessions.is_there(session)
            finally:
                client.is_open &= is_there

    async def _open_witness(self, client: Client, host: str, port: int, witnesses: trio.Nursery) -> None:
        connection = Witness()

        def take(message: bytes) -> None:
            self._take(client, message, time.monotonic())

        def ended(why: str) -> None:
            if client.connection is connection:
                self._lost(client, why)

        client.connection, client.is_open = connection, True  # it may have ended before `start` returns
        try:
            await witnesses.start(connection.run, host, port, take, ended)
        except ExceptionGroup as group:
            error = one_of_ours(group)
            if error is None:
                raise
            raise error from None

    # --- writing and reading ----------------------------------------------------------------------------------

    def send(self, client: Client, text: bytes) -> None:
        connection = client.connection
        assert connection is not None
        try:
            connection.send(text)
        except ConnectionError as error:
            self._lost(client, str(error))
            return
        if isinstance(connection, WebSocket):
            self._watch(client, connection)

    def _watch(self, client: Client, connection: WebSocket) -> None:
        """Wait to write if there is something, else not."""
        if client.waits_to_write is not connection.has_output:
            client.waits_to_write = connection.has_output
            events = READING | (select.EPOLLOUT if client.waits_to_write else 0)
            self._epoll.modify(connection.fd, events)

    @property
    def lag(self) -> float:
        """Seconds since all that had come by then was read: what is read now may be that old.

        Two rounds of all sockets at most, and what the clients' process had no CPU for.
        """
        return time.monotonic() - self._seen_all_at

    def turn(self) -> None:
        """Read and write what can be without waiting, of some."""
        now = time.monotonic()
        ready = self._epoll.poll(0, PER_TURN)
        for fd, events in ready:
            client = self._by_fd.get(fd)
            if client is not None:
                self._on_ready(client, events)
        # Sockets that are ready take turns (epoll_wait(2)), and who is read is read to the end: so a process that is
        # always behind has yet seen, after as many as there are, what was there when it began.
        self._unseen -= len(ready)
        if len(ready) < PER_TURN:
            self._round_at = now
        if len(ready) < PER_TURN or self._unseen <= 0:
            self._seen_all_at, self._round_at, self._unseen = self._round_at, now, len(self._by_fd)

    def _on_ready(self, client: Client, events: int) -> None:
        connection = client.connection
        assert isinstance(connection, WebSocket)
        try:
            if events & select.EPOLLOUT:
                connection.flush()
            if events & ~select.EPOLLOUT:
                self._read(client, connection, is_over=bool(events & ENDED))
            if client.is_open:
                self._watch(client, connection)
        except ConnectionError as error:
            self._lost(client, str(error))

    def _read(self, client: Client, connection: WebSocket, *, is_over: bool) -> None:
        """All that has come. is_over: the end of it, too."""
        now = time.monotonic()
        while client.is_open:
            for message in connection.receive():
                self._take(client, message, now)
            if not (is_over or connection.has_more):
                return

    # --- the end ----------------------------------------------------------------------------------------------

    def shut(self, client: Client) -> None:
        connection = client.connection
        if client.is_open and connection is not None:
            if isinstance(connection, WebSocket):
                self._epoll.unregister(connection.fd)
                del self._by_fd[connection.fd]
            connection.close()
        client.is_open = client.may_ask = False

    def close(self) -> None:
        """After all are shut."""
        self._epoll.close()
