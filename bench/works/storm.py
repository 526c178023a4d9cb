"""Very many clients at once: CPU of the proxy for each, and what those who were there before notice of it.

A connection counts when its handshake has been answered and, with Holdfast, every node has been told of the client.
"""

import time
from functools import partial

from bench.build import PROGRAMS
from bench.load import Outcome
from bench.process import Process
from bench.steady import steady
from bench.systems.base import OTHER_CPU, System
from bench.systems.fleet import several_nodes
from bench.systems.haproxy import haproxy
from bench.systems.nginx import nginx
from bench.works.base import Goal, Metric, Sample, Scale, Work, measure_cpu

CLIENTS = 5000
ESTABLISHED = 100
MESSAGES_PER_SECOND = 500  # of all the established together
NODES = 3
QUIET = 0.1  # seconds in which the proxy does next to nothing: all that left have been let go


class Storm:
    """The generator, c/storm.c."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def open(self) -> Outcome:
        self.process.write("open")
        return Outcome(**self.process.read(60.0))

    def close(self) -> None:
        self.process.write("close")
        self.process.read()


def storm(system: System, scale: Scale) -> Sample:
    where = f"--port={system.port}", f"--connections={CLIENTS}"
    with (
        steady(system, ESTABLISHED) as established,
        Process(PROGRAMS / "storm", *where, cpu=OTHER_CPU) as process,
    ):
        generator = Storm(process)

        def run() -> Outcome:
            outcome = generator.open()
            _wait_told(system)
            return outcome

        _wait_told(system)
        established.begin(MESSAGES_PER_SECOND)
        time.sleep(scale.warm_up / 2)
        before = established.end().all
        established.begin(MESSAGES_PER_SECOND)
        sample = measure_cpu(system, generator, run)
        meanwhile = established.end().all
        cpu = system.measured.cpu_seconds()
        generator.close()
        _wait_told(system)
        _wait_quiet(system.measured)
        closing = system.measured.cpu_seconds() - cpu
    return sample | {
        "p99_ms": sample["p99_us"] / 1e3,
        "before_p99_ms": before.p99_us / 1e3,
        "established_p99_ms": meanwhile.p99_us / 1e3,
        "close_us": closing / CLIENTS * 1e6,
    }


def _wait_told(system: System) -> None:
    """Until every node knows of just the clients that there are."""
    for node in system.nodes:
        node.read()  # {"clients": N}


def _wait_quiet(process: Process) -> None:
    before = process.cpu_seconds()
    while True:
        time.sleep(QUIET)
        now = process.cpu_seconds()
        if now - before < 0.02 * QUIET:
            return
        before = now


WORKS = (
    Work(
        group="storm",
        name=f"Storm of {CLIENTS:,} clients, each told to {NODES} nodes",
        systems={
            "nginx": nginx,
            "HAProxy": haproxy,
            "Holdfast": partial(several_nodes, NODES, f"--tell={ESTABLISHED}", f"--tell={ESTABLISHED + CLIENTS}"),
        },
        metrics=(
            Metric("cpu_us", "CPU per connection", "us", 1),
            Metric("per_second", "per second", "", 0),
            Metric("p99_ms", "handshake p99", "ms", 0),
            Metric("established_p99_ms", "others' p99 meanwhile", "ms", 1),
            Metric("before_p99_ms", "before", "ms", 1),
            Metric("close_us", "CPU per end", "us", 1),
        ),
        goals=(Goal("cpu_us", 1.3, "nginx"), Goal("established_p99_ms", 50.0)),
        measure=storm,
    ),
)
