"""Records cost what only OpenSSL knows, so a turn takes so many of one client, whatever is in them."""

import _ssl
import ctypes
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
import trio

from holdfast.protocols.clients.base import UNITS_PER_CALL, ReplyHead
from holdfast.protocols.close import Reason
from holdfast.proxy.clients.state import FINISHED
from holdfast.proxy.clients.tls import MAX_BARREN, TlsError
from tests.proxy.clients.test_late_calls import is_served, reset
from tests.proxy.clients.test_tls_faults import Client, a_rig, channel, secured
from tests.proxy.clients.test_transport import KEEP, UPGRADE, frame

MANY = 1000


def key_updates(client, count):
    """So many, each a record of 27 bytes that gives no data and asks for nothing. Python's ssl has no name for it."""
    openssl = ctypes.CDLL(_ssl.__file__)
    theirs = ctypes.c_void_p.from_address(
        id(client.tls._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    )
    for _ in range(count):
        assert openssl.SSL_key_update(theirs, 0) == 1
        assert openssl.SSL_do_handshake(theirs) == 1
    return client.outgoing.read()


def shaken(client, certificate):
    server = channel(certificate)
    said = client.shake()
    while not server.is_ready:
        server.receive(said)
        said = client.shake(server.output())
    return server


def records(client, parts):
    """One for each part."""
    for part in parts:
        client.tls.write(part)
    return client.outgoing.read()


def taken_up(server):
    while server.has_more:
        yield server.resume()


def in_pieces(server, wire, size):
    plain = b""
    for at in range(0, len(wire), size):
        plain += server.receive(wire[at : at + size])
    return plain + b"".join(taken_up(server))


# --- the channel ------------------------------------------------------------------------------------------------


def test_a_call_takes_its_share_of_records_and_no_more(certificate):
    client = Client(certificate)
    server = shaken(client, certificate)
    data = bytes(number % 251 for number in range(MANY))
    first = server.receive(records(client, [data[at : at + 1] for at in range(MANY)]))
    rest = list(taken_up(server))
    assert {len(part) for part in [first, *rest[:-1]]} == {UNITS_PER_CALL}
    assert first + b"".join(rest) == data


@pytest.mark.parametrize("size", [1, 3, 7, 100, 1 << 16])
def test_records_in_pieces_of_any_size_give_the_same(certificate, size):
    client = Client(certificate)
    server = shaken(client, certificate)
    parts = [b"a" * (at % 40) for at in range(1, 200)] + [b"b" * (20 << 10)]
    wire = records(client, parts)
    assert in_pieces(server, wire, size) == b"".join(parts)
    assert server.kept == b""


def test_the_end_is_behind_what_waits(certificate):
    client = Client(certificate)
    server = shaken(client, certificate)
    wire = records(client, [b"x"] * (UNITS_PER_CALL + 1))
    assert server.receive(wire) == b"x" * UNITS_PER_CALL
    assert server.receive(b"") == b""
    assert not server.is_over
    assert server.resume() == b"x"
    assert not server.has_more
    assert server.receive(b"") == b""
    assert server.is_over


def test_after_the_peers_end_nothing_is_kept(certificate):
    client = Client(certificate)
    server = shaken(client, certificate)
    wire = records(client, [b"x"])
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    wire += client.outgoing.read() + wire * 100
    assert server.receive(wire) == b"x"
    assert server.is_over
    assert not server.has_more


@pytest.mark.parametrize("size", [10, 27, 1 << 16])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_records_without_data_are_borne_up_to_a_number_in_a_row(certificate, version, size):
    client = Client(certificate, version)
    server = shaken(client, certificate)
    if version == ssl.TLSVersion.TLSv1_2:
        with pytest.raises(TlsError, match="in a row"):
            server._give_up()
    else:
        assert server.receive(records(client, [b"data"])) == b"data"
        assert in_pieces(server, key_updates(client, MAX_BARREN), size) == b""
        assert server.receive(records(client, [b"data"])) == b"data"
        with pytest.raises(TlsError, match=f"more than {MAX_BARREN} records in a row without data"):
            in_pieces(server, key_updates(client, 2 * UNITS_PER_CALL), size)
    client.incoming.write(server.output())
    with pytest.raises(ssl.SSLError, match="ALERT"):
        client.tls.read(1)
    with pytest.raises(OSError, match="after the end"):
        server.seal(b"late")


def test_a_record_with_data_begins_the_count_anew(certificate):
    client = Client(certificate)
    server = shaken(client, certificate)
    for _ in range(2 * MAX_BARREN):
        wire = records(client, [b"data"])
        assert server.receive(wire[:5]) == b""
        assert server.receive(wire[5:]) == b"data"


# --- connections ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def with_turns(**settings):
    async with a_rig(**settings) as rig:
        rig.reactor.at_turn_end(rig.clients.handshakes.step)
        yield rig


async def upgraded(rig, certificate):
    client, connection, theirs = await secured(rig, certificate)
    theirs.sendall(records(client, [UPGRADE]))
    await rig.until(lambda: connection.session is not None)
    return client, connection, theirs


async def test_many_records_are_spread_over_turns_and_all_is_taken(certificate):
    async with with_turns() as rig:
        client, _, theirs = await upgraded(rig, certificate)
        said = b"".join(frame(b"%0100d" % each) for each in range(MANY // 100))
        turns = rig.reactor.turns
        theirs.sendall(records(client, [said[at : at + 1] for at in range(len(said))]))
        await rig.asked(MANY // 100)
        assert [event.payload for _, event in rig.requests] == [b"%0100d" % each for each in range(MANY // 100)]
        assert rig.reactor.turns - turns >= MANY // (2 * UNITS_PER_CALL)  # as it comes, and at a turn's end
        assert rig.clients.held.bytes == 0
        assert not rig.clients.encrypted
        theirs.close()
        await rig.until(lambda: not rig.clients.connections)


async def test_what_is_kept_is_counted_and_waits_while_the_client_is_not_read(certificate):
    async with with_turns() as rig:
        client, connection, theirs = await secured(rig, certificate)
        theirs.sendall(records(client, [KEEP] + [bytes([each]) for each in KEEP * 5]))
        for _ in range(1 + 5):
            _, event = await rig.asked()
            rig.requests.clear()
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            kept_bytes = connection.transport.kept_bytes
            assert kept_bytes == rig.clients.held.bytes - connection._counted_bytes
            assert connection.held_bytes >= kept_bytes
            assert not rig.requests
            connection.reply(event, ReplyHead(), b"", False, False)
            rig.reactor.settle()
        await rig.until(lambda: not connection.transport.kept_bytes)
        theirs.close()
        await rig.until(lambda: not rig.clients.connections)
        assert rig.clients.held.bytes == 0


async def test_who_is_read_again_late_in_a_turn_goes_on_in_the_next(certificate):
    async with with_turns() as rig:

        def answer(now):
            while rig.requests:
                connection, event = rig.requests.pop()
                connection.reply(event, ReplyHead(), b"", False, False)
            return False

        rig.reactor._steps[:0] = [rig.clients.handshakes.step, answer]  # the order of a proxy
        client, _, theirs = await secured(rig, certificate)
        theirs.sendall(records(client, [KEEP] + [bytes([each]) for each in KEEP * 20]))
        await rig.until(lambda: rig.counters.messages_received == 1 + 20)
        theirs.close()
        await rig.until(lambda: not rig.clients.connections)


async def test_the_end_of_file_comes_after_what_is_kept(certificate):
    async with with_turns(max_in_flight=MANY) as rig:
        client, _, theirs = await upgraded(rig, certificate)
        theirs.sendall(records(client, [frame(b"%d" % each) for each in range(MANY // 10)]))
        theirs.shutdown(socket.SHUT_WR)
        await rig.until(lambda: not rig.clients.connections)
        assert [event.payload for _, event in rig.requests] == [b"%d" % each for each in range(MANY // 10)]
        theirs.close()


@pytest.mark.parametrize("is_reset", [False, True])
async def test_who_only_updates_keys_is_ended_and_nobody_else(certificate, is_reset, capsys):
    async with with_turns() as rig:
        client, connection, theirs = await upgraded(rig, certificate)
        theirs.sendall(key_updates(client, MANY))
        if is_reset:
            reset(theirs)
        else:
            await rig.until(lambda: connection.state >= FINISHED)
            theirs.close()
        await rig.until(lambda: not rig.clients.connections)
        assert rig.clients.held.bytes == 0
        assert await is_served(rig)
    assert "_crashed" not in capsys.readouterr().out


async def test_who_goes_while_something_is_kept_is_forgotten(certificate):
    async with with_turns() as rig:
        client, connection, theirs = await secured(rig, certificate)
        theirs.sendall(records(client, [KEEP] + [b"x"] * MANY))
        await rig.asked()
        await rig.until(lambda: connection.transport.kept_bytes)
        connection.abort(Reason.CLIENT_LEFT)
        assert rig.clients.held.bytes == 0
        rig.reactor.settle()
        assert not rig.clients.encrypted
        theirs.close()
