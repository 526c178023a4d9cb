"""A bounded memory of what was appended."""

import pytest

from holdfast.balancer.history.identities import MAX_GENERATIONS, Identities


@pytest.fixture
def known():
    return Identities(1000, 60.0)


def test_each_is_known_with_its_place_in_its_channel(known):
    known.add("a", b"i", "epoch", 7, 0.0)
    assert known.find("a", b"i") == ("epoch", 7)
    assert known.find("a", b"j") is None
    assert known.find("b", b"i") is None


def test_each_is_known_for_the_interval_and_not_for_ever(known):
    known.add("a", b"1", "e", 1, 0.0)
    known.add("a", b"2", "e", 2, 59.0)
    known.add("a", b"3", "e", 3, 61.0)
    known.tick(118.9)
    assert known.find("a", b"2") == ("e", 2)
    known.tick(120.0)
    assert known.find("a", b"1") is None
    known.tick(120.9)
    assert known.find("a", b"3") == ("e", 3)
    known.tick(181.0)
    assert known.find("a", b"3") is None
    assert len(known) == 0
    assert known.early == 0


def test_beyond_the_limit_the_oldest_go(known):
    for number in range(1500):
        known.add(f"{number % 10}", b"%d" % number, "e", number, number / 10)
    assert len(known) <= 1000
    assert known.early
    assert known.find("9", b"1499") == ("e", 1499)
    assert known.find("0", b"0") is None


def test_one_channel_has_no_more_epochs_than_that(known):
    for number in range(2 * MAX_GENERATIONS):
        known.add("a", b"%d" % number, f"epoch {number}", 1, 0.0)
    assert len(known) == MAX_GENERATIONS
    assert known.find("a", b"31") == ("epoch 31", 1)
    known.tick(1000.0)
    assert len(known) == 0


def test_what_is_forgotten_is_given_back_little_by_little(known):
    for number in range(999):
        known.add("a", b"%d" % number, "e", number, 0.0)
    known.tick(120.0)
    assert len(known) == 0
    held = [len(each) for each in known._fading]
    assert sum(held) > 900
    for _ in range(300):
        known.tick(120.0)
    assert not known._fading
