"""The clients of `holdfast bench`: so many connections, so many messages in flight on each, every reply compared.

A closed loop: each reply sends the next message on its connection. One task and an epoll of its own, as
chaos.load. Every message is another text, and whatever comes must be one that waits on that connection, byte for
byte; then it waits no more. A typed error of a Holdfast proxy says whose it is, and is counted as that.
"""

import select
import time

import msgspec
import trio
from msgspec import Struct

from holdfast.chaos.histogram import Histogram
from holdfast.chaos.websocket import WebSocket
from holdfast.protocols.errors import HoldfastError

CONNECTING = 50  # at once
CONNECT_TIMEOUT = 10.0  # of each
PER_TURN = 64  # sockets that are read before other tasks get their turn
HEAD, BODY, TAIL = b'{"requestId":"', b'","body":"', b'"}'
LEAST_BYTES = 48  # of a message: all this, and a number


class Settings(Struct):
    """resource: path and query. size: of a message, in bytes. in_flight: on each connection."""

    host: str
    port: int
    resource: str
    connections: int
    size: int
    in_flight: int


class Latency(Struct):
    """In milliseconds, to 2 %, at a load that is as high as the loop makes it: no service times. max is exact."""

    p50: float
    p99: float
    p999: float
    max: float


class Report(Struct):
    """What came so far.

    errors: typed errors in place of replies, by id. wrong: replies that are not what was sent. dropped: connections,
    by why they ended. unanswered: messages whose reply never came. cpu: cores that this load took itself.
    """

    ok: bool
    connections: int
    seconds: float
    round_trips: int
    per_second: float
    latency: Latency
    wrong: int
    errors: dict[str, int]
    unanswered: int
    dropped: dict[str, int]
    cpu: float


class _Error(Struct):
    id: str


class _ErrorReply(Struct):
    requestId: str
    error: _Error


_error_reply: msgspec.json.Decoder[_ErrorReply] = msgspec.json.Decoder(_ErrorReply)


class Client:
    """waiting: the messages in flight, and when each was sent."""

    __slots__ = ("connection", "number", "sequence", "waiting", "waits_to_write")

    def __init__(self, number: int, connection: WebSocket) -> None:
        self.number = number
        self.connection = connection
        self.sequence = 0
        self.waiting: dict[bytes, float] = {}
        self.waits_to_write = False


class EchoLoad:
    """open; `run` in a task; start; stop; wait for `complete`; close. `report` at any time after start."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}  # open ones, by descriptor
        self._filler = b"x" * settings.size
        self._is_sending = False
        self.complete = trio.Event()  # nothing is in flight and nothing will be: stopped, or nobody is left
        self._in_flight = 0
        self._times = Histogram()
        self._wrong = self._unanswered = 0
        self._errors: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._started = self._last = self._cpu_before = 0.0

    # --- life -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect all. Raises HoldfastError, in a group, if one can't be."""
        limiter = trio.CapacityLimiter(CONNECTING)
        async with trio.open_nursery() as nursery:
            for number in range(self._settings.connections):
                nursery.start_soon(self._connect, number, limiter)

    async def _connect(self, number: int, limiter: trio.CapacityLimiter) -> None:
        settings = self._settings
        async with limiter:
            with trio.move_on_after(CONNECT_TIMEOUT):
                connection = await WebSocket.open(settings.host, settings.port, settings.resource)
                self._clients[connection.fd] = Client(number, connection)
                self._epoll.register(connection.fd, select.EPOLLIN)
                return
            raise HoldfastError(f"{settings.host}:{settings.port}: no WebSocket within {CONNECT_TIMEOUT:g} s")

    def start(self) -> None:
        """Send."""
        self._is_sending = True
        self._started = self._last = time.monotonic()
        self._cpu_before = time.process_time()
        for client in list(self._clients.values()):
            for _ in range(self._settings.in_flight):
                self._send(client)

    def stop(self) -> None:
        """Send no more."""
        self._is_sending = False
        self._see_if_complete()

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._close(client)
        self._epoll.close()

    # --- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, events in self._epoll.poll(0, PER_TURN):
                client = self._clients.get(fd)
                if client is not None:
                    self._on_ready(client, events)

    def _on_ready(self, client: Client, events: int) -> None:
        connection = client.connection
        try:
            if events & select.EPOLLOUT:
                connection.flush()
            if events & ~select.EPOLLOUT:
                now = time.monotonic()
                for message in connection.receive():
                    self._take(client, message, now)
            self._watch(client)
        except ConnectionError as error:
            self._drop(client, str(error))

    def _take(self, client: Client, message: bytes, now: float) -> None:
        sent_at = client.waiting.pop(message, None)
        if sent_at is not None:
            self._times.add(now - sent_at)
        elif not self._take_error(client, message):
            self._wrong += 1
            if not client.waiting:  # it answers nothing
                return
            del client.waiting[next(iter(client.waiting))]  # the oldest: something came in place of one
        self._last = now
        self._in_flight -= 1
        if self._is_sending:
            self._send(client)
        else:
            self._see_if_complete()

    def _take_error(self, client: Client, message: bytes) -> bool:
        """Is it a typed error in place of a reply that waits?"""
        try:
            reply = _error_reply.decode(message)
        except msgspec.MsgspecError:
            return False
        if client.waiting.pop(self._message(reply.requestId.encode()), None) is None:
            return False
        self._errors[reply.error.id] = self._errors.get(reply.error.id, 0) + 1
        return True

    def _send(self, client: Client) -> None:
        client.sequence += 1
        message = self._message(b"%d-%d" % (client.number, client.sequence))
        now = time.monotonic()
        client.connection.send(message)
        client.waiting[message] = now
        self._in_flight += 1
        self._watch(client)

    def _message(self, id: bytes) -> bytes:
        filler = self._filler[: self._settings.size - len(HEAD) - len(id) - len(BODY) - len(TAIL)]
        return b"".join((HEAD, id, BODY, filler, TAIL))

    def _watch(self, client: Client) -> None:
        """Wait to write if there is something, else not."""
        connection = client.connection
        if client.waits_to_write is not connection.has_output:
            client.waits_to_write = connection.has_output
            events = select.EPOLLIN | (select.EPOLLOUT if client.waits_to_write else 0)
            self._epoll.modify(connection.fd, events)

    def _drop(self, client: Client, why: str) -> None:
        self._dropped[why] = self._dropped.get(why, 0) + 1
        self._unanswered += len(client.waiting)
        self._in_flight -= len(client.waiting)
        self._close(client)
        self._see_if_complete()

    def _close(self, client: Client) -> None:
        self._epoll.unregister(client.connection.fd)
        del self._clients[client.connection.fd]
        client.connection.close()

    def _see_if_complete(self) -> None:
        if not self._clients or (not self._is_sending and not self._in_flight):
            self.complete.set()

    # --- what comes of it -------------------------------------------------------------------------------------

    def report(self) -> Report:
        """So far. When all is complete, or nothing is waited for any more: what is still in flight is unanswered."""
        times = self._times
        seconds = self._last - self._started
        unanswered = self._unanswered + (0 if self._is_sending else self._in_flight)
        p50, p99, p999, most = (
            round(1000 * value, 3) for value in (*map(times.percentile, (0.5, 0.99, 0.999)), times.longest)
        )
        return Report(
            ok=bool(times.count) and not (self._wrong or self._errors or unanswered or self._dropped),
            connections=self._settings.connections,
            seconds=round(seconds, 3),
            round_trips=times.count,
            per_second=round(times.count / seconds, 1) if seconds else 0.0,
            latency=Latency(p50, p99, p999, most),
            wrong=self._wrong,
            errors=self._errors,
            unanswered=unanswered,
            dropped=self._dropped,
            cpu=round((time.process_time() - self._cpu_before) / seconds, 2) if seconds else 0.0,
        )
