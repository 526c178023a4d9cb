"""What an author's functions raise costs themselves, of whatever kind it is, in whatever place, at either node."""

import asyncio  # noqa: TID251 - an author's
from contextlib import asynccontextmanager, suppress

import pytest
import structlog
import trio

from holdfast import Node
from holdfast.asyncio import Node as AsyncioNode
from holdfast.asyncio import hosts
from holdfast.node.blame import blamed
from holdfast.node.raised import (
    UNTOLD,
    as_kind,
    full_type_of,
    guarded,
    line_of,
    seen_from,
    split,
    text_of,
    traceback_of,
)
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import ASK, CLOSE, CONNECT, OPEN
from tests.holdfast.node import hostile
from tests.holdfast.node.fake_proxy import client, encoded, linked
from tests.waiting import until


def caught(cause):
    try:
        cause()
    except BaseException as error:
        return error
    raise AssertionError("it raises nothing")


@pytest.fixture(params=hostile.KINDS)
def cause(request):
    return hostile.KINDS[request.param]


async def test_of_whatever_can_not_be_asked_its_frames_and_type_are_told(cause):
    error = caught(cause)
    told = traceback_of(error)
    assert "in caught" in told
    assert "hostile.py" in told
    line_of(error)
    text_of(error)
    assert split(error) == (None, error)
    assert "in caught" not in traceback_of(seen_from(error, __file__))


def test_what_can_be_told_is():
    assert text_of(hostile.Unspeakable("a")) == UNTOLD
    assert line_of(ExceptionGroup("o", [hostile.Unspeakable("a")])) == f"Unspeakable: {UNTOLD}"
    assert line_of(ValueError("one\ntwo")) == "ValueError: one"
    assert line_of(ValueError()) == "ValueError"
    assert traceback_of(hostile.Uncaused("x")).endswith("Uncaused: x"), "though its cause can't be shown"
    assert full_type_of(hostile.Uncaused("x")) == "tests.holdfast.node.hostile.Uncaused"
    assert full_type_of(ValueError()) == "ValueError"
    assert as_kind(hostile.Classless("x"), ValueError) is not None
    assert as_kind(hostile.Classless("x"), KeyError) is None


def test_of_very_many_the_first_is_told():
    """A nursery of a thousand tasks: Python would make the tracebacks of all, and a node stands still meanwhile."""
    errors = [caught(lambda: hostile.raises(ValueError("one of many"))) for _ in range(1000)]
    told = traceback_of(ExceptionGroup("all", errors))
    assert "ExceptionGroup: all (1000 sub-exceptions)\nThe first of them:\n" in told
    assert told.count("hostile.py") == 1


@pytest.mark.parametrize("group", [BaseExceptionGroup, hostile.BaseIndivisible])
async def test_cancellation_goes_on_out_of_a_group_of_any_class(group):
    """And as one of it: what a class of groups does when it is split is not for Trio to find out."""
    failures = []
    with trio.CancelScope() as scope:
        scope.cancel()
        with suppress(trio.Cancelled):
            await trio.lowlevel.checkpoint()
        with guarded(failures.append):
            raise group("g", [trio.Cancelled._create(source="explicit"), group("h", [ValueError(1), KeyError(2)])])
    assert scope.cancelled_caught
    [failure] = failures
    assert [repr(error) for error in failure.exceptions] == ["ValueError(1)", "KeyError(2)"]
    assert "test_raised.py" in traceback_of(failure)


async def test_cancellation_where_nothing_is_cancelled_is_wrong():
    failures = []
    for error in (hostile.stale(), BaseExceptionGroup("g", [hostile.stale()])):
        with guarded(failures.append):
            raise error
    assert len(failures) == 2


async def test_cancellation_reaches_a_thread_that_is_waited_for():
    """And there, too, it is told from what only looks like it."""
    found, begun = [], trio.Event()

    def work(error):
        with guarded(found.append):
            if error is not None:
                raise error
            trio.from_thread.run_sync(begun.set)
            while True:
                trio.from_thread.check_cancelled()

    await trio.to_thread.run_sync(work, hostile.stale())
    assert len(found) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, work, None)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert len(found) == 1


PLACES = ["connect", "open", "close", "ask", "handler", "start_soon", "every", "master", "lifespan"]
CALLS = {False: {"connect": CONNECT, "ask": ASK}, True: {"connect": CONNECT, "open": OPEN, "close": CLOSE, "ask": ASK}}

TOLD = {"callback_failed", "task_failed", "on_master_failed", "lifespan_failed"}


class Places:
    """One node, with a function in each place that does what is put into `causes` for that place."""

    def __init__(self, node, forever, once):
        self.forever = forever
        self.causes = {}
        self.reached = []
        node.on_request(self.handle)
        node.on_connect(self.connected)
        node.on_open(self.opened, once=once)
        node.on_close(self.closed, once=once)
        node.on_ask(self.asked)
        node.on_master(self.master)
        node.every(0.001)(self.tick)
        node.lifespan(self.around)
        self.node = node

    def _do(self, place):
        cause = self.causes.pop(place, None)
        if cause is not None:
            self.reached.append(place)
            cause()

    async def handle(self, request):
        if request.payload == b"start":
            self.node.start_soon(self.task)
        elif request.payload == b"bad":
            self._do("handler")
        return b"done"

    async def connected(self, client):
        self._do("connect")

    async def opened(self, client):
        self._do("open")

    def closed(self, client, reason):
        self._do("close")

    async def asked(self, question):
        self._do("ask")

    async def master(self):
        self._do("master")
        await self.forever()

    async def tick(self):
        self._do("every")

    async def task(self):
        self._do("start_soon")

    @asynccontextmanager
    async def around(self):
        yield
        self._do("lifespan")


async def everywhere(node, forever, once, cause):
    places = Places(node, forever, once)
    node.drain_timeout = 0.1

    def fails(place):
        places.causes[place] = cause

    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client(7)]) as session:
            about = {"client": 7, "info": encoded(client())}
            for number, (place, kind) in enumerate(CALLS[once].items(), 100):
                fails(place)
                session.say(frames.Call(number, 1, 10_000, kind, b"", **about))
                await session.take(frames.Reply if place in ("open", "close") else frames.Failure)
            if not once:
                fails("open")
                session.open(client(8))
                fails("close")
                session.close(8)
            fails("handler")
            session.request(b"bad")
            assert (await session.take(frames.Failure)).status >= 400
            fails("start_soon")
            session.request(b"start")
            await session.take(frames.Reply)
            fails("every")
            fails("master")
            session.elect(1, lease=60.0)
            await until(lambda: set(PLACES) - set(places.reached) == {"lifespan"}, "all of them")
            session.request(b"go on")
            assert (await session.take(frames.Reply)).payload == b"done"
            fails("lifespan")
            node.drain()
            await until(lambda: {line["event"] for line in logs} >= TOLD, "a line of each")
    assert set(places.reached) == set(PLACES)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_no_result_ends_a_node(kind, inline):
    node, told = Node("test"), []

    def plain(*arguments):
        told.append(len(arguments))
        return hostile.Lazy()

    async def awaited(*arguments):
        return plain(*arguments)

    function = plain if kind == "plain" else awaited
    node.on_open(function, inline=inline)
    node.on_close(function, inline=inline)
    node.on_state(function, inline=inline)
    node.on_request(lambda request: b"done")
    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client(7)]) as session:
            session.open(client(8))
            session.close(8)
            await until(lambda: len(told) == 3, "two who came and one who went")
            session.request(b"go on")
            assert (await session.take(frames.Reply)).payload == b"done"
    assert [line["event"] for line in logs].count("callback_failed") in (0, 3)


@pytest.mark.parametrize("once", [False, True])
async def test_no_error_ends_a_node(cause, once):
    await everywhere(Node("test"), trio.sleep_forever, once, cause)


@pytest.mark.parametrize("once", [False, True])
def test_no_error_ends_a_node_of_asyncio(cause, once):
    hosts.run(everywhere, AsyncioNode("test"), asyncio.Event().wait, once, cause)


def test_what_is_wrong_in_a_module_is_said_as_far_as_it_can_be(cause):
    error = caught(cause)
    if issubclass(type(error), Exception):
        assert str(blamed(error))


def test_of_what_can_not_be_looked_at_its_type_is_the_line():
    failure = blamed(caught(hostile.KINDS["place of no kind"]))
    assert str(failure) == "SyntaxError: line 3 (line 3)"
    [note] = failure.__notes__
    assert "in caught" in note
