"""What is called on a connection that may be closed already, by the call before: nothing of it does harm."""

import socket
import struct
from contextlib import asynccontextmanager

import trio

from holdfast.protocols.clients.events import Finished, Opened
from holdfast.protocols.close import Reason
from holdfast.proxy.clients.reactor import READABLE, close_crashed
from tests.proxy.clients.test_transport import KEEP, Rig


@asynccontextmanager
async def a_rig():
    rig = Rig(None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.reactor.run)
        yield rig
        nursery.cancel_scope.cancel()
    rig.clients.close()
    rig.reactor.close()


def reset(theirs):
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()


async def is_served(rig):
    """Somebody else, now."""
    asked = len(rig.requests)
    connection, theirs = await rig.connect(KEEP)
    with theirs:
        await rig.asked(asked + 1)
    connection.abort(Reason.KICKED)
    return not rig.clients.connections


async def test_in_place_of_a_closed_transport_is_one_that_keeps_nothing_of_what_is_done_to_it(capsys):
    async with a_rig() as rig:
        connection, theirs = await rig.connect()
        connection.abort(Reason.KICKED)
        late = connection.transport
        assert late is rig.clients.nowhere
        late.write(b"late")
        late.set_wire_format("any")
        late.set_reading(False)
        late.finish(0.0)
        late.close(is_whole=False)
        late.check(1e9)
        assert not late.is_taking(0.0)
        late.truncate()
        assert close_crashed(late)
        connection.crashed()
        assert (late.fd, late.interest, late.direct, late.has_unsent) == (-1, READABLE, None, False)
        assert not rig.clients.touched
        assert await is_served(rig)
        theirs.close()
    assert capsys.readouterr().out.count("_crashed") == 1  # the one that was called


async def test_a_connection_whose_end_can_not_be_told_has_its_end(capsys):
    async with a_rig() as rig:
        connection, theirs = await rig.upgraded()

        def broken(session, reason):
            raise RuntimeError("a fault of ours")

        told, rig.clients.on_closed = rig.clients.on_closed, broken
        fd = connection.transport.fd
        reset(theirs)
        await rig.until(lambda: not rig.clients.connections)
        assert connection.transport is rig.clients.nowhere
        assert fd not in rig.reactor._handlers
        rig.clients.on_closed = told
        assert await is_served(rig)
    assert "handler_crashed" in capsys.readouterr().out


async def test_a_guard_that_tells_of_an_end_in_vain_ends_only_that(capsys):
    """An adapter's fault that others find, as the timers do, has no guard around its own."""
    async with a_rig() as rig:
        connection, theirs = await rig.upgraded()
        with theirs:

            def broken(session, reason):
                raise RuntimeError("a fault of ours")

            told, rig.clients.on_closed = rig.clients.on_closed, broken
            connection.crashed()
            rig.clients.on_closed = told
            assert not rig.clients.connections
            assert await is_served(rig)


class Reluctant:
    """Holds something, and when it is to make way it breaks off."""

    name = "reluctant"
    wire_format = None
    paused = has_more = all_said = False
    eventless = 0
    held_bytes = 100

    def __init__(self, limits, address, now):
        self.deadline = 1e9
        self._address = address

    def receive_data(self, data, now):
        return [Opened("reluctant", "/", [], self._address)]

    def close(self, reason, detail, now):
        self.deadline = now
        return b""

    def on_deadline(self, now):
        return [Finished(Reason.OVERLOADED, is_broken=True)]


async def test_who_breaks_off_to_make_way_holds_nothing_any_more():
    async with a_rig() as rig:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            connection = rig.clients.add(ours.detach(), "1.2.3.4:5", None, Reluctant)
            theirs.send(b"x")
            await rig.until(lambda: rig.clients.held.bytes == 100)
            connection.make_way()
            assert rig.clients.held.bytes == 0
