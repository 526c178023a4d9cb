"""Nodes that say that they have more: how often their word counts."""

from holdfast.proxy.nodes import ahead
from holdfast.proxy.nodes.ahead import Seldom


def test_each_passes_once_in_a_while():
    it = Seldom(60.0)
    passed = [it.passes(name, now) for name, now in [("a", 0.0), ("a", 59.0), ("b", 59.0), ("a", 60.0), ("a", 61.0)]]
    assert passed == [True, False, True, True, False]


def test_the_one_that_passed_longest_ago_is_forgotten(monkeypatch):
    monkeypatch.setattr(ahead, "MAX_NAMES", 2)
    it = Seldom(10.0)
    for name, now in [("a", 0.0), ("b", 1.0), ("a", 10.0), ("c", 10.0)]:
        assert it.passes(name, now)
    assert [it.passes(name, 10.5) for name in "ac"] == [False, False]
    assert it.passes("b", 10.5)
