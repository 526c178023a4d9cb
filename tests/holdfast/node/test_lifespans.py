"""What is around a run: in which order, and that each way in and out of it is one."""

from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial

import pytest
import structlog
import trio

from holdfast import ConfigError, HoldfastError, LifespanError, LinkRefused, Node
from holdfast.asyncio import Node as AsyncioNode
from holdfast.node import lifespans
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import encode_batch
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until

NOWHERE = ["tcp://127.0.0.1:1"]


def saying(node, told, name):
    """A lifespan that says when it is entered and left."""

    @node.lifespan
    async def around():
        told.append(f"enter {name}")
        await trio.lowlevel.checkpoint()
        yield
        await trio.lowlevel.checkpoint()
        told.append(f"leave {name}")

    return around


async def test_it_is_around_all_that_the_node_calls():
    node, told = Node("test"), []

    @node.lifespan
    async def around(given):
        assert given is node
        told.append("enter")
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        told.append("entered")
        yield
        told.append("leave")

    @node.on_open(inline=True)
    def opened(client):
        told.append("opened")

    @node.on_request
    async def handle(request):
        told.append("request")
        await trio.sleep(0.05)  # it is under way when the node drains
        told.append("handled")

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.accept()
            assert told == ["enter", "entered"]  # before as much as a hello
            session.welcome(clients=[client()])
            await session.take(frames.Ready)
            session.request()
            await until(lambda: "request" in told)
            node.drain()
            await session.take(frames.Drain)
            await session.take(frames.Reply)
            await session.take(frames.Bye)
    assert told == ["enter", "entered", "opened", "request", "handled", "leave"]


async def test_several_are_one_within_the_other_in_each_run():
    node, told = Node("test"), []
    saying(node, told, "outer")

    @node.lifespan
    @asynccontextmanager
    async def inner():
        told.append("enter inner")
        yield
        told.append("leave inner")

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy:
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(node.run, [proxy.address])
                    await proxy.join()
                    node.drain()
                assert told == ["enter outer", "enter inner", "leave inner", "leave outer"]
                told.clear()


def test_what_is_no_lifespan_is_refused():
    node = Node("test")

    async def forgot_to_yield():
        pass

    def plain():
        yield

    async def wants_more(node, more):
        yield

    class Plain:
        def __enter__(self):
            pass

    for function, message in (
        (forgot_to_yield, "must be `async def` with one `yield`"),
        (plain, "must be `async def` with one `yield`"),
        (Plain, r"Plain must be `async def` with one `yield`"),
        (wants_more, "must take no argument or the node"),
        (5, "expected an async generator function"),
    ):
        with pytest.raises(ConfigError, match=message):
            node.lifespan(function)


@pytest.mark.parametrize("kind", [Node, AsyncioNode])
def test_a_function_that_returns_no_manager_ends_the_run_with_a_line_that_says_so(kind):
    node = kind("test")

    @node.lifespan
    def setup():
        pass

    said = r"setup failed: TypeError: .*setup \(test_lifespans.py, line \d+\) returns NoneType.*must be `async def`"
    with pytest.raises(LifespanError, match=said):
        node._start(node.run, ["tcp://127.0.0.1:1"])


@pytest.mark.parametrize("made_of", ["an object", "a partial", "an object that makes up its attributes"])
async def test_what_is_called_as_one_is_one(made_of):
    node, told = Node("test"), []

    class Pool:
        async def __call__(self, number=0):
            told.append("enter")
            try:
                yield
            finally:
                told.append("leave")

    class Lazy(Pool):
        def __getattr__(self, name):
            raise RuntimeError(f"lazy {name}")

    pool = Pool()
    node.lifespan({"an object": pool, "a partial": partial(pool, 1)}.get(made_of) or Lazy())
    async with linked(node):
        assert told == ["enter"]
    assert told == ["enter", "leave"]


async def test_one_that_yields_in_each_of_several_branches_is_one():
    node, told = Node("test"), []

    @node.lifespan
    async def around():
        if told is None:
            yield "never"
            return
        try:
            yield
        except ValueError:
            yield "never"
        told.append("left")
        if told:
            return
        yield "never"

    async with linked(node):
        node.drain()
        await until(lambda: told == ["left"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no database\nat all"), "OSError: no database"),
        (SystemExit("no"), "SystemExit: no"),
        (ExceptionGroup("all", [KeyError("x")]), "KeyError: 'x'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
async def test_one_that_fails_ends_the_run_before_it_begins(error, line):
    node, told = Node("test"), []
    saying(node, told, "outer")

    @node.lifespan
    async def database():
        await trio.lowlevel.checkpoint()
        raise error
        yield

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy:
            with pytest.raises(LifespanError, match="database failed") as raised:
                await node.run([proxy.address])
            assert not proxy.sessions
    assert str(raised.value).startswith("lifespan ")
    assert str(raised.value).endswith(f"database failed: {line}")
    cause = raised.value.__cause__
    assert repr(cause) == repr(error)
    assert cause.__traceback__.tb_frame.f_code.co_name == "database"  # ours is not above it
    assert told == ["enter outer", "leave outer"]


async def test_one_that_does_not_yield():
    node = Node("test")

    @node.lifespan
    async def never():
        if node is None:
            yield

    with pytest.raises(LifespanError, match="never failed: RuntimeError: generator didn't yield"):
        await node.run(NOWHERE)


async def test_what_it_raises_when_it_is_left_is_logged():
    node, told = Node("test"), []
    saying(node, told, "outer")

    @node.lifespan
    async def clumsy():
        yield
        raise ValueError("spilled")

    with structlog.testing.capture_logs() as lines, trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            await proxy.join()
            node.drain()
    [line] = [line for line in lines if line["event"] == "lifespan_failed"]
    assert line["lifespan"].endswith("clumsy")
    assert "ValueError: spilled" in line["exception"]
    assert "lifespans.py" not in line["exception"].replace("test_lifespans.py", "")
    assert told == ["enter outer", "leave outer"]


async def test_one_that_does_not_end_is_cancelled(monkeypatch):
    monkeypatch.setattr(lifespans, "LEAST", 0.05)
    node, told = Node("test", drain_timeout=0), []
    saying(node, told, "outer")

    @node.lifespan
    @asynccontextmanager
    async def hangs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield

    with structlog.testing.capture_logs() as lines, trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            await proxy.join()
            node.drain()
    [line] = [line for line in lines if line["event"] == "lifespan_timeout"]
    assert line["lifespan"].endswith("hangs")
    assert told == ["enter outer", "leave outer"]


async def test_a_node_that_is_to_drain_while_it_enters_does_not_go_on():
    node, told = Node("test"), []
    saying(node, told, "outer")

    @node.lifespan
    async def slow():
        node.drain()
        await trio.sleep_forever()
        yield

    saying(node, told, "inner")
    with structlog.testing.capture_logs() as lines, trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy:
            await node.run([proxy.address])
            assert not proxy.sessions
    assert told == ["enter outer", "leave outer"]  # whose leaving awaits something, so it is not cancelled
    assert not [line for line in lines if line["event"].startswith("lifespan")]


async def test_what_goes_wrong_beside_its_cancellation_is_logged():
    node = Node("test")

    async def clumsy():
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("spilled")

    @node.lifespan
    async def slow():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clumsy)
            await trio.lowlevel.checkpoint()
            node.drain()
            await trio.sleep_forever()
        yield

    with structlog.testing.capture_logs() as lines:
        await node.run(NOWHERE)
    [line] = [line for line in lines if line["event"] == "lifespan_failed"]
    assert "OSError: spilled" in line["exception"]


async def test_a_drain_that_comes_too_late_for_the_entering_does_not_go_on_either():
    """The one that is entered ends without a further checkpoint: it is left at once."""
    node, told = Node("test"), []

    @node.lifespan
    async def quick():
        with trio.CancelScope(shield=True):
            node.drain()
            for _ in range(5):
                await trio.lowlevel.checkpoint()
        try:
            yield
        finally:
            told.append("left")

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy:
            await node.run([proxy.address])
            assert not proxy.sessions
    assert told == ["left"]


async def test_a_cancelled_run_leaves_it():
    node, told = Node("test"), []

    @node.lifespan
    async def around():
        try:
            yield
            told.append("drained")
        finally:
            told.append("left")

    async with linked(node):
        assert told == []
    assert told == ["left"]


async def test_a_failed_run_leaves_it_as_a_drained_one_does_and_is_told():
    node, told = Node("test"), []
    saying(node, told, "outer")

    @node.lifespan
    async def hides():
        try:
            yield
        except Exception:
            told.append("hidden")

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:

            async def refuse():
                session = await proxy.accept()
                proxy.say_raw(session.identity, encode_batch(0, [frames.Refused("no", fatal=True)]))

            nursery.start_soon(refuse)
            with pytest.raises(LinkRefused):
                await node.run([proxy.address])
    assert told == ["enter outer", "leave outer"]


async def test_a_nursery_of_its_own_that_fails_ends_the_run():
    node, told, fail = Node("test"), [], trio.Event()
    saying(node, told, "outer")

    async def crash():
        await fail.wait()
        raise OSError("the listener is gone")

    @node.lifespan
    @asynccontextmanager
    async def listening():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            yield

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:

            async def then():
                await proxy.join()
                fail.set()

            nursery.start_soon(then)
            with pytest.raises(LifespanError, match="listening has ended the run: OSError: the listener is gone"):
                await node.run([proxy.address])
    assert told == ["enter outer", "leave outer"]


async def test_a_scope_of_its_own_that_is_cancelled_ends_the_run_and_says_so():
    node, scope = Node("test"), trio.CancelScope()

    @node.lifespan
    @asynccontextmanager
    async def limited():
        with scope:
            yield

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:

            async def then():
                await proxy.join()
                scope.cancel()

            nursery.start_soon(then)
            with pytest.raises(LifespanError, match="limited has ended the run: a cancel scope or nursery"):
                await node.run([proxy.address])


async def test_what_needs_a_proxy_is_refused_and_not_waited_for():
    node, told = Node("test"), []

    @node.lifespan
    async def early():
        for action in (node.broadcast("x"), node.count("x"), node.state.set("x", 1), node.state.update("x", str)):
            with pytest.raises(HoldfastError, match="before the node is linked"):
                await action
        told.append(list(node.state))
        yield
        with pytest.raises(HoldfastError, match="does not run"):
            await node.broadcast("too late")
        told.append("left")

    with trio.fail_after(PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            await proxy.join()
            node.drain()
    assert told == [[], "left"]


async def test_what_it_sets_in_the_context_handlers_have():
    node, variable = Node("test"), ContextVar("variable", default=b"nothing")

    @node.lifespan
    async def around():
        variable.set(b"of the lifespan")
        yield

    @node.on_request
    async def handle(request):
        return variable.get()

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert (await session.take(frames.Reply)).payload == b"of the lifespan"
