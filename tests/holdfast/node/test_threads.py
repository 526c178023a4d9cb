"""Plain functions run in threads. Events of `threading` hold them: nothing here takes time."""

import threading
from functools import partial

import trio

from holdfast import Node, RequestError, StaleError
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


async def test_a_thread_that_was_cancelled_goes_on_and_does_nothing_more():
    held, node, raised = Held(), Node("test"), []

    @node.on_request
    def handle(request):
        held()
        try:
            trio.from_thread.run(partial(node.notify, "late", clients=[request.client]))
        except StaleError as error:
            raised.append(error)

    async with linked(node, clients=[client()]) as session:
        request = session.request()
        await until(lambda: held.running)
        session.say(frames.Cancel(request, 1))
        await until(lambda: not node.statistics().in_flight)
        held.go.set()
        await until(lambda: raised)
        assert session.untaken() == []


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
