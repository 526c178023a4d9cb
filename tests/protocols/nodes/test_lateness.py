"""How late a turn may be."""

import pytest

from holdfast.protocols.nodes.lateness import LONGEST, tolerated


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
