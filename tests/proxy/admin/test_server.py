import http.client
import json
import socket
from collections import Counter
from contextlib import AsyncExitStack, suppress

import pytest
import structlog.testing
import trio
from trio.testing import wait_all_tasks_blocked

from holdfast.proxy.admin import server
from holdfast.proxy.admin.http import LEAST_WAIT, Response
from holdfast.proxy.admin.server import AdminServer


async def connect(address):
    host, _, port = address.rpartition(":")
    return await trio.open_tcp_stream(host, int(port))


async def read_all(stream):
    with trio.fail_after(10):
        return b"".join([chunk async for chunk in stream])


async def talk(address, data):
    """Send bytes and read until the server closes."""
    async with await connect(address) as stream:
        await stream.send_all(data)
        return await read_all(stream)


async def call(address, *requests):
    """Requests over one connection by the standard library's client; (status, headers, JSON) of each answer."""

    def run():
        connection = http.client.HTTPConnection(address, timeout=10)
        answers = []
        for method, path, *body in requests:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, *body, headers=headers)
            response = connection.getresponse()
            answers.append((response.status, response.headers, json.loads(response.read())))
        connection.close()
        return answers

    return await trio.to_thread.run_sync(run)


async def assert_alive(address):
    [(status, _, _)] = await call(address, ("GET", "/health"))
    assert status == 200


def head_and_body(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


async def test_requests_over_one_connection(serve, control):
    answers = await call(
        await serve(),
        ("GET", "/health"),
        ("POST", "/api/clients/0000000000000001/kick", b'{"reason": "spam"}'),
        ("POST", "/api/nodes/n-1/drain"),
        ("GET", "/nothing"),
        ("GET", "/api/status"),
    )
    assert [status for status, _, _ in answers] == [200, 200, 202, 404, 200]
    _, headers, status = answers[-1]
    assert status["master"] == {"node": "n-1", "epoch": 3}
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert control.kicked == [(1, "spam")]
    assert control.drained == ["n-1"]


async def test_keep_alive_and_pipelining(serve):
    address = await serve()
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await talk(address, request * 20 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200") == 21


async def test_http_1_0_is_answered_and_closed(serve):
    head, body = head_and_body(await talk(await serve(), b"GET /health HTTP/1.0\r\n\r\n"))
    assert head[0] == "HTTP/1.1 200 OK"
    assert json.loads(body) == {"status": "ok"}


async def test_head_has_a_length_and_no_body(serve):
    address = await serve()
    answer = await talk(address, b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, body = head_and_body(answer)
    assert "Content-Length: 16" in head
    assert body == b""


async def test_a_client_that_waits_for_100_continue(serve, control):
    async with await connect(await serve()) as stream:
        await stream.send_all(
            b"POST /api/clients/0000000000000002/kick HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        )
        with trio.fail_after(10):
            assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"{}")
        assert b" 200 " in await read_all(stream)
    assert control.kicked == [(2, "")]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x00\x01\x02\x03", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (20 << 10), 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, 413),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"ffff\r\n"
            + b"x" * 65535
            + b"\r\nff\r\nxx",
            413,
        ),
    ],
)
async def test_what_breaks_a_rule_gets_an_answer_and_the_end(serve, data, status):
    address = await serve()
    async with await connect(address) as stream:
        await stream.send_all(data)
        await stream.send_eof()
        head, body = head_and_body(await read_all(stream))
    assert head[0].startswith(f"HTTP/1.1 {status} ")
    assert "Connection: close" in head
    assert json.loads(body)["error"]["status"] == status
    await assert_alive(address)  # nobody else is disturbed


async def test_a_fault_of_a_route_costs_one_answer(serve):
    async def answer(request):
        if request.target == "/good":
            return Response(200, b"{}")
        raise ZeroDivisionError("inside")

    with structlog.testing.capture_logs() as logs:
        bad, good = await call(await serve(answer=answer), ("GET", "/bad"), ("GET", "/good"))
    assert (bad[0], good[0]) == (500, 200)
    message = bad[2]["error"]["message"]
    assert "inside" not in message
    [line] = logs
    assert line["event"] == "admin_request_failed"
    assert line["id"] in message


async def test_a_slow_header_and_a_slow_body_end(serve, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.05)
    monkeypatch.setattr(server, "BODY_TIMEOUT", 0.05)
    address = await serve()
    async with await connect(address) as stream:
        await stream.send_all(b"GET /health HTT")
        assert await read_all(stream) == b""
    async with await connect(address) as stream:
        await stream.send_all(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        head, _ = head_and_body(await read_all(stream))
    assert head[0].startswith("HTTP/1.1 408 ")


async def test_an_idle_connection_ends(serve, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.05)
    answer = await talk(await serve(), b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "said", [b"", b"GET /health HT", REQUEST, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"]
)
async def test_who_says_nothing_more_gives_way_to_who_does(serve, said):
    address = await serve()
    async with AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(await connect(address)) for _ in range(3 * server.MAX_CONNECTIONS)]
        for stream in idle:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(said)
        for path in (b"/health", b"/ready", b"/metrics"):
            request = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path
            assert (await talk(address, request)).startswith(b"HTTP/1.1 ")


async def test_who_is_being_answered_is_not_ended_by_more_connections(nursery):
    is_asked, may_answer = trio.Event(), trio.Event()

    async def answer(request):
        is_asked.set()
        await may_answer.wait()
        return Response(200, b"at last")

    address = await nursery.start(AdminServer("127.0.0.1:0", answer, max_connections=2).run)
    async with await connect(address) as first, await connect(address) as second:
        for stream in (first, second):
            await stream.send_all(REQUEST)
        await is_asked.wait()
        await wait_all_tasks_blocked()
        assert await talk(address, b"") == b"", "both places are taken by who waits for us"
        may_answer.set()
        for stream in (first, second):
            assert b" 200 " in await stream.receive_some(1000)


async def test_a_caller_that_resets_disturbs_nobody(serve):
    address = await serve()
    stream = await connect(address)
    await stream.send_all(b"GET /health HTTP/1.1\r\nHost: loc")
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    stream.socket.close()
    await assert_alive(address)


async def test_an_address_in_use_is_told_with_its_key(serve):
    address = await serve()
    with pytest.raises(OSError, match=f"can't bind {address} \\(admin.bind\\): Address already in use"):
        await AdminServer(address, lambda request: Response(200, b"")).run()


async def test_ipv6(nursery, control):
    async def answer(request):
        return Response(200, b"{}")

    address = await nursery.start(AdminServer("[::1]:0", answer).run)
    assert address.startswith("[::1]:")
    await assert_alive(address)


class Looks(trio.abc.Instrument):
    """Counts how often Trio has looked at its sockets."""

    count = 0

    def after_io_wait(self, timeout):
        self.count += 1


async def test_all_connections_together_get_one_answer_between_two_looks_at_sockets_and_in_turns(nursery):
    looks = Looks()
    trio.lowlevel.add_instrument(looks)
    answered, asked_by_all = [], trio.Event()

    async def answer(request):
        await asked_by_all.wait()
        answered.append((looks.count, request.target))
        return Response(200, b"")

    address = await nursery.start(AdminServer("127.0.0.1:0", answer).run)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await connect(address)) for _ in range(server.MAX_CONNECTIONS)]
        *floods, probe = streams
        for flood in floods:
            await flood.send_all(REQUEST * 20)
        await wait_all_tasks_blocked()
        asked_by_all.set()
        while len(answered) < 3 * len(streams):
            await trio.lowlevel.checkpoint()
        await probe.send_all(LAST_REQUEST.replace(b"/health", b"/probe"))
        since = len(answered)
        assert b" 200 " in await read_all(probe)
        places = [place for place, (_, target) in enumerate(answered) if target == "/probe"]
        assert places[0] - since <= len(streams), "others had more than one answer each"
    # all of the first answers were waited for by the test itself
    in_one_look = Counter(look for look, _ in answered[len(floods) :])
    assert max(in_one_look.values()) == 1


async def test_between_two_chunks_of_a_body_others_have_their_turn(serve):
    address = await serve()
    head = LAST_REQUEST.replace(b"GET", b"POST").removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n"
    looks = Looks()
    trio.lowlevel.add_instrument(looks)
    assert (await talk(address, head + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")).startswith(b"HTTP/1.1 ")
    assert looks.count > 1000


async def test_many_headers_are_refused_before_they_are_read(serve):
    address = await serve()
    head = REQUEST.removesuffix(b"\r\n")
    assert (await talk(address, head + b"a:b\r\n" * 3000 + b"\r\n")).startswith(b"HTTP/1.1 431 ")
    assert (await talk(address, head + b"a:b\r\n" * 90 + b"\r\n" + REQUEST * 100 + LAST_REQUEST)).count(b" 200 ") == 102


async def test_how_long_a_caller_waits_counts_from_the_head(mock_clock, nursery):
    """What it has sent slowly must not be begun after it has given up."""
    waits = []

    async def answer(request):
        waits.append(request.wait)
        return Response(200, b"")

    address = await nursery.start(AdminServer("127.0.0.1:0", answer).run)
    for seconds in (4, 1):
        async with await connect(address) as stream:
            await stream.send_all(
                b"POST / HTTP/1.1\r\nHost: x\r\nPrefer: wait=%d\r\nContent-Length: 2\r\n\r\na" % seconds
            )
            await wait_all_tasks_blocked(0.05)
            mock_clock.jump(3)
            await stream.send_all(b"b")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    assert waits == [1.0, LEAST_WAIT]
