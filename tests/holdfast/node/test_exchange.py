from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pytest
import structlog
import trio

from holdfast import NO_REPLY, HoldfastError, Node, Reply, RequestError, StaleError, StateError
from holdfast.asyncio import Node as AsyncioNode
from holdfast.node import exchange
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import MAX_CHANNELS
from holdfast.testing import call
from tests.holdfast.node.fake_proxy import client, encoded, linked
from tests.waiting import until

ASKED = encoded(client())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Move:
    at: object
    to: str


@dataclass
class Asked:
    by: object


class Bid(msgspec.Struct):
    price: int
    at: datetime | None = None


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
        (None, True, None, True),
        (None, False, None, False),
        (NO_REPLY, True, None, True),
        (Reply(), False, None, False),
        ("", False, b"", True),
        (b"", False, b"", False),
        (Reply((1, "a")), False, b'[1,"a"]', True),
        (7, False, b"7", True),
        (0.5, False, b"0.5", True),
        (False, False, b"false", True),
        (Move("e2", "e4"), False, b'{"at":"e2","to":"e4"}', True),
        (Bid(3, EPOCH), True, b'{"price":3,"at":"1970-01-01T00:00:00Z"}', True),
        (Reply((Move("a", "b"),), text=False), True, b'[{"at":"a","to":"b"}]', False),
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
        (NO_REPLY, b"", 204, []),
        (Bid(3), b'{"price":3,"at":null}', 200, [("content-type", "application/json")]),
        (Move("a", "b"), b'{"at":"a","to":"b"}', 200, [("content-type", "application/json")]),
        (Reply((True,)), b"[true]", 200, [("content-type", "application/json")]),
        (Reply(7, 201), b"7", 201, [("content-type", "application/json")]),
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
        {1, 2},
        object(),
        "\ud800",
        Reply(Reply("x")),
        Reply(NO_REPLY),
        lambda: Move,
        Move(object(), "b"),
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


def parts_in_a_row():
    yield "x"


@pytest.mark.parametrize(
    "result",
    [datetime(2026, 1, 2, tzinfo=UTC), Reply({1}), Reply(parts_in_a_row()), lambda: Reply(part for part in "ab")],
)
async def test_what_is_no_reply_is_told_what_one_is(result):
    async with linked(replying(result)) as session:
        with structlog.testing.capture_logs() as logs:
            session.http()
            await session.take(frames.Failure)
    [line] = [line for line in logs if line["event"] == "handler_failed"]
    expected = (
        "TypeError: expected bytes, str, or for JSON a dict, list, tuple, int, float, bool, dataclass or "
        "msgspec.Struct, None, or in Reply(...) an async iterable of such, got "
    )
    got, by = line["exception"].rpartition(expected)[2].splitlines()
    assert by.startswith("returned by replying.")
    assert got in ("datetime", "set", "generator")


async def test_a_tuple_is_no_body_with_its_status():
    """As Flask has it: a list with the status in it, and 200, would be easily missed."""
    with pytest.raises(TypeError, match=r"expected no tuple: with a status it is Reply\(body, status=201\)"):
        call(replying(({"a": 1}, 201)))
    assert call(replying(Reply((1, 2)))).json() == [1, 2]


@pytest.mark.parametrize("kind", [Node, AsyncioNode])
@pytest.mark.parametrize(
    "said",
    [
        lambda request: request,
        lambda request: request.client,
        lambda request: request.http,
        lambda request: {"who": [request.client]},
        lambda request: Reply(request.client),
        lambda request: Asked(request.client),
    ],
)
def test_no_client_is_told_what_another_proves_itself_with(said, kind):
    node = kind("test")

    @node.on_request
    async def handle(request):
        with pytest.raises(TypeError, match="with all headers"):
            await node.broadcast(said(request) if not isinstance(said(request), Reply) else {"it": said(request).body})
        return said(request)

    headers = {"authorization": "Bearer s3cr3t"}
    with pytest.raises(
        TypeError, match=r"type Client, Request or HttpInfo \(with all headers: send what you mean of it"
    ):
        call(node, http="GET /", headers=headers)


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


async def test_message_in_parts_has_an_end_that_says_nothing():
    async def parts():
        yield "a"
        yield b""

    async with linked(replying(lambda: Reply(parts())), clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"a", True, True)
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"", False, True)
        assert await session.take(frames.Reply) == frames.Reply(1, 1, None, False, False)


async def test_a_part_that_is_none_says_nothing_and_brings_what_was_done():
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            await node.join(request.client, "a")
            yield None
            yield "b"

        return Reply(parts())

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, None, False, True, [frames.Join(7, "a")])
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"b", True, True)
        assert await session.take(frames.Reply) == frames.Reply(1, 1, None, False, False)


@pytest.mark.parametrize("kind", ["request", "http"])
async def test_each_part_goes_when_it_is_there(kind):
    """Before what is done after it, and long before the next one: a pause counts from it."""
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            yield b"a"
            await node.join(request.client, "after a")
            await trio.sleep_forever()

        return Reply(parts())

    async with linked(node, clients=[client()]) as session:
        getattr(session, kind)()
        first = await session.take(frames.Reply if kind == "request" else frames.HttpReply)
        assert (first.payload, first.more, first.effects) == (b"a", True, None)


async def test_what_is_done_after_the_last_part_goes_with_the_end():
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            yield b"a"
            await node.join(request.client, "after a")

        return Reply(parts())

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"a", False, True)
        assert await session.take(frames.Reply) == frames.Reply(1, 1, None, False, False, [frames.Join(7, "after a")])


@pytest.mark.parametrize("kind", ["request", "http"])
async def test_a_reply_in_parts_that_says_that_the_handler_failed_has_no_effects(kind):
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            for number in range(3):
                await node.join(request.client, str(number))
                yield b"x"
            await node.join(request.client, "end")

        await node.join(request.client, "before")
        return Reply(parts(), failed=True)

    async with linked(node, clients=[client()]) as session:
        getattr(session, kind)()
        said = [await session.take(frames.Reply if kind == "request" else frames.HttpReply) for _ in range(4)]
        assert [(frame.more, frame.effects) for frame in said] == [(True, None)] * 3 + [(False, None)]


async def test_no_parts_at_all():
    class Nothing:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    async with linked(replying(lambda: Reply(Nothing(), 202)), clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, None, False)
        session.http()
        assert await session.take(frames.HttpReply) == frames.HttpReply(2, 1, b"", 202)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("POST", 205), ("GET", 304)])
async def test_a_reply_without_a_body_has_no_parts(method, status):
    """The proxy would cancel it at the first: some of what they do would be done."""
    node = Node("test")
    begun = []

    @node.on_request
    async def handle(request):
        async def parts():
            begun.append(request)
            yield b"x"
            await node.notify("never", clients=[9])

        await node.notify("done", clients=[9])
        return Reply(parts(), status)

    async with linked(node) as session:
        session.http(method)
        effects = [frames.Notify(b"done", True, [], frames.pack_ids([9]))]
        assert await session.take(frames.HttpReply) == frames.HttpReply(1, 1, b"", status, [], False, effects)
        assert begun == []
        if (method, status) == ("HEAD", 200):
            session.http("GET")
            assert (await session.take(frames.HttpReply)).more


async def test_parts_that_fail_end_in_a_failure_and_the_generator_is_closed():
    closed = []

    async def parts():
        try:
            yield "a"
            yield {42}
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
        await node.notify(b"hi ", channels=["room"], text=True, tail=b"!")
        await node.broadcast(b"all", exclude=[5])
        await node.leave(request.client.id, "room")
        await node.close(8, "bye")
        await node.close(9, "moved", code=4001)
        return b"done"

    async with linked(node, clients=[client()]) as session:
        session.request()
        reply = await session.take(frames.Reply)
    assert reply.effects == [
        frames.Join(7, "room"),
        frames.Notify(b"hi", True, ["room"], frames.pack_ids([3]), frames.pack_ids([7])),
        frames.Notify(b"hi ", True, ["room"], tail=b"!"),
        frames.Broadcast(b"all", False, frames.pack_ids([5])),
        frames.Leave(7, "room"),
        frames.CloseClient(8, "bye"),
        frames.CloseClient(9, "moved", 4001),
    ]


async def test_a_reply_that_says_that_the_handler_failed_has_none_of_its_effects():
    node = Node("test")

    @node.on_request
    async def handle(request):
        await node.join(request.client, "room")
        return Reply(b"no", failed=True)

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await session.take(frames.Reply) == frames.Reply(1, 1, b"no", False)


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
        assert await session.take(frames.Effects) == frames.Effects(1, [frames.Join(7, "early")], "proxy-1")
        go.set()
        assert (await session.take(frames.Reply)).effects == [frames.Join(7, "late")]


async def test_flush_after_the_deadline_ends_the_handler():
    node = Node("test")
    went_on = []

    @node.on_request
    async def handle(request):
        await node.join(request.client, "early")
        await request.flush()
        with trio.move_on_at(request.deadline + 0.01):
            await trio.sleep_forever()
        await node.join(request.client, "late")
        await request.flush()
        went_on.append("without what it did")
        return b"done"

    async with linked(node, clients=[client()]) as session:
        session.request(timeout=500)
        assert await session.take(frames.Effects) == frames.Effects(1, [frames.Join(7, "early")], "proxy-1")
        await until(lambda: node.statistics().cancelled)
        await until(lambda: not node.statistics().in_flight)
        assert (session.untaken(), went_on) == ([], [])


async def test_flush_after_the_deadline_ends_the_handler_also_when_nothing_waits():
    node, went_on = Node("test"), []

    @node.on_request
    async def handle(request):
        with trio.move_on_at(request.deadline + 0.01):
            await trio.sleep_forever()
        await request.flush()
        went_on.append("without what it did")

    async with linked(node, clients=[client()]) as session:
        session.request(timeout=50)
        await until(lambda: node.statistics().cancelled)
        await until(lambda: not node.statistics().in_flight)
        assert (session.untaken(), went_on) == ([], [])


async def test_flush_ends_the_handler_when_its_session_has_just_ended():
    """The session knows before its handlers do."""
    node, went_on = Node("test"), []

    @node.on_request
    async def handle(request):
        await node.join(request.client, "late")
        request._exchange.session.end("cut")
        with trio.CancelScope(shield=True):
            try:
                await request.flush()
            except StaleError:
                went_on.append("and knows")
        await request.flush()
        went_on.append("without what it did")

    async with linked(node, clients=[client()]) as session:
        session.request()
        await until(lambda: went_on and not node.statistics().in_flight)
        assert (session.untaken(), went_on, node.statistics().failed) == ([], ["and knows"], 0)


@pytest.mark.parametrize("flushes", [False, True])
async def test_no_deadline_while_the_client_takes_what_it_has(flushes):
    """The proxy waits for a slow client, and does not tell for how long."""
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            yield b"a"
            yield b"b"
            with trio.move_on_at(request.deadline + 0.01):
                await trio.sleep_forever()
            await node.join(request.client, "late")
            if flushes:
                await request.flush()
            yield b"c"

        return Reply(parts())

    async with linked(node, clients=[client()]) as session:
        request = session.request(timeout=100)
        assert [(await session.take(frames.Reply)).payload for _ in range(2)] == [b"a", b"b"]
        if flushes:
            await session.take(frames.Effects)
        effects = None if flushes else [frames.Join(7, "late")]
        assert await session.take(frames.Reply) == frames.Reply(request, 1, b"c", False, True, effects)
        assert await session.take(frames.Reply) == frames.Reply(request, 1, None, False)


async def test_parts_that_are_made_without_a_checkpoint_end_with_the_session():
    """Such as those of what is in memory: with nobody to take them they would be made for ever, and nothing else."""
    node = Node("test")
    made = []

    @node.on_request
    async def handle(request):
        async def parts():
            for number in range(1000):
                made.append(number)
                if number == 1:
                    request._exchange.session.end("lost")
                yield b"x"

        return Reply(parts())

    async with linked(node, clients=[client()]) as session:
        session.request()
        await until(lambda: made and not node.statistics().in_flight)
        assert len(made) < 10


async def test_parts_that_yield_within_a_cancel_scope_end_in_a_failure():
    """It is a mistake, and Trio lets it cancel what waits for the client. That neither goes unanswered nor ends all."""
    node = Node("test")

    @node.on_request
    async def handle(request):
        async def parts():
            with trio.move_on_after(0.01):
                while True:
                    yield bytes(100)  # noqa: ASYNC101, ASYNC119 - what it is about

        return b"done" if request.payload == b"other" else Reply(parts())

    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()], reply_window=250) as session:
            for _ in range(3):
                session.request()
                while isinstance(answer := await session.take(frames.Reply | frames.Failure), frames.Reply):
                    assert answer.more
                assert answer.status == 500
                session.request(b"other")
                assert (await session.take(frames.Reply)).payload == b"done"
    assert ["within it" in entry["exception"] for entry in logs if entry["event"] == "handler_failed"] == [True] * 3


async def test_flush_waits_until_they_are_done():
    node = Node("test")
    flushed = trio.Event()

    @node.on_request
    async def handle(request):
        await node.join(request.client, "early")
        await request.flush()
        flushed.set()
        return b""

    async with linked(node, clients=[client()]) as session:
        session.acknowledges = False
        session.request()
        await session.take(frames.Effects)
        await trio.testing.wait_all_tasks_blocked()
        assert not flushed.is_set()
        session.say(frames.Ack(1))
        assert (await session.take(frames.Reply)).effects is None


@pytest.mark.parametrize("kind", ["http", "message"])
async def test_parts_wait_until_the_client_has_taken_what_went_before(kind):
    node = Node("test")
    made = []

    @node.on_request
    async def handle(request):
        async def parts():
            for number in range(6):
                made.append(number)
                yield bytes(100)

        return Reply(parts())

    async with linked(node, clients=[client()], reply_window=250) as session:
        request = session.http() if kind == "http" else session.request()
        reply = frames.HttpReply if kind == "http" else frames.Reply
        for _ in range(3):
            assert (await session.take(reply)).more
        await trio.testing.wait_all_tasks_blocked()
        assert session.untaken() == []
        assert len(made) <= 4
        session.say(frames.Taken(request, 2, 300))  # of another attempt
        session.say(frames.Taken(request, 1, 100))
        assert (await session.take(reply)).more
        await trio.testing.wait_all_tasks_blocked()
        assert session.untaken() == []
        session.say(frames.Taken(request, 1, 300))
        while (await session.take(reply)).more:
            pass


async def test_parts_that_wait_end_with_the_request():
    node = Node("test")
    closed = trio.Event()

    @node.on_request
    async def handle(request):
        async def parts():
            try:
                while True:
                    yield bytes(100)
            finally:
                closed.set()

        return Reply(parts())

    async with linked(node, reply_window=50) as session:
        request = session.http()
        await session.take(frames.HttpReply)
        session.say(frames.Cancel(request, 1))
        await closed.wait()


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
            assert (await session.take_effect(frames.Notify)).payload[0] == number
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
            assert await session.take_effect(frames.Join) == frames.Join(7, "afterwards")


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
            lambda: node.notify({1.5}),
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


@pytest.mark.parametrize("code", [0, 1000, 3999, 5000])
async def test_close_codes_that_are_not_an_applications(code):
    node = Node("test")
    async with linked(node):
        with pytest.raises(ValueError, match="4000 to 4999"):
            await node.close(1, "bye", code=code)


@pytest.mark.parametrize(
    ("tail", "clients", "error"),
    [(b"\xff", [], UnicodeDecodeError), (b"x" * 1025, [], HoldfastError), (b"x", [7], ValueError)],
)
async def test_a_tail_that_a_proxy_would_not_take(tail, clients, error):
    node = Node("test")
    async with linked(node):
        with pytest.raises(error):
            await node.notify("hi", channels=["room"], clients=clients, tail=tail)


@pytest.mark.parametrize("payload", [b"\xff", bytearray(b"\xed\xa0\x80"), memoryview(b"a\x80")])
async def test_what_is_no_text_is_not_sent_as_text(payload):
    """No client could get it, and nobody would be told."""
    node = Node("test")
    async with linked(node) as session:
        with pytest.raises(UnicodeDecodeError):
            await node.notify(payload, channels=["room"], text=True)
        with pytest.raises(UnicodeDecodeError):
            await node.broadcast(payload, text=True)
        await node.broadcast(bytes(payload))
        assert await session.take_effect(frames.Broadcast) == frames.Broadcast(bytes(payload), False)


async def test_a_failure_says_no_more_than_a_client_can_use():
    """What a handler says of a request may be larger than a proxy takes: that would end the session, and the next."""
    node = Node("test")

    @node.on_request
    async def handle(request):
        raise RequestError(400, f"unknown: {request.payload.decode(errors='replace')}")

    async with linked(node, clients=[client()]) as session:
        session.request(b"\xff" * 6_000_000)
        failure = await session.take(frames.Failure)
        assert (failure.status, len(failure.message)) == (400, exchange.MAX_MESSAGE + 3)
        assert failure.message.startswith("unknown: \ufffd")
        assert failure.message.endswith("\ufffd...")


async def test_what_no_proxy_takes_is_refused_where_it_is_asked_for():
    node = Node("test")
    async with linked(node, clients=[client()]) as session:
        with pytest.raises(HoldfastError, match="at most"):
            await node.count("x" * (16 << 20))
        with pytest.raises(StateError, match="at most"):
            await node.state.set("k", bytes(16 << 20))
        assert session.untaken() == []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.state.set, "k", b"small")
            await session.take(frames.Propose)
            nursery.cancel_scope.cancel()


async def test_what_goes_together_is_no_more_than_the_proxy_takes():
    node = Node("test")

    @node.on_request
    async def handle(request):
        return bytes(10_000)

    async with linked(node, clients=[client()], max_batch_bytes=100_000) as session:
        session.say(*(frames.Request(1000 + number, 7, 1, 10_000, b"", False, ASKED) for number in range(50)))
        for _ in range(50):
            await session.take(frames.Reply)
        assert 50_000 < session.largest_batch < 100_000


async def test_too_many_effects_are_refused():
    node = Node("test")

    @node.on_request
    async def handle(request):
        for _ in range(20):
            await node.notify(b"x" * (1 << 20), channels=["room"])

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert (await session.take(frames.Failure)).status == 500


async def test_so_many_effects_wait_for_a_reply_and_no_more(monkeypatch):
    monkeypatch.setattr(exchange, "MAX_EFFECTS", 3)
    node = Node("test")

    @node.on_request
    async def handle(request):
        for number in range(3):
            await node.join(7, str(number))
        with pytest.raises(HoldfastError, match=r"at most 3 effects .*flush"):
            await node.join(7, "one too many")

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert len((await session.take(frames.Reply)).effects) == 3


async def test_a_notification_names_so_many_channels_and_no_more():
    node = Node("test")
    async with linked(node, clients=[client()]) as session:
        await node.notify("x", channels=["c"] * MAX_CHANNELS)
        await session.take_effect(frames.Notify)
        with pytest.raises(HoldfastError, match="at most 20000 channels, got 20001"):
            await node.notify("x", channels=["c"] * (MAX_CHANNELS + 1))


@pytest.mark.parametrize(("stream_timeout", "expected"), [(0.0, 10.0), (60.0, 60.0)])
async def test_a_reply_in_parts_may_pause_for_as_long_as_the_proxy_says(stream_timeout, expected):
    node, left = Node("test"), []

    @node.on_request
    async def handle(request):
        async def parts():
            yield b"one"
            left.append(request._exchange.deadline - trio.current_time())
            yield b"two"

        return Reply(parts())

    async with linked(node, clients=[client()], stream_timeout=stream_timeout) as session:
        session.http()
        for _ in range(3):
            await session.take(frames.HttpReply)
    assert expected - 5 < left[0] <= expected
