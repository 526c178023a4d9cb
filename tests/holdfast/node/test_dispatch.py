import json

import pytest
import structlog
import trio

from holdfast import Node, Reply, RequestError
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, encoded, linked
from tests.waiting import until


@pytest.mark.parametrize("wants_clients", [False, True])
async def test_what_a_handler_sees_of_a_message(wants_clients):
    node = Node("test", clients=wants_clients)
    seen = []

    @node.on_request
    def handle(request):
        seen.append(request)

    async with linked(node, clients=[client()]) as session:
        before = trio.current_time()
        session.request(b'{"a": 1}', is_text=True, attempt=2, timeout=1500)
        await session.take(frames.Reply)
    request = seen[0]
    assert (request.payload, request.is_text, request.http) == (b'{"a": 1}', True, None)
    assert request.json() == {"a": 1}
    assert (request.attempt, request.redelivered) == (2, True)
    assert before + 1.4 < request.deadline <= trio.current_time() + 1.5
    whom = request.client
    assert (whom.id, whom.protocol, whom.address, whom.path) == (7, "websocket", "192.0.2.7", "/chat")
    assert whom.headers.get("User-Agent") == "x"
    assert not wants_clients or whom is node.clients[7]


async def test_what_a_handler_sees_of_an_http_request():
    node = Node("test", clients=True)
    seen = []

    @node.on_request
    async def handle(request):
        seen.append(request)

    async with linked(node) as session:
        session.http("POST", "/a?b=c", b"body", [("x-a", "1"), ("x-a", "2")])
        await session.take(frames.HttpReply)
    request = seen[0]
    assert (request.http.method, request.http.target, request.payload) == ("POST", "/a?b=c", b"body")
    assert request.http.headers.get_all("X-A") == ["1", "2"]
    assert (request.client.id, request.client.protocol, request.redelivered) == (9, "http", False)
    assert 9 not in node.clients


async def test_a_plain_function_and_an_async_one():
    for is_async in (False, True):
        node = Node("test")
        if is_async:

            @node.on_request
            async def handle(request):
                return request.payload
        else:

            @node.on_request
            def handle(request):
                return request.payload

        async with linked(node, clients=[client()]) as session:
            session.request(b"echo")
            assert (await session.take(frames.Reply)).payload == b"echo"


async def test_a_reply_that_took_a_while_leaves_at_once():
    node = Node("test")
    go = trio.Event()

    @node.on_request
    async def handle(request):
        await go.wait()
        return request.payload

    async with linked(node, clients=[client()], interval=60.0, timeout=120.0) as session:
        session.request(b"later")
        await until(lambda: node.statistics().in_flight)
        await trio.testing.wait_all_tasks_blocked()
        go.set()
        assert (await session.take(frames.Reply)).payload == b"later"


async def test_a_handler_that_raises_tells_the_client_an_id_that_the_log_has_too():
    node = Node("test")

    @node.on_request
    async def handle(request):
        raise KeyError("secret of the inside")

    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()]) as session:
            session.request()
            failure = await session.take(frames.Failure)
    line = next(line for line in logs if line["event"] == "handler_failed")
    assert failure.message == f"internal error ({line['id']})"
    assert len(line["id"]) == 8
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("KeyError: 'secret of the inside'")


async def test_a_traceback_shows_no_local_variables_to_an_author_who_has_not_set_up_structlog(capsys):
    """What structlog does by itself with exc_info, where rich is installed, takes seconds and shows payloads."""
    node = Node("test")

    @node.on_request
    async def handle(request):
        payload = request.payload
        raise RuntimeError(len(payload))

    former = structlog.get_config()
    structlog.reset_defaults()
    try:
        async with linked(node, clients=[client()]) as session:
            session.request(b"payload of a client")
            await session.take(frames.Failure)
    finally:
        structlog.configure(**former)
    out = capsys.readouterr().out
    assert "handler_failed" in out
    assert "RuntimeError: 19" in out
    assert "payload of" not in out


async def test_request_error_is_what_the_client_gets_also_out_of_a_nursery():
    node = Node("test")

    async def fail():
        raise RequestError(404, "no such \ud800thing")

    @node.on_request
    async def handle(request):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Failure) == frames.Failure(1, 1, 404, "no such ?thing")


async def test_a_node_without_a_handler():
    async with linked(Node("test"), clients=[client()]) as session:
        session.request()
        assert (await session.take(frames.Failure)).status == 501


@pytest.mark.parametrize("wants_clients", [False, True])
async def test_a_request_whose_client_has_gone(wants_clients):
    node = Node("test", clients=wants_clients)
    seen = []
    node.on_request(seen.append)
    async with linked(node, clients=[client()]) as session:
        session.close(7)
        session.request()
        assert (await session.take(frames.Failure)).status == 410
    assert seen == []


async def test_cancel_reaches_the_handler_and_nothing_is_said():
    node = Node("test")
    states = []

    @node.on_request
    async def handle(request):
        if request.payload != b"wait":
            return request.payload
        states.append("running")
        try:
            await trio.sleep_forever()
        finally:
            states.append("cancelled")

    async with linked(node, clients=[client()]) as session:
        id = session.request(b"wait")
        await until(lambda: states == ["running"])
        session.say(frames.Cancel(id, 2))  # another attempt: not this one
        session.request(b"other")
        assert (await session.take(frames.Reply)).payload == b"other"
        assert states == ["running"]
        session.say(frames.Cancel(id, 1))
        await until(lambda: states == ["running", "cancelled"])
        session.request(b"next")
        assert (await session.take(frames.Reply)).payload == b"next"
        assert session.untaken() == []
        assert node.statistics().cancelled == 1
        assert node.statistics().in_flight == 0


async def test_cancel_before_the_handler_has_begun():
    node = Node("test")
    seen = []

    @node.on_request
    async def handle(request):
        seen.append(request.payload)

    async with linked(node, clients=[client()]) as session:
        session.say(
            frames.Request(1, 7, 1, 1000, b"first", False, encoded(client())),
            frames.Request(2, 7, 1, 1000, b"second", False, encoded(client())),
            frames.Cancel(1, 1),
            frames.Cancel(1, 1),
        )
        assert (await session.take(frames.Reply)).request == 2
        assert seen == [b"second"]
        statistics = node.statistics()
        assert (statistics.in_flight, statistics.handled, statistics.cancelled) == (0, 1, 1)


async def test_cancel_twice():
    node = Node("test")
    states = []

    @node.on_request
    async def handle(request):
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await until(lambda: states)

    async with linked(node, clients=[client()]) as session:
        id = session.request()
        await until(lambda: node.statistics().in_flight)
        session.say(frames.Cancel(id, 1), frames.Cancel(id, 1))
        await until(lambda: node.statistics().cancelled)
        states.append("go")
        await until(lambda: not node.statistics().in_flight)
        assert node.statistics().cancelled == 1


async def test_a_handler_that_answers_in_spite_of_being_cancelled_is_not_heard():
    node = Node("test")
    caught = []

    @node.on_request
    async def handle(request):
        if request.payload != b"wait":
            return request.payload
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await node.join(request.client, "room")
            await until(lambda: caught)
        return b"too late"

    async with linked(node, clients=[client()]) as session:
        id = session.request(b"wait")
        await until(lambda: node.statistics().in_flight)
        session.say(frames.Cancel(id, 1))
        await until(lambda: node.statistics().cancelled)
        caught.append(True)
        await until(lambda: not node.statistics().in_flight)
        session.request(b"next")
        assert await session.take(frames.Reply) == frames.Reply(2, 1, b"next", False)


async def test_a_second_attempt_of_the_same_request_takes_the_place_of_the_first():
    node = Node("test")

    @node.on_request
    async def handle(request):
        if request.attempt == 1:
            await trio.sleep_forever()
        return b"second"

    async with linked(node, clients=[client()]) as session:
        session.request(id=5)
        await until(lambda: node.statistics().in_flight)
        session.request(id=5, attempt=2)
        assert await session.take(frames.Reply) == frames.Reply(5, 2, b"second", False)
        await until(lambda: not node.statistics().in_flight)


async def test_more_than_twice_the_capacity_is_refused():
    node = Node("test", capacity=2)
    go = trio.Event()

    @node.on_request
    async def handle(request):
        await go.wait()
        return b""

    async with linked(node, clients=[client()]) as session:
        for _ in range(5):
            session.request()
        assert await session.take(frames.Failure) == frames.Failure(5, 1, 503, "the node is full")
        await until(lambda: session.heartbeats[-1].load == 1.0)
        go.set()
        for _ in range(4):
            await session.take(frames.Reply)
        session.request()
        await session.take(frames.Reply)


async def test_replies_that_are_ready_together_leave_in_one_batch():
    node = Node("test")

    @node.on_request
    async def handle(request):
        return request.payload

    async with linked(node, clients=[client()]) as session:
        requests = [frames.Request(id, 7, 1, 1000, b"x", False, encoded(client())) for id in range(1, 51)]
        before = session.batches + len(session.heartbeats)
        session.say(*requests)
        for id in range(1, 51):
            assert (await session.take(frames.Reply)).request == id
        assert session.batches - before <= 3  # a heartbeat may have come between


async def test_an_error_may_have_headers_over_http():
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            yield b"part"
            raise RequestError(401, "too late", headers=[("www-authenticate", "Basic")])

        if request.payload == b"late":
            return Reply(parts())
        headers = [("a", "1"), ("a", "2"), ("large", "x" * (1 << 20) if request.payload == b"large" else "")]
        raise RequestError(401, "who are you?", headers=headers)

    async with linked(node, clients=[client()], max_batch_bytes=1 << 16) as session:
        session.http("GET", "/", b"", [])
        reply = await session.take(frames.HttpReply)
        assert (reply.status, reply.headers[:2]) == (401, [("a", "1"), ("a", "2")])
        assert json.loads(reply.payload)["error"]["message"] == "who are you?"  # as the proxy says it
        session.request(b"")  # which has no headers
        assert (await session.take(frames.Failure)).status == 401
        session.http("GET", "/", b"large", [])
        assert (await session.take(frames.Failure)).message == "who are you?"
        session.http("GET", "/", b"late", [])
        assert (await session.take(frames.HttpReply)).payload == b"part"
        assert (await session.take(frames.Failure)).message == "too late"


@pytest.mark.parametrize("headers", [{"a": 1}, [("\ud800", "")], ["abc"]])
def test_headers_of_an_error_that_can_t_be_said_are_found_where_it_is_made(headers):
    with pytest.raises((TypeError, ValueError)):
        RequestError(400, "text", headers=headers)


async def test_who_keeps_to_the_deadline_is_no_fault():
    """`trio.fail_at(request.deadline)`: the proxy may be a moment later than that."""
    node = Node("test")

    @node.on_request
    async def handle(request):
        if request.payload == b"own":
            raise trio.TooSlowError
        with trio.fail_at(request.deadline):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)

    async with linked(node, clients=[client()]) as session:
        for payload, status in ((b"", 504), (b"own", 500)):
            with structlog.testing.capture_logs() as logs:
                session.request(payload, timeout=10_000 if status == 500 else 20)
                assert (await session.take(frames.Failure)).status == status
            assert len(logs) == (status == 500)
