"""Whom a proxy hears, asked again and again: an answer holds for one moment, and only while nothing comes."""

import pytest

from holdfast.balancer.cluster.hearing import Hearing


@pytest.fixture
def hearing():
    hearing = Hearing(2.0)
    hearing.heard("a", 1.0)
    hearing.heard("b", 2.0)
    assert hearing.now(2.0) == {"a", "b"}
    return hearing


def test_who_says_nothing_is_not_heard_any_more(hearing):
    assert hearing.now(3.0) == {"a", "b"}
    assert hearing.now(3.1) == {"b"}
    assert hearing.now(4.1) == set()
    assert hearing.silent_since("a") == 1.0


def test_it_is_the_same_object_while_it_is_the_same_answer(hearing):
    """Whoever has worked something out of it need not do that again."""
    answer = hearing.now(2.0)
    hearing.heard("a", 2.5)
    assert hearing.now(2.5) is answer


def test_what_comes_counts_in_the_same_moment(hearing):
    hearing.heard("c", 2.0)
    assert hearing.now(2.0) == {"a", "b", "c"}
    hearing.left("a")
    assert hearing.now(2.0) == {"b", "c"}
    assert hearing.silent_since("a") == 1.0
    hearing.forget("b")
    assert hearing.now(2.0) == {"c"}
    with pytest.raises(KeyError):
        hearing.silent_since("b")


def test_nobody_is_heard_after_we_were_away(hearing):
    hearing.awoke(2.0)
    assert hearing.now(2.0) == set()
    assert hearing.silent_since("a") == 2.0


def test_a_member_that_was_never_heard_is_silent_from_then_on(hearing):
    hearing.joined("c", 2.5)
    hearing.joined("a", 2.5)
    assert hearing.silent_since("c") == 2.5
    assert hearing.silent_since("a") == 1.0
    assert "c" not in hearing.now(2.5)
