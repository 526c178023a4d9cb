"""Idle connections: what one costs in memory."""

from functools import partial

from bench.load import connect
from bench.systems.base import System
from bench.works.base import MESSAGE_BYTES, Goal, Metric, Sample, Scale, Work
from bench.works.round_trip import PROXIES

CONNECTIONS = 5000
# Without them what a heap keeps after its first handshakes would count for, or against, those that are measured.
FORMER_CONNECTIONS = 1000


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
    return {"user_kib": used / kib, "fresh_kib": fresh / kib, "process_mib": before / (1 << 20)}


WORKS = (
    Work(
        group="memory",
        name=f"Idle connection, {CONNECTIONS:,} of them",
        systems=PROXIES,
        metrics=(Metric("user_kib", "user memory", "KiB"), Metric("fresh_kib", "before its first message", "KiB")),
        goals=(Goal("user_kib", 1.2),),
        measure=partial(memory, CONNECTIONS),
    ),
)
