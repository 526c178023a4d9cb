"""What is asked of a log: in which order, what of a log that is away, and that it is begun anew when it is back."""

import pytest
import trio
import trio.testing

from holdfast.balancer.history.base import Append, Keep, LogUnavailable
from holdfast.balancer.history.memory import MemoryLog
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.realtime import log_queue
from holdfast.proxy.realtime.log_queue import LogQueue

KEEP = Keep(100, 0, 300.0)


class Store:
    """A log of memory that may block, and be away. asked: how often, and of how many at once."""

    def __init__(self, *, is_blocking):
        self.is_blocking, self.is_away, self.asked = is_blocking, False, []
        self.within = MemoryLog(1 << 20)

    def _ask(self, what):
        self.asked.append(what)
        if self.is_away:
            raise LogUnavailable("away")

    def append(self, appends, now):
        self._ask(len(appends))
        return self.within.append(appends, now)

    def read(self, *args):
        self._ask("read")
        return self.within.read(*args)

    def news(self, *args):
        self._ask("news")
        return self.within.news(*args)

    def renew(self, channel, epoch):
        self._ask("renew")
        return self.within.renew(channel, epoch)


def append(number, channel="news"):
    return Append(channel, b"%d" % number, b"%d" % number, True, b"", KEEP)


def queue_of(store, reactor=None):
    return LogQueue(store, reactor or Reactor(), Counters(), lambda: 1e9)


async def test_a_log_that_does_not_block_answers_at_once():
    queue, told = queue_of(Store(is_blocking=False)), []
    queue.append(append(1), told.append)
    queue.append(append(1), told.append)
    queue.top("news", told.append)
    assert [(each.offset, each.is_new) for each in told[:2]] == [(1, True), (1, False)]
    assert told[2].last == 1


async def test_reading_has_its_time_in_each_turn(monkeypatch):
    monkeypatch.setattr(log_queue, "READING_TIME", 0.0)
    queue, told = queue_of(Store(is_blocking=False)), []
    for _ in range(3):
        queue.read("news", 0, 10, 1000, told.append)
    assert (len(told), len(queue)) == (0, 3)
    assert [queue.step(0.0) for _ in range(4)] == [True, True, False, False]
    assert len(told) == 3


@pytest.fixture
async def asked(nursery):
    """A queue that is run, of a log that blocks."""
    store, reactor = Store(is_blocking=True), Reactor()
    queue = queue_of(store, reactor)
    nursery.start_soon(queue.run)
    await trio.testing.wait_all_tasks_blocked()
    yield queue, store, reactor
    nursery.cancel_scope.cancel()


async def answers(queue, count, told):
    with trio.fail_after(20):
        while len(told) < count:  # noqa: ASYNC110 - of another thread
            await trio.sleep(0.001)
    return told


async def test_what_waits_is_appended_together_and_reads_are_in_their_place(asked):
    queue, store, _ = asked
    told = []
    for number in range(4):
        queue.append(append(number), told.append)
    queue.read("news", 0, 10, 1000, told.append)
    queue.append(append(4), told.append)
    await answers(queue, 6, told)
    assert [each.offset for each in told[:4]] == [1, 2, 3, 4]
    assert (told[4].last, told[5].offset) == (4, 5)
    assert store.asked == [4, "read", 1]


async def test_while_it_is_away_it_is_asked_now_and_then(asked, monkeypatch):
    queue, store, reactor = asked
    store.is_away = True
    told = []
    for number in range(5):
        queue.append(append(number), told.append)
        await answers(queue, number + 1, told)
    assert (told, queue.is_away, store.asked) == ([None] * 5, True, [1])
    store.is_away = False
    now = reactor.clock()
    reactor.clock = lambda: now + 2 * log_queue.RETRY_INTERVAL
    queue.append(append(9), told.append)
    assert (await answers(queue, 6, told))[5].offset == 1
    assert not queue.is_away


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_what_was_given_out_without_it_is_in_a_log_that_is_no_more(is_blocking, nursery):
    """Before anything else is asked, so that nobody is told that nothing is missing."""
    store, reactor = Store(is_blocking=is_blocking), Reactor()
    queue, told, renewed = queue_of(store, reactor), [], []
    queue.on_renewed = lambda *what: renewed.append(what)
    if is_blocking:
        nursery.start_soon(queue.run)
    queue.append(append(1), told.append)
    [first] = await answers(queue, 1, told)
    store.is_away = True
    queue.append(append(2), told.append)
    await answers(queue, 2, told)
    assert queue.without("news")
    store.is_away = False
    now = reactor.clock()
    reactor.clock = lambda: now + 2 * log_queue.RETRY_INTERVAL
    queue.append(append(3), told.append)
    await answers(queue, 3, told)
    assert told[2].epoch != first.epoch
    assert (renewed, told[2].offset) == ([("news", told[2].epoch)], 1)
    assert queue.stale == {}
    nursery.cancel_scope.cancel()


async def test_of_so_many_channels_something_may_be_given_out_without_it(monkeypatch):
    monkeypatch.setattr(log_queue, "MAX_STALE", 1)
    queue = queue_of(Store(is_blocking=False))
    assert [queue.without(channel) for channel in ("a", "a", "b")] == [True, True, False]
