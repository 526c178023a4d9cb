"""How connections end and who is let go, with real sockets and a clock that only the test moves.

Each client reads at its own speed, which is so many bytes between two moves of the clock: nothing here depends on how
fast the machine is.
"""

import socket
import struct
from functools import partial

import pytest
import trio

from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.proxy.clients import transport
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.outbox import CHUNK_BYTES
from holdfast.proxy.clients.progress import unacknowledged_bytes
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import ClientSettings, RealtimeSettings
from holdfast.proxy.metrics import Counters
from holdfast.proxy.process.build import is_compiled
from holdfast.proxy.realtime.channels import Channels

MIB = 1 << 20
KEEP = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
OLD = b"GET /1 HTTP/1.0\r\n\r\n"


class Rig:
    """Clients without nodes: what they ask is in `requests`, and the test answers."""

    def __init__(self, clock, **settings):
        self.clock = clock
        self.reactor = Reactor()
        self.counters = Counters()
        self.clients = Clients(
            ClientSettings(**settings), HttpProtocol, self.reactor, self.counters, 1, lambda id: None
        )
        self.clients.dispatch = lambda connection, event: self.requests.append((connection, event))
        self.clients.on_opened = lambda client: None
        self.clients.on_closed = lambda session, reason: self.channels.forget(session)
        self.channels = Channels(self.clients, RealtimeSettings(), 10)
        self.requests = []
        self.reactor.at_turn_end(self.clients.flush)

    async def connect(self, data=b"", receive_buffer=64 << 10, tls=None):
        """A client that reads only what the test reads, and its connection."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            theirs = socket.socket()
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            theirs.connect(listening.getsockname())
            ours, _ = listening.accept()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = self.clients.add(ours.detach(), "127.0.0.1:5", tls)
        theirs.sendall(data)
        return connection, theirs

    async def upgraded(self, **options):
        connection, theirs = await self.connect(UPGRADE, **options)
        await self.until(lambda: connection.protocol.name == "websocket")
        head = await self.read(theirs, 129)
        assert head.endswith(b"\r\n\r\n")
        return connection, theirs

    async def until(self, condition):
        for _ in range(100_000):
            if condition():
                return
            await trio.lowlevel.checkpoint()
        raise AssertionError("it did not come")

    async def received(self, count):
        await self.until(lambda: self.counters.bytes_received == count)
        return count

    async def asked(self, count=1):
        await self.until(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def pass_time(self, seconds):
        """In steps of the ticker, but for their number: nothing here looks more often than twice a second."""
        while seconds > 0:
            self.clock.jump(min(0.5, seconds))
            seconds -= 0.5
            self.reactor.now = trio.current_time()
            self.clients.wheel.turn(self.reactor.now)
            self.reactor.settle()
            for _ in range(3):
                await trio.lowlevel.checkpoint()

    async def seconds_until_gone(self):
        """By the test's clock. The kernels of both sides have their own, so there is no exact number."""
        began = trio.current_time()
        while self.clients.connections:
            await self.pass_time(1.0)
            assert trio.current_time() - began < 1000.0
        return trio.current_time() - began

    async def read(self, theirs, most):
        """Up to `most` bytes; less only at the end. A reset raises."""
        data = b""
        while len(data) < most:
            await trio.lowlevel.wait_readable(theirs)
            chunk = theirs.recv(most - len(data))
            if not chunk:
                break
            data += chunk
        return data

    async def read_to(self, theirs, end):
        data = b""
        while not data.endswith(end):
            data += await self.read(theirs, 1)
        return data

    async def all_acknowledged(self):
        """The clients' kernels have all. They say so when they like."""
        for connection in self.clients.connections.values():
            await self.until(lambda: not unacknowledged_bytes(connection.transport.fd))  # noqa: B023

    async def read_slowly(self, theirs, most, each_second):
        """So many bytes, with the time that goes by meanwhile."""
        data = b""
        while len(data) < most:
            chunk = await self.read(theirs, min(each_second, most - len(data)))
            if not chunk:
                break
            data += chunk
            await self.pass_time(1.0)
        return data


@pytest.fixture
async def rig(mock_clock):
    rigs = []

    def make(**settings):
        rig = Rig(mock_clock, **settings)
        nursery.start_soon(rig.reactor.run)
        rigs.append(rig)
        return rig

    async with trio.open_nursery() as nursery:
        yield make
        nursery.cancel_scope.cancel()
    for rig in rigs:
        rig.clients.close()
        rig.reactor.close()


def reply(connection, event, payload, **head):
    connection.reply(event, ReplyHead(**head), payload, False, False)


def frame(payload, opcode=1):
    """A client's, of less than 126 bytes."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


def frames_of(data):
    """(opcode, payload) of each frame that a server sent; raises if the last is cut."""
    frames = []
    while data:
        length, at = data[1], 2
        if length == 126:
            length, at = struct.unpack_from(">H", data, 2)[0], 4
        elif length == 127:
            length, at = struct.unpack_from(">Q", data, 2)[0], 10
        assert len(data) >= at + length, "a frame is cut"
        frames.append((data[0] & 15, data[at : at + length]))
        data = data[at + length :]
    return frames


def close_code(frame):
    opcode, payload = frame
    assert opcode == 8
    return struct.unpack(">H", payload[:2])[0]


# --- the last reply -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("request_", "is_half_closed"), [(CLOSE, False), (OLD, False), (KEEP, True)])
async def test_the_last_reply_leaves_for_as_long_as_the_client_takes_it(rig, mock_clock, request_, is_half_closed):
    rig = rig()
    _, theirs = await rig.connect(request_)
    with theirs:
        if is_half_closed:
            theirs.shutdown(socket.SHUT_WR)
        reply(*await rig.asked(), b"r" * 8 * MIB)
        rig.reactor.settle()
        data = await rig.read_slowly(theirs, 9 * MIB, MIB // 2)
        assert data.partition(b"\r\n\r\n")[2] == b"r" * 8 * MIB
    await rig.until(lambda: not rig.clients.connections)


@pytest.mark.parametrize("request_", [CLOSE, OLD])
async def test_who_does_not_take_the_last_reply_is_reset(rig, mock_clock, request_):
    rig = rig(ping_timeout=20.0)
    _, theirs = await rig.connect(request_)
    with theirs:
        reply(*await rig.asked(), b"r" * 8 * MIB)
        rig.reactor.settle()
        assert await rig.seconds_until_gone() >= 20.0
        with pytest.raises(ConnectionResetError):
            await rig.read(theirs, 9 * MIB)


async def test_who_took_the_last_reply_and_stays_is_let_go(rig, mock_clock):
    rig = rig()
    _, theirs = await rig.connect(CLOSE)
    with theirs:
        reply(*await rig.asked(), b"r")
        rig.reactor.settle()
        assert (await rig.read(theirs, 1000)).endswith(b"r")
        await rig.all_acknowledged()
        assert 2.0 <= await rig.seconds_until_gone() <= 5.0


async def test_who_is_refused_while_it_still_sends_can_read_why(rig, mock_clock):
    rig = rig(max_body_bytes=1000)
    _, theirs = await rig.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
    with theirs:
        received = await rig.received(54)
        began = trio.current_time()
        while trio.current_time() - began < 10.0:
            theirs.send(bytes(1000))
            received = await rig.received(received + 1000)
            await rig.pass_time(1.0)
        assert (await rig.read(theirs, 10_000)).startswith(b"HTTP/1.1 413 ")
        await rig.all_acknowledged()
        while rig.clients.connections:
            theirs.send(bytes(1000))
            received = await rig.received(received + 1000)
            await rig.pass_time(1.0)
        assert 29.0 < trio.current_time() - began < 35.0  # not for ever


async def test_a_kept_connection_is_not_idle_while_its_reply_leaves(rig, mock_clock):
    rig = rig(keepalive_timeout=10.0)
    _, theirs = await rig.connect(KEEP)
    with theirs:
        reply(*await rig.asked(), b"r" * 4 * MIB)
        rig.reactor.settle()
        head = await rig.read(theirs, 100)
        rest = 4 * MIB + len(head.partition(b"\r\n\r\n")[0]) + 4 - 100
        assert len(await rig.read_slowly(theirs, rest, MIB // 16)) == rest
        assert rig.clients.connections
        theirs.send(KEEP)
        reply(*await rig.asked(2), b"again")
        rig.reactor.settle()
        assert (await rig.read_to(theirs, b"\r\n\r\nagain")).startswith(b"HTTP/1.1 200 ")
        await rig.all_acknowledged()
        await rig.pass_time(11.0)
        assert await rig.read(theirs, 1) == b""
        await rig.all_acknowledged()
        await rig.pass_time(3.0)
        assert not rig.clients.connections


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_reply_that_broke_off_does_not_look_whole(rig, mock_clock, version):
    rig = rig()
    _, theirs = await rig.connect(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version.encode())
    with theirs:
        connection, event = await rig.asked()
        assert connection.reply(event, None, b"half", False, True)
        rig.reactor.settle()
        connection.fail(event, RequestError("the node was lost", Reason.NODE_LOST))
        assert not rig.clients.connections
        assert rig.counters.connections_closed[Reason.NODE_LOST] == 1
        with pytest.raises(ConnectionResetError):
            await rig.read(theirs, 1000)


async def test_a_reply_that_is_cut_by_our_own_end_does_not_look_whole(rig, mock_clock):
    rig = rig()
    _, theirs = await rig.connect(OLD)
    with theirs:
        connection, event = await rig.asked()
        assert connection.reply(event, None, b"half", False, True)
        rig.reactor.settle()
        rig.clients.close()
        with pytest.raises(ConnectionResetError):
            await rig.read(theirs, 1000)


# --- who takes nothing, or too little ---------------------------------------------------------------------------


async def test_who_reads_slowly_but_steadily_is_not_idle(rig, mock_clock):
    rig = rig(ping_interval=25.0, ping_timeout=20.0)
    connection, theirs = await rig.upgraded()
    with theirs:
        theirs.send(frame(b"much"))
        _, event = await rig.asked()
        connection.reply(event, None, b"r" * 3_000_000, False, False)
        rig.reactor.settle()
        data = await rig.read_slowly(theirs, 3_000_010, 50_000)
        assert frames_of(data) == [(2, b"r" * 3_000_000)]
        assert connection.session is not None
        told = b""
        await rig.pass_time(60.0)  # it does not answer our pings either
        told = await rig.read(theirs, 1000) if connection.is_closed else b""
        assert [opcode for opcode, _ in frames_of(told)] == [9, 8]
        assert close_code(frames_of(told)[-1]) == 1001


@pytest.mark.parametrize(
    ("ping_interval", "answers_pings", "size", "reason"),
    [
        (0.0, False, 8 * MIB, Reason.SLOW_CONSUMER),
        (25.0, False, 8 * MIB, Reason.SLOW_CONSUMER),
        (25.0, True, 8 * MIB, Reason.SLOW_CONSUMER),
        (25.0, False, 400_000, Reason.IDLE),  # which the kernel holds
    ],
)
async def test_who_reads_nothing_is_let_go(rig, mock_clock, ping_interval, answers_pings, size, reason):
    rig = rig(ping_interval=ping_interval, ping_timeout=20.0, close_timeout=5.0, max_outbox_bytes=100 * MIB)
    connection, theirs = await rig.upgraded()
    with theirs:
        theirs.send(frame(b"much"))
        _, event = await rig.asked()
        connection.reply(event, None, b"r" * size, False, False)
        rig.reactor.settle()
        assert (connection.outbox_bytes > 0) == (reason is Reason.SLOW_CONSUMER)
        for _ in range(40):
            if answers_pings and rig.clients.connections:
                theirs.send(frame(b"", opcode=10))
            await rig.pass_time(5.0)
        assert not rig.clients.connections
        assert rig.counters.connections_closed[reason] == 1


async def test_what_is_streamed_to_who_does_not_read_ends_at_the_limit(rig, mock_clock):
    rig = rig(max_unread_reply_bytes=2 * MIB)
    _, theirs = await rig.connect(OLD)
    with theirs:
        connection, event = await rig.asked()
        parts = 0
        while connection.reply(event, None, bytes(MIB), False, True):
            rig.reactor.settle()
            parts += 1
            assert parts < 10
        assert not rig.clients.connections
        assert rig.counters.limits_hit["client.max_unread_reply_bytes"] == 1
        with pytest.raises(ConnectionResetError):
            await rig.read(theirs, 10 * MIB)


@pytest.mark.parametrize("limit", ["max_unread_reply_bytes", "max_outbox_bytes"])
async def test_the_close_frame_is_the_last_that_comes(rig, mock_clock, limit):
    rig = rig(**{limit: 2 * MIB})
    connection, theirs = await rig.upgraded()
    with theirs:
        theirs.send(frame(b"1") + frame(b"2"))
        _, event = await rig.asked(2)
        connection.reply(event, None, b"r" * 8 * MIB, False, False)
        rig.reactor.settle()
        connection.reply(rig.requests[0][1], None, b"s", False, False)
        if limit == "max_outbox_bytes":
            connection.deliver(b"\x82\x01n")
        assert connection.is_closed or limit == "max_unread_reply_bytes"
        rig.reactor.settle()
        assert connection.is_closed
        data = await rig.read(theirs, 8 * MIB + 10)
        theirs.send(frame(b"\x03\xf5", opcode=8))
        data += await rig.read(theirs, 1000)
        assert [opcode for opcode, _ in frames_of(data)] == [2, 8]


async def test_room_is_told_once_when_little_waits(rig, mock_clock):
    rig = rig()
    connection, theirs = await rig.connect(KEEP)
    told = []
    with theirs:
        connection.when_drained(lambda: told.append("at once"))
        assert told == ["at once"]
        _, event = await rig.asked()
        connection.reply(event, None, bytes(8 * MIB), False, True)
        connection.when_drained(lambda: told.append("drained"))
        connection.when_drained(lambda: told.append("drained too"))
        assert told == ["at once"]
        assert connection.outbox_bytes > 64 << 10
        taken = 0
        while len(told) == 1:
            taken += len(await rig.read(theirs, 64 << 10))
        assert connection.outbox_bytes < 64 << 10
        assert told == ["at once", "drained", "drained too"]
    await rig.until(lambda: not rig.clients.connections)
    connection.when_drained(partial(told.append, "closed"))
    assert told[-1] == "closed"


@pytest.mark.skipif(is_compiled(), reason="changes a method")
async def test_a_large_reply_leaves_in_shares_of_a_turn(rig, monkeypatch):
    """Though the client's kernel would take more at once."""
    monkeypatch.setattr(transport, "TURN_BYTES", 1)
    rig = rig()
    connection, theirs = await rig.connect(KEEP, receive_buffer=4 * MIB)
    with theirs:
        _, event = await rig.asked()
        shares, write = [], transport.Transport._write_outbox

        def counted(self, now):
            before = rig.counters.bytes_sent
            write(self, now)
            shares.append(rig.counters.bytes_sent - before)

        monkeypatch.setattr(transport.Transport, "_write_outbox", counted)
        connection.reply(event, None, bytes(4 * MIB), False, True)
        rig.reactor.settle()  # so much that the kernel does not take all
        for _ in range(64):
            connection.reply(event, None, bytes(CHUNK_BYTES), False, True)
            rig.reactor.settle()
        await rig.read(theirs, 7 * MIB)
        assert 0 < max(shares[len(shares) // 2 :]) <= 2 * CHUNK_BYTES


# --- how much work it is ----------------------------------------------------------------------------------------


async def test_messages_that_wait_are_looked_at_once_each(rig, mock_clock):
    """Ten thousand in one read: each reply lets one go, and looks at no other."""
    count = 10_900
    rig = rig(max_in_flight=64, max_outbox_bytes=100 * MIB)
    connection, theirs = await rig.upgraded()
    with theirs:
        connection.receive(frame(b"") * count, rig.reactor.now)
        for number in range(count):
            while len(rig.requests) == number:  # a turn takes no more than its share
                rig.reactor.settle()
            connection.reply(rig.requests[number][1], None, b"", True, False)
        assert len(rig.requests) == count
        assert connection.in_flight == 0
        assert rig.counters.messages_received == count
