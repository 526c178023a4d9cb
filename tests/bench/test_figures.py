import pytest

from bench.figures import Comparison, Figures, Spread
from bench.works.base import Goal, Metric
from tests.bench.results import ALONE, CPU, ROUND_TRIP, UNCOMPARED


def test_the_median_and_the_range():
    assert Figures(ROUND_TRIP).spread("nginx", "cpu_us") == Spread(20.0, 10.0, 30.0)


def test_a_system_without_a_metric():
    assert Figures(ROUND_TRIP).spread("Pushpin", "per_second") is None
    assert Figures(ROUND_TRIP).spread("HAProxy", "cpu_us") is None


def test_ratios_are_of_the_same_run():
    """0.8, 0.4, 1.0: the median of the ratios, not the ratio of the medians (0.4)."""
    assert Figures(ROUND_TRIP).ratio("nginx", "cpu_us") == Spread(0.8, 0.4, 1.0)


def test_no_ratio_to_nothing():
    samples = {"nginx": [{"cpu_us": 0.0}], "Holdfast": [{"cpu_us": 1.0}]}
    assert Figures(ROUND_TRIP._replace(samples=samples)).ratio("nginx", "cpu_us") is None


def test_goals():
    by_goal = [(each.metric.key, each.peer, each.is_met) for each in Figures(ROUND_TRIP).goals()]
    assert by_goal == [("cpu_us", "nginx", True), ("per_second", "nginx", False)]
    assert [each.is_met for each in Figures(ALONE).goals()] == [True]
    assert [each.is_met for each in Figures(UNCOMPARED).goals()] == [None]


@pytest.mark.parametrize(
    ("value", "at_least", "is_met"),
    [(0.9, False, True), (0.91, False, False), (0.9, True, True), (0.89, True, False)],
)
def test_the_limit_itself_is_within(value, at_least, is_met):
    spread = Spread(value, 0.1, 9.0)
    assert Comparison(CPU, "nginx", Goal("cpu_us", 0.9, "nginx", at_least), spread).is_met is is_met


def test_peers_without_a_goal_are_compared_in_the_first_metric():
    [*_, last] = Figures(ROUND_TRIP).comparisons()
    assert last == Comparison(Metric("cpu_us", "CPU per message", "us"), "Pushpin", None, Spread(0.1, 0.1, 0.375))
    assert last.is_met is None
