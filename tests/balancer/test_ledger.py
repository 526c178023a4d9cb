import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.balancer.directory import Directory, NodeState
from holdfast.balancer.early import MIN_COUNT
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.policies import PowerOfTwoChoices
from holdfast.balancer.settings import BalanceSettings, RequestSettings
from holdfast.protocols.clients.events import HttpRequest, Message
from holdfast.protocols.close import Reason
from tests.balancer.nodes import add_pool, add_ready, make_node

SETTINGS = RequestSettings(
    timeout=10.0, stream_timeout=20.0, max_attempts=3, parked_timeout=5.0, max_parked=3, max_parked_bytes=100
)


class Asker:
    is_closed = False


@pytest.fixture
def directory():
    return Directory(BalanceSettings())


@pytest.fixture
def ledger(directory):
    return make_ledger(directory, SETTINGS, 1000, PowerOfTwoChoices().measured)


def message(size=1):
    return Message(b"x" * size, True)


def make_ledger(directory, settings, first_id, measured=None):
    ledger = Ledger(directory, settings, first_id, measured)
    add_pool(directory, settings, ledger)
    return ledger


def opened(ledger, asker, event, node, now):
    return ledger.open(asker, event, ledger._directory.pools[0], node, now)


def test_a_request_is_settled_once(ledger, directory):
    node = add_ready(directory)
    entry = opened(ledger, Asker(), message(), None, 0.0)
    ledger.assign(entry, node, 0.0)
    assert (ledger.in_flight, node.in_flight) == (1, 1)
    assert ledger.settle(entry.id, 1, node, 0.5) is entry
    assert ledger.settle(entry.id, 1, node, 0.5) is None
    assert (len(ledger), node.in_flight, node.latency) == (0, 0, 0.5)


def test_payloads_are_held_until_their_request_has_gone(ledger, directory):
    node, gone = add_ready(directory), Asker()
    settled, lost, closed, late, refused, asked = (
        opened(ledger, gone if size == 4 else Asker(), message(size), node, 0.0) for size in (1, 2, 4, 8, 16, 32)
    )
    assert ledger.held_bytes == 63
    ledger.settle(settled.id, 1, node, 1.0)
    assert ledger.held_bytes == 62
    ledger.lose(node)
    assert ledger.held_bytes == 62, "they may go to another one"
    ledger.drop(lost)
    assert ledger.held_bytes == 60
    for entry in (closed, late, refused, asked):
        ledger.assign(entry, node, 1.0)
    gone.is_closed = True
    ledger.cancel(ledger.abandoned())
    assert ledger.held_bytes == 56
    ledger.cancel([refused])
    assert (ledger.held_bytes, len(ledger)) == (40, 2)
    ledger.expire(10.0)
    assert (ledger.held_bytes, ledger.parked_bytes, len(ledger), node.in_flight) == (0, 0, 0, 0)


def test_what_is_cancelled_is_forgotten_wherever_it_is(ledger, directory):
    node = add_ready(directory)
    sent = opened(ledger, Asker(), message(), node, 0.0)
    parked = opened(ledger, Asker(), message(7), None, 0.0)
    ledger.park(parked, 0.0)
    ledger.cancel([sent, parked])
    assert (len(ledger), node.in_flight, ledger.waiting, ledger.parked_bytes) == (0, 0, {}, 0)


def test_of_a_reply_in_parts_the_first_one_tells_the_latency(ledger, directory):
    node = add_ready(directory)
    entry = opened(ledger, Asker(), message(), node, 0.0)
    for now in 0.5, 5.0:
        ledger.extend(entry.id, 1, node, now)
    ledger.settle(entry.id, 1, node, 9.0)
    assert node.latency == 0.5


def test_a_nodes_latency_is_that_of_its_first_reply_and_a_tenth_of_each_further_one(ledger, directory):
    node = add_ready(directory)
    first, second = (opened(ledger, Asker(), message(), node, 2.0) for _ in range(2))
    ledger.settle(first.id, 1, node, 2.5)
    assert node.latency == 0.5
    ledger.settle(second.id, 1, node, 3.5)
    assert node.latency == pytest.approx(0.6)


def test_the_time_of_a_reply_is_counted_from_when_its_node_had_the_request(ledger, directory):
    node = add_ready(directory)
    entry = opened(ledger, Asker(), message(), None, 0.0)
    ledger.assign(entry, node, 3.0)
    ledger.settle(entry.id, 1, node, 3.25)
    assert node.latency == 0.25


def test_what_a_client_has_asked(ledger, directory):
    one, other = Asker(), Asker()
    entries = [opened(ledger, asker, message(), None, 0.0) for asker in (one, other, one)]
    assert ledger.by_connection() == {one: [entries[0], entries[2]], other: [entries[1]]}


def test_a_reply_of_another_node_or_attempt_is_refused(ledger, directory):
    one, two = add_ready(directory, "one"), add_ready(directory, "two")
    entry = opened(ledger, Asker(), message(), None, 0.0)
    ledger.assign(entry, one, 0.0)
    assert ledger.settle(entry.id, 1, two, 0.1) is None
    assert ledger.settle(entry.id, 2, one, 0.1) is None
    assert ledger.lose(one) == [entry]
    assert entry.node is None
    ledger.assign(entry, two, 1.0)
    assert ledger.settle(entry.id, 1, one, 1.1) is None
    assert ledger.settle(entry.id, 1, two, 1.1) is None
    assert ledger.settle(entry.id, 2, two, 1.1) is entry


def test_ids_begin_after_the_first_and_never_repeat(ledger):
    assert [opened(ledger, Asker(), message(), None, 0.0).id for _ in range(3)] == [1001, 1002, 1003]


def test_credit_takes_the_node_out_of_available_and_back(ledger, directory):
    node = add_ready(directory, capacity=2)
    entries = [opened(ledger, Asker(), message(), None, 0.0) for _ in range(2)]
    for entry in entries:
        ledger.assign(entry, node, 0.0)
    assert directory.pools[0].available == []
    ledger.settle(entries[0].id, 1, node, 0.1)
    assert directory.pools[0].available == [node]


def test_so_does_what_is_sent_to_it_at_once_and_what_it_need_not_do(ledger, directory):
    node = add_ready(directory, capacity=2)
    opened(ledger, Asker(), message(), node, 0.0)
    assert directory.pools[0].available == [node]
    entry = opened(ledger, Asker(), message(), node, 0.0)
    assert (directory.pools[0].available, entry.attempt) == ([], 1)
    ledger.cancel([entry])
    assert directory.pools[0].available == [node]


def test_a_drained_node_that_gets_room_is_not_available(ledger, directory):
    node = add_ready(directory, capacity=1)
    entry = opened(ledger, Asker(), message(), None, 0.0)
    ledger.assign(entry, node, 0.0)
    directory.move(node, NodeState.DRAINING)
    ledger.settle(entry.id, 1, node, 0.1)
    assert directory.pools[0].available == []


def test_a_reply_that_waits_is_not_lost_with_its_node(ledger, directory):
    node = add_ready(directory)
    waits, other = (opened(ledger, Asker(), message(), node, 0.0) for _ in range(2))
    waits.is_replied = True
    assert ledger.lose(node) == [other]
    assert node.in_flight == 1
    assert ledger.settle(waits.id, 1, node, 1.0) is waits
    assert node.in_flight == 0


def test_a_reply_that_waits_has_its_deadline_though_its_node_is_lost(ledger, directory):
    node = add_ready(directory)
    entry = opened(ledger, Asker(), message(), node, 0.0)
    entry.is_replied = True
    ledger.lose(node)
    assert ledger.expire(10.0) == [(entry, Reason.DEADLINE_EXCEEDED)]
    assert ledger.settle(entry.id, 1, node, 10.0) is None
    assert node.in_flight == 0


def test_a_part_of_a_reply_changes_nothing_of_what_the_client_has_to_take(ledger, directory):
    node, other = add_ready(directory), add_ready(directory, "other")
    entry = opened(ledger, Asker(), message(), node, 0.0)
    ledger.extend(entry.id, 1, node, 8.0)
    assert (entry.deadline, entry.parts.since, entry.parts.untaken, entry.parts.owed) == (28.0, 8.0, 0, 0)
    assert entry.parts.size == 0
    entry.parts.untaken = entry.parts.owed = 5
    ledger.extend(entry.id, 1, node, 9.0)
    assert (entry.deadline, entry.parts.since, entry.parts.untaken, entry.parts.owed) == (29.0, 9.0, 5, 5)
    assert ledger.extend(entry.id + 1, 1, node, 9.0) is None
    assert ledger.extend(entry.id, 1, other, 9.0) is None


def test_a_client_that_takes_its_time_may_pause_for_longer_than_a_node(ledger, directory):
    node = add_ready(directory)
    slow = opened(ledger, Asker(), message(), node, 0.0)
    ledger.extend(slow.id, 1, node, 0.0)
    slow.parts.untaken = 1
    assert ledger.expire(SETTINGS.stream_timeout + 1.0) == []


def test_a_client_that_takes_its_time_is_not_its_node_s_fault(ledger, directory):
    node = add_ready(directory)
    slow, late = (opened(ledger, Asker(), message(), node, 0.0) for _ in range(2))
    ledger.extend(slow.id, 1, node, 1.0)
    slow.parts.untaken = 100
    assert ledger.expire(11.0) == [(late, Reason.DEADLINE_EXCEEDED)]
    ledger.prolong(slow, slow.parts, 12.0)
    slow.parts.untaken = 0
    assert ledger.expire(22.0) == []
    assert ledger.expire(32.0) == [(slow, Reason.DEADLINE_EXCEEDED)]


def test_a_sweep_over_clients_that_take_their_time_stays_short(ledger, directory):
    node = add_ready(directory, capacity=1000)
    slow = [opened(ledger, Asker(), message(), node, 0.0) for _ in range(100)]
    for entry in slow:
        ledger.extend(entry.id, 1, node, 0.0)
        entry.parts.untaken = 1
    assert ledger.expire(10.0) == []
    fresh = opened(ledger, Asker(), message(), node, 10.0)
    assert list(ledger._entries.values()) == [*slow, fresh]
    ledger._entries = looked = Looked(ledger._entries)
    assert ledger.expire(19.9) == []
    assert looked.count == 1


def test_deadlines(ledger, directory):
    node = add_ready(directory)
    early = opened(ledger, Asker(), message(), None, 0.0)
    late = opened(ledger, Asker(), message(), None, 1.0)
    for entry in (early, late):
        ledger.assign(entry, node, 1.0)
    assert ledger.expire(9.9) == []
    assert ledger.expire(10.0) == [(early, Reason.DEADLINE_EXCEEDED)]
    assert ledger.expire(10.0) == []
    assert node.in_flight == 1
    assert ledger.expire(11.0) == [(late, Reason.DEADLINE_EXCEEDED)]


def test_parking_keeps_the_order_of_opening_also_for_what_a_lost_node_had(ledger, directory):
    node = add_ready(directory)
    first, second = (opened(ledger, Asker(), message(), None, 0.0) for _ in range(2))
    ledger.assign(first, node, 0.0)
    assert ledger.park(second, 0.1)
    (lost,) = ledger.lose(node)
    assert ledger.park(lost, 0.2)
    (pool,) = ledger._directory.pools
    assert [ledger.unpark(pool), ledger.unpark(pool), ledger.unpark(pool)] == [first, second, None]
    assert ledger.parked_bytes == 0


def test_parking_is_bounded_in_count_bytes_and_time(ledger):
    parked = [opened(ledger, Asker(), message(30), None, 0.0) for _ in range(3)]
    assert all(ledger.park(entry, float(i)) for i, entry in enumerate(parked))
    assert not ledger.park(opened(ledger, Asker(), message(1), None, 0.0), 0.0)
    assert len(ledger) == 3
    assert ledger.expire(4.9) == []
    assert ledger.expire(5.0) == [(parked[0], Reason.NO_NODE)]
    assert not ledger.park(opened(ledger, Asker(), message(50), None, 0.0), 0.0)
    assert (ledger.parked_count, ledger.parked_bytes) == (2, 60)


def test_parking_takes_as_many_bytes_as_it_may(ledger):
    assert ledger.parked_bytes == 0
    assert ledger.park(opened(ledger, Asker(), message(100), None, 0.0), 0.0)
    assert not ledger.park(opened(ledger, Asker(), message(1), None, 0.0), 0.0)


@pytest.mark.parametrize("now", [10.0, 12.0])
def test_what_was_parked_for_too_long_and_is_late_is_told_once(ledger, now):
    entry = opened(ledger, Asker(), message(), None, 0.0)
    ledger.park(entry, 0.0)
    assert ledger.expire(now) == [(entry, Reason.NO_NODE)]


def test_the_order_of_opening_outlives_that_one_is_cancelled(directory):
    ledger = make_ledger(directory, RequestSettings(), 0)
    entries = [opened(ledger, Asker(), message(), None, 0.0) for _ in range(5)]
    for place in (0, 2, 1, 3, 4):
        ledger.park(entries[place], 0.0)
    ledger.cancel([entries[0]])
    assert [ledger.unpark(ledger._directory.pools[0]) for _ in range(4)] == entries[1:]


def test_what_a_node_had_in_between_waits_as_long_as_any_other(ledger, directory):
    entry = opened(ledger, Asker(), message(), None, 0.0)
    assert ledger.park(entry, 0.0)
    node = add_ready(directory)
    assert ledger.unpark(ledger._directory.pools[0]) is entry
    ledger.assign(entry, node, 1.0)
    assert ledger.lose(node) == [entry]
    assert ledger.park(entry, 6.0)
    assert ledger.expire(6.1) == []
    assert ledger.expire(10.0) == [(entry, Reason.NO_NODE)]  # its deadline is what it was


def test_full_table(directory):
    ledger = make_ledger(directory, RequestSettings(max_in_flight=1), 0)
    assert opened(ledger, Asker(), message(), None, 0.0) is not None
    assert opened(ledger, Asker(), message(), None, 0.0) is None


def test_whose_connection_is_closed_is_abandoned(ledger, directory):
    node = add_ready(directory)
    gone, here = Asker(), Asker()
    entries = [opened(ledger, asker, message(), None, 0.0) for asker in (gone, here, gone)]
    ledger.assign(entries[0], node, 0.0)
    ledger.assign(entries[1], node, 0.0)
    ledger.park(entries[2], 0.0)
    gone.is_closed = True
    assert ledger.abandoned() == [entries[0], entries[2]]


def test_streamed_part_moves_the_deadline_on_and_forbids_redelivery(ledger, directory):
    node = add_ready(directory)
    streamed = opened(ledger, Asker(), message(), None, 0.0)
    other = opened(ledger, Asker(), message(), None, 5.0)
    for entry in (streamed, other):
        ledger.assign(entry, node, 5.0)
    assert ledger.extend(streamed.id, 1, node, 8.0) is streamed
    assert ledger.extend(streamed.id, 2, node, 8.0) is None
    assert ledger.expire(15.0) == [(other, Reason.DEADLINE_EXCEEDED)]
    assert not ledger.is_redeliverable(streamed, handed_over=True)
    assert ledger.expire(18.0) == [], "it may pause"
    assert ledger.expire(28.0) == [(streamed, Reason.DEADLINE_EXCEEDED)]


def test_a_pause_costs_a_sweep_nothing_and_holds_up_no_deadline(ledger, directory):
    node = add_ready(directory)
    streamed = opened(ledger, Asker(), message(), node, 0.0)
    ledger.extend(streamed.id, 1, node, 9.0)
    assert ledger.expire(19.0) == []
    late = opened(ledger, Asker(), message(), node, 19.5)
    assert ledger.expire(28.9) == []
    assert ledger.expire(29.0) == [(streamed, Reason.DEADLINE_EXCEEDED)]
    assert ledger.expire(29.5) == [(late, Reason.DEADLINE_EXCEEDED)]


@pytest.mark.parametrize(
    ("event", "redelivery", "handed_over", "expected"),
    [
        (message(), "auto", True, True),
        (message(), "never", True, False),
        (message(), "never", False, True),
        (HttpRequest("GET", "/", [], b""), "auto", True, True),
        (HttpRequest("PUT", "/", [], b""), "auto", True, True),
        (HttpRequest("POST", "/", [], b""), "auto", True, False),
        (HttpRequest("PATCH", "/", [], b""), "auto", True, False),
        (HttpRequest("POST", "/", [], b""), "auto", False, True),
    ],
)
def test_what_may_be_sent_again(directory, event, redelivery, handed_over, expected):
    ledger = make_ledger(directory, RequestSettings(redelivery=redelivery), 0)
    entry = opened(ledger, Asker(), event, None, 0.0)
    ledger.assign(entry, add_ready(directory), 0.0)
    assert ledger.is_redeliverable(entry, handed_over=handed_over) is expected


def test_each_parking_has_its_own_time(ledger, directory):
    entry = opened(ledger, Asker(), message(), None, 0.0)
    ledger.park(entry, 0.0)
    node = add_ready(directory)
    ledger.assign(ledger.unpark(ledger._directory.pools[0]), node, 4.0)
    ledger.lose(node)
    ledger.park(entry, 4.9)
    assert ledger.expire(9.8) == []
    assert ledger.expire(9.9) == [(entry, Reason.NO_NODE)]


def test_what_was_only_offered_is_no_attempt(ledger, directory):
    old, new = add_ready(directory, "old"), add_ready(directory, "new")
    new.takes_offers = True
    entry = opened(ledger, Asker(), message(), None, 0.0)
    assert not entry.is_offered
    ledger.assign(entry, new, 0.0)
    assert not entry.is_offered, "nobody was lost with it"
    ledger.lose(new)
    ledger.assign(entry, new, 0.0)
    assert entry.is_offered
    ledger.withdraw(entry)
    ledger.assign(entry, old, 0.0)
    assert not entry.is_offered, "it would not answer"
    ledger.lose(old)
    ledger.assign(entry, new, 0.0)
    assert (entry.is_offered, entry.attempt, new.in_flight) == (True, 3, 1)
    ledger.withdraw(entry)
    assert (entry.node, entry.attempt, new.in_flight) == (None, 2, 0)


def test_attempts_are_bounded(ledger, directory):
    node = add_ready(directory)
    entry = opened(ledger, Asker(), message(), None, 0.0)
    for attempt in (1, 2, 3):
        ledger.assign(entry, node, 0.0)
        assert entry.attempt == attempt
        assert ledger.is_redeliverable(entry, handed_over=True) is (attempt < 3)
        ledger.lose(node)


class Looked(dict):
    """Counts which of its values are looked at."""

    def __init__(self, *args):
        super().__init__(*args)
        self.count = 0

    def values(self):
        return self

    def __iter__(self):
        for key in super().__iter__():
            self.count += 1
            yield self[key]

    def __reversed__(self):
        for key in super().__reversed__():
            self.count += 1
            yield self[key]


class LookedItems(Looked):
    def items(self):
        for entry in self:
            yield entry.id, entry


def test_a_node_that_is_lost_costs_what_it_was_given(ledger, directory):
    """One that comes and goes must not have the whole table walked each time."""
    stays, goes = add_ready(directory, "stays", 1000), add_ready(directory, "goes", 1000)
    for _ in range(500):
        opened(ledger, Asker(), message(), stays, 0.0)
    ledger._entries = looked = Looked(ledger._entries)
    assert ledger.lose(goes) == []
    replied, *others = [opened(ledger, Asker(), message(), goes, 0.0) for _ in range(3)]
    replied.is_replied = True
    assert ledger.lose(goes) == others
    assert goes.in_flight == 1
    assert looked.count == 3
    assert ledger.lose(stays)[0].id < replied.id
    assert stays.in_flight == 0


def test_a_sweep_over_what_is_parked_looks_at_what_is_late(directory):
    ledger = make_ledger(directory, RequestSettings(parked_timeout=5.0), 0)
    first, *_ = parked = [opened(ledger, Asker(), message(), None, 0.0) for _ in range(100)]
    for number, entry in enumerate(parked):
        ledger.park(entry, 0.01 * number)
    ledger._entries, ledger._parked = tables = Looked(ledger._entries), LookedItems(ledger._parked)
    assert ledger.expire(5.0) == [(first, Reason.NO_NODE)]
    assert [table.count for table in tables] == [1, 2]


def test_who_has_less_time_is_late_before_those_who_asked_earlier(ledger, directory):
    node = add_ready(directory)
    first, hasty, parked, settled = (opened(ledger, Asker(), message(), None, 0.0) for _ in range(4))
    for entry, timeout in ((hasty, 0.5), (parked, 0.2), (settled, 0.1)):
        ledger.hasten(entry, timeout)
    for entry in (first, hasty, settled):
        ledger.assign(entry, node, 0.0)
    ledger.park(parked, 0.0)
    assert ledger.settle(settled.id, 1, node, 0.05) is settled
    assert ledger.expire(0.19) == []
    assert ledger.expire(0.2) == [(parked, Reason.NO_NODE)]
    assert ledger.expire(0.49) == []
    assert ledger.expire(0.5) == [(hasty, Reason.DEADLINE_EXCEEDED)]
    assert (node.in_flight, ledger.parked_count, ledger.waiting, len(ledger._early)) == (1, 0, {}, 0)
    assert ledger.expire(10.0) == [(first, Reason.DEADLINE_EXCEEDED)]


def test_who_has_less_time_is_late_once_however_late_that_is_seen(ledger, directory):
    in_front = opened(ledger, Asker(), message(), add_ready(directory), 0.0)
    parked = opened(ledger, Asker(), message(), None, 0.0)
    for entry in (in_front, parked):
        ledger.hasten(entry, 0.5)
    ledger.park(parked, 0.0)
    assert [entry for entry, _ in ledger.expire(60.0)] == [in_front, parked]
    assert (len(ledger), ledger.parked_count) == (0, 0)


def test_of_who_has_less_time_a_part_in_time_is_enough_as_of_others(ledger, directory):
    node = add_ready(directory)
    entry = opened(ledger, Asker(), message(), node, 0.0)
    ledger.hasten(entry, 0.5)
    ledger.extend(entry.id, 1, node, 0.4)
    assert ledger.expire(20.3) == []
    assert ledger.expire(30.4) == [(entry, Reason.DEADLINE_EXCEEDED)]


def test_those_of_little_time_that_have_their_reply_take_no_room(ledger, directory):
    node = add_ready(directory, capacity=1000)
    waits = [opened(ledger, Asker(), message(), node, 0.0) for _ in range(10)]
    for entry in waits:
        ledger.hasten(entry, 5.0)
    for _ in range(10_000):
        entry = opened(ledger, Asker(), message(), node, 0.0)
        ledger.hasten(entry, 9.0)
        ledger.settle(entry.id, 1, node, 0.0)
        assert len(ledger._early) <= MIN_COUNT
    assert [entry for entry, _ in ledger.expire(5.0)] == waits


def test_has_before(ledger, directory):
    node = add_ready(directory)
    assert not ledger.has_before(ledger.last_id)
    entry = opened(ledger, Asker(), message(), None, 0.0)
    ledger.assign(entry, node, 0.0)
    last = ledger.last_id
    opened(ledger, Asker(), message(), None, 0.0)
    assert ledger.has_before(last)
    ledger.extend(entry.id, 1, node, 0.1)  # a part of its reply: what came later expires before it now
    assert ledger.has_before(last)
    ledger.settle(entry.id, 1, node, 0.1)
    assert not ledger.has_before(last)


class LedgerMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: each request gets one answer, and the counts add up."""

    def __init__(self):
        super().__init__()
        self.directory = Directory(BalanceSettings())
        self.settings = RequestSettings(timeout=10.0, parked_timeout=5.0, max_parked=5, max_parked_bytes=1000)
        self.ledger = make_ledger(self.directory, self.settings, 0)
        add_pool(self.directory, RequestSettings(timeout=3.0, max_in_flight=4), self.ledger)
        add_pool(self.directory, RequestSettings(timeout=25.0, max_in_flight=3), self.ledger)
        self.now = self.swept = 0.0
        self.open = {}
        self.answered = set()
        self.names = 0

    def answer(self, entry):
        assert entry.id not in self.answered
        self.answered.add(entry.id)
        del self.open[entry.id]

    def place(self, entry):
        if self.directory.pools[0].available and not self.ledger.waiting:
            self.ledger.assign(entry, self.directory.pools[0].available[0], self.now)
        elif not self.ledger.park(entry, self.now):
            self.answer(entry)

    def unpark(self):
        for pool in self.directory.pools:
            while pool.available and (entry := self.ledger.unpark(pool)) is not None:
                self.ledger.assign(entry, pool.available[0], self.now)

    @rule(capacity=st.integers(1, 3))
    def node_comes(self, capacity):
        self.names += 1
        add_ready(self.directory, f"n{self.names}", capacity)
        self.unpark()

    @precondition(lambda self: len(self.directory))
    @rule(data=st.data())
    def node_is_lost(self, data):
        node = data.draw(st.sampled_from(list(self.directory)))
        self.directory.move(node, NodeState.LOST)
        for entry in self.ledger.lose(node):
            if self.ledger.is_redeliverable(entry, handed_over=True):
                self.place(entry)
            else:
                self.ledger.drop(entry)
                self.answer(entry)

    @rule(size=st.integers(0, 300), post=st.booleans(), timeout=st.none() | st.floats(0, 9), which=st.integers(0, 2))
    def ask(self, size, post, timeout, which):
        event = HttpRequest("POST", "/", [], b"x" * size) if post else message(size)
        pool = self.directory.pools[which]
        entry = self.ledger.open(Asker(), event, pool, None, self.now)
        is_full = which > 0 and sum(e.pool is pool for e in self.open.values()) == pool.max_in_flight
        assert (entry is None) == is_full
        if entry is None:
            return
        if timeout is not None and timeout < pool.timeout:
            self.ledger.hasten(entry, timeout)
        self.open[entry.id] = entry
        self.place(entry)

    @precondition(lambda self: any(e.node for e in self.open.values()))
    @rule(data=st.data(), stale=st.booleans())
    def reply(self, data, stale):
        entry = data.draw(st.sampled_from([e for e in self.open.values() if e.node]))
        settled = self.ledger.settle(entry.id, entry.attempt - stale, entry.node, self.now)
        if stale:
            assert settled is None
        else:
            assert settled is entry
            self.answer(entry)
            self.unpark()

    @precondition(lambda self: any(e.node for e in self.open.values()))
    @rule(data=st.data())
    def reply_in_part(self, data):
        entry = data.draw(st.sampled_from([e for e in self.open.values() if e.node]))
        assert self.ledger.extend(entry.id, entry.attempt, entry.node, self.now) is entry

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def client_leaves(self, data):
        entry = data.draw(st.sampled_from(list(self.open.values())))
        entry.connection.is_closed = True
        abandoned = self.ledger.abandoned()
        self.ledger.cancel(abandoned)
        for gone in abandoned:
            self.answer(gone)
        self.unpark()

    @rule(seconds=st.floats(0, 6))
    def time_passes(self, seconds):
        self.now += seconds
        for entry, _ in self.ledger.expire(self.now):
            self.answer(entry)
        self.swept = self.now
        self.unpark()

    @invariant()
    def counts_add_up(self):
        ledger = self.ledger
        assert set(ledger._entries) == set(self.open)
        flying = [e for e in self.open.values() if e.node]
        assert ledger.in_flight == len(flying)
        assert ledger.parked_count == len(self.open) - len(flying)
        assert ledger.parked_bytes == sum(len(e.event.payload) for e in self.open.values() if not e.node)
        for pool in self.directory.pools[1:]:
            assert pool.in_flight == sum(e.pool is pool for e in self.open.values())
        for node in self.directory:
            assert node.in_flight == sum(e.node is node for e in flying) <= node.capacity
            assert (node in self.directory.pools[0].available) == (node.in_flight < node.capacity)
        assert not (ledger.waiting and self.directory.pools[0].available)

    @invariant()
    def nobody_waits_beyond_the_deadline(self):
        assert all(e.deadline >= self.swept for e in self.open.values())


LedgerMachine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
test_ledger_machine = LedgerMachine.TestCase


def ready(directory, hello_name, *pools, capacity=4):
    node = make_node(hello_name, capacity)
    node.labels = dict.fromkeys(pools, "")
    directory.add(node)
    directory.move(node, NodeState.READY)
    return node


class TestPools:
    """Of two kinds of requests, for nodes that take one or both."""

    @pytest.fixture
    def pools(self, directory, ledger):
        settings = RequestSettings(timeout=1.0, max_in_flight=2, redelivery="never")
        other = add_pool(directory, settings, ledger, takes=lambda node: "other" in node.labels)
        return directory.pools[0], other

    def test_a_node_is_available_in_each_that_takes_it_and_has_one_capacity(self, directory, ledger, pools):
        usual, other = pools
        both, one = ready(directory, "both", "other", capacity=1), ready(directory, "one")
        assert (usual.available, other.available) == ([both, one], [both])
        entry = ledger.open(Asker(), message(), other, both, 0.0)
        assert (usual.available, other.available) == ([one], [])
        ledger.settle(entry.id, 1, both, 0.0)
        assert (usual.available, other.available) == ([one, both], [both])

    def test_each_has_its_own_timeout_and_a_sweep_finds_what_is_late_of_both(self, ledger, pools):
        usual, other = pools
        first = ledger.open(Asker(), message(), usual, None, 0.0)
        second = ledger.open(Asker(), message(), other, None, 0.5)
        assert [ledger.park(first, 6.0), ledger.park(second, 0.5)] == [True, True]
        assert ledger.expire(1.4) == []
        assert ledger.expire(1.5) == [(second, Reason.NO_NODE)]
        assert ledger.expire(10.0) == [(first, Reason.NO_NODE)]
        assert (len(ledger), ledger.waiting) == (0, {})

    def test_a_reply_is_found_whichever_it_is_of(self, directory, ledger, pools):
        node = ready(directory, "both", "other")
        for pool in pools:
            entry = ledger.open(Asker(), message(), pool, node, 0.0)
            assert ledger.extend(entry.id, 1, node, 0.5) is entry
            assert entry.deadline == 20.5
            assert ledger.settle(entry.id, 1, node, 0.6) is entry
        assert (len(ledger), node.in_flight, ledger.held_bytes) == (0, 0, 0)

    def test_more_time_than_is_usual_is_all_of_it_and_to_the_moment(self, directory, ledger):
        node = ready(directory, "both", "slow")
        slow = add_pool(directory, RequestSettings(timeout=25.0), ledger, takes=lambda node: "slow" in node.labels)
        entries = [ledger.open(Asker(), message(), slow, node, now) for now in (0.0, 0.5)]
        usual = ledger.open(Asker(), message(), directory.pools[0], node, 0.75)
        swept = [now for now in range(1, 11) if ledger.expire(float(now))]
        assert swept == []
        assert ledger.expire(10.75) == [(usual, Reason.DEADLINE_EXCEEDED)], "it was behind them"
        swept = [now for now in range(11, 25) if ledger.expire(float(now))]
        assert swept == []
        assert [ledger.expire(now) for now in (24.9, 25.0, 25.4, 25.5)] == [
            [], [(entries[0], Reason.DEADLINE_EXCEEDED)], [], [(entries[1], Reason.DEADLINE_EXCEEDED)],
        ]  # fmt: skip

    @pytest.mark.parametrize("timeout", [1.0, 25.0])
    def test_between_two_parts_may_pass_as_much_as_of_any_other_route(self, directory, ledger, timeout):
        """It is what the node is told of, in its Welcome."""
        node = ready(directory, "both", "own")
        own = add_pool(directory, RequestSettings(timeout=timeout), ledger, takes=lambda node: "own" in node.labels)
        entry = ledger.open(Asker(), message(), own, node, 0.0)
        ledger.extend(entry.id, 1, node, 0.5)
        swept = [now for now in range(1, 21) if ledger.expire(float(now))]
        assert swept == []
        assert ledger.expire(20.4) == []
        assert ledger.expire(20.5) == [(entry, Reason.DEADLINE_EXCEEDED)]

    def test_it_is_never_less_than_for_the_first_part(self, directory):
        ledger = make_ledger(directory, RequestSettings(timeout=10.0, stream_timeout=1.0), 0)
        node = ready(directory, "n")
        entry = opened(ledger, Asker(), message(), node, 0.0)
        ledger.extend(entry.id, 1, node, 5.0)
        assert [ledger.expire(now) for now in (10.0, 14.9)] == [[], []]
        assert ledger.expire(15.0) == [(entry, Reason.DEADLINE_EXCEEDED)]

    def test_what_has_a_limit_of_its_own_takes_no_room_of_others(self, directory):
        ledger = make_ledger(directory, RequestSettings(max_in_flight=3), 0)
        (usual,), node = directory.pools, ready(directory, "n", capacity=100)
        more = add_pool(directory, RequestSettings(max_in_flight=3, timeout=1.0), ledger)
        few = add_pool(directory, RequestSettings(max_in_flight=2), ledger)

        def fill(pool):
            return list(iter(lambda: ledger.open(Asker(), message(), pool, node, 0.0), None))

        first, *_ = mine = fill(few)
        others = [ledger.open(Asker(), message(), more, node, 0.0), *fill(usual)]
        assert (len(mine), len(others), fill(few), fill(more)) == (2, 3, [], [])
        ledger.settle(first.id, 1, node, 0.0)
        assert (fill(usual), len(fill(few))) == ([], 1)
        ledger.settle(others[1].id, 1, node, 0.0)
        assert (fill(few), len(fill(more))) == ([], 1)
        ledger.cancel(ledger.by_connection().popitem()[1])
        ledger.drop(mine[1])
        assert (len(fill(usual)), len(fill(few)), len(ledger)) == (1, 1, 5)
        ledger.expire(10.0)
        assert (len(ledger), len(fill(few)), len(fill(usual))) == (0, 2, 3)

    def test_what_waits_for_one_does_not_hold_up_the_other(self, ledger, pools):
        usual, other = pools
        first, second = (ledger.open(Asker(), message(), pool, None, 0.0) for pool in pools)
        assert [ledger.park(second, 0.0), ledger.park(first, 0.0)] == [True, True]
        assert (list(ledger.waiting), ledger.parked_count) == ([other, usual], 2)
        assert (ledger.unpark(usual), ledger.unpark(usual)) == (first, None)
        assert (list(ledger.waiting), ledger.parked_count, ledger.parked_bytes) == ([other], 1, 1)
        ledger.cancel([second])
        assert (ledger.waiting, ledger.parked_count, ledger.parked_bytes) == ({}, 0, 0)

    def test_limits_and_redelivery_are_each_one_s_own(self, directory, ledger, pools):
        usual, other = pools
        node = ready(directory, "both", "other")
        entries = [ledger.open(Asker(), message(), other, node, 0.0) for _ in range(3)]
        assert entries.pop() is None
        mine = ledger.open(Asker(), message(), usual, node, 0.0)
        assert len(ledger) == 3
        assert ledger.lose(node) == [*entries, mine]
        assert ledger.is_redeliverable(mine, handed_over=True)
        assert not ledger.is_redeliverable(entries[0], handed_over=True)
