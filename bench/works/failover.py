"""Nodes killed under load: how long the requests that they had waited for their replies."""

import random
import time
from functools import partial

from bench.load import connect
from bench.steady import Times, steady
from bench.systems.base import System
from bench.systems.fleet import several_nodes
from bench.works.base import MESSAGE_BYTES, Goal, Metric, Sample, Scale, Work

NODES = 3
CONNECTIONS = 300
SHARE = 0.5  # of what a closed loop comes to with as many connections
KILLS_PER_SECOND = 2.0  # of the scale's seconds
PAUSES = (0.2, 0.5)  # seconds, before each kill; all nodes are ready then


def failover(system: System, scale: Scale) -> Sample:
    """Again and again, SIGKILL for the node that has been there longest: it has its full share, and is the master."""
    with connect(system, CONNECTIONS, size=MESSAGE_BYTES) as load:
        load.echo(scale.warm_up)
        outcome = load.echo(scale.warm_up)
    rate = SHARE * outcome.messages / outcome.seconds
    nodes = list(system.nodes)
    assert system.start_node is not None
    with steady(system, CONNECTIONS) as load_at_half:
        load_at_half.begin(rate)
        for _ in range(round(KILLS_PER_SECOND * scale.seconds)):
            time.sleep(random.uniform(*PAUSES))
            load_at_half.kill(nodes.pop(0))
            nodes.append(system.start_node())
            nodes[-1].read()  # {"ready": true}
        time.sleep(PAUSES[1])
        course = load_at_half.end()
    return {
        "per_second": rate,
        "redelivered": float(course.redelivered.messages),
        **_milliseconds("redelivered", course.redelivered),
        **_milliseconds("near", course.near),
        **_milliseconds("all", course.all),
    }


def _milliseconds(group: str, times: Times) -> Sample:
    if not times.messages:
        return {}
    return {
        f"{group}_p50_ms": times.p50_us / 1e3,
        f"{group}_p99_ms": times.p99_us / 1e3,
        f"{group}_max_ms": times.max_us / 1e3,
    }


WORKS = (
    Work(
        group="failover",
        name=f"SIGKILL of one of {NODES} nodes at half of capacity",
        systems={"Holdfast": partial(several_nodes, NODES)},
        metrics=(
            Metric("redelivered_p99_ms", "sent again: p99", "ms", 1),
            Metric("redelivered_p50_ms", "p50", "ms", 1),
            Metric("redelivered_max_ms", "longest", "ms", 1),
            Metric("near_p99_ms", "all near a kill: p99", "ms", 1),
            Metric("near_max_ms", "longest", "ms", 1),
            Metric("all_p99_ms", "all: p99", "ms", 1),
            Metric("redelivered", "sent again", "", 0),
            Metric("per_second", "per second", "", 0),
        ),
        goals=(Goal("redelivered_p99_ms", 20.0), Goal("near_max_ms", 100.0)),
        measure=failover,
    ),
)
