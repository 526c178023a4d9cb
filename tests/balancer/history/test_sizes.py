"""Which of many is among the largest."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.history.sizes import Sizes


@dataclass(eq=False)
class Thing:
    size: int
    change: int = 0
    rank: int = 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-3000, 3000)), min_size=1, max_size=60))
def test_it_is_at_least_half_as_large_as_the_largest(steps):
    things, sizes = {}, Sizes()
    for which, by in steps:
        if which not in things:
            things[which] = Thing(abs(by))
            sizes.add(things[which])
        elif things[which].size + by < 0:
            sizes.remove(things.pop(which))
        else:
            sizes.change(things[which], by)
        assert sizes.total == sum(thing.size for thing in things.values())
        if things:
            assert 2 * sizes.largest().size >= max(thing.size for thing in things.values())


def test_among_its_like_it_is_the_one_that_grew_longest_ago():
    sizes, things = Sizes(), [Thing(100), Thing(100), Thing(100)]
    for thing in things:
        sizes.add(thing)
    assert sizes.largest() is things[0]
    sizes.change(things[0], 10)
    assert sizes.largest() is things[1]
    sizes.change(things[1], -1)
    assert sizes.largest() is things[1], "to shrink is not to grow"
