"""Two proxies on one port beside one: what a second process adds.

A pipeline is a proxy, a node and a load generator on one CPU, which they keep busy. One proxy has one pipeline, and the
other CPU is idle; two proxies have two, and the kernel gives each generator's connections to either of them. So the
ratio of what passes shows what processes and CPUs cost each other. It does not show the throughput of a proxy that has
a CPU for itself; that is in the CPU of one message, which should be the same for one proxy and two.
"""

from contextlib import ExitStack
from functools import partial

from bench.load import Load, Outcome, connect
from bench.systems.base import CPUS, System
from bench.systems.fleet import several_proxies
from bench.works.base import CPU, MESSAGE_BYTES, PER_SECOND, Goal, Metric, Sample, Scale, Work

PROXIES = len(CPUS)
CONNECTIONS = 200  # of each generator


def processes(system: System, scale: Scale) -> Sample:
    proxies = [system.measured, *system.more_measured]
    with ExitStack() as stack:
        loads = [
            stack.enter_context(connect(system, CONNECTIONS, size=MESSAGE_BYTES, cpu=cpu))
            for cpu, _ in zip(CPUS, proxies, strict=False)
        ]
        _echo(loads, scale.warm_up)
        before = [proxy.cpu_seconds() for proxy in proxies]
        outcomes = _echo(loads, scale.seconds)
        spent = [proxy.cpu_seconds() - cpu for proxy, cpu in zip(proxies, before, strict=True)]
    messages = sum(outcome.messages for outcome in outcomes)
    return {
        "per_second": sum(outcome.messages / outcome.seconds for outcome in outcomes),
        "cpu_us": sum(spent) / messages * 1e6,
        "most_share": max(spent) / sum(spent) * 100,
    }


def _echo(loads: list[Load], seconds: float) -> list[Outcome]:
    """All at the same time."""
    for load in loads:
        load.begin_echo(seconds)
    return [load.end_echo() for load in loads]


WORKS = (
    Work(
        group="processes",
        name=f"{PROXIES} proxies on one port",
        systems={"1 proxy": partial(several_proxies, 1), "Holdfast": partial(several_proxies, PROXIES)},
        metrics=(PER_SECOND, CPU, Metric("most_share", "work of the busier proxy", "%", 0)),
        goals=(Goal("per_second", 1.85, "1 proxy", at_least=True),),
        measure=processes,
        in_quick=False,
    ),
)
