"""Questions for counts: answered once, in time, and not without bound."""

from holdfast.balancer.cluster import counting
from holdfast.balancer.cluster.counting import Counting
from holdfast.protocols.peers.frames import CountIs, WantCount


def asked(it, told, *peers, ends=1.0):
    return it.ask(lambda number: WantCount(number, "c"), {"me": 1}, peers, ends, told.append)


def test_all_have_answered():
    it, told = Counting(), []
    question = asked(it, told, "a", "b")
    assert question.channel == "c"
    it.answered("a", CountIs(question.ask, 2))
    assert told == []
    it.answered("b", CountIs(question.ask, 0))
    it.expire(5.0)
    assert told == [{"me": 1, "a": 2, "b": 0}]


def test_who_does_not_answer_in_time_counts_nothing():
    it, told = Counting(), []
    question = asked(it, told, "a", "b")
    it.answered("a", CountIs(question.ask, 2))
    it.expire(0.9)
    assert told == []
    it.expire(1.0)
    it.answered("b", CountIs(question.ask, 9))
    assert told == [{"me": 1, "a": 2}]


def test_only_who_was_asked_and_only_once():
    it, told = Counting(), []
    question = asked(it, told, "a", "b")
    it.answered("x", CountIs(question.ask, 7))
    it.answered("a", CountIs(question.ask + 1, 7))
    it.answered("a", CountIs(question.ask, 2))
    it.answered("a", CountIs(question.ask, 8))
    it.expire(1.0)
    assert told == [{"me": 1, "a": 2}]


def test_there_is_a_limit(monkeypatch):
    monkeypatch.setattr(counting, "LIMIT", 2)
    it, told = Counting(), []
    assert asked(it, told, "a") is not None
    second = asked(it, told, "a")
    assert asked(it, told, "a") is None
    it.answered("a", CountIs(second.ask, 0))
    assert asked(it, told, "a") is not None
