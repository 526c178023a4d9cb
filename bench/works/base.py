"""What a measurement is: for which systems, which figures it gives, and what Holdfast should reach."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from bench.load import Outcome
from bench.process import Process, machine_seconds
from bench.systems.base import CPUS, Start, System

MESSAGE_BYTES = 160


class Scale(NamedTuple):
    """How long everything takes. seconds: of one measurement under load. deliveries: of one of fan-out."""

    runs: int
    warm_up: float
    seconds: float
    deliveries: int


FULL = Scale(runs=5, warm_up=0.7, seconds=2.0, deliveries=200_000)
QUICK = Scale(runs=2, warm_up=0.4, seconds=0.8, deliveries=100_000)


class Metric(NamedTuple):
    """One figure of a measurement. key: its name in a sample. digits: behind the point, when it is printed."""

    key: str
    name: str
    unit: str
    digits: int = 2


class Goal(NamedTuple):
    """What Holdfast should reach in one metric: so much of what `peer` has in the same run, or so much by itself."""

    metric: str
    limit: float
    peer: str | None = None
    at_least: bool = False


Sample = dict[str, float]  # one run of one system: values by metric key, and more about the same run


class Work(NamedTuple):
    """One measurement for several systems, by name. The first metric is what it is about. in_quick: in --quick too."""

    group: str
    name: str
    systems: Mapping[str, Start]
    metrics: tuple[Metric, ...]
    goals: tuple[Goal, ...]
    measure: Callable[[System, Scale], Sample]
    in_quick: bool = True


CPU = Metric("cpu_us", "CPU per message", "us")
PER_SECOND = Metric("per_second", "per second", "", 0)
P50 = Metric("p50_us", "p50", "us", 0)
P99 = Metric("p99_us", "p99", "us", 0)
P999 = Metric("p999_us", "p99.9", "us", 0)


class Generator(Protocol):
    """bench.load.Load, or another with a process."""

    process: Process


def measure_cpu(system: System, load: Generator, run: Callable[[], Outcome]) -> Sample:
    """CPU for one message or delivery. Nothing is in flight before and after, so what was done is what was counted."""
    processes = [system.measured, load.process, *system.behind]
    machine = machine_seconds(CPUS)
    before = [process.cpu_seconds() for process in processes]
    outcome = run()
    measured, *others = (process.cpu_seconds() - cpu for process, cpu in zip(processes, before, strict=True))
    machine = machine_seconds(CPUS) - machine
    return {
        "cpu_us": measured / outcome.messages * 1e6,
        "messages": float(outcome.messages),
        "per_second": outcome.messages / outcome.seconds,
        "p50_us": outcome.p50_us,
        "p99_us": outcome.p99_us,
        "p999_us": outcome.p999_us,
        "max_us": outcome.max_us,
        "cpu_share": measured / outcome.seconds,
        "rest_share": sum(others) / outcome.seconds,
        "foreign_share": max(0.0, machine - measured - sum(others)) / outcome.seconds,
    }
