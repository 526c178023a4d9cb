import random

import pytest

from holdfast.chaos.histogram import Histogram


def histogram(times):
    made = Histogram()
    for seconds in times:
        made.add(seconds)
    return made


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 0.999, 1.0])
def test_a_percentile_is_right_to_2_percent(share):
    source = random.Random(3)
    times = [source.lognormvariate(-6, 1.5) for _ in range(5000)]
    exact = sorted(times)[round(share * 5000) - 1]
    assert histogram(times).percentile(share) == pytest.approx(exact, rel=0.02)


def test_the_longest_is_exact_and_no_percentile_is_longer():
    made = histogram([0.001, 0.7654321])
    assert (made.count, made.longest) == (2, 0.7654321)
    assert made.percentile(1.0) <= made.longest


def test_none_and_nothing():
    assert histogram([]).percentile(0.5) == 0.0
    assert histogram([0.0]).percentile(0.5) == 0.0


def test_memory_does_not_grow_with_the_number_of_times():
    made = histogram(seconds / 1e5 for seconds in range(1, 100_000))
    assert len(made._counts) < 600
