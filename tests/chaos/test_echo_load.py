"""The clients of `holdfast bench`, on servers that echo and on servers that do not."""

import socket
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from holdfast import Node, RequestError
from holdfast.chaos.echo_load import LEAST_BYTES, EchoLoad, Settings
from holdfast.protocols.errors import HoldfastError
from tests.harness import running
from tests.waiting import PATIENCE, until

CONNECTIONS = 5
IN_FLIGHT = 3


@asynccontextmanager
async def load_on(port, connections=CONNECTIONS, size=200, in_flight=IN_FLIGHT):
    """Connected and sending."""
    load = EchoLoad(Settings("127.0.0.1", port, "/", connections, size, in_flight))
    try:
        async with trio.open_nursery() as nursery:
            await load.open()
            nursery.start_soon(load.run)
            load.start()
            yield load
            nursery.cancel_scope.cancel()
    finally:
        load.close()


@asynccontextmanager
async def node_that(handle, **sections):
    node = Node("for the test")
    node.on_request(handle)
    async with running(**sections) as proxy, trio.open_nursery() as nursery:
        await nursery.start(node.run, [proxy.node])
        yield proxy
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def server_that(answer):
    """Written without our codec. answer(protocol, message) says to the protocol what is to be sent."""

    async def serve(stream):
        protocol = ServerProtocol()
        async with stream:
            async for data in stream:
                protocol.receive_data(data)
                for event in protocol.events_received():
                    if isinstance(event, Request):
                        protocol.send_response(protocol.accept(event))
                    elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                        answer(protocol, bytes(event.data))
                try:
                    await stream.send_all(b"".join(protocol.data_to_send()))
                except trio.BrokenResourceError:
                    return

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def finished(load):
    load.stop()
    with trio.fail_after(PATIENCE):
        await load.complete.wait()
    return load.report()


def echo(request):
    return request.payload


@pytest.mark.parametrize("size", [LEAST_BYTES, 200, 300_000])
async def test_every_message_comes_back(size):
    seen = set()

    def remember(request):
        seen.add(request.payload)
        return request.payload

    async with node_that(remember) as proxy, load_on(proxy.client_port, size=size) as load:
        assert len(proxy.app.registry) == CONNECTIONS
        await until(lambda: load.report().round_trips >= 100)
        report = await finished(load)
    assert report.ok
    assert report.round_trips == len(seen) >= 100  # no two alike, and each counted once
    assert {len(message) for message in seen} == {size}
    assert (report.wrong, report.errors, report.unanswered, report.dropped) == (0, {}, 0, {})
    assert 0 < report.latency.p50 <= report.latency.p99 <= report.latency.p999 <= report.latency.max
    # Both are rounded: the one counts where this took long, the other where it did not.
    assert report.seconds == pytest.approx(report.round_trips / report.per_second, abs=0.001, rel=0.01)


async def test_so_many_are_in_flight():
    waiting = []

    async with server_that(lambda protocol, message: waiting.append(message)) as port, load_on(port) as load:
        await until(lambda: len(waiting) == CONNECTIONS * IN_FLIGHT)
        assert len(set(waiting)) == CONNECTIONS * IN_FLIGHT
        load.stop()
        report = load.report()
    assert not load.complete.is_set()
    assert (report.ok, report.round_trips, report.unanswered) == (False, 0, CONNECTIONS * IN_FLIGHT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: message[:-1],
        lambda message: message.replace(b"xxx", b"xyx", 1),
        lambda message: b"something else",
        lambda message: b'{"requestId":"0-99","error":{"id":"holdfast.internal_error"}}',  # nobody asked that
    ],
)
async def test_a_reply_that_is_not_what_was_sent_is_wrong(spoil):
    count = 0

    def answer(protocol, message):
        nonlocal count
        count += 1
        protocol.send_text(message if count % 10 else spoil(message))

    async with server_that(answer) as port, load_on(port) as load:
        await until(lambda: load.report().round_trips >= 50)
        report = await finished(load)
    assert not report.ok
    assert report.wrong >= count // 10
    assert report.unanswered == 0


async def test_a_reply_that_comes_twice_is_wrong():
    def answer(protocol, message):
        protocol.send_text(message)
        protocol.send_text(message)

    async with server_that(answer) as port, load_on(port, 1, in_flight=1) as load:
        await until(lambda: load.report().wrong >= 10)
        assert not (await finished(load)).ok


async def test_typed_errors_are_counted_as_what_they_are():
    def refuse(request):
        raise RequestError(503, "for the test")

    async with node_that(refuse) as proxy, load_on(proxy.client_port) as load:
        await until(lambda: sum(load.report().errors.values()) >= 50)
        report = await finished(load)
    assert set(report.errors) == {"holdfast.node_error"}
    assert (report.ok, report.round_trips, report.wrong, report.unanswered) == (False, 0, 0, 0)


async def test_when_nobody_is_left_it_is_over():
    async with node_that(echo) as proxy, load_on(proxy.client_port) as load:
        await until(lambda: load.report().round_trips)
        for client in list(proxy.app.clients.connections):
            await proxy.app.control.kick(client, "for the test")
        with trio.fail_after(PATIENCE):
            await load.complete.wait()
        report = load.report()
    assert report.dropped == {"close code 1008": CONNECTIONS}
    assert not report.ok


async def test_a_connection_that_ends_with_its_last_reply():
    """Both come in one read, and the next message can't be sent any more: it has not been, so it is not unanswered."""

    def answer(protocol, message):
        protocol.send_text(message)
        protocol.send_close(1001)

    async with server_that(answer) as port, load_on(port, in_flight=1) as load:
        with trio.fail_after(PATIENCE):
            await load.complete.wait()
        report = load.report()
    assert (report.round_trips, report.unanswered) == (CONNECTIONS, 0)
    assert report.dropped == {"close code 1001": CONNECTIONS}


async def test_nobody_there():
    told = pytest.RaisesExc(HoldfastError, match="127.0.0.1:1")
    with pytest.RaisesGroup(told, flatten_subgroups=True):
        async with load_on(1, 1):
            pass


async def test_somebody_who_says_nothing(monkeypatch):
    monkeypatch.setattr("holdfast.chaos.echo_load.CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = pytest.RaisesExc(HoldfastError, match=r"no WebSocket within 0\.1 s")
        with pytest.RaisesGroup(told, flatten_subgroups=True):
            async with load_on(silent.getsockname()[1], 1):
                pass
