"""From many runs to one figure: the median and the range, and ratios of what was measured in the same run."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench.works.base import Goal, Sample, Work

OURS = "Holdfast"


class Spread(NamedTuple):
    """Of the values of several runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


class Verdict(NamedTuple):
    """What became of a goal. value: Holdfast's, or with a peer its ratio to the peer's, run by run."""

    goal: Goal
    value: Spread

    @property
    def is_met(self) -> bool:
        value, limit = self.value.median, self.goal.limit
        return value >= limit if self.goal.at_least else value <= limit


class Figures:
    """All runs of one work. samples: by system, one for each run, in the order of runs."""

    def __init__(self, work: Work, samples: dict[str, list[Sample]]) -> None:
        self.work = work
        self.samples = samples

    def spread(self, system: str, key: str) -> Spread | None:
        """None if this system's samples have no such value."""
        values = [sample[key] for sample in self.samples[system] if key in sample]
        return Spread.of(values) if values else None

    def ratio(self, peer: str, key: str) -> Spread:
        """Ours to the peer's, of the same run."""
        pairs = zip(self.samples[OURS], self.samples[peer], strict=True)
        return Spread.of([ours[key] / theirs[key] for ours, theirs in pairs])

    def verdicts(self) -> list[Verdict]:
        found = []
        for goal in self.work.goals:
            value = self.spread(OURS, goal.metric) if goal.peer is None else self.ratio(goal.peer, goal.metric)
            assert value is not None, goal
            found.append(Verdict(goal, value))
        return found
