"""Connections with an adapter that others could have written, faults included."""

import os
import socket
from math import inf

import pytest
import trio
from structlog.testing import capture_logs

from holdfast.masses import MOST
from holdfast.protocols.clients.base import UNITS_PER_CALL
from holdfast.protocols.clients.conformance import check
from holdfast.protocols.clients.events import Finished, Message, Opened, Output
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import ClientSettings, RealtimeSettings
from holdfast.proxy.metrics import Counters
from holdfast.proxy.process.build import is_compiled
from holdfast.proxy.realtime import channels
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.fan_out import FanOut
from tests.waiting import PATIENCE, until


class LineProtocol:
    """Lines of text, each a request. A line "crash X" makes the adapter fail in X."""

    name = "line"
    eventless = 0

    @property
    def held_bytes(self):
        return 0 if self._over else len(self._buffer) + sum(map(len, self._lines))

    def __init__(self, limits, address, now):
        self.deadline = inf
        self.paused = False
        self.wire_format = "line"
        self._address = address
        self._buffer = b""
        self._lines = []  # what has come whole
        self.has_more = False
        self._opened = False
        self._over = False
        self._closing = None
        self.fault = ""

    @property
    def all_said(self):
        self._fail("all_said")
        return False

    def _fail(self, where):
        if self.fault == where:
            raise RuntimeError(f"fault in {where}")

    def receive_data(self, data, now):
        if self._over:
            return []
        events = []
        if not self._opened:
            self._opened = True
            events.append(Opened("line", "/", [], self._address))
        if not data:
            self._over = True
            self.deadline = inf
            return [*events, Finished(Reason.CLIENT_LEFT)]
        *self._lines, self._buffer = (self._buffer + data).split(b"\n")
        return [*events, *self.resume(now)]

    def resume(self, now):
        self._fail("resume")
        events = []
        lines, self._lines = self._lines[:UNITS_PER_CALL], self._lines[UNITS_PER_CALL:]
        self.has_more = self.paused = bool(self._lines)
        for line in lines:
            if line.startswith(b"crash "):
                self.fault = line[6:].decode()
                self._fail("receive_data")
                if self.fault == "on_deadline":
                    self.deadline = now
                continue
            if line == b"ping":
                events.append(Output(b"pong\n"))
                continue
            events.append(Message(line, line.isascii()))
        return events

    def on_deadline(self, now):
        self._fail("on_deadline")
        self.deadline = inf
        reason, self._closing = self._closing, None
        return [Finished(reason)] if reason else []

    def reply(self, request, head, payload, is_text, more):
        self._fail("reply")
        return b"" if payload is None else payload + b"\n"

    def error(self, request, error):
        self._fail("error")
        return b"error " + error.reason.value.encode() + b"\n"

    def notification(self, payload, is_text):
        self._fail("notification")
        return b"* " + payload + b"\n"

    def close(self, reason, detail, now):
        self._fail("close")
        self._over = True
        self._lines, self.has_more, self.paused = [], False, False
        self._closing = reason
        self.deadline = now
        return b"bye\n"


class Rig:
    def __init__(self, **settings):
        self.reactor = Reactor()
        self.counters = Counters()
        settings.setdefault("max_in_flight", 100)
        self.clients = Clients(
            ClientSettings(**settings), LineProtocol, self.reactor, self.counters, 1, lambda id: None
        )
        self.channels = Channels(self.clients, RealtimeSettings(), 10)
        self.requests = []
        self.opened = []
        self.closed = []
        self.clients.dispatch = lambda connection, event: self.requests.append((connection, event))
        self.clients.on_opened = self.opened.append
        self.clients.on_closed = self._on_closed
        self.reactor.at_turn_end(self.clients.flush)

    def _on_closed(self, session, reason):
        self.channels.forget(session)
        self.closed.append((session.connection, reason))

    def connect(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        return self.clients.add(ours.detach(), "1.2.3.4:5", None), theirs

    async def until(self, condition):
        await until(condition)

    async def read(self, theirs, count):
        data = b""
        with trio.fail_after(PATIENCE):
            while len(data) < count:
                await trio.lowlevel.wait_readable(theirs)
                chunk = theirs.recv(65536)
                if not chunk:
                    break
                data += chunk
        return data


@pytest.fixture
async def rig():
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.reactor.run)
        yield rig
        nursery.cancel_scope.cancel()
    rig.clients.close()
    rig.reactor.close()


async def test_any_adapter_is_served_as_the_built_in_ones_are(rig):
    connection, theirs = rig.connect()
    with theirs:
        theirs.send(b"one\ntwo\nping\n")
        await rig.until(lambda: len(rig.requests) == 2)
        assert [event.payload for _, event in rig.requests] == [b"one", b"two"]
        assert len(rig.opened) == 1
        for _, event in rig.requests:
            connection.reply(event, None, event.payload.upper(), True, False)
        rig.reactor.settle()
        assert await rig.read(theirs, 13) == b"pong\nONE\nTWO\n"
        assert rig.channels.join(connection.id, "room")
        rig.channels.deliver(FanOut(b"news", True, ["room"], (), None), 100)
        rig.reactor.settle()
        assert await rig.read(theirs, 7) == b"* news\n"
    await rig.until(lambda: rig.closed == [(connection, Reason.CLIENT_LEFT)])
    assert rig.channels.count("room") == 0
    assert rig.clients.connections == {}


def test_the_example_keeps_the_law_of_adapters():
    import random

    check(LineProtocol, b"one\nping\ntwo\nthree\n", random.Random(1))


@pytest.mark.parametrize("where", ["receive_data", "reply", "error", "close", "on_deadline"])
async def test_an_adapters_fault_ends_its_connection_and_no_other(rig, where):
    bad, theirs = rig.connect()
    good, good_theirs = rig.connect()
    with theirs, good_theirs:
        theirs.send(b"one\n")
        good_theirs.send(b"two\n")
        await rig.until(lambda: len(rig.requests) == 2)
        theirs.send(b"crash " + where.encode() + b"\n")
        await rig.until(lambda: bad.protocol.fault)
        for connection, event in rig.requests:
            if connection is bad and where == "reply":
                assert not connection.reply(event, None, b"x", True, False)
            if connection is bad and where == "error":
                connection.fail(event, RequestError("x", Reason.NO_NODE))
        if where == "close":
            bad.close(Reason.KICKED)
        if where == "on_deadline":
            rig.clients.wheel.turn(rig.reactor.now + 1.0)
        await rig.until(lambda: rig.closed == [(bad, Reason.INTERNAL_ERROR)])
        assert await rig.read(theirs, 1) == b""
        for connection, event in rig.requests:
            if connection is good:
                good.reply(event, None, b"fine", True, False)
        rig.reactor.settle()
        assert await rig.read(good_theirs, 5) == b"fine\n"


@pytest.mark.parametrize(("fault", "how"), [("all_said", "reply"), ("resume", "reply"), ("resume", "fail")])
async def test_an_adapters_fault_after_a_reply_is_not_the_nodes(rig, fault, how):
    rig.clients.max_in_flight = 1
    bad, theirs = rig.connect()
    with theirs:
        theirs.send(b"one\n")
        await rig.until(lambda: len(rig.requests) == 1)
        ((_, event),) = rig.requests
        bad.transport.set_reading(False)  # as of one who waits for a place
        bad.protocol.fault = fault
        if how == "reply":
            bad.reply(event, None, b"x", True, fault == "all_said")  # raises nothing: what calls is a node's session
        else:
            bad.fail(event, RequestError("x", Reason.NO_NODE))
        await rig.until(lambda: rig.closed == [(bad, Reason.INTERNAL_ERROR)])


async def test_a_notification_that_an_adapter_cannot_encode_costs_only_its_clients_that_one(rig):
    connection, theirs = rig.connect()
    with theirs:
        theirs.send(b"crash notification\n")
        await rig.until(lambda: connection.protocol.fault)
        rig.channels.join(connection.id, "room")
        rig.channels.deliver(FanOut(b"news", True, ["room"], (), None), 100)
        connection.protocol.fault = ""
        rig.channels.deliver(FanOut(b"more", True, ["room"], (), None), 100)
        rig.reactor.settle()
        assert await rig.read(theirs, 7) == b"* more\n"


async def test_notifications_that_an_adapter_cannot_encode_are_few_lines(rig):
    connection, theirs = rig.connect()
    with theirs, capture_logs() as lines:
        theirs.send(b"crash notification\n")
        await rig.until(lambda: connection.protocol.fault)
        rig.channels.join(connection.id, "room")
        for _ in range(100):
            rig.channels.deliver(FanOut(b"news", True, ["room"], (), None), 100)
    assert len(lines) == MOST


async def test_an_adapter_that_can_not_be_made_ends_its_connection_and_no_other(rig):
    def broken(limits, address, now):
        raise RuntimeError("fault in the constructor")

    good, good_theirs = rig.connect()
    ours, theirs = socket.socketpair()
    with good_theirs, theirs:
        assert rig.clients.add(ours.detach(), "1.2.3.4:5", None, broken) is None
        assert theirs.recv(1) == b""
        assert list(rig.clients.connections.values()) == [good]
        good_theirs.send(b"one\n")
        await rig.until(lambda: rig.requests)


@pytest.mark.skipif(is_compiled(), reason="nothing else than bytes can be written")
async def test_a_fault_while_it_is_written_to_ends_its_connection_and_keeps_nothing_of_others_back(rig):
    bad, theirs = rig.connect()
    good, good_theirs = rig.connect()
    with theirs, good_theirs:
        theirs.send(b"one\n")
        good_theirs.send(b"two\n")
        await rig.until(lambda: len(rig.requests) == 2)
        bad.transport.write("no bytes")
        good.transport.write(b"fine\n")
        rig.reactor.settle()
        assert await rig.read(good_theirs, 5) == b"fine\n"
        assert rig.closed == [(bad, Reason.INTERNAL_ERROR)]
        good.transport.write(b"more\n")
        rig.reactor.settle()
        assert await rig.read(good_theirs, 5) == b"more\n"


@pytest.mark.skipif(is_compiled(), reason="changes a method")
async def test_a_broadcast_looks_clients_up_as_it_comes_to_them(rig, monkeypatch):
    monkeypatch.setattr(channels, "CLIENTS_AT_ONCE", 2)
    looked = []
    find = rig.clients.find
    monkeypatch.setattr(rig.clients, "find", lambda id: looked.append(id) or find(id))
    ends = [rig.connect() for _ in range(6)]
    for _, theirs in ends:
        theirs.send(b"hello\n")
    await rig.until(lambda: len(rig.opened) == 6)
    fan_out = rig.channels.broadcast(b"news", True, {ends[1][0].id})
    assert looked == []
    assert rig.channels.deliver(fan_out, 1) <= 0
    assert len(looked) == 2
    while not fan_out.is_done:
        rig.channels.deliver(fan_out, 2)
    rig.reactor.settle()
    for number, (_, theirs) in enumerate(ends):
        if number == 1:
            with pytest.raises(BlockingIOError):
                theirs.recv(1)
        else:
            assert await rig.read(theirs, 7) == b"* news\n"
        theirs.close()


@pytest.mark.parametrize(
    ("taken", "refused", "free"),
    [
        ("1.2.3.4:5", "1.2.3.4", "1.2.3.5"),
        ("[2001:db8:0:1::5]:6", "2001:db8:0:1:ffff::7", "2001:db8:0:2::5"),  # one subscriber has a /64
        ("[fe80::1%eth0]:6", "fe80::1%eth0", "2001:db8::1"),
        ("[::ffff:1.2.3.4]:5", "1.2.3.4", "1.2.3.5"),
    ],
)
async def test_connections_of_one_address_are_counted(taken, refused, free):
    rig = Rig(max_connections_per_address=1)
    ours, theirs = socket.socketpair()
    with theirs:
        connection = rig.clients.add(ours.detach(), taken, None)
        assert rig.clients.refusal(refused) is Reason.TOO_MANY_FROM_ADDRESS
        assert rig.clients.refusal(free) is None
        connection.abort(Reason.CLIENT_LEFT)
        assert rig.clients.refusal(refused) is None
    rig.reactor.close()


async def test_bytes_of_a_turn_leave_in_one_write_and_in_order(rig, monkeypatch):
    connection, theirs = rig.connect()
    writes = []
    monkeypatch.setattr(
        "holdfast.proxy.clients.transport.os.write", lambda fd, data: writes.append(bytes(data)) or len(data)
    )
    for part in (b"a", b"b", b"c"):
        connection.transport.write(part)
    rig.reactor.settle()
    assert writes == [b"abc"]
    monkeypatch.undo()
    theirs.close()


async def test_close_is_told_once_and_nothing_is_delivered_after_it(rig):
    connection, theirs = rig.connect()
    with theirs:
        theirs.send(b"one\n")
        await rig.until(lambda: rig.requests)
        connection.close(Reason.KICKED)
        connection.close(Reason.DRAINING)
        assert not connection.reply(rig.requests[0][1], None, b"late", True, False)
        connection.deliver(b"late")
        rig.reactor.settle()
        rig.clients.wheel.turn(rig.reactor.now + 1.0)
        assert await rig.read(theirs, 4) == b"bye\n"
    assert rig.closed == [(connection, Reason.KICKED)]
    assert rig.clients.has_abandoned


async def test_a_deadline_of_before_it_is_closed_is_for_the_timer(rig, monkeypatch):
    """It knows for how long the proxy stood still: a drain told a client that it was late by our own freeze."""
    connection, theirs = rig.connect()
    with theirs:
        theirs.send(b"one\n")
        await rig.until(lambda: len(rig.requests) == 1)
        protocol, told = connection.protocol, []
        monkeypatch.setattr(protocol, "on_deadline", lambda now: told.append(now) or [])
        monkeypatch.setattr(protocol, "close", lambda reason, detail, now: b"")  # it waits yet, for what it waited for
        protocol.deadline = rig.reactor.now - 1.0
        connection.close(Reason.DRAINING)
        assert told == []


async def test_peer_that_goes_while_we_write(rig):
    connection, theirs = rig.connect()
    theirs.send(b"one\n")
    await rig.until(lambda: rig.requests)
    theirs.close()
    for _ in range(3):
        connection.deliver(os.urandom(100_000))
        rig.reactor.settle()
    await rig.until(lambda: not rig.clients.connections)


async def test_an_end_of_a_session_that_is_not_far_any_more_is_looked_for_when_it_is_there(rig):
    connection, theirs = rig.connect()
    with theirs:
        theirs.send(b"ping\n")
        await rig.until(lambda: connection.session)
        now = rig.reactor.now
        connection.expire_in(100.0)
        assert connection.timer <= now + 61.0
        connection.on_timer(now + 61.0)
        assert connection.timer <= connection.session.expires + 1.0
        connection.on_timer(connection.session.expires)
        assert rig.closed == [(connection, Reason.EXPIRED)]
