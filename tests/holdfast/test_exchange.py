import pytest
import trio

from holdfast import Node, Reply, RequestError
from protocols.nodes import frames
from tests.holdfast.fake_proxy import client, linked


def replying(result):
    node = Node("test")

    @node.on_request
    async def handle(request):
        return result() if callable(result) else result

    return node


async def reply_to(node, **request):
    async with linked(node, clients=[client()]) as session:
        session.request(**request)
        return await session.take(frames.Reply | frames.Failure)


async def http_reply_to(node, **request):
    async with linked(node) as session:
        session.http(**request)
        return await session.take(frames.HttpReply | frames.Failure)


@pytest.mark.parametrize(
    ("result", "request_is_text", "payload", "is_text"),
    [
        (b"\xff", False, b"\xff", False),
        (b"abc", True, b"abc", True),
        (bytearray(b"abc"), True, b"abc", True),
        (memoryview(b"abc"), False, b"abc", False),
        ("ä", False, "ä".encode(), True),
        ({"a": [1]}, False, b'{"a":[1]}', True),
        ([1, None], False, b"[1,null]", True),
        (None, True, b"", True),
        (None, False, b"", False),
        (Reply("x"), False, b"x", True),
        (Reply("x", text=False), True, b"x", False),
        (Reply(b"x", text=True), False, b"x", True),
        (Reply(b"x"), True, b"x", True),
        (Reply({"a": 1}, status=404, headers={"x": "y"}), False, b'{"a":1}', True),
    ],
)
async def test_reply_to_a_message(result, request_is_text, payload, is_text):
    reply = await reply_to(replying(result), is_text=request_is_text)
    assert reply == frames.Reply(1, 1, payload, is_text)


@pytest.mark.parametrize(
    ("result", "payload", "status", "headers"),
    [
        (b"\xff", b"\xff", 200, [("content-type", "application/octet-stream")]),
        ("ä", "ä".encode(), 200, [("content-type", "text/plain; charset=utf-8")]),
        ({"a": 1}, b'{"a":1}', 200, [("content-type", "application/json")]),
        (None, b"", 200, []),
        (Reply(None, status=204), b"", 204, []),
        (Reply(b"abc", text=True), b"abc", 200, [("content-type", "text/plain; charset=utf-8")]),
        (
            Reply("<p>", 201, {"Content-Type": "text/html", "x-a": "b"}),
            b"<p>",
            201,
            [("Content-Type", "text/html"), ("x-a", "b")],
        ),
        (
            Reply(b"", 302, [("location", "/a"), ("set-cookie", "a"), ("set-cookie", "b")]),
            b"",
            302,
            [
                ("location", "/a"),
                ("set-cookie", "a"),
                ("set-cookie", "b"),
                ("content-type", "application/octet-stream"),
            ],
        ),
    ],
)
async def test_reply_to_an_http_request(result, payload, status, headers):
    reply = await http_reply_to(replying(result))
    assert reply == frames.HttpReply(1, 1, payload, status, headers)


@pytest.mark.parametrize(
    "result",
    [
        42,
        object(),
        "\ud800",
        Reply(3.5),
        Reply("x", status=99),
        Reply("x", headers={"x": 1}),
        Reply("x", headers=[("x", "\ud800")]),
        b"x" * ((16 << 20) + 1),
    ],
)
async def test_what_can_not_be_sent_is_a_failure_and_the_session_stands(result):
    node = replying(result)
    async with linked(node) as session:
        session.http()
        failure = await session.take(frames.Failure)
        assert (failure.request, failure.status) == (1, 500)
        assert failure.message.startswith("internal error (")
        session.http()
        assert (await session.take(frames.Failure)).request == 2


async def test_http_body_in_parts():
    go = trio.Event()

    async def parts():
        yield "a"
        await go.wait()
        yield b"b"

    async with linked(replying(lambda: Reply(parts(), 201, {"x": "y"}))) as session:
        session.http()
        first = await session.take(frames.HttpReply)
        assert (first.payload, first.status, first.more) == (b"a", 201, True)
        assert first.headers == [("x", "y"), ("content-type", "text/plain; charset=utf-8")]
        go.set()
        second = await session.take(frames.HttpReply)
        assert (second.payload, second.more) == (b"b", True)
        assert ("x", "y") not in second.headers
        last = await session.take(frames.HttpReply)
        assert (last.payload, last.more) == (b"", False)


async def test_message_in_parts_has_no_empty_one_at_the_end():
    async def parts():
        yield "a"
        yield b"b"

    async with linked(replying(lambda: Reply(parts())), clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"a", True, True)
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"b", False, False)


async def test_no_parts_at_all():
    class Nothing:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    async with linked(replying(lambda: Reply(Nothing(), 202)), clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"", False)
        session.http()
        assert await session.take(frames.HttpReply) == frames.HttpReply(2, 1, b"", 202)


async def test_parts_that_fail_end_in_a_failure_and_the_generator_is_closed():
    closed = []

    async def parts():
        try:
            yield "a"
            yield 42
        finally:
            closed.append(True)

    async with linked(replying(lambda: Reply(parts()))) as session:
        session.http()
        assert (await session.take(frames.HttpReply)).more
        await session.take(frames.Failure)
        assert closed == [True]


async def test_effects_travel_with_the_reply_in_order():
    node = Node("test")

    @node.on_request
    async def handle(request):
        await node.join(request.client, "room")
        await node.notify("hi", channels=["room"], clients=[3], exclude=[request.client])
        await node.broadcast(b"all", exclude=[5])
        await node.leave(request.client.id, "room")
        await node.close(8, "bye")
        return b"done"

    async with linked(node, clients=[client()]) as session:
        session.request()
        reply = await session.take(frames.Reply)
    assert reply.effects == [
        frames.Join(7, "room"),
        frames.Notify(b"hi", True, ["room"], frames.pack_ids([3]), frames.pack_ids([7])),
        frames.Broadcast(b"all", False, frames.pack_ids([5])),
        frames.Leave(7, "room"),
        frames.CloseClient(8, "bye"),
    ]


async def test_effects_of_a_handler_that_fails_are_dropped():
    node = Node("test")

    @node.on_request
    async def handle(request):
        await node.join(request.client, "room")
        raise RequestError(409, "no")

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Failure) == frames.Failure(1, 1, 409, "no")
        assert session.untaken() == []


async def test_flush_sends_them_at_once():
    node = Node("test")
    go = trio.Event()

    @node.on_request
    async def handle(request):
        await node.join(request.client, "early")
        await request.flush()
        await node.join(request.client, "late")
        await go.wait()
        return b""

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Join) == frames.Join(7, "early")
        go.set()
        assert (await session.take(frames.Reply)).effects == [frames.Join(7, "late")]


async def test_much_that_is_sent_together_is_cut_into_batches():
    node = Node("test")

    @node.on_request
    async def handle(request):
        for number in range(4):
            await node.notify(bytes([number]) * (700 << 10), channels=["room"])
        await request.flush()
        return b"done"

    async with linked(node, clients=[client()]) as session:
        before = session.batches - len(session.heartbeats)
        session.request()
        for number in range(4):
            assert (await session.take(frames.Notify)).payload[0] == number
        await session.take(frames.Reply)
        assert session.batches - len(session.heartbeats) - before >= 3


async def test_effects_of_parts_travel_with_the_next_part():
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            await node.join(request.client, "a")
            yield "1"
            await node.join(request.client, "b")
            yield "2"

        return Reply(parts())

    async with linked(node) as session:
        session.http()
        assert (await session.take(frames.HttpReply)).effects == [frames.Join(9, "a")]
        assert (await session.take(frames.HttpReply)).effects == [frames.Join(9, "b")]
        assert (await session.take(frames.HttpReply)).effects is None


async def test_tasks_of_a_handler_add_to_its_reply_and_afterwards_act_at_once():
    node = Node("test")
    go = trio.Event()

    async def within():
        await node.join(7, "within")

    async def afterwards():
        await go.wait()
        await node.join(7, "afterwards")

    async with trio.open_nursery() as background:

        @node.on_request
        async def handle(request):
            background.start_soon(afterwards)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(within)
            return b""

        async with linked(node, clients=[client()]) as session:
            session.request()
            assert (await session.take(frames.Reply)).effects == [frames.Join(7, "within")]
            go.set()
            assert await session.take(frames.Join) == frames.Join(7, "afterwards")


async def test_join_takes_only_what_a_proxy_can_read():
    node = Node("test")
    errors = []

    @node.on_request
    async def handle(request):
        for wrong in (
            lambda: node.join("x", "room"),
            lambda: node.join(-1, "room"),
            lambda: node.join(1 << 64, "room"),
            lambda: node.join(1, 5),
            lambda: node.notify("x", channels="room"),
            lambda: node.notify("x", channels=[1]),
            lambda: node.notify(1.5),
            lambda: node.close(1, None),
        ):
            try:
                await wrong()
            except TypeError:
                errors.append(True)
        return b"fine"

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"fine", False)
    assert len(errors) == 8


async def test_too_many_effects_are_refused():
    node = Node("test")

    @node.on_request
    async def handle(request):
        for _ in range(20):
            await node.notify(b"x" * (1 << 20), channels=["room"])

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert (await session.take(frames.Failure)).status == 500
