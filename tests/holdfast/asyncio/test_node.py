"""What an author's asyncio functions may do, against a proxy that says what the test says."""

import asyncio
import contextlib
import threading
from contextvars import ContextVar
from functools import partial

import pytest
import sniffio
import structlog
import trio
import trio.testing

from holdfast import HoldfastError, Reply, RequestError
from holdfast import Node as TriosNode
from holdfast.asyncio import Node, hosts
from holdfast.protocols.nodes import frames
from tests.holdfast.asyncio.guest import within_asyncio
from tests.holdfast.node.fake_proxy import client, encoded, linked
from tests.waiting import until

var = ContextVar("var", default="clean")


@pytest.fixture
def node():
    return Node("test")


async def reply_of(session):
    return (await session.take(frames.Reply)).payload


@within_asyncio
async def test_a_handler_runs_in_asyncio(node):
    async def number(value):
        await asyncio.sleep(0)
        return value

    @node.on_request
    async def handle(request):
        assert sniffio.current_async_library() == "asyncio"
        assert asyncio.current_task() in asyncio.all_tasks()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(number(value)) for value in range(3)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        gathered = await asyncio.gather(*map(number, range(3)))
        return [task.result() for task in tasks] + gathered

    async with linked(node, clients=[client()]) as session:
        for _ in range(3):
            session.request()
            assert await reply_of(session) == b"[0,1,2,0,1,2]"


@within_asyncio
async def test_one_that_waits_holds_up_none(node):
    gates = {}

    @node.on_request
    async def handle(request):
        if request.payload != b"quick":
            await gates.setdefault(request.payload, asyncio.Event()).wait()
        return request.payload

    async with linked(node, clients=[client()]) as session:
        for number in range(20):
            session.request(b"%d" % number)
        session.request(b"quick")
        assert await reply_of(session) == b"quick"
        assert node.statistics().in_flight == len(gates) == 20
        for number in reversed(range(20)):
            gates[b"%d" % number].set()
            assert await reply_of(session) == b"%d" % number


@within_asyncio
async def test_each_request_has_variables_of_its_own(node):
    @node.on_request
    async def handle(request):
        before = var.get()
        var.set(request.payload.decode())
        await asyncio.sleep(0)
        return [before, var.get(), await asyncio.create_task(of_the_task())]

    async def of_the_task():
        return var.get()

    async with linked(node, clients=[client()]) as session:
        for _ in range(2):
            for text in (b"a", b"b", b"c"):
                session.request(text)
            for text in (b"a", b"b", b"c"):
                assert await reply_of(session) == b'["clean","%s","%s"]' % (text, text)


@within_asyncio
async def test_a_cancelled_request_cancels_its_function(node):
    begun, seen = [], []

    @node.on_request
    async def handle(request):
        begun.append(request)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # it may take its time
            seen.append(asyncio.current_task().cancelling())
            raise

    async with linked(node, clients=[client()]) as session:
        id = session.request()
        await until(lambda: begun)
        session.say(frames.Cancel(id, 1))
        await until(lambda: seen == [1] and node.statistics().in_flight == 0)
        assert node.statistics().cancelled == 1
        session.request()  # what was cancelled is not used again
        await until(lambda: len(begun) == 2)
        assert asyncio.all_tasks(hosts.crossing().loop)
        assert not session.untaken()
    assert seen == [1, 1]  # the end of the node cancels, too


@within_asyncio
async def test_a_request_that_was_cancelled_before_it_begins_never_does(node):
    begun = []

    @node.on_request
    async def handle(request):
        begun.append(request.payload)

    async with linked(node, clients=[client()]) as session:
        info = encoded(client())
        session.say(frames.Request(1, 7, 1, 10_000, b"gone", False, info), frames.Cancel(1, 1))
        session.request(b"here", id=2)
        await session.take(frames.Reply)
        assert begun == [b"here"]
        assert node.statistics().in_flight == 0


@within_asyncio
async def test_who_refuses_to_be_cancelled_counts_until_the_end_and_is_not_heard(node):
    gate, is_begun, wants = asyncio.Event(), [], []

    @node.on_request
    async def handle(request):
        if request.payload == b"stubborn":
            is_begun.append(True)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await node.notify("no", channels=["c"])
            wants.append(True)
            await gate.wait()
        return request.payload

    async with linked(node, clients=[client()]) as session:
        id = session.request(b"stubborn")
        await until(lambda: is_begun)
        session.say(frames.Cancel(id, 1))
        await until(lambda: wants)
        assert node.statistics().in_flight == 1
        gate.set()
        await until(lambda: node.statistics().in_flight == 0)
        session.request(b"next")
        assert await reply_of(session) == b"next"


@within_asyncio
async def test_a_lost_session_cancels(node):
    seen = []

    @node.on_request
    async def handle(request):
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(request.payload)

    async with linked(node, clients=[client()]) as session:
        session.request(b"x")
        await until(lambda: node.statistics().in_flight)
        session.refuse("given up")
        await until(lambda: seen == [b"x"])
        await until(lambda: node.statistics().in_flight == 0)


@within_asyncio
async def test_effects_ride_with_the_reply(node):
    @node.on_request
    async def handle(request):
        await node.join(request.client, "c")
        async with asyncio.TaskGroup() as group:
            group.create_task(node.notify("hello", channels=["c"]))
        return "done"

    async with linked(node, clients=[client()]) as session:
        for _ in range(3):
            session.request()
            reply = await session.take(frames.Reply)
            assert [type(effect) for effect in reply.effects] == [frames.Join, frames.Notify]
            assert reply.payload == b"done"
        await until(lambda: node.statistics().handled == 3 and not node.statistics().in_flight)


@within_asyncio
async def test_flush_waits_for_the_proxy(node):
    steps = []

    @node.on_request
    async def handle(request):
        await node.notify("first", channels=["c"])
        steps.append("kept")
        await request.flush()
        steps.append("flushed")
        return "done"

    async with linked(node, clients=[client()]) as session:
        session.acknowledges = False
        session.request()
        sent = await session.take(frames.Effects)
        assert steps == ["kept"]
        session.say(frames.Ack(sent.number, 1000))
        assert await reply_of(session) == b"done"
        assert steps == ["kept", "flushed"]


@within_asyncio
async def test_cancelled_while_something_of_it_waits_in_trio(node):
    seen = []

    @node.on_request
    async def handle(request):
        await node.notify("x", channels=["c"])
        try:
            await request.flush()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with linked(node, clients=[client()]) as session:
        session.acknowledges = False
        id = session.request()
        await session.take(frames.Effects)
        session.say(frames.Cancel(id, 1))
        await until(lambda: seen and node.statistics().in_flight == 0)


@within_asyncio
async def test_a_reply_in_parts_is_made_by_the_handlers_task(node):
    tasks = set()

    async def parts():
        for number in range(3):
            async with asyncio.timeout(60):
                await asyncio.sleep(0)
            tasks.add(asyncio.current_task())
            await node.notify(f"before {number}", channels=["c"])
            yield f"part {number}"

    @node.on_request
    async def handle(request):
        tasks.add(asyncio.current_task())
        return Reply(parts())

    async with linked(node, clients=[client()]) as session:
        session.request()
        for number in range(3):
            part = await session.take(frames.Reply)
            assert (part.payload, part.more, len(part.effects)) == (b"part %d" % number, True, 1)
        assert (await session.take(frames.Reply)).payload is None
        assert len(tasks) == 1


@within_asyncio
async def test_parts_wait_for_their_client_and_end_when_it_leaves(node):
    ended = []

    async def parts():
        try:
            while True:
                yield b"x" * 100
        finally:
            await asyncio.sleep(0)
            ended.append(asyncio.current_task())

    @node.on_request
    async def handle(request):
        return Reply(parts())

    async with linked(node, clients=[client()], reply_window=1000) as session:
        id = session.request()
        for _ in range(2):
            for _ in range(11):
                assert (await session.take(frames.Reply)).more
            await trio.testing.wait_all_tasks_blocked()
            assert not session.untaken()  # it waits for the client
            session.say(frames.Taken(id, 1, 1100))
        await until(lambda: len(session.untaken()) == 11)
        session.say(frames.Cancel(id, 1))
        await until(lambda: ended and node.statistics().in_flight == 0)


@within_asyncio
async def test_what_goes_wrong_in_a_handler(node):
    @node.on_request
    async def handle(request):
        match request.payload:
            case b"request error":
                raise RequestError(418, "tea")
            case b"in a group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(refuse())
            case b"exit":
                raise SystemExit
            case b"cancelled by nobody":
                raise asyncio.CancelledError
            case b"trio":
                await trio.sleep(0)
            case b"trio's clock":
                await trio.sleep(1)
            case b"no reply":
                return object()
            case b"cancels itself":
                asyncio.current_task().cancel()
        return "well"

    async def refuse():
        raise RequestError(403, "no")

    async with linked(node, clients=[client()]) as session:
        for payload, status in (
            (b"request error", 418),
            (b"in a group", 403),
            *((payload, 500) for payload in (b"exit", b"cancelled by nobody", b"trio", b"trio's clock", b"no reply")),
        ):
            with structlog.testing.capture_logs() as logs:
                session.request(payload)
                assert (await session.take(frames.Failure)).status == status
            assert len(logs) == (status == 500)
            if payload == b"trio":
                assert "RuntimeError: Task got bad yield" in logs[0]["exception"]
            if payload == b"trio's clock":
                assert "RuntimeError: must be called from async context" in logs[0]["exception"]
        for payload in (b"cancels itself", b"x"):
            session.request(payload)
            assert await reply_of(session) == b"well"


@within_asyncio
async def test_who_keeps_to_the_deadline_is_no_fault(node):
    """`asyncio.timeout_at(request.deadline)`: the proxy may be a moment later than that."""

    @node.on_request
    async def handle(request):
        match request.payload:
            case b"own":
                raise TimeoutError("of a library")
            case b"in a group":
                async with asyncio.timeout_at(request.deadline), asyncio.TaskGroup() as group:
                    group.create_task(asyncio.Event().wait())
        async with asyncio.timeout_at(request.deadline):
            await asyncio.Event().wait()

    async with linked(node, clients=[client()]) as session:
        for payload, status in ((b"", 504), (b"in a group", 504), (b"own", 500)):
            with structlog.testing.capture_logs() as logs:
                session.request(payload, timeout=10_000 if status == 500 else 20)
                assert (await session.take(frames.Failure)).status == status
            assert len(logs) == (status == 500)


@within_asyncio
async def test_the_deadline_is_by_the_loops_clock(node):
    @node.on_request
    async def handle(request):
        return str(request.deadline - asyncio.get_running_loop().time())

    async with linked(node, clients=[client()]) as session:
        session.request(timeout=10_000)
        assert 0 < float(await reply_of(session)) <= 10


@within_asyncio
async def test_callbacks(node):
    calls = []

    @node.on_open
    async def opened(client):
        await asyncio.sleep(0)
        await node.join(client, "c")
        calls.append("open")

    @node.on_open
    def plain(client):
        trio.from_thread.run(partial(node.notify, "plain", clients=[client]))
        calls.append("plain" if threading.current_thread() is not threading.main_thread() else "wrong thread")

    @node.on_open(inline=True)
    def inline(client):
        tasks.append(asyncio.create_task(later()))

    @node.on_open
    def gives_an_awaitable(client):
        return later()

    @node.on_close
    async def closed(client, reason):
        raise asyncio.CancelledError(reason)

    @node.on_state
    async def changed(key, value):
        await asyncio.sleep(0)
        calls.append((key, value))

    async def later():
        await asyncio.sleep(0)
        calls.append("later")

    tasks = []
    async with linked(node) as session:
        session.open(client())
        await session.take_effect(frames.Join)
        await session.take_effect(frames.Notify)
        await until(lambda: len(calls) == 4)
        assert sorted(calls) == ["later", "later", "open", "plain"]
        with structlog.testing.capture_logs() as logs:
            session.close(7)
            await until(lambda: not node.statistics().callbacks and not node.clients)
        assert [line["event"] for line in logs] == ["callback_failed"]
        assert "test_callbacks.<locals>.closed" in logs[0]["function"]


@within_asyncio
async def test_on_master_is_cancelled_when_it_no_longer_is(node):
    seen = []

    @node.on_master
    async def reign():
        await node.broadcast("I am")
        seen.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async with linked(node) as session:
        session.elect(5)
        effect = await session.take_effect(frames.AsMaster)
        assert effect.epoch == 5
        await until(lambda: seen == ["began"])
        session.elect(6, node="another")
        await until(lambda: seen == ["began", "ended"])


@within_asyncio
async def test_jobs_of_the_masters_run_while_it_is(node):
    """What calls them is the library's own, and Trio's: it was given to asyncio as if an author had registered it."""
    told = []

    @node.every(0.01, on="master")
    async def job():
        await asyncio.sleep(0)
        await node.broadcast("turn")

    node.every(0.01, on="master")(lambda: told.append(threading.current_thread() is threading.main_thread()))
    node.every(0.01, on="master", inline=True)(lambda: told.append(None))
    async with linked(node) as session:
        session.elect(5)
        for _ in range(3):
            assert (await session.take_effect(frames.AsMaster)).epoch == 5
        await until(lambda: {False, None} <= set(told))
        session.elect(6, node="another")
        await until(lambda: not node.is_master)
    assert True not in told


@within_asyncio
async def test_plain_functions_run_in_threads_and_both_ways_of_calling_back_count(node):
    loop = hosts.crossing().loop

    @node.on_request
    def handle(request):
        trio.from_thread.run(partial(node.notify, "by Trio", channels=["c"]))
        asyncio.run_coroutine_threadsafe(node.notify("by asyncio", channels=["c"]), loop).result()
        return threading.current_thread() is threading.main_thread() or later()

    async def later():
        await asyncio.sleep(0)
        return "done"

    async with linked(node, clients=[client()]) as session:
        session.request()
        reply = await session.take(frames.Reply)
        assert [effect.payload for effect in reply.effects] == [b"by Trio", b"by asyncio"]
        assert reply.payload == b"done"


@within_asyncio
async def test_a_task_that_outlives_its_handler(node):
    tasks, gate = [], asyncio.Event()

    async def linger(request):
        await gate.wait()
        await node.notify("late", channels=["c"])
        await request.flush()

    @node.on_request
    async def handle(request):
        tasks.append(asyncio.create_task(linger(request)))

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert (await session.take(frames.Reply)).effects is None
        gate.set()
        assert (await session.take_effect(frames.Notify)).payload == b"late"
        await until(tasks[0].done)
        tasks[0].result()


@within_asyncio
async def test_turns_of_a_key(node):
    order = []

    @node.on_request
    async def handle(request):
        async with node.state.turn("key"):
            order.append(b"+" + request.payload)
            await asyncio.sleep(0)
            order.append(b"-" + request.payload)
            if request.payload == b"2":
                raise RequestError(409, "in its turn")

    async with linked(node, clients=[client()]) as session:
        for number in b"123":
            session.request(bytes([number]))
        kinds = [type(await session.take(kind)) for kind in (frames.Reply, frames.Failure, frames.Reply)]
        assert kinds == [frames.Reply, frames.Failure, frames.Reply]
    assert order == [b"+1", b"-1", b"+2", b"-2", b"+3", b"-3"]


@within_asyncio
async def test_cancelled_while_it_waits_for_its_turn(node):
    gate, has_it, order = asyncio.Event(), [], []

    @node.on_request
    async def handle(request):
        async with node.state.turn("key"):
            order.append(request.payload)
            has_it.append(True)
            await gate.wait()

    async with linked(node, clients=[client()]) as session:
        session.request(b"first")
        await until(lambda: has_it)
        second = session.request(b"second")
        session.request(b"third")
        await until(lambda: node.statistics().in_flight == 3)
        session.say(frames.Cancel(second, 1))
        await until(lambda: node.statistics().in_flight == 2)
        gate.set()
        assert [(await session.take(frames.Reply)).request for _ in range(2)] == [1, 3]
    assert order == [b"first", b"third"]


def test_without_a_run_nothing_is_done():
    async def notify():
        await Node("test").notify("x", channels=["c"])

    with pytest.raises(HoldfastError, match="does not run"):
        asyncio.run(notify())


async def test_in_a_run_of_trios_own_it_is_told_where_it_belongs():
    with pytest.raises(RuntimeError, match=r"asyncio\.run\(node\.run\("):
        await Node("test").run(["tcp://127.0.0.1:1"])


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_node_of_trios_in_asyncio_is_told_where_it_belongs(is_linked):
    """Also beside one of asyncio's own, and so with Trio in the same thread."""

    async def run():
        with pytest.raises(RuntimeError, match=r"from holdfast\.asyncio import Node"):
            await TriosNode("test").run(["tcp://127.0.0.1:1"])

    async def run_beside():
        async with hosts.guest():
            await run()

    asyncio.run(run_beside() if is_linked else run())


@within_asyncio
async def test_a_loop_of_a_threads_own_is_told_that_the_node_is_elsewhere(node):
    @node.on_request
    def handle(request):
        with pytest.raises(HoldfastError, match=r"not run in this thread.*trio\.from_thread\.run\(node\.notify"):
            asyncio.run(node.notify("x", channels=["c"]))
        return "told"

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert await reply_of(session) == b"told"
