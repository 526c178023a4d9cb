"""The clients' program: `python -m tests.net.clients SETTINGS`, as JSON.

Each asks when it is its turn, whether it was answered or not; some of the requests write to the state. A client that
loses its connection takes the next proxy that has it, joins its channel again and goes on. Lines on stdin: "start",
then "finish", each alone. On stdout JSON: Progress every so often, in the end what was seen.
"""

import sys
import time
from functools import partial

import msgspec
import trio
from msgspec import Struct

from holdfast.chaos.lines import Lines
from holdfast.chaos.messages import MASTERS, Ask, Heard, decode_heard, encode
from holdfast.chaos.websocket import WebSocket
from holdfast.chaos.writer import Writer
from holdfast.chaos.writes import Book
from holdfast.protocols.errors import HoldfastError
from tests.net.books import Books, Seen

JOINING = -1
JOIN_TIMEOUT = 1.0  # then it asks again
CONNECT_TIMEOUT = 2.0
RETRY_DELAY = 0.1
PROGRESS_INTERVAL = 0.1
QUIET = 0.5  # after the last message that is due: would there be one too many?
LISTENERS = 6  # to what the master announces


class Settings(Struct):
    """addresses: (host, port). A client begins at its own and goes on with the next.

    rate, writes: requests and writes of all, per second.
    """

    addresses: list[tuple[str, int]]
    clients: int
    group: int
    rate: float
    writes: float
    patience: float


class Progress(Struct, tag="progress"):
    """joined: clients that are connected and in their channel, by proxy."""

    at: float
    joined: list[int]
    open: int


class Finished(Struct, tag="finished"):
    """ends: of clients, by their ids: None for those that are there."""

    seen: Seen
    book: Book
    ends: dict[int, float | None]


class Client:
    """One client, through all its connections."""

    def __init__(self, index: int, settings: Settings, crowd: "Crowd") -> None:
        self.index = index
        self.session = 0
        self.place = index % len(settings.addresses)
        self.connection: WebSocket | None = None
        self.is_joined = False
        self._crowd = crowd
        self._books = crowd.books
        self._addresses = settings.addresses
        self.channel = f"group-{index // settings.group}"

    async def run(self) -> None:
        while True:
            with trio.move_on_after(CONNECT_TIMEOUT) as limit:
                try:
                    self.connection = await WebSocket.open(*self._addresses[self.place])
                except HoldfastError:  # refused, or not there
                    limit.cancel(reason="refused")
            if self.connection is not None:
                await self._live(self.connection)
            self.place = (self.place + 1) % len(self._addresses)
            await trio.sleep(RETRY_DELAY)

    async def _live(self, connection: WebSocket) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._join)
                why = await self._read(connection)
                nursery.cancel_scope.cancel(reason=why)
            self._books.ended(self.index, why)
            self._crowd.writer.writes.moves(self.index, time.monotonic())
            if self.is_joined:
                self._crowd.ends[self.session] = time.monotonic()
        finally:
            self.connection, self.is_joined = None, False
            connection.close()

    async def _join(self) -> None:
        channels = [self.channel, MASTERS] if self.index < LISTENERS else [self.channel]
        while not self.is_joined:
            self.send(Ask(JOINING, self.index, join=channels))
            await trio.sleep(JOIN_TIMEOUT)

    async def _read(self, connection: WebSocket) -> str:
        """Why it ended."""
        while True:
            await trio.lowlevel.wait_readable(connection.fd)
            try:
                for message in connection.receive():
                    self._take(message, time.monotonic())
            except ConnectionError as error:
                return str(error)

    def send(self, ask: Ask) -> None:
        if self.connection is not None:
            try:
                self.connection.send(encode(ask))
            except ConnectionError:
                return  # reading says why

    def flush(self) -> None:
        if self.connection is not None and self.connection.has_output:
            self.connection.flush()

    @property
    def may_ask(self) -> bool:
        return self.is_joined

    def ask(self) -> None:
        """A request, if it is connected."""
        if self.is_joined:
            number = self._books.sent(self.index, time.monotonic())
            self.send(Ask(number, self.index, publish=self.channel))

    def _take(self, message: bytes, now: float) -> None:
        books, heard = self._books, decode_heard(message)
        if heard is None:
            books.stray()
        elif heard.channel == MASTERS:
            books.announced(self.index, heard.epoch)
        elif heard.channel:
            if self.is_joined:  # else it was sent before the reply that says we have joined
                books.notified(self.index, heard.client, heard.request, heard.run, heard.number, now)
        elif heard.requestId == JOINING:
            self._took_join(heard, now)
        elif self._crowd.writer.take(self, heard, now):
            return
        elif heard.error is not None:
            kind = heard.error.id.removeprefix("holdfast.")
            books.failed(self.index, heard.requestId, kind, heard.error.retryable, now)
        else:
            books.replied(self.index, heard.requestId, heard.client, heard.attempt, now)

    def _took_join(self, heard: Heard, now: float) -> None:
        if heard.error is None and heard.client == self.index and not self.is_joined:
            self.is_joined, self.session = True, heard.session
            self._crowd.ends[self.session] = None
            self._books.joined(self.index, now)


class Crowd:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.books = Books(settings.clients, settings.group)
        self.ends: dict[int, float | None] = {}
        self._clients = [Client(index, settings, self) for index in range(settings.clients)]
        self.writer = Writer(settings.writes, self._clients, self, Client.send)

    def id_of(self, client: int) -> int:
        """By which nodes know it."""
        return self._clients[client].session

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(client.run)
            nursery.start_soon(self._tell)
            lines = Lines(sys.stdin.fileno())
            await lines.next()
            asking = trio.CancelScope()
            nursery.start_soon(self._ask, asking)
            await lines.next()
            asking.cancel(reason="finish")
            self.writer.stop(time.monotonic())
            with trio.move_on_after(self._settings.patience):
                while not (self.books.is_complete() and self.writer.writes.is_complete):  # noqa: ASYNC110 - the books set no events
                    await trio.sleep(PROGRESS_INTERVAL)
            await trio.sleep(QUIET)
            say(Finished(self.books.seen(), self.writer.writes.book, self.ends))
            await lines.next()  # the end of them: until then clients stay, and keep the keys that they own
            nursery.cancel_scope.cancel(reason="finished")

    async def _ask(self, scope: trio.CancelScope) -> None:
        """In turn, evenly over time."""
        with scope:
            due, turn = trio.current_time(), 0
            self.writer.start(time.monotonic())
            while True:
                while due <= trio.current_time():
                    self._clients[turn % len(self._clients)].ask()
                    turn += 1
                    due += 1 / self._settings.rate
                self.writer.send_due(time.monotonic())
                await trio.sleep_until(due)

    async def _tell(self) -> None:
        while True:
            joined = [0] * len(self._settings.addresses)
            for client in self._clients:
                client.flush()
                joined[client.place] += client.is_joined
            say(Progress(time.monotonic(), joined, self.books.open))
            await trio.sleep(PROGRESS_INTERVAL)


def say(what: Progress | Finished) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    trio.run(partial(Crowd.run, Crowd(msgspec.json.decode(sys.argv[1], type=Settings))))
