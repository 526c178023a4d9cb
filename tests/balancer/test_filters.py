"""Filters with wildcards, and the tree of them beside a matcher that is plain to see."""

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.filters import MAX_LEVELS, MAX_LOOKED_AT, MAX_ONES, Filters, TooManyFilters
from holdfast.protocols.errors import ConfigError

CHANNELS = st.lists(st.sampled_from(["a", "b", "", "$s", "+", "#"]), min_size=1, max_size=4).map("/".join).filter(bool)
WORDS = st.lists(st.sampled_from(["a", "b", "", "$s", "+"]), max_size=3)
FILTERS = st.builds(lambda words, end: "/".join(words + end), WORDS, st.sampled_from([[], ["#"]])).filter(bool)


def takes(pattern, channel):
    """MQTT 3.1.1, section 4.7, level by level."""
    if channel[:1] == "$" and pattern[0] in "+#":
        return False
    mine, theirs = pattern.split("/"), channel.split("/")
    if mine[-1] == "#":
        mine = mine[:-1]
        theirs = theirs[: len(mine)]
    return len(mine) == len(theirs) and all(one in ("+", other) for one, other in zip(mine, theirs, strict=True))


@given(st.lists(st.tuples(st.booleans(), FILTERS, st.integers(0, 3)), max_size=30), CHANNELS)
def test_tree_is_what_the_plain_matcher_says(steps, channel):
    filters, naive = Filters(), set()
    for is_added, pattern, member in steps:
        pair = pattern, member
        if is_added:
            assert filters.add(pattern, member) is (pair not in naive)
            naive.add(pair)
        else:
            assert filters.remove(pattern, member) is (pair in naive)
            naive.discard(pair)
    found = filters.match(channel)
    assert len(found) == len(set(found))
    assert set(found) == {member for pattern, member in naive if takes(pattern, channel)}
    assert len(filters) == len(naive)
    for pattern, member in naive:
        filters.remove(pattern, member)
    assert not filters._root.below
    assert not filters._held_levels


@pytest.mark.parametrize(
    "pattern", ["", "a+", "+a/b", "a/#/b", "a#", "/".join("a" * (MAX_LEVELS + 1)), "+/" * (MAX_ONES + 1)]
)
def test_what_is_no_filter_is_refused(pattern):
    with pytest.raises(ConfigError):
        Filters().add(pattern, 1)


def test_a_channel_of_more_levels_than_any_filter_is_taken_by_an_open_one_only():
    filters = Filters()
    filters.add("/".join("a" * MAX_LEVELS), 1)
    filters.add("a/#", 2)
    assert filters.match("/".join("a" * (MAX_LEVELS + 8))) == [2]


def calls(filters, channel):
    """What a match calls: a few for each level of the tree that it looks at. And whom it finds."""
    called = []
    sys.setprofile(lambda frame, event, argument: called.append(event))
    try:
        found = filters.match(channel)
    finally:
        sys.setprofile(None)
    return called.count("c_call"), found


def test_a_channel_with_a_level_that_looks_like_a_filter_is_looked_for_once():
    filters = Filters()
    filters.add("+/+/+/a", 1)
    plain, found = calls(filters, "x/x/x/a")
    marked, found_marked = calls(filters, "+/+/+/a")
    assert found == found_marked == [1]
    assert marked <= plain


def test_whatever_filters_are_held_a_channel_is_looked_for_at_so_many_places():
    """All filters of which each has `a` and up to three `+`: every way through the tree that there can be."""
    filters = Filters()
    for ones in range(MAX_ONES + 1):
        for places in itertools.combinations(range(MAX_LEVELS), ones):
            filters.add("/".join("+" if place in places else "a" for place in range(MAX_LEVELS)), len(filters))
    most, found = calls(filters, "/".join("a" * MAX_LEVELS))
    assert len(found) == len(filters) == 697
    assert MAX_LOOKED_AT <= most <= 6 * MAX_LOOKED_AT
    for number in range(3000):
        filters.add(f"{number}/" + "/".join("+a+a+a"), len(filters))
    assert calls(filters, "/".join("a" * MAX_LEVELS))[0] == most


def test_so_many_filters_are_held():
    filters = Filters(max_filters=2)
    assert filters.add("a", 1)
    assert filters.add("a", 2)
    with pytest.raises(TooManyFilters):
        filters.add("a", 3)
    assert not filters.add("a", 1)
    assert (filters.match("a"), len(filters)) == ([1, 2], 2)
    filters.remove("a", 1)
    assert filters.add("#", 3)


def test_filters_of_so_many_levels_are_held():
    filters = Filters(max_held_levels=5)
    assert filters.add("a/b/c/#", 1)
    with pytest.raises(TooManyFilters):
        filters.add("a/x/y/z", 2)
    assert filters.match("a/x/y/z") == []
    assert filters.add("a/b/x/y", 2)
    assert filters.add("a/b", 3)
    filters.remove("a/b/x/y", 2)
    assert filters.add("x/+", 2)
    assert filters.match("x/7") == [2]
