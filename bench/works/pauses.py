"""How long Python's garbage collector stops the proxy, with as many connections as may be, while they send messages."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.limits import limit
from bench.load import connect
from bench.systems.base import System, folder
from bench.systems.holdfast import holdfast
from bench.watched_proxy import COLLECTOR, DEFAULT, PAUSES_FILE, pauses
from bench.works.base import CPU, MESSAGE_BYTES, Goal, Metric, Sample, Scale, Work, measure_cpu

CONNECTIONS = min(20_000, limit().connections)
DEPTH = 3  # 60,000 requests in flight: a node's default capacity, times many


@contextmanager
def watched(collector: str) -> Iterator[System]:
    with folder() as place:
        file = place / "pauses"
        file.touch()
        os.environ[PAUSES_FILE] = str(file)  # for the proxy, and for `pauses`
        os.environ[COLLECTOR] = collector
        with holdfast(module="bench.watched_proxy") as system:
            yield system


def stops(system: System, scale: Scale) -> Sample:
    began = time.monotonic()
    with connect(system, CONNECTIONS, depth=DEPTH, size=MESSAGE_BYTES) as load:
        connected = time.monotonic()
        load.echo(scale.warm_up)
        warm = time.monotonic()
        sample = measure_cpu(system, load, lambda: load.echo(scale.seconds))
        ended = time.monotonic()
    under_load = pauses(warm, ended)
    return {
        "longest_ms": _longest(began, ended),
        "connecting_ms": _longest(began, connected),
        "pauses": len(under_load) / (ended - warm),
        "share_percent": 100 * sum(pause.seconds for pause in under_load) / (ended - warm),
        **sample,
    }


def _longest(since: float, until: float) -> float:
    return 1000 * max((pause.seconds for pause in pauses(since, until)), default=0.0)


WORKS = (
    Work(
        group="pauses",
        name=f"Garbage collection, {CONNECTIONS:,} connections, {DEPTH} in flight on each",
        systems={"Python's own settings": partial(watched, DEFAULT), "Holdfast": partial(watched, "")},
        metrics=(
            Metric("longest_ms", "longest pause", "ms", 1),
            Metric("connecting_ms", "while they connect", "ms", 1),
            Metric("pauses", "pauses per second under load", "", 1),
            Metric("share_percent", "CPU of pauses under load", "%"),
            CPU,
        ),
        goals=(Goal("longest_ms", 5.0),),
        measure=stops,
        in_quick=False,
    ),
)
