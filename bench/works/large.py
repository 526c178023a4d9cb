"""Large messages there and back: how many bytes the proxy carries, and what other clients notice of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.build import PROGRAMS
from bench.load import Load
from bench.process import Process
from bench.steady import steady
from bench.systems.base import OTHER_CPU, System
from bench.works.base import P50, P99, Goal, Metric, Sample, Scale, Work, measure_cpu
from bench.works.round_trip import PROXIES

CONNECTIONS = 8
OTHERS, OTHERS_RATE = 100, 1000  # connections with small messages, and how many a second they send in all
MOST_OTHERS_P99_US = 20_000
PER_CPU_SECOND = Metric("mb_per_cpu_second", "MB per CPU second", "", 0)
PER_SECOND = Metric("mb_per_second", "MB per second", "", 0)
OTHERS_P99 = Metric("others_p99_us", "p99 of others", "us", 0)


@contextmanager
def connect(system: System, size: int, kind: str) -> Iterator[Load]:
    """The connections with large messages (c/large.c)."""
    command = (f"--port={system.port}", f"--connections={CONNECTIONS}", f"--size={size}", f"--kind={kind}")
    with Process(PROGRAMS / "large", *command, cpu=OTHER_CPU) as process:
        process.read(60.0)  # {"connected": N}
        yield Load(process)


def large(size: int, kind: str, system: System, scale: Scale) -> Sample:
    """Bytes of messages for each second of the measured process, one in flight on each connection, replies checked.

    All the while other clients send small messages at a low rate, some 2 % of the work.
    """
    with connect(system, size, kind) as load, steady(system, OTHERS) as others:
        load.echo(scale.warm_up)
        before = others.process.cpu_seconds()
        others.begin(OTHERS_RATE)
        sample = measure_cpu(system, load, lambda: load.echo(scale.seconds))
        times = others.end().all
        seconds = sample["messages"] / sample["per_second"]
        share = (others.process.cpu_seconds() - before) / seconds
    return {
        **sample,
        "rest_share": sample["rest_share"] + share,
        "foreign_share": max(0.0, sample["foreign_share"] - share),
        "mb_per_cpu_second": size / sample["cpu_us"],
        "mb_per_second": sample["per_second"] * size / 1e6,
        "others_p50_us": times.p50_us,
        "others_p99_us": times.p99_us,
        "others_max_us": times.max_us,
    }


def _work(size: int, kind: str, in_quick: bool) -> Work:
    name = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
    return Work(
        group="large",
        name=f"Large messages, {name} of {kind}, {CONNECTIONS} connections",
        systems=PROXIES,
        metrics=(PER_CPU_SECOND, PER_SECOND, P50, P99, OTHERS_P99),
        goals=(
            Goal("mb_per_cpu_second", 0.7, "nginx", at_least=True),
            Goal("mb_per_second", 0.7, "nginx", at_least=True),
            Goal("others_p99_us", MOST_OTHERS_P99_US),
        ),
        measure=partial(large, size, kind),
        in_quick=in_quick,
    )


WORKS = (
    _work(64 << 10, "text", in_quick=False),
    _work(1 << 20, "text", in_quick=True),
    _work(1 << 20, "binary", in_quick=False),
)
