"""Node(order="client"): messages of one client one after the other, those of others not."""

import pytest
import trio

from holdfast import ConfigError, Node, Request, RequestError
from holdfast.node.ordered import Ordered
from holdfast.node.workers import Job, Workers
from holdfast.protocols.nodes import frames
from tests.holdfast.node.asking import a_client
from tests.holdfast.node.fake_proxy import client, encoded, linked
from tests.waiting import until


class Holding:
    """A node whose handlers wait until the test lets them go. begun, ended: payloads, in order."""

    def __init__(self, order="client", plain=False):
        self.node = Node("test", order=order)
        self.begun, self.ended = [], []
        self.gates = {}

        async def handle(request):
            payload = request.payload.decode()
            self.begun.append(payload)
            try:
                await self.gates.setdefault(payload, trio.Event()).wait()
                if payload.startswith("fail"):
                    raise RequestError(400, "no")
                return payload
            finally:
                self.ended.append(payload)

        self.node.on_request(
            (lambda request: trio.from_thread.run(handle, request)) if plain else handle,
        )

    def go(self, payload):
        self.gates.setdefault(payload, trio.Event()).set()


async def settled(session):
    """What was sent before has been looked at: a heartbeat later than that is answered."""
    beats = len(session.heartbeats)
    await until(lambda: len(session.heartbeats) > beats + 2)


@pytest.mark.parametrize("plain", [False, True])
async def test_one_begins_when_the_former_one_has_ended(plain):
    holding = Holding(plain=plain)
    async with linked(holding.node, clients=[client(7), client(8)]) as session:
        for payload in ("1", "fail 2", "3"):
            session.request(payload.encode())
        session.request(b"other", client=8)
        await until(lambda: len(holding.begun) == 2)
        await settled(session)
        assert sorted(holding.begun) == ["1", "other"]
        assert (holding.node.statistics().in_flight, holding.node.statistics().waiting) == (4, 2)
        holding.go("fail 2")
        holding.go("1")
        assert (await session.take(frames.Reply)).payload == b"1"
        await session.take(frames.Failure)
        await until(lambda: "3" in holding.begun)
        holding.go("3")
        assert (await session.take(frames.Reply)).payload == b"3"
        holding.go("other")
        await session.take(frames.Reply)
        session.request(b"4")  # and again when nothing waits
        holding.go("4")
        assert (await session.take(frames.Reply)).payload == b"4"


async def test_without_it_they_begin_at_once():
    holding = Holding(order="")
    async with linked(holding.node, clients=[client()]) as session:
        session.request(b"1")
        session.request(b"2")
        await until(lambda: holding.begun == ["1", "2"])


async def test_who_is_cancelled_holds_up_nobody():
    holding = Holding()
    async with linked(holding.node, clients=[client()]) as session:
        ids = [session.request(str(number).encode()) for number in range(5)]
        await until(lambda: holding.begun == ["0"])
        for number in (1, 2, 0):  # two that wait, and the one that has begun
            session.say(frames.Cancel(ids[number], 1))
        await until(lambda: holding.begun == ["0", "3"])
        assert holding.ended == ["0"]
        holding.go("3")
        holding.go("4")
        assert [(await session.take(frames.Reply)).payload for _ in "34"] == [b"3", b"4"]
        assert holding.node.statistics().in_flight == 0


async def test_one_that_is_cancelled_before_it_begins_though_it_is_its_turn():
    """The worker has it, and has not come to it."""
    holding = Holding()
    async with linked(holding.node, clients=[client()]) as session:
        session.say(
            *(frames.Request(id, 7, 1, 10_000, b"%d" % id, False, encoded(client())) for id in (1, 2)),
            frames.Cancel(1, 1),
        )
        await until(lambda: holding.begun == ["2"])
        holding.go("2")
        assert (await session.take(frames.Reply)).payload == b"2"


async def test_a_lost_session_leaves_nothing_behind():
    holding = Holding()
    async with linked(holding.node, clients=[client()]) as session:
        session.request(b"1")
        session.request(b"2")
        await until(lambda: holding.begun == ["1"])
        session.proxy.say_raw(session.identity, b"\xc1")
        session = await session.proxy.join(clients=[client()])
        await until(lambda: holding.node.statistics().in_flight == 0)
        assert holding.begun == ["1"]
        session.request(b"3")
        holding.go("3")
        assert (await session.take(frames.Reply)).payload == b"3"


async def test_many_of_which_each_waits_are_in_order():
    node, seen = Node("test", order="client"), {7: [], 8: []}

    @node.on_request
    async def handle(request):
        if len(request.payload) % 3:
            await trio.lowlevel.checkpoint()
        seen[request.client.id].append(len(request.payload))
        return b""

    async with linked(node, clients=[client(7), client(8)]) as session:
        for number in range(100):
            for id in (7, 8):
                session.request(b"x" * number, client=id)
        for _ in range(200):
            await session.take(frames.Reply)
    assert seen == {7: list(range(100)), 8: list(range(100))}


async def test_http_requests_wait_for_nobody():
    holding = Holding()
    async with linked(holding.node) as session:
        session.http(payload=b"1")
        session.http(payload=b"2")
        await until(lambda: holding.begun == ["1", "2"])
        holding.go("1")
        await session.take(frames.HttpReply)


async def test_an_order_that_there_is_not():
    with pytest.raises(ConfigError, match='"client"'):
        await Node("test", order="room").run(["tcp://127.0.0.1:1"])


class Asked(Job):
    """Of an Exchange what its workers look at."""

    is_http = False

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.client = a_client()
        self.request = Request(b"", False, self.client)


async def test_the_next_one_begins_though_the_links_have_nothing_to_do(autojump_clock):
    done = []

    async def handle(job):
        await trio.sleep(1)  # longer than a slice
        done.append(job.number)

    workers = Ordered(Workers, handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(workers.workers.run)
        for number in range(3):
            workers.put(Asked(number))
        workers.wake(trio.current_time())
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert done == [0, 1, 2]
