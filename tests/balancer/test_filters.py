"""Filters with wildcards, and the tree of them beside a matcher that is plain to see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.filters import MAX_LEVELS, Filters
from holdfast.protocols.errors import ConfigError

CHANNELS = st.lists(st.sampled_from(["a", "b", "", "$s"]), min_size=1, max_size=4).map("/".join).filter(bool)
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


@pytest.mark.parametrize("pattern", ["", "a+", "+a/b", "a/#/b", "a#", "/".join("a" * (MAX_LEVELS + 1))])
def test_what_is_no_filter_is_refused(pattern):
    with pytest.raises(ConfigError):
        Filters().add(pattern, 1)


def test_a_channel_of_more_levels_than_any_filter_is_taken_by_an_open_one_only():
    filters = Filters()
    filters.add("/".join("a" * MAX_LEVELS), 1)
    filters.add("a/#", 2)
    assert filters.match("/".join("a" * (MAX_LEVELS + 8))) == [2]
