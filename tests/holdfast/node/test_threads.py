"""Plain functions run in threads. Events of `threading` hold them: nothing here takes time."""

import threading
from functools import partial

import pytest
import trio

from holdfast import HoldfastError, Node, Request, RequestError, StaleError
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until


class Held:
    """A plain function that stays in its thread until it may go."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, *arguments):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.begun.release()
        assert self.go.wait(PATIENCE)
        with self._lock:
            self.running -= 1
        return b"done"


async def test_a_function_that_blocks_holds_up_nobody():
    held, node = Held(), Node("test")

    @node.on_request
    def handle(request):
        return held() if request.payload == b"block" else b"quick"

    async with linked(node, clients=[client()]) as session:
        blocked = session.request(b"block")
        await until(lambda: held.running)
        quick = session.request(b"go on")
        assert (await session.take(frames.Reply)).request == quick
        beats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > beats)
        held.go.set()
        reply = await session.take(frames.Reply)
        assert (reply.request, reply.payload) == (blocked, b"done")


async def test_so_many_at_once_and_no_more():
    held, node = Held(), Node("test", threads=2)
    node.on_request(held)
    async with linked(node, clients=[client()]) as session:
        for _ in range(5):
            session.request()
        await until(lambda: held.running == 2)
        await until(lambda: node.statistics().in_flight == 5)
        await trio.testing.wait_all_tasks_blocked()
        assert held.running == 2
        held.go.set()
        for _ in range(5):
            await session.take(frames.Reply)
        assert held.most == 2


async def test_inline_is_called_where_the_node_is():
    node, seen = Node("test"), []

    @node.on_request(inline=True)
    def handle(request):
        seen.append(threading.get_ident())

    async with linked(node, clients=[client()]) as session:
        session.request()
        await session.take(frames.Reply)
    assert seen == [threading.get_ident()]


async def test_what_it_does_through_the_node_travels_with_the_reply():
    node = Node("test")

    @node.on_request
    def handle(request):
        trio.from_thread.run(node.join, request.client, "room")
        trio.from_thread.run(partial(node.notify, "hello", channels=["room"]))
        return b"done"

    async with linked(node, clients=[client()]) as session:
        session.request()
        reply = await session.take(frames.Reply)
        assert [type(effect) for effect in reply.effects] == [frames.Join, frames.Notify]


async def test_an_error_is_the_handlers_as_ever():
    node = Node("test")

    @node.on_request
    def handle(request):
        raise RequestError(404, "there is none")

    async with linked(node, clients=[client()]) as session:
        session.request()
        failure = await session.take(frames.Failure)
        assert (failure.status, failure.message) == (404, "there is none")


def ways(node, request, room):
    """Everything that a function may do through the node and has to wait for, by name."""
    return {
        "join": (node.join, request.client, room),
        "leave": (node.leave, request.client, room),
        "notify": (partial(node.notify, "late", clients=[request.client]),),
        "broadcast": (node.broadcast, "late"),
        "close": (node.close, request.client),
        "flush": (request.flush,),
        "count": (node.count, room),
        "set": (node.state.set, "k", 1),
        "owner": (node.state.set, "k", 1, request.client),
        "delete": (node.state.delete, "k"),
        "update": (node.state.update, "k", lambda value: 1),
    }


WAYS = list(ways(Node("test"), Request(b"", False, client()), ""))


def tried(*way):
    """What came of it in a thread."""
    try:
        trio.from_thread.run(*way)
    except HoldfastError as error:
        return type(error)
    return "done"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ["cancel", "link"])
async def test_a_thread_that_was_cancelled_goes_on_and_does_nothing_more(way, ending):
    held, node, came = Held(), Node("test"), []

    @node.on_request
    def handle(request):
        if request.payload != b"next":
            trio.from_thread.run(node.join, request.client, "before")
            held()
            came.append(tried(*ways(node, request, "late")[way]))

    async with linked(node, clients=[client()]) as session:
        request = session.request()
        await until(lambda: held.running)
        if ending == "cancel":
            session.say(frames.Cancel(request, 1))
        else:
            node._parts.links.sessions[session.proxy.id].end("cut")
            session = await session.proxy.join(clients=[client()])
        await until(lambda: not node.statistics().in_flight)
        held.go.set()
        await until(lambda: came)
        assert came == [StaleError]
        session.request(b"next")
        assert (await session.take(frames.Reply)).effects is None, "nothing came before it"


@pytest.mark.parametrize("way", ["flush", "count", "set", "update"])
async def test_what_a_thread_waits_for_ends_when_it_is_cancelled(way):
    node, came = Node("test"), []

    @node.on_request
    def handle(request):
        trio.from_thread.run(node.join, request.client, "before")
        came.append(tried(*ways(node, request, "late")[way]))

    async with linked(node, clients=[client()]) as session:
        session.acknowledges = False
        request = session.request()
        asks = {"flush": frames.Effects, "count": frames.AskCount}.get(way, frames.Propose)
        await session.take(asks)
        session.say(frames.Cancel(request, 1))
        await until(lambda: came)
        assert came == [StaleError]


async def test_a_thread_of_a_former_run_does_nothing_in_the_next():
    held, node, came = Held(), Node("test"), []

    @node.on_request
    def handle(request):
        if request.payload != b"next":
            held()
            came.append(tried(partial(node.notify, "late", clients=[request.client])))

    async with linked(node, clients=[client()]) as session:
        session.request()
        await until(lambda: held.running)
    async with linked(node, clients=[client()]) as session:
        held.go.set()
        await until(lambda: came)
        assert came == [StaleError]
        session.request(b"next")
        await session.take(frames.Reply)


async def test_flush_of_a_thread_after_the_deadline_ends_its_handler():
    """Though the proxy has not cancelled it yet."""
    node, came = Node("test"), []

    @node.on_request
    def handle(request):
        if request.payload != b"next":
            trio.from_thread.run(node.join, request.client, "late")
            trio.from_thread.run(trio.sleep_until, request.deadline + 0.01)
            came.append(tried(request.flush))

    async with linked(node, clients=[client()]) as session:
        session.request(timeout=50)
        await until(lambda: came and not node.statistics().in_flight)
        assert (came, node.statistics().cancelled) == ([StaleError], 1)
        session.request(b"next")
        assert (await session.take(frames.Reply)).effects is None, "nothing came before it"


async def test_what_is_known_can_be_read_in_a_thread():
    node = Node("test", clients=True)

    @node.on_request
    def handle(request):
        known = sorted(node.clients), [one.id for one in node.clients.values()], node.state.items()
        return [*known, node.is_master, node.statistics().in_flight]

    async with linked(node, clients=[client()]) as session:
        session.request()
        assert (await session.take(frames.Reply)).payload == b"[[7],[7],[],false,1]"


async def test_a_plain_function_may_have_the_node_drain():
    node = Node("test")

    @node.on_request
    def handle(request):
        node.drain()
        return b"the last one"

    with trio.fail_after(3 * PATIENCE):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join(clients=[client()])
            session.request()
            await until(lambda: any(isinstance(frame, frames.Drain) for frame in session.frames))
            await until(lambda: any(isinstance(frame, frames.Bye) for frame in session.frames))
            nursery.cancel_scope.cancel()


async def test_plain_callbacks_hold_up_nobody_and_keep_their_order():
    held, node, told = Held(), Node("test"), []

    @node.on_open
    def opened(client):
        if client.id == 8:
            held()
        told.append(client.id)

    @node.on_request
    async def handle(request):
        return b"done"

    async with linked(node, clients=[client(7)]) as session:
        session.open(client(8))
        session.open(client(9))
        await until(lambda: held.running)
        session.request(client=9)
        await session.take(frames.Reply)
        assert told == [7]
        held.go.set()
        await until(lambda: told == [7, 8, 9])
