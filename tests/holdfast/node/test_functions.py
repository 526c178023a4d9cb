"""What is registered with a node, how it is called, and that what it raises costs only itself."""

import asyncio  # noqa: TID251 - what an author may take for Trio
from functools import partial, wraps

import pytest
import structlog
import trio

from holdfast import ConfigError, HoldfastError, Node, Reply, testing
from holdfast.asyncio import Node as AsyncioNode
from holdfast.kuzzle import Api
from holdfast.node.function import is_async
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until


def wrapped(function):
    """As most decorators are made."""

    @wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


class Called:
    def __init__(self, function):
        self._function = function

    async def __call__(self, *arguments):
        return await self._function(*arguments)


WAYS = {
    "wrapped": wrapped,
    "bare wrapper": lambda function: lambda *arguments: function(*arguments),
    "partial": partial,
    "object": Called,
}


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_whatever_is_async_is_awaited(way, inline):
    node, told = Node("test"), []

    async def tell(*arguments):
        await trio.lowlevel.checkpoint()
        told.append(len(arguments))

    async def handle(request):
        await trio.lowlevel.checkpoint()
        return b"done"

    node.on_request(way(handle), inline=inline)
    node.on_open(way(tell), inline=inline)
    node.on_close(way(tell), inline=inline)
    node.on_state(way(tell), inline=inline)
    async with linked(node, clients=[client()], state=[frames.StateItem("k", b"\x01")], position=(1, 1)) as session:
        session.request()
        assert (await session.take(frames.Reply)).payload == b"done"
        session.close(7)
        await until(lambda: sorted(told) == [1, 2, 2])


@pytest.mark.parametrize("way", [way for name, way in WAYS.items() if name != "bare wrapper"])
def test_what_only_begins_needs_no_thread(way):
    async def function(): ...

    def plain(): ...

    assert is_async(function)
    assert is_async(way(function))
    assert not is_async(plain)
    assert not is_async(wrapped(plain))
    assert not is_async(partial(plain))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()], ids=repr)
@pytest.mark.parametrize("kind", ["plain", "inline", "async", "nursery", "generator"])
async def test_what_would_end_the_process_fails_one_request(kind, error):
    node = Node("test")

    def fail(request):
        if request.payload == b"go on":
            return b"done"
        raise error

    async def fail_async(request):
        return fail(request)

    async def fail_in_a_nursery(request):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_async, request)
        return b"done"

    async def fail_late(request):
        async def parts():
            yield fail(request)

        return Reply(parts())

    handlers = {"async": fail_async, "nursery": fail_in_a_nursery, "generator": fail_late}
    node.on_request(handlers.get(kind, fail), inline=kind == "inline")
    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()]) as session:
            session.request(b"fail")
            assert (await session.take(frames.Failure)).status == 500
            session.request(b"go on")
            assert (await session.take(frames.Reply)).payload == b"done"
    assert [line["event"] for line in logs].count("handler_failed") == 1


async def test_a_cancelled_handler_that_fails_on_its_way_out_ends_no_node():
    node, begun = Node("test"), []

    @node.on_request
    async def handle(request):
        async def clean_up():
            begun.append(request.id)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("on its way out")

        if request.payload == b"go on":
            return b"done"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clean_up)
            await trio.sleep_forever()

    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()]) as session:
            request = session.request(b"wait")
            await until(lambda: begun)
            session.say(frames.Cancel(request, 1))
            session.request(b"go on")
            assert (await session.take(frames.Reply)).payload == b"done"
    assert [line["event"] for line in logs].count("handler_failed") == 1


class Unspeakable(RuntimeError):
    def __str__(self):
        return self.never_set

    __repr__ = __str__
    args = property(__str__)


class Incomparable:
    def __eq__(self, other):
        raise ValueError("is not compared")

    __hash__ = None


@pytest.mark.parametrize("error", [Unspeakable("a"), RuntimeError(Incomparable())])
async def test_what_can_not_be_asked_for_its_text_ends_no_node(error):
    node = Node("test")

    @node.on_request
    async def handle(request):
        if request.payload == b"bad":
            raise error
        return b"done"

    @node.on_open
    async def opened(client):
        raise error

    async with linked(node, clients=[client(7)]) as session:
        session.request(b"bad")
        assert (await session.take(frames.Failure)).status == 500
        session.request(b"go on")
        assert (await session.take(frames.Reply)).payload == b"done"


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_callback_raises_ends_no_node(inline, is_async):
    node, told = Node("test"), []

    def opened(client):
        told.append(client.id)
        raise SystemExit(1)

    async def opened_async(client):
        opened(client)

    node.on_open(opened_async if is_async else opened, inline=inline)
    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client(7)]) as session:
            session.open(client(8))
            await until(lambda: told == [7, 8])
    assert "callback_failed" in [line["event"] for line in logs]


async def test_effects_of_a_node_that_does_not_run_are_an_error():
    node = Node("test", clients=True)
    for what in (
        lambda: node.notify("x", channels=["room"]),
        lambda: node.join(7, "room"),
        lambda: node.count("room"),
        lambda: node.state.set("k", 1),
    ):
        with pytest.raises(HoldfastError, match="does not run"):
            await what()
    async with linked(node, clients=[client()]):
        await node.notify("x", channels=["room"])
    with pytest.raises(HoldfastError, match="does not run"):
        await node.notify("x", channels=["room"])


async def test_who_waits_when_the_node_ends_is_told():
    node, raised = Node("test"), []

    async def notify():
        try:
            await node.notify("x", channels=["room"])
        except HoldfastError as error:
            raised.append(error)

    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def run():
                with scope:
                    await node.run([proxy.address])

            nursery.start_soon(run)
            await proxy.accept()  # and no welcome
            nursery.start_soon(notify)
            await trio.testing.wait_all_tasks_blocked()
            assert raised == []
            scope.cancel()
            await until(lambda: raised)
            nursery.cancel_scope.cancel()


async def test_the_state_is_the_same_object_in_every_run():
    node = Node("test")
    state = node.state
    for value in (b"\x01", b"\x02"):
        async with linked(node, state=[frames.StateItem("k", value)], position=(1, 1)):
            assert state["k"] == value[0]


@pytest.mark.parametrize(
    ("register", "function"),
    [
        ("on_request", lambda: None),
        ("on_request", lambda one, two: None),
        ("on_request", "no function"),
        ("on_open", lambda: None),
        ("on_close", lambda one, two, three: None),
        ("on_close", lambda: None),
        ("on_master", lambda one: None),
        ("on_state", lambda key: None),
    ],
)
def test_what_could_not_be_called_is_refused_at_once(register, function):
    with pytest.raises(ConfigError):
        getattr(Node("test"), register)(function)


async def yields(*arguments, **named):
    yield 1


def yields_in_a_row(*arguments, **named):
    yield 1


class Yields:
    async def __call__(self, *arguments):
        yield 1


REGISTER = {
    "on_request": lambda node: node.on_request,
    "on_request, path": lambda node: node.on_request("/"),
    "on_message": lambda node: node.on_message("type", "x"),
    "middleware": lambda node: node.middleware,
    "on_connect": lambda node: node.on_connect,
    "on_ask": lambda node: node.on_ask,
    "on_open": lambda node: node.on_open,
    "on_open, once": lambda node: node.on_open(once=True),
    "on_close": lambda node: node.on_close,
    "on_close, once": lambda node: node.on_close(once=True),
    "on_master": lambda node: node.on_master,
    "on_state": lambda node: node.on_state,
    "every": lambda node: node.every(1),
    "every, master": lambda node: node.every(1, on="master"),
    "start_soon": lambda node: node.start_soon,
}


@pytest.mark.parametrize("kind", [Node, AsyncioNode])
@pytest.mark.parametrize(
    "function", [yields, yields_in_a_row, partial(yields), Yields()], ids=["async", "plain", "partial", "object"]
)
@pytest.mark.parametrize("register", REGISTER)
def test_one_yield_too_many_is_refused_at_once(register, function, kind):
    """Nothing of such a function runs, and nobody would say so."""
    with pytest.raises(ConfigError, match=r"[yY]ields\S* \(test_functions.py, line \d+\) has a `yield`"):
        REGISTER[register](kind("test"))(function)


@pytest.mark.parametrize("function", [yields, "no function", lambda: None])
def test_what_can_be_no_action_is_refused_at_once(function):
    with pytest.raises(ConfigError):
        Api(Node("test")).action("taxi", "call")(function)


async def test_what_is_around_one_that_yields_may_ask_it_for_all():
    node = Node("test")

    def in_parts(function):
        @wraps(function)
        async def handle(request):
            return Reply(function(request))

        return handle

    node.on_request(in_parts(yields))
    async with linked(node, clients=[client()]) as session:
        session.request()
        assert (await session.take(frames.Reply)).payload == b"1"


@pytest.mark.parametrize("inline", [False, True])
async def test_a_wrapper_that_gives_back_what_yields_is_told_when_it_is_called(inline):
    node = Node("test")
    for register in (node.on_open, node.on_state, node.every(0.01), node.on_master):
        kwargs = {"inline": inline} if register in (node.on_open, node.on_state) else {}
        register(wrapped(yields), **kwargs)
    node.on_request(lambda request: node.start_soon(wrapped(yields)))
    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()], state=[frames.StateItem("k", b"\x01")], position=(1, 1)) as session:
            session.elect(1, lease=10.0)
            session.request()
            await until(
                lambda: {"callback_failed", "task_failed", "on_master_failed"} <= {line["event"] for line in logs}
            )
    told = [line["exception"].splitlines()[-1] for line in logs if "exception" in line]
    assert all("TypeError: yields (test_functions.py, line " in line for line in told), told


def test_which_argument_is_missing_is_said():
    with pytest.raises(ConfigError) as refused:
        Node("test").on_request("/users/{id}")(lambda request, uid: None)
    assert str(refused.value).endswith(
        "must take a request, id= for /users/{id}: it could not be called, missing a required argument: 'uid'"
    )


@pytest.mark.parametrize(
    ("addressed", "error"),
    [
        ({}, "expected to whom: channels, clients; broadcast is to everybody"),
        ({"channels": "lobby"}, "expected a list of channels, got the string 'lobby'"),
        ({"clients": 7}, "expected a list of clients, got one: int"),
        ({"clients": testing.client()}, "expected a list of clients, got one: Client"),
        ({"channels": ["lobby"], "exclude": testing.client()}, "expected a list of clients, got one: Client"),
    ],
)
async def test_a_message_says_to_whom_it_is(addressed, error):
    node = Node("test")
    async with linked(node):
        with pytest.raises(TypeError, match=error):
            await node.notify("x", **addressed)
        await node.notify("x", clients=[])  # it so happens that there are none
        await node.notify("x", channels=[])


async def test_on_close_with_an_option_is_not_given_a_reason():
    node, told = Node("test"), []

    @node.on_close
    async def closed(client, *, option=None):
        told.append((client.id, option))

    async with linked(node, clients=[client(7)]) as session:
        session.close(7, "idle")
        await until(lambda: told == [(7, None)])


@pytest.mark.parametrize("takes", [False, True])
async def test_a_node_says_whether_it_takes_requests(takes):
    node = Node("test")
    if takes:
        node.on_request(lambda request: None)
    async with linked(node) as session:
        assert session.hello.takes_requests is takes


async def test_an_offer_is_taken_by_who_lives():
    async with linked(Node("test"), clients=[client()]) as session:
        session.say(frames.Offer(5, 2))
        assert await session.take(frames.Offer) == frames.Offer(5, 2)


class Foreign:
    """What another library than the node's waits by."""

    def __await__(self):
        yield "no trap of Trio's"


@pytest.mark.parametrize("foreign", [lambda: asyncio.sleep(0), Foreign], ids=["asyncio", "a yield"])
async def test_who_waits_by_another_library_fails_alone(foreign):
    """Trio throws into the task that asked for it, which is one of ours: it is the handler's to bear."""
    node, ends = Node("test"), []

    @node.on_request
    async def handle(request):
        try:
            await foreign()
        except TypeError:
            ends.append("raised")
            raise

    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()]) as session:
            for _ in range(3):
                session.request()
                assert (await session.take(frames.Failure)).status == 500
    assert ends == ["raised"] * 3
    assert {line["event"] for line in logs} >= {"handler_failed"}
