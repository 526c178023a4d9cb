"""How much of one client's is taken in a turn, whatever it sends."""

import gzip
import socket
import zlib

import pytest
import trio

from holdfast.protocols.clients.base import UNITS_PER_CALL, Limits
from holdfast.protocols.clients.events import HttpRequest, Switch
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.websocket import WebSocketProtocol
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.proxy.clients import clients as clients_module
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.rate_limit import FRAMES_PER_MESSAGE, RateLimit
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import ClientSettings
from holdfast.proxy.metrics import Counters

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PONG = b"\x8a\x00"
MANY = 10_000


def frame(first, payload=b""):
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload


class Rig:
    """Clients whose turns the test makes. asked: requests; `answer` is what becomes of each."""

    def __init__(self, **settings):
        self.reactor = Reactor()
        self.clients = Clients(ClientSettings(**settings), HttpProtocol, self.reactor, Counters(), 1, lambda _: None)
        self.asked = []
        self.answer = lambda connection, event: None
        self.clients.dispatch = self._ask
        self.clients.on_opened = lambda client: None
        self.clients.on_closed = lambda session, reason: None
        self.sockets = []

    def _ask(self, connection, event):
        self.asked.append(event)
        self.answer(connection, event)

    def connect(self, data=b""):
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        ours.setblocking(False)
        theirs.setblocking(False)
        self.sockets.append(theirs)
        connection = self.clients.add(ours.detach(), "192.0.2.1:5", None)
        if data:
            connection.receive(data, self.reactor.now)
            self.turn()
            self.said(theirs)
        return connection, theirs

    def turn(self):
        """Its end. True: there is more to do."""
        return self.clients.flush(self.reactor.now)

    def turns(self):
        """Until nothing is left to do: how many, and what was written in the largest of them."""
        count, most, before = 1, 0, self.clients.counters.bytes_sent
        while self.turn():
            most = max(most, self.clients.counters.bytes_sent - before)
            before = self.clients.counters.bytes_sent
            count += 1
            assert count < 10_000
        return count, most

    def pass_time(self, seconds):
        self.reactor.now += seconds
        self.clients.wheel.turn(self.reactor.now)

    def said(self, theirs):
        data = b""
        while True:
            try:
                chunk = theirs.recv(1 << 20)
            except BlockingIOError:
                return data
            if not chunk:
                return data
            data += chunk


@pytest.fixture
async def rig(monkeypatch):
    rigs = []

    def make(**settings):
        rigs.append(Rig(**settings))
        return rigs[-1]

    monkeypatch.setattr(clients_module, "GO_ON_TIME", 0.0)  # one a turn, however fast this machine is
    yield make
    for each in rigs:
        each.clients.close()
        each.reactor.close()
        for theirs in each.sockets:
            theirs.close()


@pytest.mark.parametrize(
    ("flood", "said"),
    [
        (frame(0x89) * MANY, PONG * MANY),
        (frame(0x8A) * MANY, b""),
        (frame(0x81, b'{"p":1}') * MANY, b'\x81\x07{"p":2}' * MANY),
        (frame(0x01) + frame(0x00, b"x") * MANY, b""),
    ],
    ids=["pings", "pongs", "pings of the application", "parts of a byte"],
)
async def test_a_turn_takes_a_share_of_what_one_client_sends(rig, flood, said):
    rig = rig()
    connection, theirs = rig.connect(UPGRADE)
    connection.receive(flood, rig.reactor.now)
    turns, most = rig.turns()
    assert turns >= MANY // UNITS_PER_CALL
    assert most <= 2 * UNITS_PER_CALL * len(said) // MANY
    assert rig.said(theirs) == said
    connection.receive(frame(0x80, b"y") if said == b"" and flood[0] == 1 else frame(0x81, b"y"), rig.reactor.now)
    assert rig.asked[-1].payload.endswith(b"y")


async def test_others_have_their_turn_between_the_shares_of_one(rig):
    rig = rig()
    flood, _ = rig.connect(UPGRADE)
    quiet, theirs = rig.connect(UPGRADE)
    rig.answer = lambda connection, event: connection.reply(event, None, event.payload, True, False)
    flood.receive(frame(0x89) * MANY, rig.reactor.now)
    quiet.receive(frame(0x81, b"me"), rig.reactor.now)
    assert rig.turn()
    assert rig.said(theirs) == b"\x81\x02me"


async def test_several_who_have_more_take_turns(rig):
    rig = rig()
    floods = [rig.connect(UPGRADE) for _ in range(3)]
    for connection, _ in floods:
        connection.receive(frame(0x89) * UNITS_PER_CALL * 4, rig.reactor.now)
    for _ in range(4):
        rig.turn()
    shares = [len(rig.said(theirs)) // (len(PONG) * UNITS_PER_CALL) for _, theirs in floods]
    assert shares == [2, 2, 2]


async def test_requests_that_are_answered_at_once_are_shared_out_too(rig):
    rig = rig()
    rig.answer = lambda connection, event: connection.fail(event, RequestError("none", Reason.NO_NODE))
    connection, _ = rig.connect()
    connection.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2000, rig.reactor.now)
    turns, _ = rig.turns()
    assert turns > 2000 // (2 * UNITS_PER_CALL)
    assert len(rig.asked) == 2000


async def test_chunks_of_a_byte(rig):
    rig = rig()
    connection, _ = rig.connect()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.receive(head + b"1\r\nx\r\n" * MANY + b"0\r\n\r\n", rig.reactor.now)
    turns, _ = rig.turns()
    assert turns >= MANY // UNITS_PER_CALL
    assert [event.payload for event in rig.asked] == [b"x" * MANY]


async def test_what_is_inflated_is_inflated_a_share_at_a_time(rig):
    rig = rig()
    bomb = gzip.compress(gzip.compress(bytes(8 << 20)))
    connection, _ = rig.connect()
    connection.receive(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb,
        rig.reactor.now,
    )
    turns, _ = rig.turns()
    assert turns >= 32
    assert isinstance(rig.asked[0], HttpRequest)
    assert rig.asked[0].payload == bytes(8 << 20)


async def test_a_small_body_is_inflated_at_the_turn_s_end(rig):
    rig = rig()
    body = gzip.compress(b"hello" * 1000)
    connection, _ = rig.connect()
    connection.receive(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        rig.reactor.now,
    )
    assert not rig.asked
    rig.turn()
    assert [event.payload for event in rig.asked] == [b"hello" * 1000]
    assert not rig.turn()


async def test_messages_that_inflate_are_not_inflated_before_there_is_room_for_them(rig):
    size = 1 << 20
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (stream.compress(bytes(size)) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    message = bytes((0xC2, 0x80 | 126)) + len(packed).to_bytes(2, "big") + bytes(4) + packed
    rig = rig(compression=True, max_in_flight=2)
    connection, _ = rig.connect(
        UPGRADE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n"
    )
    connection.receive(message * 50, rig.reactor.now)
    rig.turns()
    assert len(rig.asked) == 2
    assert len(connection._waiting or ()) <= 1
    for number in range(50):
        connection.reply(rig.asked[number], None, b"", True, False)
        rig.turns()
    assert len(rig.asked) == 50


async def test_what_a_closing_client_still_has_is_shared_out(rig):
    rig = rig()
    connection, theirs = rig.connect(UPGRADE)
    connection.receive(frame(0x89) * 1000 + frame(0x88), rig.reactor.now)
    connection.close(Reason.KICKED)
    rig.turns()
    assert rig.said(theirs).endswith(b"\x88\x02" + Reason.KICKED.websocket.to_bytes(2, "big"))
    assert connection.state.name == "FINISHED"


@pytest.mark.parametrize("settings", [{}, {"max_message_rate": 10}], ids=["for a turn", "for its rate"])
async def test_who_is_put_off_when_it_is_hushed_is_not_gone_on_with(rig, settings):
    rig = rig(**settings)
    connection, theirs = rig.connect(UPGRADE)
    rig.pass_time(60)
    connection.receive(frame(0x89) * MANY, rig.reactor.now)
    connection.hush()
    for _ in range(8):
        rig.turns()
        rig.pass_time(1.0)
    assert len(rig.said(theirs)) <= 2 * UNITS_PER_CALL * len(PONG)
    assert not connection.transport.interest


async def test_an_end_that_comes_with_more_than_a_share_comes_after_it(rig):
    """As with TLS, which gives both at once."""
    rig = rig()
    connection, _ = rig.connect(UPGRADE)
    connection.receive(frame(0x81, b"m") * 100, rig.reactor.now)
    connection.receive_end(rig.reactor.now)
    rig.answer = lambda connection, event: connection.reply(event, None, b"", True, False)
    for event in list(rig.asked):
        connection.reply(event, None, b"", True, False)
    rig.turns()
    assert len(rig.asked) == 100
    assert connection.is_closed


async def test_above_its_rate_a_client_is_not_read(rig):
    rig = rig(max_message_rate=10)
    rig.answer = lambda connection, event: connection.reply(event, None, b"", True, False)
    connection, theirs = rig.connect(UPGRADE)
    rig.pass_time(60)
    connection.receive(frame(0x89) * MANY, rig.reactor.now)
    for seconds in range(1, 11):
        rig.turns()
        rig.pass_time(1.25)
        assert len(rig.said(theirs)) <= len(PONG) * UNITS_PER_CALL * 2, seconds
    assert not connection.is_closed


@pytest.mark.parametrize("silent", [frame(0x8A), frame(0x00)], ids=["pongs", "continuations"])
async def test_frames_that_give_no_event_are_counted_by_the_rate(rig, silent):
    rig = rig(max_message_rate=10, body_timeout=1000)
    connection, _ = rig.connect(UPGRADE)
    connection.receive(frame(0x01), rig.reactor.now)  # a message, which goes on or not
    rig.pass_time(60)
    some = silent * (UNITS_PER_CALL - 1)
    connection.receive(some, rig.reactor.now)
    assert not connection.transport.interest  # 63 came, 20 are a second's worth
    read = 0
    for _ in range(1000):
        rig.turns()
        if connection.transport.interest:
            read += UNITS_PER_CALL - 1
            connection.receive(some, rig.reactor.now)
        rig.pass_time(0.01)
    assert read <= 11 * UNITS_PER_CALL  # nobody waits for more than a second
    assert not connection.is_closed


async def test_an_adapter_that_follows_another_counts_its_own(rig):
    rig = rig(max_message_rate=10)
    connection, _ = rig.connect(UPGRADE)
    rig.pass_time(60)
    connection.receive(frame(0x8A) * 9, rig.reactor.now)
    follower = WebSocketProtocol(Limits(), "", rig.reactor.now)
    connection._take([Switch(follower, frame(0x8A) * 9)], rig.reactor.now)
    assert connection.transport.interest  # 20 are a second's worth, and the switch is one
    connection.receive(frame(0x8A) * 2, rig.reactor.now)
    assert not connection.transport.interest


@pytest.mark.parametrize("units", [1, UNITS_PER_CALL])
def test_a_pace_is_that_of_frames_and_never_a_stop(units):
    limit = RateLimit(10.0)
    now, taken = 100.0, 0
    while now < 200.0:
        until = limit.count(units, now)
        taken += units
        assert until <= now + 1.0
        now = max(now, until)
        if until <= now and units == 1:
            now += 1e-3
    most = max(10.0 * FRAMES_PER_MESSAGE, units)
    assert taken <= most * 101 + units


async def test_who_keeps_to_its_rate_is_always_read(rig):
    rig = rig(max_message_rate=10)
    rig.answer = lambda connection, event: connection.reply(event, None, b"", True, False)
    connection, _ = rig.connect(UPGRADE)
    rig.pass_time(60)
    for _ in range(100):
        rig.pass_time(0.101)
        connection.receive(frame(0x81, b"m"), rig.reactor.now)
        connection.receive(frame(0x89), rig.reactor.now)
        assert not rig.turn()
        assert connection.transport.interest
    assert len(rig.asked) == 100
    assert not rig.clients.counters.limits_hit


async def test_the_time_of_a_turn_is_shared_by_all_who_have_more(rig, monkeypatch):
    """More go on in a turn when there is time for them."""
    monkeypatch.setattr(clients_module, "GO_ON_TIME", trio.current_time())  # for ever
    rig = rig()
    floods = [rig.connect(UPGRADE) for _ in range(3)]
    for connection, _ in floods:
        connection.receive(frame(0x89) * UNITS_PER_CALL * 4, rig.reactor.now)
    turns, _ = rig.turns()
    assert turns == 4  # and not nine and one
