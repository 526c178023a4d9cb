"""A notification to all members of a channel: CPU of the proxy for each delivery."""

from functools import partial

from bench.load import connect
from bench.systems.base import System
from bench.systems.holdfast import holdfast
from bench.systems.send_loop import send_loop
from bench.works.base import P50, P99, PER_SECOND, Goal, Metric, Sample, Scale, Work, measure_cpu

CPU = Metric("cpu_us", "CPU per delivery", "us")


def fan_out(members: int, system: System, scale: Scale) -> Sample:
    """CPU of the measured process for one delivery of a notification; the next is sent when all have the last."""
    with connect(system, members) as load:
        system.wait_members()
        rounds = scale.deliveries // members
        load.fan(max(5, rounds // 10))
        return measure_cpu(system, load, lambda: load.fan(rounds))


WORKS = tuple(
    Work(
        group="fan-out",
        name=f"Fan-out delivery, 128 B, {members:,} subscribers",
        systems={"C send loop": send_loop, "Holdfast": partial(holdfast, members)},
        metrics=(CPU, PER_SECOND, P50, P99),
        goals=(Goal("cpu_us", 1.15, "C send loop"),),
        measure=partial(fan_out, members),
    )
    for members in (1000, 5000)
)
