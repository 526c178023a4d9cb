"""A bounded memory."""

import pytest

from balancer.cluster.remembered import Remembered


def test_a_key_is_new_once():
    it = Remembered(10)
    assert it.add("a")
    assert not it.add("a")
    assert it.add("b")


def test_it_is_known_for_one_turn_and_forgotten_after_the_second():
    it = Remembered(10)
    it.add("a")
    it.turn()
    assert not it.add("a")
    it.turn()
    assert it.add("a")


def test_it_does_not_grow_beyond_its_limit():
    it = Remembered(10)
    for number in range(1000):
        it.add(number)
        assert len(it) <= 10
    assert not it.add(999)
    assert it.early == 199


def test_a_limit_below_two_is_none():
    with pytest.raises(ValueError, match="at least 2"):
        Remembered(1)
