"""A notification to all members of a channel: CPU of the proxy for each delivery, and when the last one has it."""

from functools import partial

from bench.limits import limit
from bench.load import connect
from bench.systems.base import System
from bench.systems.holdfast import INTERPRETED, holdfast, interpreted_holdfast
from bench.systems.nchan import nchan
from bench.systems.send_loop import send_loop
from bench.works.base import PER_SECOND, Goal, Metric, Sample, Scale, Work, measure_cpu

CPU = Metric("cpu_us", "CPU per delivery", "us")
P50 = Metric("p50_ms", "p50 to all", "ms", 1)
P99 = Metric("p99_ms", "p99 to all", "ms", 1)
LEAST_ROUNDS = 20
IN_QUICK = 5000
SIZES = (1000, 5000, 20_000)


def fan_out(members: int, system: System, scale: Scale) -> Sample:
    """CPU of the measured process for one delivery of a notification; the next is sent when all have the last."""
    with connect(system, members) as load:
        system.wait_members()
        rounds = max(LEAST_ROUNDS, scale.deliveries // members)
        load.fan(max(5, rounds // 10))
        sample = measure_cpu(system, load, lambda: load.fan(rounds))
    return {**sample, "p50_ms": sample["p50_us"] / 1000, "p99_ms": sample["p99_us"] / 1000}


def _work(members: int) -> Work:
    return Work(
        group="fan-out",
        name=f"Fan-out delivery, 128 B, {members:,} subscribers",
        systems={
            "Nchan": partial(nchan, members),
            "C send loop": send_loop,
            "Holdfast": partial(holdfast, members),
            INTERPRETED: partial(interpreted_holdfast, members),
        },
        metrics=(CPU, PER_SECOND, P50, P99),
        goals=(Goal("cpu_us", 0.7, "Nchan"), Goal("cpu_us", 1.15, "C send loop")),
        measure=partial(fan_out, members),
        in_quick=members <= IN_QUICK,
    )


WORKS = tuple(_work(min(size, limit().connections)) for size in SIZES)
