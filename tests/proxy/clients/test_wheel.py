from math import inf

from hypothesis import given
from hypothesis import strategies as st

from holdfast.proxy.clients.wheel import TIMERS_PER_TURN, Wheel


class Timed:
    def __init__(self, id, log):
        self.id = id
        self.timer = inf
        self.log = log

    def on_timer(self, now):
        self.timer = inf
        self.log.append((self.id, now))


def make(count=1, now=100.0):
    log = []
    table = {id: Timed(id, log) for id in range(count)}
    return Wheel(table.get, now), table, log


def test_due_at_the_first_turn_after():
    wheel, table, log = make()
    wheel.schedule(table[0], 101.0)
    wheel.turn(101.0)
    assert log == []
    wheel.turn(101.25)
    assert log == [(0, 101.25)]
    wheel.turn(200.0)
    assert len(log) == 1


def test_the_past_and_now_are_due_at_the_next_turn():
    wheel, table, log = make()
    wheel.schedule(table[0], 1.0)
    wheel.turn(100.25)
    assert log == [(0, 100.25)]


def test_rescheduling_replaces_and_inf_cancels():
    wheel, table, log = make(2)
    wheel.schedule(table[0], 101.0)
    wheel.schedule(table[0], 105.0)
    wheel.schedule(table[1], 101.0)
    wheel.schedule(table[1], inf)
    wheel.turn(103.0)
    assert log == []
    wheel.turn(110.0)
    assert log == [(0, 110.0)]


def test_what_has_gone_is_forgotten():
    wheel, table, log = make()
    wheel.schedule(table[0], 101.0)
    del table[0]
    wheel.turn(110.0)
    assert log == []


@given(st.lists(st.tuples(st.floats(100, 130), st.floats(0, 3)), max_size=30))
def test_each_is_called_once_and_never_early(plan):
    wheel, table, log = make(len(plan))
    now = 100.0
    for id, (when, step) in enumerate(plan):
        wheel.schedule(table[id], when)
        now += step
        wheel.turn(now)
    wheel.turn(now + 200.0)
    assert sorted(id for id, _ in log) == list(range(len(plan)))
    assert all(called >= plan[id][0] for id, called in log)


def test_those_that_are_due_at_one_moment_have_shares_of_turns():
    count = 2 * TIMERS_PER_TURN + 1
    wheel, table, log = make(count)
    for each in table.values():
        wheel.schedule(each, 101.0)
    assert wheel.turn(102.0)
    assert log == [(id, 102.0) for id in range(TIMERS_PER_TURN)]
    last = table[count - 1]
    wheel.schedule(last, 110.0)  # it has moved on meanwhile
    wheel.schedule(table[0], 102.0)
    assert wheel.turn(102.0)
    assert not wheel.turn(102.0)
    assert [id for id, _ in log] == list(range(count - 1))
    assert not wheel.turn(102.5)
    assert not wheel.turn(111.0)
    assert log[count - 1 :] == [(0, 102.5), (last.id, 111.0)]
