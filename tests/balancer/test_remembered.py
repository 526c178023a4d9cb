"""A bounded memory of requests."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.remembered import BLOCK, BLOCK_BYTES, Remembered

MUCH = 1 << 20


def test_a_request_is_new_once():
    it = Remembered(MUCH, 60.0)
    assert it.add("a", 5, 1)
    assert not it.add("a", 5, 1)
    assert it.add("a", 6, 1)
    assert it.add("b", 5, 1)
    assert it.add("a", 5 + BLOCK, 1)


def test_parts_of_a_reply_are_told_apart():
    it = Remembered(MUCH, 60.0)
    assert [it.add("a", 5, part) for part in (1, 2, 4, 1, 2, 4, 5)] == [True, True, True, False, False, False, True]
    assert it.add("a", 6, 4)


def test_a_part_of_a_reply_is_not_taken_for_other_requests():
    it = Remembered(MUCH, 60.0)
    it.add("a", 1, 1)
    assert it.add("a", 0, 2)


requests = st.tuples(st.sampled_from("ab"), st.integers(0, 3000) | st.integers(2**56, 2**56 + 3000))


@given(st.lists(requests))
def test_it_knows_what_was_added_and_nothing_else(keys):
    it = Remembered(MUCH, 60.0)
    known = set()
    for home, request in keys:
        assert it.add(home, request, 1) == ((home, request) not in known)
        known.add((home, request))


def test_it_is_known_for_the_interval_and_forgotten_after_two():
    it = Remembered(MUCH, 60.0)
    it.tick(0.0)
    it.add("a", 1, 1)
    it.tick(59.9)
    it.tick(60.0)
    assert not it.add("a", 1, 1)
    it.tick(119.0)
    assert not it.add("a", 1, 1)
    it.tick(120.0)
    assert it.add("a", 1, 1)


def test_the_interval_begins_with_the_first_look():
    it = Remembered(MUCH, 60.0)
    it.add("a", 1, 1)
    it.tick(0.0)
    it.tick(60.0)
    assert not it.add("a", 1, 1)


def test_without_room_it_knows_the_last_and_those_before():
    it = Remembered(0, 60.0)
    for number in range(3):
        it.add("a", number * BLOCK, 1)
    assert len(it) == 2
    assert it.early == 2


def test_it_does_not_grow_beyond_its_limit():
    it = Remembered(10 * BLOCK_BYTES, 60.0)
    for number in range(1000):
        assert it.add("a", number * BLOCK, 1)
        assert len(it) <= 10
    assert not it.add("a", 999 * BLOCK, 1)
    assert it.early == 199


def test_requests_that_follow_each_other_take_little():
    it = Remembered(10 * BLOCK_BYTES, 60.0)
    for number in range(5 * BLOCK):
        assert it.add("a", number, 1)
    assert it.early == 0
    assert len(it) == 5


def test_it_says_what_it_knows_and_adds_nothing_by_that():
    of = Remembered(1 << 20, 60.0)
    assert not of.knows("a", 7, 1)
    of.add("a", 7, 1)
    of.add("a", 8, 2)
    assert of.knows("a", 7, 0)
    assert of.knows("a", 7, 1)
    assert not of.knows("a", 6, 1)
    assert not of.knows("b", 7, 1)
    assert of.knows("a", 8, 2)
    assert not of.knows("a", 8, 3)
    assert not of.knows("a", 8, 1)
    assert of.add("a", 6, 1)
    for now in (0.0, 60.0):
        of.tick(now)
    assert of.knows("a", 7, 1), "of the time before"
    assert of.knows("a", 8, 2)
    of.tick(120.0)
    assert not of.knows("a", 7, 1)
    assert not of.knows("a", 8, 2)
