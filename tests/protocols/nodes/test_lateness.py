"""How late a turn may be."""

import pytest

from holdfast.protocols.nodes.lateness import LONGEST, Excuse, tolerated


@pytest.mark.parametrize(
    ("interval", "timeout", "seconds"),
    [
        (0.5, 2.0, 0.5),
        (0.5, 1.5, 0.25),
        (0.5, 1e6, LONGEST),
        (0.8, 1.6001, 0.2),  # not 0.05 ms
        (0.8, 2.0, 0.2),
        (1e3, 2e3 + 1.0, LONGEST),
    ],
)
def test_half_of_what_is_left_is_tolerated_but_never_nothing(interval, timeout, seconds):
    assert tolerated(interval, timeout) == pytest.approx(seconds)


def test_of_turns_that_are_late_one_after_another_each_second_one_judges():
    excuse = Excuse(0.5)
    turns = [(excuse.is_late(seconds), excuse.is_given) for seconds in (0.4, 9.0, 9.0, 9.0, 0.1, 9.0)]
    assert turns == [(False, False), (True, True), (True, False), (True, True), (False, False), (True, True)]
