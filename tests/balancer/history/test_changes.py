"""In which order things have last changed."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.history.changes import SLACK, Changes


@dataclass
class Thing:
    name: int
    change: int = 0


@given(st.lists(st.integers(0, 5) | st.just("forget 3"), max_size=100), st.integers(1, 4))
def test_each_that_changed_is_told_once_and_in_order(steps, limit):
    things = {}
    changes, expected, seen = Changes(), {}, 0
    for step in steps:
        if step == "forget 3":
            if 3 in things:
                things.pop(3).change = 0
                expected.pop(3, None)
            continue
        changes.add(things.setdefault(step, Thing(step)), len(things))
        expected.pop(step, None)
        expected[step] = None
        if step == 0:
            found = changes.since(seen, limit)
            assert [thing.name for thing in found] == list(expected)[:limit]
            seen = found[-1].change
            for thing in found:
                del expected[thing.name]


def test_it_does_not_grow_with_the_number_of_changes():
    changes = Changes()
    one, other = Thing(1), Thing(2)
    changes.add(other, 2)
    for _ in range(20 * SLACK):
        changes.add(one, 2)
        assert len(changes._numbers) <= SLACK + 4
    assert changes.since(0, 10) == [other, one]
    assert changes.since(1, 10) == [one]
