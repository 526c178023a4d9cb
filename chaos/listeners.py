"""The listeners of a flood, in a process of their own: they take what comes as fast as a program can, and count.

Speaks JSON lines, as chaos.load_worker. Some of them are slow: once they are in the channel they read nothing
until the end. Bytes are taken apart here, without a WebSocket library, which would be what the flood overloads.
"""

import os
import select
import struct
import sys
import time
from functools import partial

import msgspec
import trio
from msgspec import Struct

from holdfast.chaos.flood import CHANNEL, MESSAGE_BYTES, PATH, Published, unpack_from
from holdfast.chaos.histogram import Histogram
from holdfast.chaos.lines import Lines
from holdfast.chaos.messages import Ask, Heard, decode_heard, encode
from holdfast.chaos.sessions import Session, Sessions
from holdfast.chaos.websocket import WebSocket
from holdfast.protocols.errors import HoldfastError

CONNECTING = 20  # at once
CONNECT_TIMEOUT = 5.0
RETRY_PAUSE = 0.2
READ_BYTES = 256 << 10
PER_TURN = 16  # sockets
PROGRESS_INTERVAL = 0.1
QUIET = 10.0  # seconds without any message, after which no other will come
LAST_WORDS = 10.0  # seconds in which slow listeners find out what became of their connections
BINARY, TEXT, CLOSE, PING, PONG = 0x82, 0x81, 0x88, 0x89, 0x8A
FLOOD_HEAD = bytes((BINARY, MESSAGE_BYTES))
JOINING = -1


class Settings(Struct):
    """addresses: host and port of each proxy. listeners: that read; slow: that do not."""

    addresses: list[tuple[str, int]]
    listeners: int
    slow: int


class Finish(Struct, tag="finish"):
    """Say what came. published: by each run of a node that still lives."""

    published: list[Published]


class Listening(Struct, tag="listening"):
    """delivered: messages, to all who read. at: when the last of them came. joined: listeners in the channel."""

    delivered: int
    at: float
    joined: int


class Listened(Struct, tag="listened"):
    """What came: see FloodFigures. sessions: of those who read."""

    delivered: int
    missing: int
    doubled: int
    sessions: list[Session]
    slow_closed: int
    p50: float
    p99: float
    longest: float


class Count:
    """What one connection has heard. Pure. joined_at: the clock of the times in the messages."""

    def __init__(self, joined_at: float) -> None:
        self._joined_at = joined_at
        self.last: dict[int, int] = {}  # number, by run
        self.delivered = 0
        self.missing = 0
        self.doubled = 0

    def heard(self, run: int, begun: float, number: int) -> None:
        """begun: when the run published its first one."""
        last = self.last.get(run)
        if last is None:  # who has joined in the middle of it is due what comes from there on
            last = 0 if begun > self._joined_at else number - 1
        if number > last:
            self.delivered += 1
            self.missing += number - last - 1
            self.last[run] = number
        else:
            self.doubled += 1

    def lacks(self, published: Published) -> int:
        """How many of a run's last ones have not come."""
        last = self.last.get(published.run, 0 if published.begun > self._joined_at else published.published)
        return max(0, published.published - last)


class Listener:
    __slots__ = ("count", "fd", "index", "is_joined", "is_slow", "place", "rest", "socket")

    def __init__(self, index: int, place: int, *, is_slow: bool) -> None:
        self.index = index
        self.place = place
        self.is_slow = is_slow
        self.socket: WebSocket | None = None
        self.fd = -1
        self.rest = b""
        self.is_joined = False
        self.count = Count(0.0)


class Listeners:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        addresses = len(settings.addresses)
        self._all = [
            Listener(index, index % addresses, is_slow=index >= settings.listeners)
            for index in range(settings.listeners + settings.slow)
        ]
        self._epoll = select.epoll()
        self._by_fd: dict[int, Listener] = {}
        self._sessions = Sessions()
        self._former: list[Count] = []
        self._times = Histogram()
        self._limiter = trio.CapacityLimiter(CONNECTING)
        self._last_at = 0.0
        self._to_connect, self._lost = trio.open_memory_channel[Listener](len(self._all))

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for listener in self._all:
                nursery.start_soon(self._connect, listener)
            nursery.start_soon(self._reconnect, nursery)
            nursery.start_soon(self._read_all)
            nursery.start_soon(self._tell)
            lines = Lines(sys.stdin.fileno())
            line = await lines.next()
            if line is not None:
                finish = msgspec.json.decode(line, type=Finish)
                await self._wait_for(finish.published)
                slow_closed = await self._ask_the_slow()
                _say(self._listened(finish, slow_closed))
                await lines.next()  # until then they stay
            nursery.cancel_scope.cancel(reason="finished")

    # --- connections ------------------------------------------------------------------------------------------

    async def _reconnect(self, nursery: trio.Nursery) -> None:
        async for listener in self._lost:
            nursery.start_soon(self._connect, listener)

    async def _connect(self, listener: Listener) -> None:
        """Until it has a connection, at its own proxy or at one of the next."""
        while True:
            session = self._sessions.began(listener.index, listener.place, time.monotonic())
            async with self._limiter:
                with trio.move_on_after(CONNECT_TIMEOUT):
                    try:
                        listener.socket = await WebSocket.open(*self._settings.addresses[listener.place], PATH)
                        break
                    except HoldfastError:  # it is not there, or takes nobody
                        pass
            listener.place = (listener.place + 1) % len(self._settings.addresses)
            await trio.sleep(RETRY_PAUSE)
        if not listener.is_slow:
            self._sessions.is_there(session)
        listener.fd, listener.rest = listener.socket.fd, b""
        self._by_fd[listener.fd] = listener
        self._epoll.register(listener.fd, select.EPOLLIN)
        self._send(listener, TEXT, encode(Ask(JOINING, listener.index, join=[CHANNEL])))

    def _send(self, listener: Listener, opcode: int, payload: bytes) -> None:
        """A frame of less than 126 bytes. Masked with zeros, which changes nothing."""
        try:
            os.write(listener.fd, bytes((opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
        except OSError:
            return  # reading says why

    def _end(self, listener: Listener, why: str) -> None:
        self._epoll.unregister(listener.fd)
        del self._by_fd[listener.fd]
        assert listener.socket is not None
        listener.socket.close()
        listener.is_joined = False
        if not listener.is_slow:
            self._sessions.ended(listener.index, why, time.monotonic())
            self._former.append(listener.count)
            listener.count = Count(0.0)
            self._to_connect.send_nowait(listener)

    # --- reading ----------------------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0, PER_TURN):
                self._read(self._by_fd[fd])

    def _read(self, listener: Listener) -> None:
        try:
            data = os.read(listener.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(listener, str(error.strerror))
            return
        if not data:
            self._end(listener, "end of file")
            return
        why = self._take(listener, listener.rest + data)
        if why:
            self._end(listener, why)

    def _take(self, listener: Listener, data: bytes) -> str:
        """The frames in it. What it says if it closes the connection, else ""."""
        now = time.monotonic()
        at, end, count = 0, len(data), listener.count
        while end - at >= 2:
            if data[at : at + 2] == FLOOD_HEAD:
                if end - at < 2 + MESSAGE_BYTES:
                    break
                run, begun, number, sent_at = unpack_from(data, at + 2)
                count.heard(run, begun, number)
                if number % 16 == 0:  # some are enough to know how late they come
                    self._times.add(now - sent_at)
                self._last_at = now
                at += 2 + MESSAGE_BYTES
                continue
            size, head = data[at + 1] & 0x7F, 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(data[at + 2 : at + head], "big") if end - at >= head else 0
            if end - at < head + size:
                break
            payload = data[at + head : at + head + size]
            at += head + size
            why = self._take_other(listener, data[at - head - size], payload, now)
            if why:
                return why
            count = listener.count
        listener.rest = data[at:]
        return ""

    def _take_other(self, listener: Listener, opcode: int, payload: bytes, now: float) -> str:
        if opcode == CLOSE:
            return f"close code {struct.unpack_from('>H', payload)[0]}" if payload else "close without a code"
        if opcode == PING:
            self._send(listener, PONG, payload)
        elif opcode == TEXT:
            heard = decode_heard(payload)
            if heard is None or heard.requestId != JOINING:
                return f"something that nobody asked for: {payload[:80]!r}"
            self._took_join(listener, heard, now)
        return ""

    def _took_join(self, listener: Listener, heard: Heard, now: float) -> None:
        if heard.error is not None:
            self._send(listener, TEXT, encode(Ask(JOINING, listener.index, join=[CHANNEL])))
            return
        listener.is_joined = True
        listener.count = Count(now)
        if listener.is_slow:
            self._epoll.modify(listener.fd, 0)  # it may still be told of an error, and of the end
        else:
            self._sessions.joined(listener.index, heard.session, now)

    # --- what comes of it -------------------------------------------------------------------------------------

    async def _ask_the_slow(self) -> int:
        """How many of them have lost their connection: they read all that there is."""
        slow = [listener for listener in self._all if listener.is_slow]
        for listener in slow:
            if listener.fd in self._by_fd:
                self._epoll.modify(listener.fd, select.EPOLLIN)
        with trio.move_on_after(LAST_WORDS if slow else 0.0):
            while any(self._by_fd.get(listener.fd) is listener for listener in slow):  # noqa: ASYNC110 - of the epoll
                await trio.sleep(PROGRESS_INTERVAL)
        return sum(self._by_fd.get(listener.fd) is not listener for listener in slow)

    def _lacking(self, published: list[Published]) -> int:
        reading = [listener for listener in self._all if listener.is_joined and not listener.is_slow]
        return sum(listener.count.lacks(run) for listener in reading for run in published)

    async def _wait_for(self, published: list[Published]) -> None:
        """Until all of it has come, or nothing comes any more."""
        begun = time.monotonic()
        while self._lacking(published) and time.monotonic() < max(begun, self._last_at) + QUIET:  # noqa: ASYNC110
            await trio.sleep(PROGRESS_INTERVAL)

    def _counts(self) -> list[Count]:
        return [*self._former, *(listener.count for listener in self._all if not listener.is_slow)]

    async def _tell(self) -> None:
        while True:
            await trio.sleep(PROGRESS_INTERVAL)
            joined = sum(listener.is_joined for listener in self._all)
            _say(Listening(sum(count.delivered for count in self._counts()), self._last_at, joined))

    def _listened(self, finish: Finish, slow_closed: int) -> Listened:
        counts = self._counts()
        p50, p99 = (round(1000 * self._times.percentile(share), 1) for share in (0.5, 0.99))
        return Listened(
            delivered=sum(count.delivered for count in counts),
            missing=sum(count.missing for count in counts) + self._lacking(finish.published),
            doubled=sum(count.doubled for count in counts),
            sessions=self._sessions.all,
            slow_closed=slow_closed,
            p50=p50,
            p99=p99,
            longest=round(1000 * self._times.longest, 1),
        )


def main(settings: str) -> int:
    trio.run(partial(Listeners.run, Listeners(msgspec.json.decode(settings, type=Settings))))
    return 0


def _say(what: Listening | Listened) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()
