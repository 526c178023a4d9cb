"""TLS that fails: nobody pays for it but that connection, and nothing of what waits for it leaves in plain."""

import ssl
from contextlib import asynccontextmanager

import pytest
import trio

from holdfast.protocols.clients.client_hello import MAX_BYTES
from holdfast.proxy.clients.state import CLOSED, FINISHED
from holdfast.proxy.clients.tls import TlsChannel, TlsError, server_context
from tests.proxy.clients.test_late_calls import is_served, reset
from tests.proxy.clients.test_transport import UPGRADE, Rig

BAD = b"\x17\x03\x03\x00\x20" + b"x" * 32  # a record that nobody can decrypt
NEWS = b"PLAIN NEWS " * 9000


class Client:
    """TLS over memory: `said` is for the wire. A hello that asks for nothing the server takes first is asked again."""

    def __init__(self, certificate, version=None):
        trust = ssl.create_default_context(cafile=certificate[0])
        if version is not None:
            trust.maximum_version = version
        self.is_done = False
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trust.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def shake(self, data=b""):
        """One step of the handshake. Returns what it says to that."""
        self.incoming.write(data)
        try:
            self.tls.do_handshake()
            self.is_done = True
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    async def connect(self, theirs):
        theirs.sendall(self.shake())
        while not self.is_done:
            await trio.lowlevel.wait_readable(theirs)
            theirs.sendall(self.shake(theirs.recv(1 << 16)))


@asynccontextmanager
async def a_rig(clock=None, **settings):
    rig = Rig(clock, **settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.reactor.run)
        yield rig
        nursery.cancel_scope.cancel()
    rig.clients.close()
    rig.reactor.close()


def channel(certificate, *, is_http=True, curve=None):
    context = server_context(*certificate)
    if curve:
        context.set_ecdh_curve(curve)
    return TlsChannel(context, is_http=is_http)


async def secured(rig, certificate):
    """A client whose handshake is done."""
    client = Client(certificate)
    connection, theirs = await rig.connect(tls=channel(certificate))
    await client.connect(theirs)
    await rig.until(lambda: not connection.transport.is_in_handshake)
    return client, connection, theirs


@pytest.mark.parametrize("is_after", [False, True])
async def test_who_breaks_a_record_and_resets_ends_nobody_else(certificate, is_after, capsys):
    async with a_rig() as rig:
        rig.reactor.at_turn_end(rig.clients.handshakes.step)
        if is_after:
            _, connection, theirs = await secured(rig, certificate)
        else:
            connection, theirs = await rig.connect(tls=channel(certificate))
        theirs.sendall(BAD)
        reset(theirs)  # before the proxy, of this thread, has seen any of it
        await rig.until(lambda: not rig.clients.connections)
        assert connection.transport is rig.clients.nowhere
        assert await is_served(rig)
    assert "_crashed" not in capsys.readouterr().out


class Resetting(TlsChannel):
    """Whose client has gone when it is to be told why."""

    def receive(self, data):
        try:
            return super().receive(data)
        except TlsError:
            reset(self.theirs)
            raise


@pytest.mark.parametrize("is_after", [False, True])
async def test_who_has_gone_before_its_alert_is_written_ends_nobody_else(certificate, is_after, capsys):
    async with a_rig() as rig:
        rig.reactor.at_turn_end(rig.clients.handshakes.step)
        tls = Resetting(server_context(*certificate), is_http=True)
        connection, tls.theirs = await rig.connect(tls=tls)
        if is_after:
            await Client(certificate).connect(tls.theirs)
            await rig.until(lambda: tls.is_ready)
        tls.theirs.sendall(BAD if is_after else greedy())
        await rig.until(lambda: not rig.clients.connections)
        assert connection.state is CLOSED
        assert await is_served(rig)
    assert "_crashed" not in capsys.readouterr().out


@pytest.mark.parametrize("taken", [0, 64 << 10, 256 << 10])
async def test_what_waits_when_tls_fails_never_leaves_in_plain(certificate, taken, capsys):
    """taken: how much the client has made room for when its bad record comes."""
    async with a_rig() as rig:
        rig.reactor.at_turn_end(rig.clients.handshakes.step)
        client, connection, theirs = await secured(rig, certificate)
        client.tls.write(UPGRADE)
        theirs.sendall(client.outgoing.read())
        await rig.until(lambda: connection.session is not None)
        while connection.outbox_bytes < 4 * len(NEWS):
            connection.deliver(NEWS)
            rig.reactor.settle()
        wire = b""
        while len(wire) < taken:
            wire += theirs.recv(taken - len(wire))
        theirs.sendall(BAD)
        connection.transport.write(NEWS)  # what this turn has queued
        await rig.until(lambda: connection.is_closed)
        assert connection.outbox_bytes <= (16 << 10) + (64 << 10) + 1000  # of a record that had begun, and the alert
        wire += await rig.read(theirs, 1 << 30)
        assert b"PLAIN NEWS" not in wire
        client.incoming.write(wire)
        while client.incoming.pending > 1 << 10:
            assert client.tls.read(1 << 16)
        with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
            client.tls.read(1 << 16)
        theirs.close()
        await rig.until(lambda: not rig.clients.connections)
        assert rig.clients.held.bytes == 0
        assert await is_served(rig)
    assert "_crashed" not in capsys.readouterr().out


def test_after_a_failure_nothing_is_sealed(certificate):
    client, server = Client(certificate), channel(certificate)
    said = client.shake()
    while not server.is_ready:
        server.receive(said)
        said = client.shake(server.output())
    assert server.seal(b"well")
    with pytest.raises(TlsError):
        server.receive(BAD)
    assert server.output()
    with pytest.raises(OSError, match="after the end"):
        server.seal(b"late")
    assert server.close() == b""


def test_the_end_is_said_once(certificate):
    client, server = Client(certificate), channel(certificate)
    said = client.shake()
    while not server.is_ready:
        server.receive(said)
        said = client.shake(server.output())
    client.tls.write(b"not read")
    server._incoming.write(client.outgoing.read())
    assert server.close()
    assert server.close() == b""
    with pytest.raises(OSError, match="after the end"):
        server.seal(b"late")


# --- hellos -----------------------------------------------------------------------------------------------------


def greedy(size=131_000):
    """The head of a hello of so many bytes."""
    message = b"\x01" + size.to_bytes(3, "big")
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize("is_http", [True, False])
async def test_a_hello_that_is_to_be_too_long_is_refused_at_its_first_word(certificate, is_http):
    async with a_rig() as rig:
        rig.reactor.at_turn_end(rig.clients.handshakes.step)
        _, theirs = await rig.connect(greedy(), tls=channel(certificate, is_http=is_http))
        assert await rig.read(theirs, 100) == b"\x15\x03\x03\x00\x02\x02\x2f"
        theirs.close()
        await rig.until(lambda: not rig.clients.connections)


@pytest.mark.parametrize("is_http", [True, False])
def test_what_is_not_a_whole_hello_yet_is_held_once_and_up_to_a_limit(certificate, is_http):
    server = channel(certificate, is_http=is_http)
    assert server.receive(greedy(4096)) == b""
    nothing = b"\x16\x03\x01\x00\x00"
    for _ in range(MAX_BYTES // len(nothing) - 2):
        assert server.receive(nothing) == b""
        assert not server._incoming.pending
    with pytest.raises(TlsError, match="longer than"):
        server.receive(nothing * 2)
    assert server.output() == b"\x15\x03\x03\x00\x02\x02\x2f"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("curve", [None, "secp384r1"])  # of which a client of 1.3 has no key to offer at first
@pytest.mark.parametrize("size", [1, 1 << 16])
def test_a_handshake_in_pieces_and_with_a_second_hello(certificate, version, curve, size):
    client, server = Client(certificate, version), channel(certificate, curve=curve)
    said, rounds = client.shake(), 0
    while not server.is_ready:
        for at in range(0, len(said), size):
            server.receive(said[at : at + size])
        said = client.shake(server.output())
        rounds += 1
    assert rounds == 2 + (curve is not None and version == ssl.TLSVersion.TLSv1_3)
    client.tls.write(b"hello")
    assert server.receive(client.outgoing.read()) == b"hello"


@pytest.mark.parametrize("is_at_once", [False, True])
def test_a_second_hello_has_the_same_limit(certificate, is_at_once):
    client, server = Client(certificate), channel(certificate, curve="secp384r1")
    said = client.shake()
    early = b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x05early"
    last = said + early + greedy()
    if not is_at_once:
        server.receive(said)
        assert server.output()
        server.receive(early)
        last = greedy()
    with pytest.raises(TlsError, match="longer than"):
        server.receive(last)


# --- who waits for its turn -------------------------------------------------------------------------------------


async def test_who_waits_for_its_handshake_is_closed_in_time_and_waits_once(certificate, mock_clock):
    async with a_rig(mock_clock, handshake_timeout=10.0) as rig:  # nobody is taken up: `step` is never called
        connection, theirs = await rig.connect(Client(certificate).shake(), tls=channel(certificate))
        waiting = rig.clients.handshakes.waiting
        await rig.until(lambda: waiting)
        theirs.sendall(b"more")
        heard = rig.reactor.events
        await rig.pass_time(8.0)
        assert rig.reactor.events == heard
        assert not connection.is_closed
        assert list(waiting) == [connection.transport]
        connection.transport.set_reading(False)
        connection.transport.set_reading(True)
        await rig.pass_time(1.0)
        assert list(waiting) == [connection.transport]
        await rig.pass_time(2.0)
        assert connection.state >= FINISHED
        reset(theirs)
        await rig.until(lambda: not rig.clients.connections)
