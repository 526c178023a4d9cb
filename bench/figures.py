"""From many runs to one figure: the median and the range, and ratios of what was measured in the same run."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench.results import Result
from bench.works.base import Goal, Metric

OURS = "Holdfast"


class Spread(NamedTuple):
    """Of the values of several runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    def divided_by(self, divisor: float) -> "Spread":
        return Spread(*(value / divisor for value in self))


class Comparison(NamedTuple):
    """Ours in one metric. value: its ratio to the peer's, run by run; without a peer, what it is.

    None: it was not measured, or the peer's is 0.
    """

    metric: Metric
    peer: str | None
    goal: Goal | None
    value: Spread | None

    @property
    def is_met(self) -> bool | None:
        """None: there is no goal, or nothing to hold against it."""
        if self.goal is None or self.value is None:
            return None
        value, limit = self.value.median, self.goal.limit
        return value >= limit if self.goal.at_least else value <= limit


class Figures:
    """What the runs of one work come to. Not every system need have every metric."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.metrics = {metric.key: metric for metric in result.metrics}

    def spread(self, system: str, key: str) -> Spread | None:
        """None if this system's samples have no such value."""
        values = [sample[key] for sample in self.result.samples.get(system, ()) if key in sample]
        return Spread.of(values) if values else None

    def ratio(self, peer: str, key: str) -> Spread | None:
        """Ours to the peer's, of the same run."""
        samples = self.result.samples
        pairs = zip(samples.get(OURS, ()), samples.get(peer, ()), strict=False)
        ratios = [ours[key] / theirs[key] for ours, theirs in pairs if key in ours and theirs.get(key)]
        return Spread.of(ratios) if ratios else None

    def goals(self) -> list[Comparison]:
        return [self._compare(self.metrics[goal.metric], goal.peer, goal) for goal in self.result.goals]

    def comparisons(self) -> list[Comparison]:
        """The goals, and in the first metric every peer that has none."""
        goals = self.goals()
        first = self.result.metrics[0]
        told = {(goal.metric.key, goal.peer) for goal in goals}
        peers = [system for system in self.result.samples if system != OURS and (first.key, system) not in told]
        others = [self._compare(first, peer, None) for peer in peers]
        return [*goals, *(other for other in others if other.value is not None)]

    def _compare(self, metric: Metric, peer: str | None, goal: Goal | None) -> Comparison:
        value = self.spread(OURS, metric.key) if peer is None else self.ratio(peer, metric.key)
        return Comparison(metric, peer, goal, value)
