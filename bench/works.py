"""The measurements. Each takes a freshly started system and gives one sample; the load generator checks results."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from bench.load import Load, Outcome, connect
from bench.process import machine_seconds
from bench.systems import CPUS, Start, System, haproxy, holdfast, nginx, send_loop

MESSAGE_BYTES = 160
MEMORY_CONNECTIONS = 5000
# Without them what a heap keeps after its first handshakes would count for, or against, those that are measured.
FORMER_CONNECTIONS = 1000


class Scale(NamedTuple):
    """How long everything takes. seconds: of one round-trip measurement. deliveries: of one of fan-out."""

    runs: int
    warm_up: float
    seconds: float
    deliveries: int


FULL = Scale(runs=5, warm_up=1.0, seconds=4.0, deliveries=400_000)
QUICK = Scale(runs=3, warm_up=0.5, seconds=1.0, deliveries=100_000)


class Sample(NamedTuple):
    """One run of one system. value is in the work's unit; the rest is about the same run, by name."""

    value: float
    details: dict[str, float]


class Work(NamedTuple):
    """One measurement for several systems. What is measured first is `base`, to which the ratios are.

    goal: the most that Holdfast may have, as ratio to base, or in `unit` when there is no base.
    """

    group: str
    name: str
    unit: str
    systems: Mapping[str, Start]
    base: str | None
    goal: float
    measure: Callable[[System, Scale], Sample]


def round_trip(connections: int, system: System, scale: Scale) -> Sample:
    """CPU of the measured process for one message there and its reply back, one in flight on each connection."""
    with connect(system, connections, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        return _measure_cpu(system, load, lambda: load.echo(scale.seconds))


def fan_out(members: int, system: System, scale: Scale) -> Sample:
    """CPU of the measured process for one delivery of a notification; the next is sent when all have the last."""
    with connect(system, members) as load:
        system.wait_members()
        rounds = scale.deliveries // members
        load.fan(max(5, rounds // 10))
        return _measure_cpu(system, load, lambda: load.fan(rounds))


def memory(connections: int, system: System, scale: Scale) -> Sample:
    """User memory for one more connection, idle after one message and its reply, when there are a thousand already."""
    with connect(system, FORMER_CONNECTIONS, size=MESSAGE_BYTES) as former:
        former.turn()
        before = system.measured.memory_bytes()
        with connect(system, connections, size=MESSAGE_BYTES) as load:
            fresh = system.measured.memory_bytes() - before
            load.turn()
            used = system.measured.memory_bytes() - before
    kib = 1024 * connections
    return Sample(used / kib, {"before_first_message": fresh / kib, "process_mib": before / (1 << 20)})


def _measure_cpu(system: System, load: Load, run: Callable[[], Outcome]) -> Sample:
    """CPU for one message or delivery. Nothing is in flight before and after, so what was done is what was counted."""
    processes = [system.measured, load.process, *([] if system.backend is None else [system.backend])]
    machine = machine_seconds(CPUS)
    before = [process.cpu_seconds() for process in processes]
    outcome = run()
    measured, *others = (process.cpu_seconds() - cpu for process, cpu in zip(processes, before, strict=True))
    machine = machine_seconds(CPUS) - machine
    details = {
        "messages": float(outcome.messages),
        "per_second": outcome.messages / outcome.seconds,
        "p50_us": outcome.p50_us,
        "p99_us": outcome.p99_us,
        "cpu_share": measured / outcome.seconds,
        "rest_share": sum(others) / outcome.seconds,
        "foreign_share": max(0.0, machine - measured - sum(others)) / outcome.seconds,
    }
    return Sample(measured / outcome.messages * 1e6, details)


_PROXIES: Mapping[str, Start] = {"nginx": nginx, "HAProxy": haproxy, "Holdfast": holdfast}

WORKS = (
    *(
        Work(
            group="round-trip",
            name=f"WebSocket round trip, {MESSAGE_BYTES} B, {connections:,} connections",
            unit="us",
            systems=_PROXIES,
            base="nginx",
            goal=1.5,
            measure=partial(round_trip, connections),
        )
        for connections in (100, 1000)
    ),
    *(
        Work(
            group="fan-out",
            name=f"Fan-out delivery, 128 B, {members:,} subscribers",
            unit="us",
            systems={"C send loop": send_loop, "Holdfast": partial(holdfast, members)},
            base="C send loop",
            goal=1.5,
            measure=partial(fan_out, members),
        )
        for members in (1000, 5000)
    ),
    Work(
        group="memory",
        name=f"Idle connection, {MEMORY_CONNECTIONS:,} of them",
        unit="KiB",
        systems=_PROXIES,
        base=None,
        goal=3.0,
        measure=partial(memory, MEMORY_CONNECTIONS),
    ),
)
GROUPS = tuple(dict.fromkeys(work.group for work in WORKS))
