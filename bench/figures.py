"""From many runs to one figure: the median and the range, and ratios of what was measured in the same run."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from bench.works import Sample, Work

OURS = "Holdfast"


class Spread(NamedTuple):
    """Of the values of several runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


class Figure(NamedTuple):
    """One system in one work. ratio: to the base, run by run; None for the base itself, and without one."""

    work: Work
    system: str
    samples: list[Sample]
    value: Spread
    ratio: Spread | None

    def detail(self, name: str) -> float | None:
        """The median over the runs, None if this work has no such detail."""
        values = [sample.details[name] for sample in self.samples if name in sample.details]
        return median(values) if values else None

    @property
    def is_goal_met(self) -> bool | None:
        """None: nothing was promised for this system."""
        if self.system != OURS:
            return None
        return (self.value if self.ratio is None else self.ratio).median <= self.work.goal


def figures(work: Work, samples: dict[str, list[Sample]]) -> list[Figure]:
    """samples: by system, one for each run, in the order of runs."""
    result = []
    for system, own in samples.items():
        values = [sample.value for sample in own]
        ratio = None
        if work.base is not None and system != work.base:
            base = [sample.value for sample in samples[work.base]]
            ratio = Spread.of([value / other for value, other in zip(values, base, strict=True)])
        result.append(Figure(work, system, own, Spread.of(values), ratio))
    return result
