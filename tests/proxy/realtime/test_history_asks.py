"""What a node asks of a channel's log: pages, refusals, and that it waits for itself."""

import pytest
import trio
import trio.testing

from holdfast.balancer.history.base import Append, Keep
from holdfast.balancer.history.memory import MemoryLog
from holdfast.protocols.nodes.histories import MAX_PAGE, PAGE_BYTES, AskHistory, History
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.realtime import history_asks as module
from holdfast.proxy.realtime.history_asks import NO_HISTORY, HistoryAsks
from holdfast.proxy.realtime.log_queue import LogQueue
from tests.proxy.realtime.test_log_queue import Store

KEEP = Keep(2000, 0, 300.0)


class World:
    """Channels that begin with `news` have history."""

    def __init__(self, *, is_blocking=False):
        self.store, self.reactor, self.counters = Store(is_blocking=is_blocking), Reactor(), Counters()
        self.store.within = MemoryLog(64 << 20)
        self.queue = LogQueue(self.store, self.reactor, self.counters, lambda: 1e9)
        self.asks = HistoryAsks(self.queue, lambda channel: channel.startswith("news"), self.counters)

    def publish(self, number, channel="news", size=0, keep=KEEP):
        payload = b"%d" % number + bytes(size)
        self.store.within.append([Append(channel, b"%d" % number, payload, True, b"", keep)], 1e9)

    def ask(self, node, channel="news", *place, number=1):
        self.asks.take(node, AskHistory(number, channel, *place))

    def answer(self, *place, channel="news"):
        node = Asker()
        self.ask(node, channel, *place)
        while self.queue.step(0.0):
            pass
        [answer] = node.told
        return answer

    @property
    def epoch(self):
        return self.store.within.read("news", 0, 1, 1, 1e9).epoch


class Asker:
    """A node. told: what it was sent."""

    def __init__(self):
        self.told = []
        self.link = self

    def send(self, frame):
        self.told.append(frame)


@pytest.fixture
async def world():
    return World()


def offsets(answer):
    assert answer.status == 200
    return [each.offset for each in answer.publications]


async def test_the_newest_are_told_the_oldest_first(world):
    for number in range(1, 8):
        world.publish(number)
    answer = world.answer(-1, "", 3)
    assert (answer.ask, answer.epoch, answer.first, answer.last) == (1, world.epoch, 1, 7)
    assert offsets(answer) == [5, 6, 7]
    assert [(each.payload, each.is_text, each.at, each.sender) for each in answer.publications[:1]] == [
        (b"5", True, 1e9, b"")
    ]
    assert offsets(world.answer(-1, "", 100)) == [1, 2, 3, 4, 5, 6, 7]


async def test_what_follows_a_position_is_told(world):
    for number in range(1, 8):
        world.publish(number)
    assert offsets(world.answer(2, world.epoch, 3)) == [3, 4, 5]
    assert offsets(world.answer(5, "", 3)) == [6, 7]
    assert offsets(world.answer(7, world.epoch, 3)) == []
    assert offsets(world.answer(0, "", 2)) == [1, 2]


async def test_what_was_trimmed_is_seen_by_the_first_one(world):
    for number in range(1, 8):
        world.publish(number, keep=Keep(3, 0, 300.0))
    answer = world.answer(1, world.epoch, 100)
    assert (offsets(answer), answer.first, answer.last) == ([5, 6, 7], 5, 7)


async def test_nothing_was_published(world):
    for place in ((-1,), (0,), (0, "")):
        assert world.answer(*place) == History(1)


@pytest.mark.parametrize("place", [(1, "another"), (0, "another"), (8,), (9, "")])
async def test_a_position_of_no_log(world, place):
    for number in range(1, 8):
        world.publish(number)
    answer = world.answer(*place)
    assert (answer.status, answer.epoch, answer.publications) == (409, "", [])
    assert ("another log" in answer.message) is (place[1:] == ("another",))


async def test_a_position_where_there_is_no_log_any_more(world):
    assert world.answer(3, "gone").status == 409
    assert world.answer(3).status == 409


async def test_a_page_has_so_many_and_so_many_bytes(world):
    for number in range(1, MAX_PAGE + 101):
        world.publish(number)
    assert len(offsets(world.answer(0, "", 5000))) == MAX_PAGE
    assert offsets(world.answer(-1, "", 5000)) == list(range(101, MAX_PAGE + 101))
    for number in range(1, 4):
        world.publish(number, "news/large", PAGE_BYTES // 2)
    answer = world.answer(0, "", 100, channel="news/large")
    assert (offsets(answer), answer.last) == ([1], 3)


@pytest.mark.parametrize("channel", ["chat", ""])
async def test_a_channel_without_history(world, channel):
    assert world.answer(0, channel=channel) == History(1, 404, NO_HISTORY)


async def test_no_channel_has_history():
    node = Asker()
    HistoryAsks(None, lambda channel: True, Counters()).take(node, AskHistory(4, "news"))
    assert node.told == [History(4, 404, NO_HISTORY)]


async def test_a_log_that_is_away(world):
    world.store.is_away = True
    for place in ((-1,), (0,), (5, "x")):
        assert world.answer(*place).status == 503


async def test_of_each_node_one_question_is_asked_of_the_log_at_a_time(world, monkeypatch):
    monkeypatch.setattr(module, "MAX_ASKED", 3)
    world.publish(1)
    one, other = Asker(), Asker()
    for number in range(5):
        world.ask(one, "news", 0, number=number)
    world.ask(other, "news", 0)
    assert len(world.queue) == 2
    assert [(answer.ask, answer.status) for answer in one.told] == [(3, 429), (4, 429)]
    assert world.counters.limits_hit["node.history_asks"] == 2
    while world.queue.step(0.0):
        pass
    assert [answer.ask for answer in one.told[2:]] == [0, 1, 2]
    assert [offsets(answer) for answer in (*one.told[2:], *other.told)] == [[1]] * 4
    world.ask(one, "news", 0, number=9)
    assert len(world.queue) == 1


@pytest.mark.parametrize("place", [(-1,), (0,)])
async def test_many_questions_of_an_empty_log_are_answered(world, place):
    node = Asker()
    for number in range(module.MAX_ASKED):
        world.ask(node, "news", *place, number=number)
    while world.queue.step(0.0):
        pass
    assert [answer.ask for answer in node.told] == list(range(module.MAX_ASKED))


@pytest.mark.parametrize("place", [(-1,), (0,)])
async def test_a_node_that_is_lost_is_told_nothing(world, place):
    node = Asker()
    world.ask(node, "news", *place)
    world.ask(node, "news", *place)
    world.asks.lost(node)
    while world.queue.step(0.0):
        pass
    assert node.told == []


async def test_the_newest_of_a_log_that_is_begun_anew_meanwhile(world):
    for number in range(1, 8):
        world.publish(number)
    node = Asker()
    world.ask(node, "news", -1, "", 3)
    read = world.store.read

    def renewed(*args):
        page = read(*args)
        world.store.read = read
        world.store.within.renew("news", page.epoch)
        world.publish(20)
        return page

    world.store.read = renewed
    while world.queue.step(0.0):
        pass
    [answer] = node.told
    assert (offsets(answer), answer.last, answer.publications[0].payload) == ([1], 1, b"20")


async def test_a_log_that_blocks_is_asked_in_its_turn(nursery):
    world, node = World(is_blocking=True), Asker()
    nursery.start_soon(world.queue.run)
    world.publish(1)
    told = trio.Event()
    node.send = lambda frame: (node.told.append(frame), told.set())
    world.ask(node, "news", -1)
    with trio.fail_after(20):
        await told.wait()
    assert [offsets(answer) for answer in node.told] == [[1]]
    nursery.cancel_scope.cancel()
